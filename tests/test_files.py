"""Files that lie, bombs, obstacles and full disks: a sentence, or nothing happens."""

import copy
import gzip
import io
import json
import os
import resource
import select
import stat
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxsoc.io import (
    closure_from_json,
    closure_to_json,
    forcing_to_dataset,
    load_changes,
    load_climatology,
    load_closure,
    load_fields,
    load_forcing,
    load_profiles,
    load_respiration,
    profiles_dataset,
    replacing,
    save_dataset,
)
from jaxsoc.io.labels import SCHEMA, to_dataset
from jaxsoc.models import TwoPool
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.kinetics import multiplicative
from jaxsoc.plots.style import save_figure
from jaxsoc.tables import Table, variable
from jaxsoc.upscale.catalogue import FittedClosure, closure

FIELD = np.full((3, 4), 5e5)
FIELDS = {"biomass": FIELD, "substrate": 100 * FIELD}
HUGE = (10**6, 10**6)


def refused(read, path, words):
    with pytest.raises(ValueError, match=words) as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said and path.name in said
    return said


def claiming(shape):
    """A .npy file whose header claims numbers that do not follow."""
    content = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue()


def saved(array):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=True)
    return content.getvalue()


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


# Fields


def test_sizes_in_headers_are_not_believed(tmp_path):
    claim = claiming((2, *HUGE))
    (tmp_path / "f.npy").write_bytes(claim)
    arrays = {name: saved(field) for name, field in FIELDS.items()}
    zipped(tmp_path / "f.npz", **arrays | {"biomass": claiming(HUGE)})
    for path in tmp_path.iterdir():
        refused(load_fields, path, "greater than file size|Unable to allocate .* TiB")
    bomb = tmp_path / "bomb.npz"
    zipped(bomb, **arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxsoc.io.reading._largest", lambda: 100.0)
        refused(load_fields, bomb, "would take .* GiB, more than half of the memory")


@pytest.mark.parametrize("name", ["f.nc", "f.mat"])
def test_hdf5_that_claims_more_than_any_memory_holds_is_refused(tmp_path, name):
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        for field in FIELDS:
            file.create_dataset(field, HUGE, "f8", chunks=(1000, 1000))
    refused(load_fields, path, "would take .*e.03 GiB, more than half of the memory")


@pytest.mark.parametrize("name", ["f.nc", "f.mat"])
@pytest.mark.parametrize("kind", ["link", "raw", "virtual"])
def test_hdf5_that_leads_to_other_files_is_not_followed(tmp_path, name, kind):
    secret, path = tmp_path / "secret.h5", tmp_path / name
    with h5py.File(secret, "w") as file:
        file["biomass"] = FIELD
    with h5py.File(path, "w") as file:
        file["substrate"] = FIELDS["substrate"]
        if kind == "link":
            file["biomass"] = h5py.ExternalLink(str(secret), "biomass")
        elif kind == "raw":
            raw = [(str(secret), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("biomass", FIELD.shape, "f8", external=raw)
        else:
            layout = h5py.VirtualLayout(FIELD.shape, "f8")
            layout[:] = h5py.VirtualSource(str(secret), "biomass", FIELD.shape)
            file.create_virtual_dataset("biomass", layout)
    refused(load_fields, path, "biomass (leads to another file|lie in other files)")


def test_links_within_a_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "f.mat", "w") as file:
        file["substrate"] = FIELDS["substrate"].T
        file["kept/here"] = FIELD.T
        file["biomass"] = h5py.SoftLink("/kept/here")
    found = load_fields(tmp_path / "f.mat")
    np.testing.assert_allclose(found.substrate["given"], 100 * found.biomass)


def test_archives_of_numpy_hold_arrays_of_numbers(tmp_path):
    arrays = {name: saved(field) for name, field in FIELDS.items()}
    with zipfile.ZipFile(zipped(tmp_path / "f.npz", **arrays), "a") as file:
        file.writestr("readme.txt", "made by hand")
    assert load_fields(tmp_path / "f.npz").biomass.shape == FIELD.shape
    (tmp_path / "f.npy").write_bytes((tmp_path / "f.npz").read_bytes())
    refused(load_fields, tmp_path / "f.npy", "no .npy file; is it .npz")
    (tmp_path / "g.npz").write_bytes(saved(FIELD))
    refused(load_fields, tmp_path / "g.npz", "no .npz file; is it .npy")
    objects = {"biomass": saved(np.asarray([{}, None], object))}
    refused(load_fields, zipped(tmp_path / "o.npz", **arrays | objects), "Object")
    with (
        zipfile.ZipFile(zipped(tmp_path / "d.npz", **arrays), "a") as file,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        file.writestr("biomass.npy", saved(2 * FIELD))
    refused(load_fields, tmp_path / "d.npz", "two arrays 'biomass.npy': expected one")
    empty = {name: saved(field[:, :0]) for name, field in FIELDS.items()}
    with pytest.raises(ValueError, match="biomass has no cells"):
        load_fields(zipped(tmp_path / "e.npz", **empty))


def test_a_unit_that_is_a_number_is_no_unit(tmp_path):
    path = tmp_path / "f.nc"
    held = {n: (("y", "x"), x, {"units": 5}) for n, x in FIELDS.items()}
    xr.Dataset(held).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="unknown units '5'"):
        load_fields(path)


READERS = {
    "f.npz": load_fields,
    "f.npy": load_fields,
    "f.mat": load_fields,
    "f.nc": load_forcing,
    "f.json": load_closure,
    "f.csv": load_respiration,
    "profiles.csv": load_profiles,
    "profiles.nc": load_profiles,
    "climate.csv": load_climatology,
    "climate.nc": load_climatology,
    "changes.csv": load_changes,
}


@pytest.mark.parametrize("name", READERS)
def test_only_regular_files_with_something_in_them_are_read(tmp_path, name):
    path, read = tmp_path / name, READERS[name]
    refused(read, path, "no such file")
    path.touch()
    refused(read, path, "it is empty")
    path.unlink()
    os.mkfifo(path)
    refused(read, path, "not a regular file")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(read, path, "not a regular file")


# Tables


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_ends_of_lines_do_not_matter(tmp_path, end):
    rows = ["time (d),co2 (mgC/g)", "0,0", "1,2", "2,3", ""]
    path = tmp_path / "f.csv"
    path.write_bytes(b"\xef\xbb\xbf" + end.join(rows).encode())
    (series,) = load_respiration(path).series
    np.testing.assert_array_equal(series.values, [0.0, 2.0, 3.0])
    packed = tmp_path / "f.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(load_respiration(packed).series[0].times, [0, 24, 48])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("time (d),co2 (mgC/g)\n0,0\n1,\0\n2,3", "holds NUL bytes"),
        ("time (d),co2 (mgC/g),co2 (mgC/g)\n0,0,0\n1,1,1\n2,2,2", "two columns 'co2"),
        ("time (d),time (h),co2 (mgC/g)\n0,0,0\n1,1,1\n2,2,2", "two columns for time"),
        ("time (d),co2 (mgC/g)\n0,0,0\n1,1,1\n2,2,2", "Expected 2 fields in line 2"),
        ("time (d),co2 (mgC/g)\n0,0\n1,1" + "0" * 400 + "\n2,2", "value is inf"),
        ("time (d),co2 (mgC/g)\n0,0\n1,\xff\n2,2", "co2 .* is 'ÿ' in row 2"),
        ("\n\n\n", "cannot read"),
        ("time (d),co2 (mgC/g)\n0,0\n1,1 # fine\n2,2", "co2 .* is '1 # fine' in row 2"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, rows, words):
    path = tmp_path / "f.csv"
    path.write_text(rows, encoding="utf-8")
    with pytest.raises(ValueError, match=words) as caught:
        load_respiration(path)
    assert "\n" not in str(caught.value)


def test_lines_that_begin_with_a_hash_are_comments_and_nothing_else_is(tmp_path):
    rows = ["# mine", "series_id,time (d),co2 (mgC/g)"]
    for plot in ("plot#1", "plot#2"):
        rows += ["#", *(f"{plot},{day},{day}" for day in range(3))]
    for end in ("\n", "\r"):
        (tmp_path / "f.csv").write_text(end.join(rows), newline="")
        found = load_respiration(tmp_path / "f.csv").series
        assert [one.name for one in found] == ["plot#1", "plot#2"]


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(b"time (d),co2 (mgC/g)\n0" + 10**6 * b","))
    refused(load_respiration, path, "a line of it has more than 10000 columns")
    rows = b"\r".join([b"time (d),co2 (mgC/g)", *(b"%d,1" % i for i in range(20_000))])
    path.write_bytes(gzip.compress(rows))
    assert load_respiration(path).series[0].times.size == 20_000


def test_a_folder_without_a_name_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"cannot read \.: it is not a regular file"):
        load_respiration(".")


