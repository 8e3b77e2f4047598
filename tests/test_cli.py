"""The command line: what it writes, what it says, and how it refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr

from jaxsoc.cli.config import UpscaleConfig
from jaxsoc.cli.options import read_config

SMALL = """
days = 2
every = 12
kinetics = ["mult", "MM"]
[cells]
shape = [16, 16]
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def test_upscale_writes_table_figures_and_one_file(jaxsoc, small, tmp_path):
    out = tmp_path / "out"
    code, printed, errors = jaxsoc("upscale", "--config", small, "--out", out)
    assert (code, errors) == (0, "")
    for word in ("multiplicative", "michaelis menten", "biophysical", "on day"):
        assert word in printed
    assert "carbon balance closes to" in printed
    assert sorted(path.name for path in out.iterdir()) == [
        "fields.png",
        "parameters.png",
        "pools_michaelis_menten.png",
        "pools_multiplicative.png",
        "specific_respiration.png",
        "split_michaelis_menten.png",
        "split_multiplicative.png",
        "upscale.nc",
    ]
    with xr.open_dataset(out / "upscale.nc") as dataset:
        assert dataset.sizes["time"] == 5 and float(dataset.time[-1]) == 2
        assert dataset.attrs["seed"] == 0
        assert '"shape": [16, 16]' in dataset.attrs["configuration"]


def test_quiet_without_figures_writes_the_file_alone(jaxsoc, small, tmp_path):
    out = tmp_path / "out"
    options = ["--out", out, "--no-figures", "--quiet", "--kinetics", "linear"]
    code, printed, errors = jaxsoc("upscale", "--config", small, *options)
    assert (code, printed, errors) == (0, "", "")
    assert [path.name for path in out.iterdir()] == ["upscale.nc"]


def test_dry_run_estimates_and_writes_nothing(jaxsoc, small, tmp_path):
    out = tmp_path / "out"
    code, printed, _ = jaxsoc("upscale", "--config", small, "--out", out, "--dry-run")
    assert code == 0
    assert "16 cases of 256 cells" in printed and " s and " in printed
    assert not out.exists()


@pytest.mark.slow
def test_own_fields_and_their_units(jaxsoc, small, tmp_path, rng):
    path = tmp_path / "fields.npz"
    np.savez(
        path, biomass=rng.uniform(0, 2, (8, 9)), substrate=rng.uniform(0, 99, (8, 9))
    )
    out = tmp_path / "out"
    options = ["--fields", path, "--units", "mgC/g", "--out", out, "--no-figures"]
    code, _, _ = jaxsoc("upscale", "--config", small, *options)
    assert code == 0
    with xr.open_dataset(out / "upscale.nc") as dataset:
        assert list(dataset.correlation.values) == ["given"]
        start = dataset.substrate.isel(time=0).values
        np.testing.assert_allclose(start, np.load(path)["substrate"].mean())


