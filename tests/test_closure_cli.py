"""`jaxsoc closure`: closures fitted, compared, saved, loaded, and refused."""

import gzip
import json
import sys
from itertools import cycle

import numpy as np
import pytest
import xarray as xr

from jaxsoc import plots
from jaxsoc.cli import interrupt
from jaxsoc.cli.closure import fit as fit_one
from jaxsoc.cli.closure_config import CompareConfig, FitClosureConfig
from jaxsoc.cli.options import read_config
from jaxsoc.cli.report import carry_out
from jaxsoc.experiments import (
    Design,
    examples,
    forecasts,
    varying_of,
)
from jaxsoc.io import load_closure, save_closure, save_dataset, to_dataset
from jaxsoc.models import TwoPool
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.plots.closures import closure_lines
from jaxsoc.upscale import TRACKS, Examples, FittedClosure, closure

MULT = "multiplicative"
SMALL = """
days = 20
every = 48
training = 3
[cells]
shape = [16, 16]
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def soils():
    """Four small cores of multiplicative kinetics, as `small` draws them."""
    design = Design(
        kinetics=(MULT,),
        heterogeneity=("full",),
        correlation=("positive",),
        duration=480.0,
        every=48.0,
        grid=CellGrid((16, 16)),
    )
    return design, examples(design, MULT, "full", "positive", range(4))


def cells_of(soils, kinetics=MULT):
    """Representative cells that nobody fitted, and the cores they start from."""
    design, cores = soils
    model = TwoPool(KINETICS[kinetics].law)
    varying = varying_of(kinetics, "full", design)
    name = "representative_statistics"
    made = closure(name, model, varying, cores.part(range(3)), groups=2, members=2)
    return FittedClosure.on(name, kinetics, made, cores)


@pytest.fixture(scope="module")
def stored(soils, tmp_path_factory):
    path = tmp_path_factory.mktemp("closures") / "mine.json"
    return save_closure(cells_of(soils), path, {"seed": 0, "training": 3})


def test_what_is_loaded_predicts_as_what_was_saved(soils, stored):
    unseen = soils[1].part([3])
    made = {"saved": cells_of(soils), "loaded": load_closure(stored)}
    found = to_dataset(forecasts(soils[0], made, unseen))
    first, again = found.respiration
    np.testing.assert_allclose(again, first, rtol=1e-9)
    assert (found.track == "statistics").all()
    assert (found.numbers_read == 2 * 3 + 1 + 2).all()
    assert (found.states == 2 * 4 + 2 + 1).all() and np.isfinite(found.error).all()


@pytest.mark.slow
def test_comparison_of_loaded_and_plain_closures(jaxsoc, small, stored, tmp_path):
    out = tmp_path / "out"
    options = ["--closures", "log_normal,representative_statistics", "--unseen", 2]
    options += ["--days", 5, "--every", 24]
    files = ["--config", small, "--load", stored, "--out", out]
    code, printed, errors = jaxsoc("closure", "compare", *files, *options)
    assert (code, errors) == (0, "")
    names = ["log_normal", "mean_field", "mine"]
    for word in (*names, "null", "9 numbers", "left on day", "what a soil can be"):
        assert word in printed
    assert sorted(p.name for p in out.iterdir()) == ["closure.nc", "closure.png"]
    with xr.open_dataset(out / "closure.nc") as saved:
        # what is loaded takes the place of a fit of its kind
        assert sorted(saved.closure.values) == names
        assert list(saved.core.values) == [3, 4] and float(saved.time[-1]) == 5
        one = saved.sel(closure="log_normal")
        assert (one.left > 0).any()
        np.testing.assert_array_equal(np.isnan(one.error), np.isfinite(one.left))
        gone = saved.time >= one.left
        np.testing.assert_array_equal(np.isnan(one.respiration), gone.T)
        assert "leaves what a soil can be on day" in str(one.reason.values)
        found, known = saved.respiration.sel(closure="mine"), saved.distributed
        rmse = np.sqrt(((found - known) ** 2).mean("time")) / known.max("time")
        np.testing.assert_allclose(saved.error.sel(closure="mine"), rmse, rtol=1e-9)
        assert saved.attrs["seed"] == 0 and "mine.json" in saved.attrs["loaded"]
        assert '"shape": [16, 16]' in saved.attrs["configuration"]


@pytest.mark.slow
def test_own_fields_unlike_those_fitted_are_predicted_with_a_note(
    jaxsoc, small, stored, tmp_path, rng
):
    path, out = tmp_path / "fields.npz", tmp_path / "out"
    biomass, substrate = rng.uniform(0.5, 2, (8, 9)), rng.uniform(50, 99, (8, 9))
    np.savez(path, biomass=biomass, substrate=substrate)
    options = ["--units", "mgC/g", "--days", 4, "--every", 48, "--out", out]
    files = ["--load", stored, "--fields", path, "--distributed"]
    code, printed, errors = jaxsoc("closure", "predict", *files, *options)
    assert (code, errors) == (0, "")
    told = " ".join(printed.split())
    assert "note: representative_statistics is used outside what it was fitted" in told
    assert "peak R" in printed and "given" in printed
    with xr.open_dataset(out / "closure.nc") as saved:
        assert list(saved.core.values) == ["given"] and "null" not in saved
        assert np.isfinite(saved.error).all()
        assert (
            saved.attrs["kinetics"] == MULT and saved.attrs["heterogeneity"] == "full"
        )
    other = ["--kinetics", "mm", "--out", tmp_path / "none", *options[:2]]
    code, printed, errors = jaxsoc("closure", "predict", *files, *other)
    assert (code, printed) == (2, "") and errors.count("\n") == 1
    assert (
        "mine.json: this closure was fitted for multiplicative kinetics, got a soil of "
        "michaelis_menten"
    ) in errors
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_a_fit_is_saved_with_what_it_was_fitted_on(jaxsoc, small, tmp_path):
    out = tmp_path / "new" / "powers.json"
    options = ["--closure", "functions_of_means", "--steps", 2, "--out", out]
    code, printed, errors = jaxsoc("closure", "fit", "--config", small, *options)
    assert (code, errors) == (0, "")
    assert "% of peak respiration on cores set aside, step" in printed
    assert [p.name for p in out.parent.iterdir()] == ["powers.json"]
    content = json.loads(out.read_text())
    assert content["case"]["correlation"] == "positive"
    assert (content["seed"], content["training"], content["steps"]) == (0, 3, 2)
    low, high = content["fitted_on"]["mean substrate"]
    assert 0 < low < high
    assert load_closure(out).name == "functions_of_means"


@pytest.mark.slow
def test_a_stopped_fit_goes_on_where_it_was(small, tmp_path, monkeypatch):
    options = {"closure": "functions_of_means", "steps": 60, "training": 3}
    fit = lambda name: carry_out(
        fit_one,
        read_config(small, options | {"out": tmp_path / name}, FitClosureConfig),
        quiet=True,
    )
    fit("whole.json")
    calls = iter(range(99))

    def stop():
        # cores twice, then validations at steps 0, 20 and 40
        if next(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(interrupt, "check", stop)
    with pytest.raises(KeyboardInterrupt):
        fit("part.json")
    (left,) = tmp_path.glob("part-*.checkpoint")
    monkeypatch.setattr(interrupt, "check", lambda: None)
    fit("part.json")
    assert not left.exists()
    numbers = lambda name: json.loads((tmp_path / name).read_text())["numbers"]
    assert numbers("part.json") == numbers("whole.json")


@pytest.fixture
def told(monkeypatch):
    """Predictions of two cores that nothing has to be computed for."""
    times = np.linspace(0, 240, 6)
    curve = np.exp(-times / 100)
    true = np.stack([curve, 1.1 * curve])
    cores = Examples(None, None, times, true)
    never, early = np.full(2, np.nan), np.array([4.0, np.nan])
    cut = np.where(times / 24 >= early[:, None], np.nan, true)
    rows = {
        "mean_field": (3.0, 5, 1.5 * true, never, np.array([0.3, 0.4]), ""),
        "representative_cells": (np.nan, 31, true, never, np.array([0, 1e-3]), ""),
        "zero_third": (11.0, 14, cut, early, np.array([np.nan, 0.1]), "it left"),
    }
    names = ("numbers_read", "states", "respiration", "left", "error", "reason")
    model = TwoPool(KINETICS[MULT].law)
    made = {name: closure("mean_field", model) for name in rows}
    values = cycle(rows.values())

    def row(*_):
        one = dict(zip(names, next(values), strict=True))
        track = "field" if np.isnan(one["numbers_read"]) else "statistics"
        return one | {"track": track}

    module = sys.modules["jaxsoc.experiments.forecasts"]
    monkeypatch.setattr(module, "_forecast", row)
    design = Design(kinetics=(MULT,), heterogeneity=("full",))
    return cores, lambda cores, **options: forecasts(design, made, cores, **options)


def test_dataset_has_units_and_no_numbers_for_runs_that_left(told, tmp_path):
    cores, found = told
    made = to_dataset(found(cores, training=cores), {"more": [1]})
    with xr.open_dataset(save_dataset(made, tmp_path / "closure.nc")) as saved:
        for name in ("respiration", "distributed", "null"):
            assert saved[name].attrs["units"] == "mgC g-1 h-1"
        assert saved.time.attrs["units"] == saved.left.attrs["units"] == "d"
        assert saved.error.attrs["units"] == "1"
        one = saved.sel(closure="zero_third")
        assert float(one.left[0]) == 4 and np.isnan(one.left[1])
        assert np.isnan(one.error[0]) and float(one.error[1]) == 0.1
        assert str(one.reason.values) == "it left"
        assert np.isnan(saved.numbers_read.sel(closure="representative_cells"))
        assert list(saved.track.values) == ["statistics", "field", "statistics"]
        assert saved.attrs["more"] == "[1]" and "jax" in saved.attrs["versions"]
        off = 0.05 * np.sqrt(np.mean(np.exp(-saved.time.values * 24 / 50)))
        expected = off / np.array([1, 1.1])
        np.testing.assert_allclose(saved.null_error, expected, rtol=1e-12)


def test_figure_has_units_a_legend_and_every_closure(told):
    cores, found = told
    results = to_dataset(found(cores, training=cores))
    figure = plots.figure_closures(results, core=1)
    left, right = figure.axes
    assert left.get_xlabel() == "time (days)" and left.get_title() == "core 1"
    assert left.get_ylabel() == "respiration R (mgC g$^{-1}$ h$^{-1}$)"
    assert right.get_xscale() == "log" and "(%)" in right.get_xlabel()
    # the best on top; no error for one that left
    shown = [text.get_text() for text in right.get_yticklabels()]
    assert shown == ["representative cells", "mean field", "zero third"]
    assert [t.get_text() for t in right.texts] == ["left on day 4 (1 cores)"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "all cells (distributed)",
        "mean field",
        "representative cells",
        "zero third",
        "null: mean of training cores",
    ]
    unknown = cores._replace(respiration=np.full((2, 6), np.nan))
    (alone,) = plots.figure_closures(to_dataset(found(unknown))).axes
    assert len(alone.lines) == 5  # three closures, the end of one, and no cells


def test_closures_differ_in_colour_or_dashes():
    lines = closure_lines([*TRACKS, "mine", "yours"])
    looks = {(line["color"], str(line["linestyle"])) for line in lines.values()}
    assert len(looks) == len(lines)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("compare --closures log_norm", "did you mean 'log_normal'"),
        ("compare --closures learned,learned", "closures names one twice"),
        ("compare --training 0", "training: input should be greater than 0"),
        ("compare --unseen 0", "unseen: input should be greater than 0"),
        ("compare --steps none", "steps: input should be a valid integer"),
        ("compare --kinetics mm,mult", "one kinetics is needed, got 2: michaelis"),
        ("compare --kinetics cubic", "unknown kinetics 'cubic'"),
        ("compare --heterogeneity homogeneous", "heterogeneity of a closure"),
        ("compare --correlation some", "unknown correlation 'some'"),
        ("compare --load nothing.json", "no such file: 'nothing.json'"),
        ("compare --load {folder}/text.json", "cannot read text.json: Expecting value"),
        (
            "compare --load {folder}/list.json",
            "cannot read list.json: not a fitted closure",
        ),
        ("compare --load {folder}/empty.json", "empty.json: not a fitted closure"),
        ("compare --load {stored} --training 2", "fitted on 3 cores of seed 0"),
        ("compare --load {stored} --kinetics mm", "for multiplicative kinetics, got"),
        ("compare --load {stored} --load {stored}", "two closures are called mine"),
        ("compare --config {folder}/method.toml", "method means nothing to a closure"),
        ("compare --config {folder}/fields.toml", "fields are for `closure predict`"),
        ("fit --closure mean_field", "has no number that a fit may move"),
        ("fit --closure cells", "unknown closure 'cells'"),
        ("fit --config {folder}/power.toml", "linear mortality can be saved"),
        ("predict", "use --load FILE.json"),
        ("predict --load {stored}", "use --fields FILE"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(
    jaxsoc, options, words, stored, tmp_path
):
    (tmp_path / "text.json").write_text("some text")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "method.toml").write_text('method = "fixed"')
    (tmp_path / "fields.toml").write_text('fields = "mine.npz"')
    (tmp_path / "power.toml").write_text("[soil]\nmortality_exponent = 1.5")
    given = options.format(folder=tmp_path, stored=stored).split()
    out = tmp_path / "o" / "c.json"
    code, printed, errors = jaxsoc("closure", *given, "--out", out)
    assert (code, printed) == (2, "")
    assert errors.startswith("jaxsoc: error: ") and errors.count("\n") == 1
    assert words in errors
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("kind", ["packed", "marked"])
def test_a_closure_is_read_whatever_its_text_is_wrapped_in(
    jaxsoc, small, stored, tmp_path, kind
):
    wrap = gzip.compress if kind == "packed" else b"\xef\xbb\xbf".__add__
    path = tmp_path / "other.json"
    path.write_bytes(wrap(stored.read_bytes()))
    given = ["--config", small, "--load", path, "--out", tmp_path / "o", "--dry-run"]
    code, _, errors = jaxsoc("closure", "compare", *given)
    assert (code, errors) == (0, "")


def test_defaults_are_possible():
    design, case = CompareConfig().checked()
    assert case == (MULT, "full", "positive") and design.hours == 4800
    config = FitClosureConfig()
    assert config.checked()[1] == case
    assert str(config.target) == "jaxsoc-output/representative_cells.json"
