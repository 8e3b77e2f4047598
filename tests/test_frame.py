"""The frame of commands: options declared once, obstacles found before the work."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import pytest
import xarray as xr

from jaxsoc.cli import cache, interrupt, report
from jaxsoc.cli.commands import VERBS
from jaxsoc.cli.config import UpscaleConfig
from jaxsoc.cli.fit import _print_table
from jaxsoc.cli.options import as_toml, read_config
from jaxsoc.infer import Fit, Outcome, Starts
from jaxsoc.observe import Observed
from jaxsoc.tables import Table, variable

SMALL = "days = 2\nevery = 12\n[cells]\nshape = [8, 8]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_shown_is_read_as_the_same_configuration(jaxsoc, tmp_path, verb):
    code, shown, errors = jaxsoc("config", "--show", *verb.split())
    assert (code, errors) == (0, "")
    path, config = tmp_path / "shown.toml", VERBS[verb]
    path.write_text(shown, encoding="utf-8")
    again = read_config(path, {}, config)
    assert again.model_dump() == config().model_dump()
    assert not again.changed
    for name in config.known():
        assert f"\n{name} = " in shown or f"# {name} =" in shown or f"[{name}" in shown
        assert config.said(name).text or f"[{name}]" in shown


def test_changed_values_survive_being_shown(tmp_path):
    given = {"kinetics": ["linear"], "days": 3.5, "units": 'a "b" \\ µ', "out": "é [x]"}
    config = UpscaleConfig.model_validate(given | {"figures": False})
    path = tmp_path / "shown.toml"
    path.write_text(as_toml(config), encoding="utf-8")
    assert read_config(path, {}, UpscaleConfig).model_dump() == config.model_dump()


def one_line(result, *words):
    code, printed, errors = result
    assert (code, printed) == (2, "")
    assert errors.startswith("jaxsoc: error: ") and errors.count("\n") == 1
    for word in words:
        assert word in errors, errors


def test_an_option_of_before_is_refused_with_the_nearest(jaxsoc, tmp_path):
    one_line(jaxsoc("upscale", "--parameters", "case2"), "--parameter-spread")
    (tmp_path / "old.toml").write_text("parameters = 'case2'")
    words = ["old.toml: unknown key", "did you mean 'parameter_spread'"]
    one_line(jaxsoc("budget", "--config", tmp_path / "old.toml"), *words)


def test_a_configuration_that_is_a_pipe_is_refused(jaxsoc, tmp_path):
    os.mkfifo(tmp_path / "c.toml")
    refused = jaxsoc("upscale", "--config", tmp_path / "c.toml")
    one_line(refused, "c.toml': it is not a regular file")


def test_a_budget_of_several_members_is_refused_by_a_dry_run(jaxsoc, tmp_path):
    (tmp_path / "c.toml").write_text("members = 2")
    refused = jaxsoc("budget", "--config", tmp_path / "c.toml", "--dry-run")
    one_line(refused, "a budget is of one member, got members 2")


def test_the_median_of_fits_is_of_those_that_have_one():
    def fitted(data):
        none, data = np.zeros(0), np.asarray(data)
        known = Starts(none, none, none, none, ()), Outcome.CONVERGED, ""
        seen = Observed(np.arange(4.0), "co2"), *known
        return Fit((), (), none, np.zeros((0, 0)), none, None, 0 * data, data, *seen)

    for data, median in (([[1.0] * 3], "nan"), ([[1.0] * 3, [-1.0, 0.0, 1.0]], "0.0")):
        fits = {(str(i), "linear"): fitted(one) for i, one in enumerate(data)}
        file = io.StringIO()
        with warnings.catch_warnings(action="error"):
            _print_table(report.printer(file=file, width=200), fits)
        assert f"{len(data)} converged; median R² {median}" in file.getvalue()


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "predict" not in verb])
def test_a_dry_run_of_every_verb_writes_nothing_and_finds_obstacles(
    jaxsoc, tmp_path, verb
):
    config, out = tmp_path / "small.toml", tmp_path / "out"
    own = {
        "fit": "starts = 2",
        "column": "lat = 5.0\nlon = 7.0",
        "calibrate": "profiles = 'soil.csv'",
    }
    rows = (f"p,47,11,{top},{top + 20},20,1.2" for top in (0, 20, 40))
    head = "profile_id,lat,lon,depth_top_cm,depth_bottom_cm,soc_g_kg,bulk_density_g_cm3"
    (tmp_path / "soil.csv").write_text("\n".join([head, *rows]))
    config.write_text(own.get(verb, SMALL))
    options = ["--config", config, "--dry-run"]
    code, printed, errors = jaxsoc(*verb.split(), *options, "--out", out / "new")
    assert (code, errors) == (0, "") and " ".join(printed.split()).endswith(
        "nothing was run"
    )
    foreseen = {
        "fit": "evaluations",
        "column": "at 1 place",
        "calibrate": "at 1 profile",
    }
    assert foreseen.get(verb, "saved times") in printed
    assert not out.exists()
    name = "representative_cells.json" if verb == "closure fit" else VERBS[verb].results
    (out / name).mkdir(parents=True)
    refused = jaxsoc(*verb.split(), *options, "--out", out)
    one_line(refused, f"{name}' is a folder, and a file of this name")
    out = out / name / "file"
    out.write_text("mine")
    refused = jaxsoc(*verb.split(), *options, "--out", out / "more")
    one_line(refused, f"cannot write to the folder {str(out / 'more')!r}")


@pytest.mark.parametrize(
    ("verb", "options", "text"),
    [
        ("upscale", ["--every", "1e-3"], ""),
        ("upscale", ["--every", "1e-5", "--days", "1"], ""),
        ("upscale", ["--members", "4000000000", "--days", "10000"], ""),
        ("upscale", [], "[cells]\nshape = [10000000, 10000000]"),
        ("budget", ["--order", "60"], ""),
        ("fit", ["--starts", str(10**13)], ""),
        ("closure compare", ["--unseen", str(10**30)], ""),
        ("closure fit", ["--steps", str(10**30)], ""),
    ],
)
def test_what_does_not_fit_into_memory_is_refused(
    jaxsoc, tmp_path, monkeypatch, verb, options, text
):
    monkeypatch.setattr(report, "free_memory", lambda: 2.0**33)
    (tmp_path / "c.toml").write_text(text)
    more = ["--config", tmp_path / "c.toml", "--out", tmp_path / "out"]
    refused = jaxsoc(*verb.split(), *options, *more)
    one_line(refused, "needs about", "GiB of memory, and 8 GiB are free")
    assert not (tmp_path / "out").exists()


class Told(UpscaleConfig):
    """A verb that computes nothing."""

    results: ClassVar[str] = "told.nc"


TABLE = Table({"x": variable("time", [1.0, 2.0], "d")}, {}, {"title": "[b]none[/b]"})


def job(work=lambda: None, **figures):
    """Preparation of a job that finds a table at once, after some work."""

    def compute(progress):
        work()
        tell = lambda console, results: console.print(results.attrs["title"])
        return report.Outcome(TABLE, tell)

    return lambda config: report.Job(compute, lambda: "little", 0, figures)


def test_results_that_cannot_be_stored_where_they_should_be_are_kept(tmp_path, capsys):
    config = Told(out=tmp_path / "out")

    def obstruct():
        config.out.rmdir()
        config.out.write_text("somebody else's")

    with pytest.raises(OSError, match="the results are in") as raised:
        report.carry_out(job(obstruct), config)
    kept = Path(str(raised.value).split("'")[-2])
    with xr.open_dataset(kept) as found:
        np.testing.assert_array_equal(found.x, [1, 2])
    assert "[b]none[/b]" in capsys.readouterr().out
    shutil.rmtree(kept.parent)


def test_a_figure_that_fails_costs_no_results_and_no_other_figure(tmp_path):
    from matplotlib.figure import Figure

    def fails(results):
        raise ValueError("no $ is paid")

    config = Told(out=tmp_path / "out")
    figures = {
        "first": fails,
        "second": lambda results: Figure(),
        "none": lambda _: None,
    }
    with pytest.raises(OSError, match="cannot draw first.png: no . is paid"):
        report.carry_out(job(**figures), config, quiet=True)
    left = sorted(path.name for path in config.out.iterdir())
    assert left == ["second.png", "told.nc"]


def test_brackets_in_names_are_printed_as_they_are():
    name, file = "[/red] [a/b] [bold]x[/bold] :smile:", io.StringIO()
    console = report.printer(file=file, width=200, force_terminal=True)
    table = report.table_of("name", title=name)
    table.add_row(name)
    console.print(table)
    with warnings.catch_warnings(record=True, action="always") as noticed:
        warnings.warn(name, stacklevel=1)
    report.print_warnings(console, noticed)
    report.with_bar(console, lambda progress: progress(0, 2, name))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    for part in ("[/red]", "[a/b]", "[bold]", "[/bold]", ":smile:"):
        assert plain.count(part) >= 4, part


def test_sigterm_ends_a_run_as_an_interrupt_does():
    previous = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    interrupt._seen.clear()
    try:
        interrupt.install()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert interrupt.exit_code() == 143
    finally:
        interrupt._seen.clear()
        for number, handler in previous.items():
            signal.signal(number, handler)


@pytest.fixture
def unset(monkeypatch, tmp_path):
    """JAX as a user's is: no folder of compiled programs named."""
    names = [
        "jax_compilation_cache_dir",
        "jax_enable_compilation_cache",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    ]
    held = {name: getattr(jax.config, name) for name in names}
    jax.config.update(names[0], None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    yield tmp_path / "cache" / "jaxsoc"
    for name, value in held.items():
        jax.config.update(name, value)


def test_compiled_programs_are_kept_in_the_users_cache(unset, jaxsoc):
    cache.keep()
    assert jax.config.jax_compilation_cache_dir == str(unset) and unset.is_dir()
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
    assert f"{unset},0files" in "".join(jaxsoc("doctor")[1].split())


def test_a_folder_that_jax_was_told_is_honoured(unset, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    cache.keep()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert not unset.exists()


def test_without_cache_nothing_is_kept(unset, jaxsoc):
    assert jaxsoc("--no-cache", "config", "--show")[0] == 0
    cache.keep()
    assert not unset.exists() and jax.config.jax_compilation_cache_dir is None


def test_a_cache_that_cannot_be_written_is_a_note(unset):
    unset.parent.write_text("a file")
    with pytest.warns(UserWarning, match="every run compiles anew"):
        cache.keep()
    assert not jax.config.jax_enable_compilation_cache


@pytest.mark.slow
def test_results_are_the_same_bits_with_and_without_kept_programs(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    names = [name for name in os.environ if name != "JAX_COMPILATION_CACHE_DIR"]
    around = {name: os.environ[name] for name in names}
    around |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    found = []
    for option in ([], [], ["--no-cache"]):
        code = "import jaxsoc.cli; jaxsoc.cli.main()"
        command = [sys.executable, "-c", code, *option, "upscale", "--no-figures"]
        files = ["--config", tmp_path / "small.toml", "--out", tmp_path / "out"]
        subprocess.run([*command, *files], check=True, env=around, capture_output=True)
        with xr.open_dataset(tmp_path / "out" / "upscale.nc") as dataset:
            found.append(dataset.load())
    assert list((tmp_path / "jaxsoc").iterdir())
    assert found[0].equals(found[1]) and found[0].equals(found[2])


def test_a_folder_that_no_system_can_have_is_refused():
    with pytest.raises(ValueError, match="cannot write to the folder"):
        report.check_out(Path("a\0b") / "upscale.nc")