def test_options_on_the_command_line_win_over_the_file(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('seed = 5\nmembers = 2\nfields = "mine.npz"\n')
    config = read_config(path, {"seed": 7, "members": None}, UpscaleConfig)
    assert (config.seed, config.members) == (7, 2)
    assert config.fields == tmp_path / "mine.npz"


def test_defaults_are_the_published_experiment():
    design = UpscaleConfig().design()
    assert design.hours == 4800 and design.every == 6 and design.members == 1
    assert design.kinetics == (
        "multiplicative",
        "michaelis_menten",
        "inverse_michaelis_menten",
    )
    assert UpscaleConfig(scenario=1).design().kinetics == ("multiplicative",)


def test_every_number_of_the_soil_reaches_the_model():
    design = UpscaleConfig.model_validate(
        {
            "soil": {
                "carbon_use_efficiency": 0.4,
                "input": 0.001,
                "mortality_rate": 0.0005,
                "mortality_exponent": 2.0,
            },
            "constants": {"MM": {"rate": 0.03}},
            "cells": {"edge": 40.0},
            "generator": {"least_correlation": 0.95, "variance": "equal"},
            "coupling": "published",
            "method": "fixed",
        }
    ).design()
    assert design.carbon_use_efficiency == 0.4 and design.input == 0.001
    assert (design.mortality.rate, design.mortality.exponent) == (0.0005, 2.0)
    assert design.nominal("michaelis_menten").rate == 0.03
    assert design.nominal("michaelis_menten").half_saturation == 25.0
    assert design.grid.edge == 40.0 and design.coupled
    assert design.generator.acceptance.least_correlation == 0.95
    assert design.method.dt == 0.1


@pytest.mark.parametrize(
    "method, name",
    [
        ("fixed", "equal steps"),
        ("substepped", "counted steps"),
        pytest.param("adaptive", "adaptive steps", marks=pytest.mark.slow),
    ],
)
def test_every_method_can_be_asked_for(jaxsoc, small, tmp_path, method, name):
    options = ["--method", method, "--kinetics", "mult", "--heterogeneity", "full"]
    options += ["--out", tmp_path, "--no-figures", "--quiet"]
    assert jaxsoc("upscale", "--config", small, *options)[0] == 0
    with xr.open_dataset(tmp_path / "upscale.nc") as dataset:
        assert dataset.method.values.flat[0] == name


def one_line(result, *words):
    code, printed, errors = result
    assert code == 2
    assert printed == ""
    assert errors.count("\n") == 1 and errors.startswith("jaxsoc: error: ")
    assert "Traceback" not in errors
    for word in words:
        assert word in errors, errors


@pytest.mark.parametrize(
    "options, words",
    [
        (["--kinetics", "monod"], ["'monod'", "linear", "inverse_michaelis_menten"]),
        (["--members", "0"], ["members must lie in [1, 2^32), got 0"]),
        (["--members", "many"], ["'many'"]),
        (["--members", "4", "--memory", "0.01"], ["0.01 GiB is below one chunk"]),
        (["--members", "4", "--memory", "-1"], ["-1 GiB is below one chunk"]),
        (["--scenario", "7"], ["unknown scenario 7", "1, 2"]),
        (["--heterogeneity", "patchy"], ["'patchy'", "biophysical"]),
        (["--correlation", "weak"], ["'weak'", "uncorrelated"]),
        (["--parameter-spread", "case9"], ["'case9'", "case1, case2"]),
        (["--control", "mean"], ["'mean'", "field-mean"]),
        (["--coupling", "some"], ["coupling", "'some'"]),
        (["--method", "euler"], ["method", "'euler'"]),
        (["--every", "-6"], ["every must lie in", "got -6"]),
        (["--every", "soon"], ["'soon'"]),
        (["--units", "fgC/cell"], ["without fields"]),
        (["--fields", "/absent.npz"], ["no such file: '/absent.npz'"]),
        (["--config", "/absent.toml"], ["cannot read '/absent.toml'"]),
        (["--out", "/dev/null/x"], ["cannot write to the folder '/dev/null/x'"]),
        (["--nonsense"], ["--nonsense"]),
        (["--seed", str(10**25)], ["seed must lie in [0, 2^63)"]),
        (["--seed", "-1"], ["seed must lie in [0, 2^63), got -1"]),
        (["--every", "1e-16"], ["every must lie in [0.00048, 4800] hours"]),
        (["--step", "0.5"], ["step 0.5 belongs to method fixed"]),
        (["--method", "fixed", "--step", "inf"], ["step", "finite number, got 'inf'"]),
        (["--method", "fixed", "--step", "nan"], ["step", "finite number, got 'nan'"]),
        (
            ["--method", "fixed", "--step", "-1"],
            ["step must lie in (0, inf), got -1"],
        ),
        (["--method", "fixed", "--step", "0"], ["step must lie in (0, inf), got 0"]),
        (["--days", "-1"], ["days must lie in (0, inf), got -1"]),
        (["--tolerance", "nan"], ["tolerance", "finite number, got 'nan'"]),
        (["--tolerance", "-1"], ["tolerance must lie in (0, inf), got -1"]),
        (["--days", "inf"], ["days", "finite number, got 'inf'"]),
        (
            ["--members", str(10**30)],
            ["members must lie in [1, 2^32), got 1" + 30 * "0"],
        ),
        (["--memory", "nan", "--members", "4"], ["nan GiB is below one chunk"]),
        (["--method", "fixed", "--step", "1e-300"], ["step must be longer", "1e-300"]),
        (["--config", "/dev/zero"], ["'/dev/zero': it is not a regular file"]),
        (["--config", "/"], ["cannot read '/'"]),
        (["--out", "/dev/null"], ["cannot write to the folder '/dev/null'"]),
        (["--out", "/proc/x"], ["cannot write to the folder '/proc/x'"]),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(jaxsoc, options, words, tmp_path):
    out = [] if "--out" in options else ["--out", tmp_path / "out"]
    one_line(jaxsoc("upscale", *options, *out), *words)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "text, words",
    [
        ("kinetcs = ['linear']", ["unknown key 'kinetcs'", "did you mean 'kinetics'"]),
        ("[soil]\nmortality = 1", ["[soil]", "'mortality'", "'mortality_rate'"]),
        ("[constants.monod]\nrate = 1", ["unknown kinetics 'monod'"]),
        (
            "[constants.MM]\nrat = 1",
            ["unknown constant of michaelis_menten 'rat'", "did you mean 'rate'"],
        ),
        (
            "[constants.MM]\nhalf_saturation = 0",
            ["half_saturation", "(0, inf) mgC/g, got 0"],
        ),
        ("[constants.MM]\nhalf_saturation = -2.5", ["half_saturation", "got -2.5"]),
        (
            "[soil]\ncarbon_use_efficiency = 1",
            ["carbon_use_efficiency", "(0, 1), got 1"],
        ),
        ("[soil]\ncarbon_use_efficiency = -0.1", ["(0, 1)", "got -0.1"]),
        ("[soil]\ninput = nan", ["input", "got nan"]),
        ("[soil]\ninput = -1.0", ["input", "got -1"]),
        ("[constants.MM]\nrate = inf", ["constants.MM.rate", "got inf"]),
        ("[cells]\nbulk_density = inf", ["bulk_density", "got inf"]),
        ("[generator]\ndead_fraction = 1.0", ["dead_fraction", "[0, 1), got 1"]),
        ("soil = 3", ["soil must be a table, got 3"]),
        ("members = 'two'", ["members", "got 'two'"]),
        ("members = ", ["not valid TOML"]),
        ("members = " + 5000 * "[", ["not valid TOML"]),
        ("seed = " + 5000 * "9", ["not valid TOML"]),
        ("members = true", ["members is neither true nor false, got True"]),
        ("days = 1979-05-27", ["days", "1979"]),
        ("[constants]\nMM = 3", ["constants.MM", "got 3"]),
        ("[cells]\nshape = [-5, 5]", ["shape", "(-5, 5)"]),
        ("[cells]\nshape = [1, 5]", ["two axes of at least 2 cells"]),
        (
            "[constants.mult]\nrate = true",
            ["constants.mult.rate is neither true", "True"],
        ),
        ("[cells]\nshape = [true, 8]", ["[cells] shape.0 is neither true nor false"]),
        (
            "[constants.mm]\nrate = 1\n[constants.michaelis_menten]\nrate = 2",
            ["constants: constants names one twice: michaelis_menten, micha"],
        ),
        ("[constants.mult]\nrate = 1e308", ["scale must lie in (0, inf)", "inf"]),
        ("[generator]\nexponent = 1e300", ["exponent must lie in (-100, 100)"]),
        (
            "[generator]\nlargest_substrate = -1.0",
            ["largest_substrate must lie in (0, inf), got -1"],
        ),
        pytest.param(2**21 * "#", ["bad.toml is no configuration", "1 MiB"], id="long"),
        ("[cells]\nedge = 0.0", ["edge of a cell must lie in (0, inf)"]),
    ],
)
def test_bad_files_are_one_line_and_exit_code_2(jaxsoc, tmp_path, text, words):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    one_line(jaxsoc("upscale", "--config", path, "--out", tmp_path / "out"), *words)


@pytest.mark.parametrize(
    "change, options, words",
    [
        ({"biomass": -1.0}, [], ["biomass", "1 negative cells of 20", "(1, 2)"]),
        ({"substrate": np.nan}, [], ["substrate", "1 NaN cells of 20"]),
        ({"km_mm": 0.0}, ["--kinetics", "MM"], ["half_saturation", "1 of 20 values"]),
        ({}, ["--units", "kg/barn"], ["unknown units 'kg/barn'", "mgC/g"]),
        ({}, ["--members", "3"], ["one member, got members 3"]),
        (
            {},
            ["--correlation", "positive"],
            ["unknown correlation 'positive'", "given"],
        ),
    ],
)
def test_bad_fields_are_one_line_and_exit_code_2(
    jaxsoc, tmp_path, change, options, words
):
    fields = {
        name: np.full((4, 5), 2.5e5) for name in ("biomass", "substrate", "km_mm")
    }
    for name, value in change.items():
        fields[name][1, 2] = value
    path = tmp_path / "fields.npz"
    np.savez(path, **fields)
    out = ["--out", tmp_path / "out"]
    one_line(jaxsoc("upscale", "--fields", path, *out, *options), *words)


def test_fields_of_unequal_shape_are_refused(jaxsoc, tmp_path):
    path = tmp_path / "fields.npz"
    np.savez(path, biomass=np.ones((4, 5)), substrate=np.ones((5, 4)))
    options = ["--fields", path, "--out", tmp_path / "out"]
    one_line(jaxsoc("upscale", *options), "one shape", "(5, 4)", "(4, 5)")


def test_mixed_dimensions_and_doubled_fields_are_refused(jaxsoc, tmp_path):
    field, path = np.full((4, 4), 2.0), tmp_path / "fields.nc"
    named = {"biomass": (("y", "x"), field), "substrate": (("y", "z"), field)}
    xr.Dataset(named).to_netcdf(path, engine="h5netcdf")
    options = ["--fields", path, "--units", "mgC/g", "--out", tmp_path / "out"]
    words = ["one set of dimensions", "'substrate' has (y, z)", "'biomass' has (y, x)"]
    one_line(jaxsoc("upscale", *options), *words)
    doubled = dict.fromkeys(("biomass", "substrate", "substrate_given"), field)
    np.savez(tmp_path / "fields.npz", **doubled)
    options[1] = tmp_path / "fields.npz"
    words = ["two arrays for the substrate given field", "'substrate_given'"]
    one_line(jaxsoc("upscale", *options), *words)


def test_version_and_help(jaxsoc):
    from jaxsoc import __version__

    assert jaxsoc("--version")[:2] == (0, f"jaxsoc {__version__}\n")
    code, printed, errors = jaxsoc()
    assert code == 2 and "upscale" in printed and errors == ""


def test_doctor_prints_the_facts_and_one_sentence(jaxsoc):
    code, printed, _ = jaxsoc("doctor")
    for word in ("jaxsoc", "jaxlib", "diffrax", "devices", "cores", "in use", "x64"):
        assert word in printed
    assert printed.strip().splitlines()[-1].endswith(".")
    assert code == 0 or "Nothing is wrong" not in printed


def test_doctor_says_what_is_wrong():
    from jaxsoc.cli import doctor

    facts, _ = doctor.examine()
    diagnose = lambda **changes: doctor._diagnosis(facts | changes, "")
    assert "too old" in diagnose(jax="0.4.30", jaxlib="0.4.30")
    assert "do not match" in diagnose(jax="0.10.2", jaxlib="0.11.0")
    assert "Not installed: xarray" in diagnose(xarray="not installed")
    assert "no device" in doctor._diagnosis(facts, "cuda is missing")


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_leaves_no_file(tmp_path, ending, status):
    out = tmp_path / "out"
    command = "import jaxsoc.cli; jaxsoc.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "upscale", "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "jaxsoc: interrupted; no unfinished file" in errors
    assert list(out.iterdir()) == []


SERIES = """time (d),respiration (ugC/g/d)
1,20
2,17
5,14
9,9.5
20,3.8
"""


@pytest.fixture
def series(tmp_path):
    def write(text=SERIES, name="mine.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.slow
def test_fit_to_another_kinetics_writes_constants_and_a_figure(jaxsoc, tmp_path):
    out = tmp_path / "out"
    options = ["--kinetics", "mult", "--to", "mm", "--on", "biomass", "--starts", "2"]
    code, printed, errors = jaxsoc("fit", *options, "--out", out)
    assert (code, errors) == (0, "")
    for word in ("0.00015371", "1/h/(mgC/g)", "RMSE", "0.641", "1 converged"):
        assert word in printed, printed
    assert sorted(path.name for path in out.iterdir()) == ["fit.nc", "fit.png"]
    with xr.open_dataset(out / "fit.nc") as dataset:
        assert dataset.sizes == {
            "series": 1,
            "kinetics": 1,
            "constant": 1,
            "point": 500,
        }
        assert float(dataset.value.squeeze()) == pytest.approx(1.53715e-4, rel=1e-4)
        assert str(dataset.unit.values.squeeze()) == "1/h/(mgC/g)"
        assert dataset.time.attrs["units"] == "d"
        assert '"on": "biomass"' in dataset.attrs["configuration"]


@pytest.mark.slow
def test_fit_to_a_series_of_ones_own(jaxsoc, series, tmp_path):
    out = tmp_path / "out"
    options = ["--series", series(), "--kinetics", "lin", "--starts", "2"]
    options += ["--free", "initial_substrate", "--no-figures", "--out", out]
    code, printed, errors = jaxsoc("fit", *options)
    assert (code, errors) == (0, "")
    assert "mine, linear" in printed and "initial_substrate" in printed
    with xr.open_dataset(out / "fit.nc") as dataset:
        one = dataset.isel(series=0, kinetics=0)
        assert list(dataset.constant.values)[0] == "soil.decomposition.rate"
        np.testing.assert_allclose(one.time, [1, 2, 5, 9, 20])
        np.testing.assert_allclose(one.observed[0], 20e-3 / 24)
        assert float(one.r_squared) > 0.98 and str(one.outcome.values) == "converged"


CUMULATIVE = """time (d),co2 (ugC/g)
1,19
2,37
5,84
9,130
20,200
"""


@pytest.mark.parametrize("more", [[], ["--independent-errors"]])
def test_cumulative_co2_is_fitted_by_its_differences_unless_asked(
    jaxsoc, series, tmp_path, more
):
    out = tmp_path / "out"
    options = ["--series", series(CUMULATIVE), "--kinetics", "lin", "--starts", "1"]
    options += ["--free", "initial_substrate", "--no-figures", "--out", out, *more]
    assert jaxsoc("fit", *options)[0] == 0
    with xr.open_dataset(out / "fit.nc") as dataset:
        one = dataset.isel(series=0, kinetics=0)
        expected = np.array([19, 37, 84, 130, 200]) / 1000
        if not more:
            times = 24.0 * np.array([0, 1, 2, 5, 9, 20])
            expected = np.diff(expected, prepend=0.0) / np.diff(times)
        assert str(one.quantity.values) == ("co2" if more else "mean_rate")
        np.testing.assert_allclose(one.observed, expected)
        np.testing.assert_allclose(one.predicted, expected, rtol=0.3)


@pytest.mark.parametrize(
    "text, options, words",
    [
        (SERIES.replace("5,14", "1.5,14"), [], ["increase", "48 h", "36 h", "n 2"]),
        (
            SERIES.replace("\n1,", "\n0,"),
            ["--mean-rates"],
            ["needs time before it, got 0"],
        ),
        (
            SERIES.replace("\n1,", "\n0,5\n0,"),
            [],
            ["increase, got 0 h followed by 0 h"],
        ),
        (SERIES.replace("ugC/g/d", "kg/barn"), [], ["'kg/barn'", "ugC", "'mgCO2/g'"]),
        (SERIES.replace("(d)", "(weeks)"), [], ["unknown units of time 'weeks'", "d"]),
        (SERIES.replace("(d)", ""), [], ["unit of 'time' is not given", "'time (d)'"]),
        (SERIES.replace("9.5", "much"), [], ["'much' in row 4", "a number"]),
        (SERIES.replace("9.5", ""), [], ["value is nan at position 3"]),
        ("time (d),value (mgC/g)\n1,2\n2,3\n", [], ["at least 3 points", "got 2"]),
        ("day,value (mgC/g)\n1,2\n2,3\n", [], ["no column time", "found day"]),
        ("", [], ["cannot read mine.csv"]),
        (SERIES, ["--unit", "mgC/g/fortnight"], ["'mgC/g/fortnight'"]),
        (SERIES, ["--unit", "ugC/gC/d"], ["per soil carbon", "give the carbon"]),
        (SERIES, ["--id", "other"], ["no series 'other'", "mine"]),
        (SERIES, ["--free", "humus"], ["unknown parameter 'humus'"]),
        (SERIES, ["--on", "co2"], ["to and on"]),
        (
            "time (d),value (mgC/g)\n1,2\n2,3\n4,5\n",
            ["--kinetics", "mm"],
            ["mine, michaelis_menten: 3 points cannot determine 4 constants", "5 are"],
        ),
        (
            SERIES.replace("respiration (ugC/g/d)", "value (mgC/g)").replace(
                "20,3.8\n", ""
            ),
            ["--kinetics", "mm"],
            ["4 points cannot determine 4 constants", "at least 5 are needed"],
        ),
        (
            "time (d),value (mgC/g),sd\n1,2,0.1\n2,3,0.3\n4,5,0.2\n5,6,1\n",
            ["--kinetics", "lin"],
            ["deviations of cumulative CO2 must grow", "0.3 followed by 0.2 mgC/g"],
        ),
        (SERIES, ["--first", "0"], ["first: input should be greater than 0, got '0'"]),
        (SERIES, ["--starts", "some"], ["starts", "'some'"]),
        (SERIES, ["--starts", "0"], ["starts: input should be greater than 0"]),
        (SERIES, ["--kinetics", "monod"], ["unknown kinetics 'monod'", "linear"]),
        (SERIES, ["--kinetics", "mm,MM"], ["names one twice"]),
    ],
)
def test_bad_series_are_one_line_and_exit_code_2(
    jaxsoc, series, tmp_path, text, options, words
):
    out = ["--out", tmp_path / "out"]
    one_line(jaxsoc("fit", "--series", series(text), *options, *out), *words)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--series", "/absent.csv"], ["no such file: '/absent.csv'"]),
        (["--id", "x"], ["id is given without series"]),
        (["--mean-rates"], ["mean_rates is given without series"]),
        (["--independent-errors"], ["independent_errors is given without series"]),
        (["--to", "monod"], ["unknown kinetics 'monod'"]),
        (["--on", "carbon"], ["unknown quantity 'carbon'", "biomass"]),
        (["--seed", "-1"], ["seed: input should be greater than or equal to 0"]),
        (["--seed", str(2**63)], ["seed: input should be less than"]),
        (["--out", "/dev/null/x"], ["cannot write to the folder '/dev/null/x'"]),
    ],
)
def test_bad_fits_are_one_line_and_exit_code_2(jaxsoc, options, words, tmp_path):
    out = [] if "--out" in options else ["--out", tmp_path / "out"]
    one_line(jaxsoc("fit", *options, *out), *words)
