"""Files: a user's fields in every format, datasets that explain themselves."""

import numpy as np
import pytest
import scipy.io
import xarray as xr

from jaxsoc.experiments import Design, run
from jaxsoc.io import (
    load_fields,
    load_respiration,
    replacing,
    save_dataset,
    to_dataset,
    writable_folder,
)
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.units import FGC_PER_CELL, respiration_unit

SHAPE = (6, 5)


@pytest.fixture
def arrays(rng):
    return {
        "biomass": rng.uniform(0, 5e5, SHAPE),
        "substrate_positive": rng.uniform(0, 5e7, SHAPE),
        "substrate_negative": rng.uniform(0, 5e7, SHAPE),
        "k_mult_case1": rng.uniform(1e-10, 1e-9, SHAPE),
        "k_mult_case2": rng.uniform(4e-10, 1e-9, SHAPE),
        "k_mm": rng.uniform(0.001, 0.08, SHAPE),
        "km_mm": rng.uniform(1e5, 1e7, SHAPE),
    }


def write(path, arrays, units=None):
    """The same arrays in the format that the path's suffix names."""
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    elif path.suffix == ".nc":
        units = units or {}
        xr.Dataset(
            {
                name: (("y", "x"), field, {"units": units[name]} if units else {})
                for name, field in arrays.items()
            }
        ).to_netcdf(path, engine="h5netcdf")
    elif path.suffix == ".h5mat":
        import h5py

        with h5py.File(path.with_suffix(".mat"), "w") as file:
            for name, field in arrays.items():
                file[name] = field.T
        return path.with_suffix(".mat")
    else:
        path.mkdir()
        for name, field in arrays.items():
            np.save(path / f"{name}.npy", field)
    return path


@pytest.mark.parametrize("name", ["f.npz", "f.mat", "f.nc", "f.h5mat", "folder"])
def test_every_format_gives_the_same_fields_in_mgc_per_g(tmp_path, arrays, name):
    supplied = load_fields(write(tmp_path / name, arrays))
    scaled = lambda key: arrays[key] / FGC_PER_CELL
    assert set(supplied.substrate) == {"positive", "negative"}
    np.testing.assert_allclose(supplied.biomass, scaled("biomass"), rtol=1e-14)
    for correlation, field in supplied.substrate.items():
        expected = scaled(f"substrate_{correlation}")
        np.testing.assert_allclose(field, expected, rtol=1e-14)
    constants = supplied.constants
    np.testing.assert_allclose(
        constants["multiplicative"]["rate"],
        arrays["k_mult_case1"] * FGC_PER_CELL,
        rtol=1e-14,
    )
    mm = constants["michaelis_menten"]
    np.testing.assert_array_equal(mm["rate"], arrays["k_mm"])
    np.testing.assert_allclose(mm["half_saturation"], scaled("km_mm"), rtol=1e-14)


def test_the_other_spread_is_there_when_asked_for(tmp_path, arrays):
    path = write(tmp_path / "f.npz", arrays)
    rate = load_fields(path, parameter_spread="case2").constants["multiplicative"][
        "rate"
    ]
    np.testing.assert_allclose(rate, arrays["k_mult_case2"] * FGC_PER_CELL)


def test_units_come_from_the_option_the_file_or_the_papers(tmp_path, arrays):
    path = write(tmp_path / "f.npz", arrays)
    inside = load_fields(path, units="mgC/g")
    np.testing.assert_array_equal(inside.biomass, arrays["biomass"])
    rate = inside.constants["multiplicative"]["rate"]
    np.testing.assert_array_equal(rate, arrays["k_mult_case1"])
    named = dict.fromkeys(arrays, "mgC/g") | {
        "k_mult_case1": "1/d/(mgC/g)",
        "k_mult_case2": "1/d/(mgC/g)",
        "k_mm": "1/d",
    }
    labelled = load_fields(write(tmp_path / "f.nc", arrays, named))
    np.testing.assert_array_equal(labelled.biomass, arrays["biomass"])
    np.testing.assert_allclose(
        labelled.constants["michaelis_menten"]["rate"], arrays["k_mm"] / 24
    )
    np.testing.assert_allclose(
        labelled.constants["multiplicative"]["rate"], arrays["k_mult_case1"] / 24
    )


