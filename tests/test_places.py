"""Many sites as datasets: forcing in, columns out, over the dimensions that came in."""

import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxsoc import steady_state
from jaxsoc.columns import feasibility, periodic_state
from jaxsoc.experiments import columns_at_sites
from jaxsoc.io import (
    Places,
    column_dataset,
    columns_dataset,
    forcing_from_dataset,
    forcing_to_dataset,
    forcings_from_dataset,
    load_forcings,
    save_dataset,
    without_steady_state,
)
from jaxsoc.models import CLM5, COMPAS, MIMICS
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import Forcing, forcing_of_sites, idealised

SMALL = SoilColumn((0.1, 0.3, 0.7, 1.5), below=2.5)
SEA = {"lat": 1, "lon": 0}


def world(dims=("lat", "lon"), shape=(2, 3)) -> xr.Dataset:
    """Idealised places that differ in warmth and litter, the first of the last row sea.

    Litter is the same along longitudes.
    """
    base = forcing_to_dataset(idealised(column=SMALL))
    place = np.arange(np.prod(shape)).reshape(shape)
    warmer = xr.DataArray(4.0 * place - 10.0, dims=dims)
    more = xr.DataArray(0.5 + 0.5 * np.arange(shape[0]), dims=dims[:1])
    sea = xr.DataArray(place == place[-1].flat[0], dims=dims)
    warm = (base.temperature + warmer).where(~sea)
    whole = base.assign(
        temperature=warm.assign_attrs(units="K"),
        litter=(base.litter * more).assign_attrs(units="gC m-2 month-1"),
    )
    if len(dims) == 1:
        at = {"lat": (dims, 10.0 * place), "lon": (dims, 10.0 * place - 70)}
        return whole.assign_coords(at)
    return whole.assign_coords(lat=[65.0, 5.0], lon=[-120.0, 0.0, 120.0])


def cell(dataset, i, j):
    return forcing_from_dataset(dataset.isel(lat=i, lon=j))


def same(a, b, rtol=1e-14):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol)


@pytest.fixture(scope="module")
def grid():
    dataset = world()
    forcing, places = forcings_from_dataset(dataset)
    return dataset, forcing, places


@pytest.fixture(scope="module")
def solved(grid):
    return functools.cache(lambda model: columns_at_sites(model(grid[1])))


# Forcing


def test_every_cell_is_the_forcing_of_one_site(grid):
    dataset, forcing, places = grid
    cells = [(i, j) for i in range(2) for j in range(3) if (i, j) != (1, 0)]
    assert forcing.temperature.shape == (5, 4, 12) and forcing.column == SMALL
    for site, (i, j) in enumerate(cells):
        same(jax.tree.map(lambda x, s=site: x[s], forcing), cell(dataset, i, j))
    assert places.dims == ("lat", "lon") and places.valid.tolist() == [
        *(True, True, True),
        *(False, True, True),
    ]
    assert places.name(3) == "lat 5, lon 0"
    # In any order of dimensions.
    turned = dataset.assign(temperature=dataset.temperature.transpose("lon", ...))
    other, _ = forcings_from_dataset(turned.transpose("month", "lat", "lon", ...))
    assert other.temperature.shape == forcing.temperature.shape


def test_a_grid_is_read_from_a_file(grid, tmp_path):
    dataset, forcing, _ = grid
    found, places = load_forcings(save_dataset(dataset, tmp_path / "grid.nc"))
    same(found, forcing)
    assert places.name(4) == "lat 5, lon 120"
    with pytest.raises(ValueError, match="no such file: .*gone.nc"):
        load_forcings(tmp_path / "gone.nc")


def test_sites_by_a_dimension_of_any_name():
    forcing, places = forcings_from_dataset(world(("profile",), (4,)))
    assert places.dims == ("profile",) and places.valid.sum() == 3
    assert places.name(1) == "profile 2, lat 10, lon -60"
    assert places.coordinates["lat"][2]["units"] == "degrees_north"
    assert places.coordinates["lon"][2]["standard_name"] == "longitude"
    made = Places.of("profile", profile=["a", "b"], lat=[64.8, 5.0], lon=[-147.7, 20.0])
    assert made.name(0) == "profile a, lat 64.8, lon -147.7"


