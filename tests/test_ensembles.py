"""Ensembles of any size: members by their keys, chunks, stores, statistics."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr

from jaxsoc.experiments import (
    Design,
    case,
    draw_member,
    run,
    statistics,
    stream,
)
from jaxsoc.experiments.ensemble import (
    chunk_runner,
    chunk_size,
    continued,
    plan_ensemble,
)
from jaxsoc.experiments.soils import member_source
from jaxsoc.io import MemberStore, to_dataset
from jaxsoc.physics.grids import CellGrid
from jaxsoc.solve import Steps, integrate, map_members
from jaxsoc.tables import Table, time_axis, variable
from jaxsoc.upscale.fields import Acceptance, Fields, Generator


def small(**changes) -> Design:
    choices = {
        "kinetics": ("multiplicative",),
        "heterogeneity": ("homogeneous", "full"),
        "correlation": ("positive", "uncorrelated"),
        "grid": CellGrid((16, 16)),
        "generator": Generator(acceptance=Acceptance(least_correlation=0.5)),
        "members": 7,
        "every": 48.0,
        "duration": 480.0,
        "seed": 3,
    }
    return Design(**(choices | changes))


def streamed(design, path, **options):
    return to_dataset(stream(design, MemberStore(path), **options))


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("devices", [1, None])
def test_members_are_mapped_one_by_one(count, devices):
    members = jnp.arange(3.0 * count).reshape(count, 3)
    found = map_members(lambda row: (row.sum(), row), members, devices=devices)
    np.testing.assert_array_equal(found[0], members.sum(axis=1))
    np.testing.assert_array_equal(found[1], members)


def test_members_drawn_together_are_those_drawn_alone():
    design = small(members=5)
    together = member_source(design)(np.arange(5))
    for number in range(5):
        alone = draw_member(design, number)
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[number], b, rtol=1e-12)


@pytest.mark.slow
def test_each_member_is_its_own_single_run():
    design = small(members=6)
    plan = plan_ensemble(design)
    chunk = chunk_runner(design, plan)(0)
    for number in (0, 3, 5):
        for h, heterogeneity in enumerate(design.heterogeneity):
            names = ("multiplicative", heterogeneity, "uncorrelated")
            model, state, params = case(design, draw_member(design, number), *names)
            tight = integrate(model, state, params, design.times, method=Steps(0.25))
            S = chunk["substrate"][0, h, 1, number]
            exact = np.asarray(tight.values.mean.substrate)
            assert np.max(np.abs(S - exact)) < 1e-5 * exact.max()
    for size in (1, 4):
        run_chunk = chunk_runner(design, plan._replace(chunk=size))
        parts = [run_chunk(number) for number in range(-(-6 // size))]
        for name, values in chunk.items():
            if values.ndim == 5:
                joined = np.concatenate([part[name] for part in parts], axis=3)
                np.testing.assert_allclose(joined, values, rtol=1e-10, atol=1e-13)


@pytest.mark.slow
def test_an_ensemble_agrees_with_a_plain_run():
    design = small(members=3)
    chunk = chunk_runner(design, plan_ensemble(design))(0)
    plain = run(design)
    for name in ("substrate", "biomass", "respiration", "substrate_variance"):
        expected = plain.values(name)
        assert np.max(np.abs(chunk[name] - expected)) < 3e-5 * expected.max()
    assert (chunk["carbon_balance_error"] < 1e-12).all()


@pytest.mark.slow
def test_statistics_are_numpys(tmp_path):
    design = small(members=9)
    results = streamed(design, tmp_path / "members.zarr", quantiles=(0.1, 0.5))
    R = zarr.open_group(tmp_path / "members.zarr", mode="r")["respiration"][:]
    assert R.shape == (1, 2, 2, 9, 11)
    close = lambda name, values: np.testing.assert_allclose(
        results[name].values, values, rtol=1e-12, atol=1e-16
    )
    close("respiration", R.mean(axis=3))
    close("respiration_sd", R.std(axis=3, ddof=1))
    close("respiration_quantile", np.quantile(R, (0.1, 0.5), axis=3))
    assert results.respiration.attrs["units"] == "mgC g-1 h-1"
    assert results.attrs["members"] == 9 and results.attrs["seed"] == 3


@pytest.mark.slow
def test_statistics_of_a_part_of_the_members_are_always_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_KEPT", 0)  # then 16 members at least
    design = small(members=40, heterogeneity=("homogeneous",))
    memory = limit_for(design, 10)
    whole = streamed(design, tmp_path / "a.zarr")
    parts = streamed(design, tmp_path / "b.zarr", memory=memory)
    assert whole.respiration_quantile.attrs["quantile_members"] == 16
    np.testing.assert_allclose(
        whole.respiration_quantile, parts.respiration_quantile, rtol=1e-9
    )


def limit_for(design, members):
    """A memory limit that makes chunks of about so many members."""
    low, high = 2.0**20, 2.0**34
    for _ in range(60):
        middle = (low + high) / 2
        try:
            chunk = chunk_size(design, middle)
        except ValueError:
            low = middle
            continue
        low, high = (middle, high) if chunk < members else (low, middle)
    return high


def test_memory_for_a_chunk_does_not_depend_on_the_members():
    memory = limit_for(small(members=1000), 10)
    sizes = {chunk_size(small(members=n), memory) for n in (1000, 10_000, 100_000)}
    assert max(sizes) - min(sizes) <= 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    design = small(members=20)
    memory = limit_for(design, 4)
    undisturbed = streamed(design, tmp_path / "whole.zarr", memory=memory)
    started: list[int] = []

    def interrupted(done, total, case):
        if done >= 8 and "steps" not in case:
            raise KeyboardInterrupt

    def counted(done, total, case):
        if "homogeneous positive" in case and "steps" not in case:
            started.append(done)

    store = tmp_path / "again.zarr"
    with pytest.raises(KeyboardInterrupt):
        streamed(design, store, memory=memory, progress=interrupted)
    marks = zarr.open_group(store, mode="r")["chunk_finished"][:]
    assert 0 < marks.sum() < 20
    results = streamed(design, store, memory=memory, progress=counted)
    with pytest.raises(ValueError, match="chunks of 4 members, which need 0"):
        streamed(design, store, memory=limit_for(design, 2))
    assert len(started) == (marks == 0).sum() and min(started) == marks.sum()
    assert tree(store) == tree(tmp_path / "whole.zarr")
    for name in undisturbed.data_vars:
        np.testing.assert_array_equal(results[name], undisturbed[name])


@pytest.mark.slow
def test_a_store_grows(tmp_path):
    design = small(members=4)
    few = streamed(design, tmp_path / "members.zarr")
    many = streamed(small(members=9), tmp_path / "members.zarr")
    assert few.attrs["members"] == 4 and many.attrs["members"] == 9
    fresh = streamed(small(members=9), tmp_path / "fresh.zarr")
    np.testing.assert_allclose(many.respiration, fresh.respiration, rtol=1e-9)


def test_a_store_made_for_too_many_members_is_ended_at_fewer(tmp_path):
    design = small(members=20)
    memory = limit_for(design, 4)

    def interrupted(done, total, case):
        if done >= 8 and "steps" not in case:
            raise KeyboardInterrupt

    store = tmp_path / "members.zarr"
    with pytest.raises(KeyboardInterrupt):
        streamed(design, store, memory=memory, progress=interrupted)
    # 6 of 8 that are there, then 11, of which the last chunk must be computed.
    for members in (6, 11):
        some = streamed(small(members=members), store, memory=memory)
        assert some.attrs["members"] == members
        fresh = streamed(small(members=members), tmp_path / f"{members}.zarr")
        np.testing.assert_allclose(some.respiration, fresh.respiration, rtol=1e-9)
    assert zarr.open_group(store, mode="r").attrs["members"] == 20
    streamed(design, store, memory=memory)
    streamed(design, tmp_path / "whole.zarr", memory=memory)
    assert tree(store) == tree(tmp_path / "whole.zarr")


def stored(path, members=6):
    """A store of made-up numbers in chunks of two members, all of them finished."""
    dims = ("kinetics", "heterogeneity", "correlation", "member", "time")
    shape = (1, 2, 1, members, 3)
    values = np.arange(6.0 * members).reshape(shape)
    last = {"series": values, "check": np.full(shape[:4], np.nan)}
    empty = {n: variable(dims[: x.ndim], np.nan * x, "1") for n, x in last.items()}
    about = {"members": members, "chunk": 2}
    about |= {name: {} for name in ("experiment", "courant", "error")}
    store = MemberStore(path)
    store.create(Table(empty, {"time": time_axis(np.arange(3.0))}, about))
    for number in range(members // 2):
        place = np.s_[:, :, :, 2 * number : 2 * number + 2]
        store.write(number, {name: x[place] for name, x in last.items()})
    return store, values


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
@pytest.mark.parametrize("name", ["series", "check", "chunk_finished"])
def test_what_is_damaged_in_a_store_is_found_and_named(tmp_path, name, damage):
    store, values = stored(tmp_path / "members.zarr")
    before = tree(store.path)
    place = {"series": "0/0/0/1/0", "check": "0/0/0/1", "chunk_finished": "1"}[name]
    chunk = store.path / name / "c" / place
    content = chunk.read_bytes()
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 16]) + content[half + 1 :]
    if damage == "gone":
        chunk.unlink()
    else:
        chunk.write_bytes({"flipped": flipped, "cut": content[:half]}.get(damage, b""))
    if (name, damage) != ("chunk_finished", "gone"):  # which says it is not finished
        words = f"{name} of chunk 1 in .* is missing or damaged: remove .*finished/c/1'"
        with pytest.raises(ValueError, match=words):
            store.marks()
            store.read(1, 2)
        (store.path / "chunk_finished" / "c" / "1").unlink()
    assert store.marks().tolist() == [2, 0, 2]
    whole = {"series": values[:, :, :, 2:4], "check": np.full((1, 2, 1, 2), np.nan)}
    store.write(1, whole)
    assert tree(store.path) == before
    np.testing.assert_array_equal(store.read(1, 1)["series"], values[:, :, :, 2:3])


@pytest.mark.parametrize("name", ["series", "check", "chunk_finished"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "it is not there"),
        ("{", "Expecting property name"),
        ('"shape":[1,2,1,2', "it has shape .1, 2, 1, 2.*; expected .1, 2, 1, 6"),
    ],
)
def test_an_array_that_is_not_as_it_was_made_is_named(tmp_path, name, text, words):
    store, _ = stored(tmp_path / "members.zarr")
    file = store.path / name / "zarr.json"
    whole = "".join(file.read_text().split())
    if text is None:
        shutil.rmtree(store.path / name)
    elif text == "{":
        file.write_text(text)
    elif name == "chunk_finished":
        file.write_text(whole.replace('"shape":[3]', '"shape":[2]', 1))
        words = "it has shape .2,.*; expected .3,"
    else:
        file.write_text(whole.replace('"shape":[1,2,1,6', text, 1))
    for read in (store.about, store.marks, store.locked().__enter__):
        with pytest.raises(ValueError, match=words) as raised:
            read()
        assert f"cannot read {name} of '{store.path}'" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk", 0),
        ("chunk", "4"),
        ("members", True),
        ("experiment", [1]),
        ("arrays", None),
        ("courant", 0.5),
    ],
)
def test_a_store_that_says_what_makes_no_sense_is_refused(tmp_path, name, value):
    store, _ = stored(tmp_path / "members.zarr")
    zarr.open_group(store.path).attrs[name] = value
    with pytest.raises(ValueError, match=f"members.zarr' says {name} .*, expected a "):
        store.about()


def test_steps_of_every_kind_of_soil_are_in_the_store(tmp_path):
    design = small(members=2, heterogeneity=("homogeneous",))
    store = MemberStore(tmp_path / "members.zarr")
    streamed(design, store.path)
    assert set(continued(store, design, np.inf).courant) == {
        "multiplicative homogeneous"
    }


def test_a_store_with_room_for_more_members_than_it_says_is_read(tmp_path):
    store, values = stored(tmp_path / "members.zarr")  # as when growth was stopped
    store.grow(9)
    zarr.open_group(store.path).attrs["members"] = 6
    assert store.marks().tolist() == [2, 2, 2, 0, 0]
    np.testing.assert_array_equal(store.read(2, 2)["series"], values[:, :, :, 4:])


def test_a_disk_that_is_full_is_told_with_the_store(tmp_path):
    store, values = stored(tmp_path / "members.zarr")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, before[1]))
    try:
        with pytest.raises(OSError, match="cannot write to '.*members.zarr': .*large"):
            store.write(1, {"series": values[:, :, :, 2:4]})
        with pytest.raises(OSError, match="cannot write to '.*other.zarr': .*large"):
            stored(tmp_path / "other.zarr")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert store.marks().tolist() == [2, 0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["members.zarr"]


def test_a_lock_that_cannot_be_opened_is_no_store_to_read_alone(tmp_path):
    store, _ = stored(tmp_path / "members.zarr")
    lock = store.path / "chunk_finished" / "lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(OSError, match="Is a directory"), store.locked():
        pass


def test_a_dry_run_is_refused_as_the_run_would_be(jaxsoc, tmp_path):
    design = small(members=2, heterogeneity=("homogeneous",))
    streamed(design, tmp_path / "members.zarr")
    (tmp_path / "c.toml").write_text(TOML)
    before = tree(tmp_path)
    given = ["--config", tmp_path / "c.toml", "--out", tmp_path, "--dry-run"]
    code, _, errors = jaxsoc("upscale", *given)
    assert code == 2 and "members.zarr' holds another experiment" in errors
    assert errors.count("\n") == 1 and tree(tmp_path) == before


def test_a_chunk_that_is_cut_short_bears_no_mark(tmp_path):
    store, _ = stored(tmp_path / "members.zarr")
    with pytest.raises(KeyError):
        store.write(1, {"series": np.zeros((1, 2, 1, 2, 3)), "absent": np.zeros(4)})
    assert store.marks().tolist() == [2, 0, 2]
    assert not (store.path / "chunk_finished" / "c" / "1").exists()


def test_a_store_is_of_one_run_at_a_time(tmp_path):
    store, _ = stored(tmp_path / "members.zarr")
    words = "another run works on .*members.zarr': wait"
    with (
        store.locked(),
        pytest.raises(ValueError, match=words),
        MemberStore(store.path).locked(),
    ):
        pass
    with store.locked(), pytest.raises(ValueError, match=words):
        stored(store.path)
    assert [path.name for path in tmp_path.iterdir()] == ["members.zarr"]


@pytest.mark.slow
def test_a_lock_ends_with_its_process(tmp_path):
    store, _ = stored(tmp_path / "members.zarr")
    code = (
        "import sys, time; from jaxsoc.io import MemberStore\n"
        "with MemberStore(sys.argv[1]).locked(): print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ValueError, match="another run"), store.locked():
            pass
        other.kill()
    with store.locked():
        assert store.marks().tolist() == [2, 2, 2]


def test_a_store_that_is_made_follows_no_link_that_was_put_in_its_way(tmp_path):
    (tmp_path / "treasure").mkdir()
    for name in (".members.zarr-new", ".members-new"):
        (tmp_path / name).symlink_to(tmp_path / "treasure")
    stored(tmp_path / "members.zarr")
    assert not list((tmp_path / "treasure").iterdir())


def test_memory_without_a_limit_is_a_wish_one_may_have():
    assert chunk_size(small(members=1000), np.inf) >= 62
    with pytest.raises(ValueError, match="memory limit of nan GiB"):
        chunk_size(small(), np.nan)


def test_other_stores_and_small_limits_are_refused(tmp_path):
    streamed(small(members=2), tmp_path / "members.zarr")
    watched = []
    watch = lambda *progress: watched.append(progress)
    with pytest.raises(ValueError, match="another experiment .seed 3, asked for 4"):
        streamed(small(members=2, seed=4), tmp_path / "members.zarr", progress=watch)
    assert watched == []  # refused before anything is computed
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="is not a store of an ensemble"):
        streamed(small(), tmp_path / "folder")
    with pytest.raises(ValueError, match="is below one chunk: 2 members of 256 cells"):
        streamed(small(), tmp_path / "new.zarr", memory=2.0**20)
    assert not (tmp_path / "new.zarr").exists()
    with pytest.raises(ValueError, match="leave the method automatic, got equal steps"):
        plan_ensemble(small(method=Steps(1.0)))


@pytest.mark.slow
def test_a_generator_of_ones_own_makes_ensembles():
    class Stripes(Generator):
        def __call__(self, key, recipe, shape, names, **means):
            noise = jax.random.uniform(key, shape) + 0.5
            fields = {name: means["mean_substrate"] * noise for name in names}
            return Fields(means["mean_biomass"] * noise, fields)

    function = lambda *args, **means: Stripes()(*args, **means)
    design = small(members=3, generator=function)
    chunk = chunk_runner(design, plan_ensemble(design))(0)
    peaks = chunk["respiration"][0, 1, 0].max(axis=1)
    assert len(set(peaks.tolist())) == 3


TOML = """
kinetics = ["mult"]
heterogeneity = ["full"]
correlation = ["positive"]
members = 300
every = 24.0
figures = false
cells = { shape = [32, 32] }
generator = { least_correlation = 0.5 }
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, rng):
    (tmp_path / "soil.toml").write_text(TOML)
    code = "from jaxsoc.cli import main; main()"
    command = lambda out: [
        *(sys.executable, "-c", code, "upscale", "--quiet"),
        *("--config", str(tmp_path / "soil.toml"), "--out", str(tmp_path / out)),
    ]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    whole = subprocess.run(command("whole"), env=environment, check=False)
    assert whole.returncode == 0
    killed = subprocess.Popen(command("killed"), env=environment)
    marks = tmp_path / "killed" / "members.zarr" / "chunk_finished"
    for _ in range(1200):
        if (marks / "c" / "0").exists() or killed.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(rng.uniform(0.0, 0.6))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    finished = sorted((marks / "c").iterdir())
    before = [path.stat().st_mtime_ns for path in finished]
    assert finished
    again = subprocess.run(command("killed"), env=environment, check=False)
    assert again.returncode == 0
    assert [path.stat().st_mtime_ns for path in finished] == before
    store = lambda out: tree(tmp_path / out / "members.zarr")
    assert store("killed") == store("whole")
