"""Forcing by the names of CESM, and in the layout of Tao et al. (2024)."""

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr

from jaxsoc.io.forcing import forcing_from_dataset, load_forcing
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.forcing import Forcing

LATITUDES, LONGITUDES = 4, 6
LITTER = [f"{name}_INPUT_ACC_VECTOR" for name in ("CWD", "LITR1", "LITR2", "LITR3")]
UNITS = {
    **{"TSOI": "K", "W_SCALAR": "unitless", "FPI_vr": "proportion", "O_SCALAR": "1"},
    **{"ALTMAX": "m", "ALTMAX_LASTYEAR": "m", "CELLSAND": "%"},
    **dict.fromkeys(LITTER, "gC/m^3/month"),
}


@pytest.fixture
def world(rng):
    """Variables by latitude from the north, longitude from 180° W, layer and month."""
    grid, year = (LATITUDES, LONGITUDES), (20, 12)
    spread = lambda low, high, *shape: rng.uniform(low, high, (*grid, *shape))
    return {
        "TSOI": spread(260, 300, *year),
        **{name: spread(0, 1, *year) for name in ("W_SCALAR", "O_SCALAR", "FPI_vr")},
        **{name: spread(0, 30, *year) for name in LITTER},
        **{name: spread(0, 4, 12) for name in ("ALTMAX", "ALTMAX_LASTYEAR")},
        "nbedrock": rng.integers(1, 21, (*grid, 12)).astype(float),
        "CELLSAND": np.repeat(spread(0, 100, 20, 1), 12, axis=-1),
    }


def expected(world, i, j):
    at = {name: values[i, j] for name, values in world.items()}
    return Forcing.from_layers(
        at["TSOI"],
        at["W_SCALAR"],
        np.stack([at[name] for name in LITTER]),
        oxygen=at["O_SCALAR"],
        nitrogen=at["FPI_vr"],
        active_layer=at["ALTMAX"],
        active_layer_last_year=at["ALTMAX_LASTYEAR"],
        bedrock=at["nbedrock"],
        sand=at["CELLSAND"][:, 0],
    )


def same(found, forcing):
    for name in ("temperature", "water", "oxygen", "nitrogen", "active_layer", "frozen",
                 "bedrock", "litter", "profile", "sand"):  # fmt: skip
        np.testing.assert_allclose(
            getattr(found, name), getattr(forcing, name), rtol=1e-13, err_msg=name
        )


def history(world):
    """As CESM writes it: time first, longitudes from 0°, layers without carbon."""
    layers, half = {}, LONGITUDES // 2
    nodes = np.append(CLM5_COLUMN.nodes, [9.795, 13.328])
    for name, values in world.items():
        values = np.roll(values[::-1], half, axis=1)
        if values.ndim == 4:
            deep = np.repeat(values[:, :, -1:], 2, axis=2)
            values = np.concatenate([values, deep], axis=2).transpose(3, 2, 0, 1)
            dims = ("time", "levgrnd", "lat", "lon")
        else:
            values, dims = values.transpose(2, 0, 1), ("time", "lat", "lon")
        about = {"units": UNITS[name]} if name in UNITS else {}
        layers[name] = (dims, values, about)
    coordinates = {
        "levgrnd": ("levgrnd", nodes, {"units": "m"}),
        "lat": np.arange(-67.5, 90, 45),
        "lon": np.arange(30.0, 360, 60),
        "time": np.arange(12.0),
    }
    return xr.Dataset(layers, coordinates)


PLACES = [((60.0, -140.0), (0, 0)), ((-30.0, 100.0), (2, 4)), ((-90.0, 179.9), (3, 5))]


@pytest.mark.parametrize(("at", "cell"), PLACES)
def test_a_file_of_cesm_is_read_at_a_place(world, tmp_path, at, cell):
    path = tmp_path / "clm2.h0.nc"
    history(world).to_netcdf(path)
    same(load_forcing(path, at=at), expected(world, *cell))
    around = (at[0], at[1] % 360)
    same(load_forcing(path, at=around), expected(world, *cell))
    one = history(world).sel(lat=[at[0]], lon=[at[1] % 360], method="nearest")
    same(forcing_from_dataset(one), expected(world, *cell))


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize(("at", "cell"), PLACES)
def test_the_authors_folder_is_read_at_a_place(world, tmp_path, version, at, cell):
    for name, values in world.items():
        path = tmp_path / f"case_cesm2_ss_4da_661_680_{name}.mat"
        if version == "5":
            scipy.io.savemat(path, {"var_record_monthly_mean": values})
        else:
            with h5py.File(path, "w") as file:
                file["var_record_monthly_mean"] = values.T
    same(load_forcing(tmp_path, at=at), expected(world, *cell))


def test_what_is_amiss_with_names_of_cesm_is_said(world, tmp_path):
    at, whole = (60.0, -140.0), history(world)
    shallow = whole.assign_coords(levgrnd=("levgrnd", np.arange(22.0), {"units": "m"}))
    for dataset, place, words in (
        (whole, None, "temperature has the dimension 'lat', .* at picks one"),
        (whole, (91.0, 0.0), "at must be a latitude and a longitude, degrees, got"),
        (
            whole.drop_vars(LITTER[2]),
            at,
            "expected all of CWD_INPUT_ACC_VECTOR, .*same",
        ),
        (whole.assign(temperature=whole.TSOI), at, "both TSOI and temperature"),
        (shallow, at, "TSOI is of layers at .* m, expected"),
        (whole.drop_vars("TSOI"), at, "no variable temperature"),
        (
            whole.isel(time=slice(3)),
            at,
            "litter_by_layer must be .* 12 months .* got .*20, 3",
        ),
        (
            whole.assign(TSOI=(whole.TSOI - 273.15).assign_attrs(units="K")),
            at,
            r"temperature must lie in \[180, 350\] K",
        ),
        (whole.drop_vars("lat"), at, "no coordinates lat and lon"),
    ):
        with pytest.raises(ValueError, match=f"^file.nc: .*{words}") as error:
            forcing_from_dataset(dataset, at=place, name="file.nc")
        assert "\n" not in str(error.value)


def test_what_is_amiss_with_the_authors_folder_is_said(world, tmp_path):
    with pytest.raises(ValueError, match="no variable temperature"):
        load_forcing(tmp_path, at=(0.0, 0.0))
    (tmp_path / "one_TSOI.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match="cannot read var_record.* from one_TSOI.mat"):
        load_forcing(tmp_path, at=(0.0, 0.0))
    (tmp_path / "two_TSOI.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match=r"2 files \*_TSOI.mat, expected one"):
        load_forcing(tmp_path, at=(0.0, 0.0))
    with pytest.raises(ValueError, match="at must be a latitude .* got None"):
        load_forcing(tmp_path)