def test_names_of_cf_are_known(grid):
    dataset, forcing, _ = grid
    months = np.array([*range(7, 13), *range(1, 7)])
    renamed = dataset.isel(month=months - 1).rename(
        temperature="ts", month="time", layer="level", lat="y", lon="x"
    )
    renamed = renamed.rename(depth="z", depth_bounds="z_bounds")
    renamed["z"] = renamed.z.assign_attrs(bounds="z_bounds", standard_name="depth")
    renamed["ts"].attrs["standard_name"] = "soil_temperature"
    renamed = renamed.swap_dims(level="z").drop_vars("time")
    renamed = renamed.assign_coords(
        y=("y", renamed.y.values, {"units": "degrees_north"}),
        time=("time", np.array([f"2001-{m:02d}-15" for m in months], "M8[ns]")),
    )
    per_second = renamed.litter / 1000 * 12 / 365 / 86400
    renamed["litter"] = per_second.assign_attrs(units="kg m-2 s-1")
    same_but, places = forcings_from_dataset(renamed)
    same(same_but, forcing, 1e-13)
    assert places.coordinates["y"][2]["standard_name"] == "latitude"


@pytest.mark.slow
def test_names_of_cesm_are_known_over_a_grid(rng):
    litter = [f"{pool}_INPUT_ACC_VECTOR" for pool in ("CWD", "LITR1", "LITR2", "LITR3")]
    dims, shape = ("time", "levdcmp", "lat", "lon"), (12, 25, 2, 2)
    variables = {
        "TSOI": (dims, rng.uniform(260, 300, shape), {"units": "K"}),
        "W_SCALAR": (dims, rng.uniform(0, 1, shape), {"units": "unitless"}),
        "ALTMAX": (("time", "lat", "lon"), rng.uniform(0, 4, (12, 2, 2))),
        **{name: (dims, rng.uniform(0, 9, shape)) for name in litter},
    }
    at = {"lat": [10.0, 20.0], "lon": [200.0, 210.0]}
    dataset = xr.Dataset(variables, at)
    dataset["W_SCALAR"][:, :, 1, 1] = np.nan
    forcing, places = forcings_from_dataset(dataset)
    assert forcing.temperature.shape == (3, 20, 12) and places.shape == (2, 2)
    one = forcing_from_dataset(dataset, at=(10.0, 210.0))
    same(jax.tree.map(lambda x: x[1], forcing), one, 1e-13)


def changed(**changes):
    return world().assign(**changes)


WARM, WATER = world().temperature, world().water


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (
            changed(temperature=WARM.where(WARM.lon < 100, WARM - 273.15)),
            r"lat 65, lon 120: temperature must lie in \[180, 350\] K, got .*Celsius",
        ),
        (
            changed(water=WATER.where((WATER.month > 3) | (WARM.lat > 50))),
            r"lat 5, lon 0: water must lie in \[0, 1\], got nan \(place 1, 1; 12 of 48",
        ),
        (
            changed(litter=-world().litter.assign_attrs(units="gC m-2 month-1")),
            r"lat 65, lon -120: litter must lie in \[0, inf\)",
        ),
        (
            changed(bedrock=xr.DataArray([2.5, 3.0], dims="lat")),
            "lat 65, lon -120: bedrock must be .* whole number from 1 to 4, got 2.5",
        ),
        (
            changed(temperature=WARM.assign_attrs(units="F")),
            "temperature has unknown units 'F', expected one of 'K'",
        ),
        (world().isel(month=slice(11)), r"active_layer must be .* 12 months .*\(11,\)"),
        (world().isel(lat=0, lon=0), "expected a dimension of sites, .* got none"),
        (
            changed(water=WATER.expand_dims(member=2)),
            "expected a dimension of sites, .* got lat, lon, member",
        ),
        (world().isel(lat=[1], lon=[0]), "none of the 1 places has data"),
        (
            world().assign_coords(lat=[95.0, 5.0]),
            r"lat must lie in \[-90, 90\] degrees_north, got 95 \(place 1",
        ),
        (
            world().drop_vars(["depth_bounds", "level_below"]).isel(layer=[0] * 20),
            "depth has layers at .* expected their middles",
        ),
    ],
)
def test_what_is_amiss_is_said_of_the_place(dataset, words):
    with pytest.raises(ValueError, match=f"^grid.nc: {words}") as error:
        forcings_from_dataset(dataset, name="grid.nc")
    assert "\n" not in str(error.value)