def test_a_text_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxsoc.io.reading._LARGEST_TEXT", 2**20)
    path = tmp_path / "f.csv.gz"
    path.write_bytes(gzip.compress(b" " * 2**22))
    refused(load_respiration, path, "more than 1 MiB of text")


# Closures


def content_of(name="effective_eca", **options):
    made = closure(name, TwoPool(multiplicative), ("decomposition.rate",), **options)
    ends = np.asarray([0.5]), np.asarray([1.0])
    fitted = FittedClosure(name, "multiplicative", made, ("live share",), *ends)
    return json.loads(json.dumps(closure_to_json(fitted)))


def changed(content, *keys, value):
    new = copy.deepcopy(content)
    inner = new
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return new


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("numbers", "log_constants"), [1.0], r"has shape \(1,\) .*expected \(2,\)"),
        (("numbers", "log_constants"), [1.0, np.nan], "is not finite"),
        (("numbers", "log_constants"), [1.0, "2"], "expected .* of numbers"),
        (("numbers", "log_constants"), [1.0, 10**400], "expected .* of numbers"),
        (("numbers", "log_constants"), [[1.0], 2.0], "is .*, expected an array of num"),
        (("numbers",), 5, "numbers is 5, expected a table of numbers"),
        (("numbers",), [1.0], r"numbers is \[1.0\], expected a table of numbers"),
        (("numbers",), {}, "'log_constants' is missing"),
        (("fitted_on",), {}, "fitted_on is {}, expected a table of one range at least"),
        (("fitted_on",), [0.5], r"fitted_on is \[0.5\], expected a table"),
        (("fitted_on", "live share"), [1.0, 0.5], "from 1 to 0.5, expected the lowest"),
        (("fitted_on", "live share"), [-np.inf, 0.5], "live share is not finite"),
        (("fitted_on", "live share"), [0.5], r"live share has shape \(1,\)"),
        (("varying",), ["rate"], "varying is .'rate'., expected some of decomposition"),
        (("varying",), ["decomposition.rate"] * 2, "varying is"),
        (("varying",), "", "varying is '', expected a list of names"),
        (("varying",), [[]], r"varying is \[\[\]\], expected some of"),
        (("kinetics",), ["eca"], r"kinetics is \['eca'\], expected a name"),
        (("closure",), 5, "closure is 5, expected a name"),
        (("closure",), "learned", "numbers has no weight of a network"),
        (("dead",), "moles", "unknown dead 'moles'"),
        (("format",), None, "format None of a closure is not known"),
    ],
)
def test_closures_that_are_malformed_are_refused(keys, value, words):
    content = content_of()
    closure_from_json(content)
    with pytest.raises(ValueError, match="it is .1., expected a table"):
        closure_from_json([1])
    with pytest.raises(ValueError, match=words) as caught:
        closure_from_json(changed(content, *keys, value=value))
    assert "\n" not in str(caught.value)