def test_constants_without_a_unit_are_in_the_unit_of_the_pools(tmp_path, arrays):
    pools = ("biomass", "substrate_positive", "substrate_negative")
    named = dict.fromkeys(arrays, "") | dict.fromkeys(pools, "mgC g-1")
    labelled = load_fields(write(tmp_path / "f.nc", arrays, named)).constants
    half = labelled["michaelis_menten"]["half_saturation"]
    np.testing.assert_array_equal(half, arrays["km_mm"])
    rate = labelled["multiplicative"]["rate"]
    np.testing.assert_array_equal(rate, arrays["k_mult_case1"])


def test_the_units_that_datasets_are_written_in_are_read(tmp_path, arrays):
    by_option = load_fields(write(tmp_path / "f.npz", arrays), units="mgC g-1")
    np.testing.assert_array_equal(by_option.biomass, arrays["biomass"])


def test_an_assumed_unit_that_makes_no_sense_is_doubted(tmp_path, arrays):
    arrays = {name: np.full(SHAPE, 3.0) for name in ("biomass", "substrate")}
    with pytest.warns(UserWarning, match="read as fgC/cell.*Is it units mgC/g"):
        load_fields(write(tmp_path / "f.npz", arrays))


def test_text_and_complex_arrays_are_no_fields(tmp_path, arrays):
    path = tmp_path / "f.npz"
    np.savez(path, **arrays, note=np.array("by hand"))
    assert load_fields(path).biomass.shape == SHAPE
    np.savez(path, substrate=arrays["k_mm"], biomass=arrays["k_mm"] * 1j)
    with pytest.raises(ValueError, match="no biomass field"):
        load_fields(path)
    np.savez(path, biomass=np.array(["a"]), substrate=np.array([1j]))
    held = "f.npz: it holds biomass of text, substrate of complex128, expected real num"
    with pytest.raises(ValueError, match=held):
        load_fields(path)
    np.save(tmp_path / "c.npy", np.ones((2, 4, 4)) * 1j)
    with pytest.raises(ValueError, match="it holds c of complex128, expected real"):
        load_fields(tmp_path / "c.npy")


@pytest.mark.parametrize("name", ["f.npz", "f.mat", "f.nc", "f.npy"])
@pytest.mark.parametrize("keep", [0, 60])
def test_truncated_files_are_refused(tmp_path, arrays, name, keep):
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, np.ones((2, 5, 5)))
    else:
        write(path, arrays)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=f"{name}"):
        load_fields(path)


def test_larger_cells_hold_more_carbon_at_the_same_concentration(tmp_path, arrays):
    path = write(tmp_path / "f.npz", arrays)
    doubled = load_fields(path, grid=CellGrid(SHAPE, edge=100.0))
    np.testing.assert_allclose(doubled.biomass, load_fields(path).biomass / 8)


def test_two_fields_in_one_npy_and_names_in_full(tmp_path, arrays):
    np.save(
        tmp_path / "pair.npy",
        np.stack([arrays["substrate_positive"], arrays["biomass"]]),
    )
    pair = load_fields(tmp_path / "pair.npy")
    assert set(pair.substrate) == {"given"}
    np.testing.assert_allclose(pair.biomass, arrays["biomass"] / FGC_PER_CELL)
    full = {
        "biomass": arrays["biomass"],
        "substrate": arrays["substrate_positive"],
        "eca_half_saturation": arrays["km_mm"],
    }
    named = load_fields(write(tmp_path / "named.npz", full))
    np.testing.assert_allclose(
        named.constants["eca"]["half_saturation"], arrays["km_mm"] / FGC_PER_CELL
    )


@pytest.mark.parametrize("shape", [(6, 5), (6, 6)])
def test_dimensions_are_taken_by_their_names(tmp_path, arrays, rng, shape):
    B, S, k = (rng.uniform(1e4, 1e6, shape) for _ in range(3))
    xr.Dataset(
        {
            "biomass": (("y", "x"), B),
            "substrate": (("x", "y"), S.T),
            "k_mm": (("y", "x"), k),
            "depth": (("z",), np.arange(3.0)),
        }
    ).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    with pytest.warns(UserWarning, match="not used from f.nc: depth"):
        supplied = load_fields(tmp_path / "f.nc", units="mgC/g")
    np.testing.assert_array_equal(supplied.biomass, B)
    np.testing.assert_array_equal(supplied.substrate["given"], S)
    np.testing.assert_array_equal(supplied.constants["michaelis_menten"]["rate"], k)


def test_fields_on_other_dimensions_are_refused(tmp_path):
    field = np.ones((4, 4))
    xr.Dataset(
        {"biomass": (("y", "x"), field), "substrate": (("y", "z"), field)}
    ).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    words = r"'substrate' has \(y, z\), 'biomass' has \(y, x\)"
    with pytest.raises(ValueError, match=words):
        load_fields(tmp_path / "f.nc", units="mgC/g")