def test_arrays_of_sites_are_checked_as_those_of_one():
    year = np.full((3, 4, 12), 280.0)
    given = {"temperature": year, "water": 0 * year + 0.5, "litter": np.ones((3, 4))}
    made = forcing_of_sites(given, column=SMALL)
    one = Forcing(280.0, 0.5, np.ones(4), column=SMALL)
    same(jax.tree.map(lambda x: x[2], made), one)
    with pytest.raises(ValueError, match="site 3: profile must sum to 1 .* got 2"):
        share = np.full((3, 4, 4), 0.25) * np.array([1, 1, 2])[:, None, None]
        forcing_of_sites(given | {"profile": share}, column=SMALL)
    with pytest.raises(ValueError, match=r"same number of sites, got \[2, 3\]"):
        forcing_of_sites(given | {"oxygen": np.ones(2)}, column=SMALL)
    with pytest.raises(ValueError, match="coordinates of one length, got .*'lon': 2"):
        Places.of(lat=[1.0], lon=[1.0, 2.0])


# Columns


@pytest.mark.parametrize(
    "cls",
    [COMPAS, pytest.param(CLM5, marks=pytest.mark.slow)],
    ids=lambda m: m.__name__,
)
def test_sites_are_each_by_itself(grid, solved, cls):
    dataset, _, _ = grid
    model, params = cls(cell(dataset, 1, 1)), cls.parameters()
    state = steady_state(model, params)
    found = jax.tree.map(lambda x: x[3], solved(cls).summary)
    np.testing.assert_allclose(found.carbon, np.stack(state), rtol=1e-12)
    np.testing.assert_array_less(abs(found.carbon_balance_error), 1e-12)
    least = np.nan
    if cls is COMPAS:
        least = min(float(np.min(kind)) for kind in feasibility(model, params))
    assert float(solved(cls).margin[3]) == pytest.approx(least, rel=1e-12, nan_ok=True)


@pytest.mark.slow
def test_results_have_the_dimensions_that_came_in(grid, solved, tmp_path):
    dataset, _, places = grid
    both = {cls.__name__: solved(cls) for cls in (CLM5, COMPAS)}
    made = columns_dataset(both, places, attributes={"climate": "idealised"})
    with xr.open_dataset(save_dataset(made, tmp_path / "grid.nc")) as found:
        for name in ("lat", "lon"):
            np.testing.assert_array_equal(found[name], dataset[name])
        assert found.soil_organic_carbon.dims == ("model", "lat", "lon", "layer")
        states = found.steady_state.attrs["flag_meanings"].split()
        np.testing.assert_array_equal(
            found.steady_state == states.index("no_forcing"),
            np.broadcast_to([[0, 0, 0], [1, 0, 0]], (2, 2, 3)),
        )
        there = found.steady_state == states.index("found")
        assert int(there.sum()) == 10
        for name in (
            "soil_organic_carbon",
            "soil_stock",
            "CTE",
            "carbon_balance_error",
        ):
            assert bool((found[name].notnull() == there).all()), name
        model, params = CLM5(cell(dataset, 0, 2)), CLM5.parameters()
        alone = column_dataset(model, params, steady_state(model, params))
        at = found.sel(model="CLM5").isel(lat=0, lon=2).sel(pool=alone.pool)
        for name, expected in alone.data_vars.items():
            np.testing.assert_allclose(at[name], expected, rtol=1e-12, atol=1e-12)
            assert at[name].attrs == expected.attrs
        only = found.sel(model="CLM5").carbon.dropna("pool", how="all")
        assert only.pool.values.tolist() == alone.pool.values.tolist()
        assert found.attrs["climate"] == "idealised"
        models = json.loads(found.attrs["models"])
        assert models["COMPAS"]["parameters"]["cue"][1] == "1"
    assert without_steady_state(made, places) == []