def test_a_network_is_as_wide_as_its_numbers(tmp_path):
    content = content_of("learned", width=3, depth=2)
    assert closure_from_json(content).name == "learned"
    first = next(name for name in content["numbers"] if name.endswith("weight"))
    wide = changed(content, "numbers", first, value=[[0.0] * 8] * 10**5)
    with pytest.raises(ValueError, match="weights have shapes"):
        closure_from_json(wide)
    flat = changed(content, "numbers", first, value=[0.0])
    with pytest.raises(ValueError, match=r"weight has shape \(1,\), expected two axes"):
        closure_from_json(flat)


def test_json_that_nests_without_end_is_refused(tmp_path):
    path = tmp_path / "f.json"
    path.write_text("[" * 10**5)
    refused(load_closure, path, "cannot read .*maximum recursion")


# Writing


@pytest.fixture
def nearly_full():
    """No file may become larger than 2,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_file_that_was_there(tmp_path, nearly_full):
    from matplotlib.figure import Figure

    table = Table({"x": variable("t", np.random.rand(10**4))}, {}, {"title": "t"})
    path, picture = tmp_path / "x.nc", tmp_path / "x.png"
    for file in (path, picture):
        file.write_text("the old one")
    with pytest.raises(OSError, match="too large"):
        save_dataset(to_dataset(table), path)
    figure = Figure()
    figure.subplots().plot(np.arange(9))
    with pytest.raises(OSError, match="too large"):
        save_figure(figure, picture)
    assert {p.read_text() for p in tmp_path.iterdir()} == {"the old one"}
    assert len(list(tmp_path.iterdir())) == 2


def test_files_are_written_by_no_name_that_can_be_guessed(tmp_path):
    seen = []
    for _ in range(2):
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
            seen.append(temporary)
            assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700
    assert seen[0] != seen[1]
    plain = tmp_path / "plain"
    plain.touch()
    assert (tmp_path / "a.txt").stat().st_mode == plain.stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


def test_datasets_say_by_which_schema_they_are_written():
    forcing = forcing_to_dataset(idealised(column=SoilColumn((0.1, 0.3), below=0.5)))
    for found in (to_dataset(Table({}, {}, {"title": "t"})), forcing):
        assert found.attrs["schema"] == SCHEMA and "jaxsoc" in found.attrs["source"]


# Whatever the bytes


def _valid(folder):
    """A small valid file of every kind."""
    np.savez(folder / "f.npz", **FIELDS)
    np.save(folder / "f.npy", np.stack(list(FIELDS.values())[::-1]))
    scipy.io.savemat(folder / "f.mat", FIELDS, do_compression=True)
    small = idealised(column=SoilColumn((0.1, 0.3), below=0.5))
    save_dataset(forcing_to_dataset(small), folder / "f.nc")
    (folder / "f.json").write_text(json.dumps(content_of()))
    rows = ["time (d),co2 (mgC/g),sd", *(f"{t},{t},{1 + t}" for t in range(5))]
    (folder / "f.csv").write_text("\n".join(rows))
    rows = [
        "profile_id,lat,lon,depth_top_cm,depth_bottom_cm,soc_g_kg,bulk_density_g_cm3",
        *(f"p,47,11,{top},{top + 20},{30 - top / 4},1.2" for top in (0, 20, 40)),
    ]
    (folder / "profiles.csv").write_text("\n".join(rows))
    found = profiles_dataset(load_profiles(folder / "profiles.csv").profiles)
    save_dataset(found, folder / "profiles.nc")
    rows = ["month,lat,lon,tas,pr", *(f"{m + 1},47,11,{m},60" for m in range(12))]
    (folder / "climate.csv").write_text("\n".join(rows))
    dims = ("month", "lat", "lon")
    monthly = lambda unit: (dims, np.full((12, 2, 2), 9.0), {"units": unit})
    climate = xr.Dataset(
        {"tas": monthly("degC"), "pr": monthly("mm/month")},
        {"month": np.arange(1, 13), "lat": [47.0, 48.0], "lon": [11.0, 12.0]},
    )
    save_dataset(climate, folder / "climate.nc")
    rows = [
        "year,warming_k,litter_factor",
        *(f"{2001 + y},{y / 10},1.1" for y in range(5)),
    ]
    (folder / "changes.csv").write_text("\n".join(rows))


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    _valid(folder)
    return folder


_APART = """
import json, sys, traceback, warnings
sys.path.insert(0, sys.argv[1])
import jax
jax.config.update("jax_enable_x64", True)
from test_files import READERS
warnings.simplefilter("ignore")
print("ready", flush=True)
for line in sys.stdin:
    name, path = json.loads(line)
    said = ""
    try:
        READERS[name](path)
    except ValueError as error:
        said = str(error)
    except BaseException:
        said = "no sentence\\n" + traceback.format_exc()
    print(json.dumps(said), flush=True)