@pytest.mark.parametrize(
    "more, words",
    [
        ("k_mult", "multiplicative rate field, 'k_mult_case1' and 'k_mult'"),
        ("michaelis_menten_rate", "'k_mm' and 'michaelis_menten_rate': expected one"),
        ("substratepositive", "substrate positive .* and 'substratepositive'"),
    ],
)
@pytest.mark.parametrize("name", ["f.nc", "f.npz"])
def test_two_arrays_for_one_field_are_refused(tmp_path, arrays, name, more, words):
    path = write(tmp_path / name, arrays | {more: arrays["k_mm"]})
    with pytest.raises(ValueError, match=f"{name} has two arrays for the .*{words}"):
        load_fields(path)


def test_two_files_for_one_field_are_refused(tmp_path, arrays):
    folder = write(tmp_path / "folder", arrays)
    scipy.io.savemat(folder / "biomass.mat", {"anything": arrays["biomass"]})
    with pytest.raises(ValueError, match="two arrays for the biomass field"):
        load_fields(folder)


def test_what_is_not_used_is_said(tmp_path, arrays):
    path = write(tmp_path / "f.npz", arrays | {"porosity": arrays["k_mm"]})
    with pytest.warns(UserWarning, match="not used from f.npz: porosity"):
        load_fields(path)