def test_results_follow_the_conventions_of_cf(grid, solved, tmp_path):
    made = columns_dataset(solved(COMPAS), grid[2])
    path = save_dataset(made, tmp_path / "grid.nc")
    with xr.open_dataset(path, decode_coords=False) as found:
        assert found.attrs["Conventions"] == "CF-1.10"
        assert found.lat.attrs["units"] == "degrees_north"
        assert found.lon.attrs["units"] == "degrees_east"
        stock = found.soil_stock.attrs
        assert stock["standard_name"] == "soil_mass_content_of_carbon"
        # A unit that stands for an amount of mass over area.
        assert stock["units"] == "g m-2" and found.depth.attrs["positive"] == "down"
        assert found.depth.attrs["bounds"] == "depth_bounds"
        assert "depth" in found.soil_organic_carbon.attrs["coordinates"]
        flags = found.steady_state.attrs["flag_values"]
        assert flags.dtype == found.steady_state.dtype
        for name, held in found.data_vars.items():
            assert name == "depth_bounds" or held.attrs["long_name"], name


def test_what_has_no_steady_state_is_flagged_and_listed(grid):
    _, forcing, places = grid
    params = COMPAS.parameters()
    lower = jnp.array([1.0, 1.0, 1e-3, 1.0, 1.0])
    many = jax.tree.map(lambda x: jnp.full(5, x), params)
    name, usual = lambda p: p.tau_decomposition, params.tau_decomposition
    many = eqx.tree_at(name, many, usual / lower)
    results = columns_at_sites(COMPAS(forcing), many)
    assert results.found.tolist() == [True, True, False, True, True]
    made = columns_dataset(results, places)
    lost = made.isel(model=0, lat=0, lon=2)
    assert int(lost.steady_state) == 1 and float(lost.feasibility_margin) < 0
    assert bool(lost.carbon.isnull().all())
    (said,) = without_steady_state(made, places)
    margin = f"{float(lost.feasibility_margin):.3g}"
    assert said == (
        f"COMPAS has no steady state at lat 65, lon 120 (feasibility margin {margin})"
    )
    kept = made.parameter_tau_decomposition.isel(model=0, lat=0)
    np.testing.assert_allclose(kept, usual / lower[:3])
    assert kept.attrs["units"] == "yr"


@pytest.mark.slow
@pytest.mark.parametrize("cls", [CLM5, COMPAS])
def test_years_of_many_sites(grid, cls):
    dataset, forcing, places = grid
    results = columns_at_sites(cls(forcing), periodic=True, depths=(0.5,))
    year = periodic_state(cls(cell(dataset, 0, 1)), cls.parameters())
    made = columns_dataset(results, places).isel(model=0, lat=0, lon=1)
    np.testing.assert_allclose(made.yearly_mean_carbon, np.stack(year.mean), rtol=1e-10)
    assert made.monthly_soil_organic_carbon.dims == ("month", "layer")
    assert int(made.periodic_state) == 2
    assert made.stock_depth.values.tolist() == [0.5, 1.5]


@pytest.mark.slow
def test_mimics_has_what_its_processes_share(grid):
    _, forcing, places = grid
    results = columns_at_sites(MIMICS(forcing))
    made = columns_dataset(results, places)
    there = made.steady_state == 2
    assert int(there.sum()) == 5
    assert float(abs(made.carbon_balance_error).max()) < 1e-12
    assert bool(made.K.isnull().all()) and bool((made.CTE.notnull() == there).all())


def test_what_does_not_fit_is_refused(grid, solved):
    dataset, forcing, places = grid
    with pytest.raises(ValueError, match=r"by site, layer and month, got .*\(4, 12\)"):
        columns_at_sites(CLM5(cell(dataset, 0, 0)))
    two = jax.tree.map(lambda x: jnp.full(2, x), CLM5.parameters())
    with pytest.raises(ValueError, match=r"parameters of 5 sites, .* got .*\(2,\)"):
        columns_at_sites(CLM5(forcing), two)
    with pytest.raises(ValueError, match="depths .* got -0.3"):
        columns_at_sites(CLM5(forcing), depths=(-0.3,))
    with pytest.raises(ValueError, match="unknown cte 'none'"):
        columns_at_sites(CLM5(forcing), options={"cte": "none"})
    fewer = Places.of(lat=[1.0, 2.0])
    with pytest.raises(ValueError, match="CLM5 has results of 5 sites, expected 2"):
        columns_dataset({"CLM5": solved(COMPAS)}, fewer)
    other = solved(COMPAS)._replace(ends=(1.0, 1.5))
    with pytest.raises(ValueError, match="COMPAS has other layers or stock depths"):
        columns_dataset({"CLM5": solved(COMPAS), "COMPAS": other}, places)