"""


class Apart:
    """Reads in a process of its own: HDF5 itself never returns from some damaged files,
    in which a list of references leads back to itself, and nothing here can stop it."""

    def __init__(self):
        self.running, self.lost = None, 0

    def read(self, name, path):
        """What is said of a file, nothing where it is read, or never returned from."""
        if self.running is None:
            command = [sys.executable, "-c", _APART, str(Path(__file__).parent)]
            pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self.running = subprocess.Popen(command, text=True, **pipe)
            assert self.running.stdout.readline() == "ready\n"
        self.running.stdin.write(json.dumps([name, str(path)]) + "\n")
        self.running.stdin.flush()
        ready, *_ = select.select([self.running.stdout], [], [], 20.0)
        line = self.running.stdout.readline() if ready else ""
        if not line:
            self.lost += 1
            self.stop()
            return ""
        return json.loads(line)

    def stop(self):
        """Ends the process."""
        if self.running is not None:
            self.running.kill()
            self.running.communicate()
            self.running = None


@pytest.fixture(scope="module")
def apart():
    made = Apart()
    yield made
    made.stop()


def read_or_refuse(valid, name, changes, length, folder, apart):
    """A changed file gives a result, or the one error that readers may raise."""
    content = bytearray((valid / name).read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    path = folder / name
    path.write_bytes(content[: int(length * len(content)) + 1])
    if name.endswith(".nc"):
        said = apart.read(name, path)
        assert "\n" not in said, said
        return
    with warnings.catch_warnings(action="ignore"):
        try:
            READERS[name](path)
        except ValueError as error:
            assert "\n" not in str(error)


CHANGES = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)
LENGTH = st.one_of(st.just(1.0), st.floats(0, 1))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("often", [10, pytest.param(2000, marks=pytest.mark.slow)])
def test_changed_bytes_give_a_result_or_a_sentence(valid, tmp_path, apart, name, often):
    @settings(
        max_examples=often,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANGES, LENGTH)
    def check(changes, length):
        read_or_refuse(valid, name, changes, length, tmp_path, apart)

    lost = apart.lost
    with warnings.catch_warnings(action="ignore"):
        READERS[name](valid / name)
    check()
    assert apart.lost - lost <= 5