@pytest.mark.parametrize(
    "make, problem",
    [
        (lambda p, a: p / "absent.npz", "no such file"),
        (
            lambda p, a: write(p / "f.npz", {"biomas": a["biomass"]}),
            "did you mean 'bio",
        ),
        (lambda p, a: write(p / "f.npz", {"biomass": a["biomass"]}), "no substrate"),
        (
            lambda p, a: (p / "f.csv", (p / "f.csv").write_text("1"))[0],
            "expected one of",
        ),
        (lambda p, a: (p / "f.npz", (p / "f.npz").write_text("x"))[0], "cannot read f"),
        (
            lambda p, a: (p / "f.nc", (p / "f.nc").write_text("x"))[0],
            "cannot read f.nc",
        ),
        (lambda p, a: p, "no .npy or .mat file in the folder"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path, arrays, make, problem):
    with pytest.raises(ValueError, match=problem):
        load_fields(make(tmp_path, arrays))


def test_one_field_in_an_npy_is_not_enough(tmp_path, arrays):
    np.save(tmp_path / "one.npy", arrays["biomass"])
    with pytest.raises(ValueError, match="substrate then biomass, got shape"):
        load_fields(tmp_path / "one.npy")


def test_unknown_units_are_refused(tmp_path, arrays):
    path = write(tmp_path / "f.npz", arrays)
    with pytest.raises(ValueError, match="unknown units 'mol/L'"):
        load_fields(path, units="mol/L")


@pytest.fixture(scope="module")
def results():
    design = Design(
        kinetics=("multiplicative", "michaelis_menten"),
        grid=CellGrid((16, 16)),
        duration=48.0,
        members=2,
        seed=3,
    )
    result = run(design)
    return result, to_dataset(result, {"configuration": {"seed": 3, "out": "x"}})


def test_dataset_has_the_dimensions_variables_units_and_provenance(results):
    _, dataset = results
    assert dict(dataset.sizes) == {
        "kinetics": 2,
        "heterogeneity": 4,
        "correlation": 3,
        "member": 2,
        "time": 9,
    }
    promised = {
        "substrate": "mgC g-1",
        "biomass": "mgC g-1",
        "co2": "mgC g-1",
        "decomposition": "mgC g-1 h-1",
        "respiration": "mgC g-1 h-1",
        "respiration_mean_field": "mgC g-1 h-1",
        "respiration_higher_order": "mgC g-1 h-1",
        "substrate_variance": "(mgC g-1)2",
        "biomass_variance": "(mgC g-1)2",
        "substrate_biomass_covariance": "(mgC g-1)2",
        "specific_growth_rate": "h-1",
        "specific_respiration_rate": "h-1",
    }
    for name, unit in promised.items():
        variable = dataset[name]
        assert variable.dims == tuple(dataset.sizes)
        assert variable.attrs["units"] == unit and variable.attrs["long_name"]
    assert float(dataset.time[-1]) == 2.0 and dataset.time.attrs["units"] == "d"
    assert dataset.attrs["seed"] == 3 and "jaxsoc" in dataset.attrs["versions"]
    assert '"out": "x"' in dataset.attrs["configuration"]
    for name, variable in dataset.data_vars.items():
        assert variable.attrs.get("long_name"), name


def test_file_gives_the_dataset_back(results, tmp_path):
    _, dataset = results
    path = save_dataset(dataset, tmp_path / "upscale.nc")
    with xr.open_dataset(path) as stored:
        xr.testing.assert_identical(stored.load(), dataset)
    assert [p.name for p in tmp_path.iterdir()] == ["upscale.nc"]


def test_an_unfinished_file_is_never_there(tmp_path):
    path = tmp_path / "upscale.nc"
    path.write_text("the old one")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half of the new o")
        raise KeyboardInterrupt
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to the folder .*file"):
        writable_folder(tmp_path / "file" / "inside")
    assert writable_folder(tmp_path / "a" / "b").is_dir()


@pytest.mark.reference
def test_published_archives_and_their_quirks(data):
    """Section 2.4: fingerprints of the fields, 195 cells above Cmax."""
    supplied = load_fields(data / "chakrawal_fields" / "scenario2.npz")
    substrate, biomass = supplied.substrate, supplied.biomass
    for name, r, variation in [
        ("positive", 0.952, 0.289),
        ("negative", -0.983, 0.164),
        ("uncorrelated", 0.021, 0.892),
    ]:
        field = substrate[name]
        assert np.corrcoef(field.ravel(), biomass.ravel())[0, 1] == pytest.approx(
            r, abs=6e-4
        )
        assert field.std() / field.mean() == pytest.approx(variation, abs=6e-4)
        assert field.mean() == pytest.approx(2.5e7 / FGC_PER_CELL)
    assert (substrate["uncorrelated"] > 1000 / 3).sum() == 195
    assert (biomass == 0).sum() == 3032
    rate = supplied.constants["inverse_michaelis_menten"]["rate"]
    half = supplied.constants["inverse_michaelis_menten"]["half_saturation"]
    tied = 33.93777 + 9.144149 * np.log10(rate)
    np.testing.assert_allclose(half, tied, atol=1e-4)


@pytest.mark.parametrize(
    "unit, factor, rate",
    [
        ("mgC/g", 1.0, False),
        ("ug CO2-C g-1 soil d-1", 1e-3 / 24, True),
        ("mgCO2/gSoil", 12.011 / 44.009, False),
        ("umolCO2/g/h", 12.011e-3, True),
        ("mg C kg-1 h-1", 1e-3, True),
    ],
)
def test_units_of_respiration(unit, factor, rate):
    meant = respiration_unit(unit)
    assert meant.factor == pytest.approx(factor, rel=1e-12)
    assert (meant.rate, meant.per_carbon) == (rate, False)
    assert respiration_unit("mg CO2-C g-1 soil C d-1").per_carbon


def test_a_table_of_series_with_spread_and_soil_carbon(tmp_path):
    path = tmp_path / "two.csv"
    rows = ["series_id,time (h),co2 [mgC/gC],sd,soil_c_mg_g"]
    rows += [
        f"{n},{t},{v},0.5,{c}"
        for n, c in (("a", 20), ("b", 50))
        for t, v in ((0, 0.0), (24, 1.0), (48, 1.5))
    ]
    path.write_text("\n".join(rows))
    a, b = load_respiration(path).series
    assert (a.name, a.quantity, a.soil_carbon) == ("a", "co2", 20.0)
    # mgC per g of carbon, of which there are 20 mg
    np.testing.assert_allclose(a.values, [0.0, 0.02, 0.03])
    np.testing.assert_allclose(b.deviation, 0.5 * 0.05)
    with pytest.raises(ValueError, match="is no rate"):
        load_respiration(path, mean_rates=True)


def test_the_incubation_database_is_read_as_its_columns_say(data):
    path = data / "sidb_incubations" / "series.csv.gz"
    collection = load_respiration(path)
    assert len(collection.series) + len(collection.left_out) == 556
    name = "Andrews2000SBB/CO2_40_elev"
    one = collection[name]
    assert one.quantity == "respiration" and one.study == "Andrews2000SBB"
    assert one.times[0] == 24.0
    assert one.values[0] == pytest.approx(228.99918e-3 / 24)
    left = next(iter(collection.left_out))
    with pytest.raises(ValueError, match="cannot be fitted: unknown"):
        collection[left]
    assert load_respiration(path, mean_rates=True)[name].quantity == "mean_rate"
