"""Columns and their forcing as datasets and files, and pictures of columns."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxsoc import steady_state
from jaxsoc.columns.components import components
from jaxsoc.io import save_dataset
from jaxsoc.io.columns import column_dataset
from jaxsoc.io.forcing import (
    VARIABLES,
    forcing_from_dataset,
    forcing_to_dataset,
    load_forcing,
)
from jaxsoc.models import CLM5, CLM5Parameters
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import LITTER, Forcing, idealised
from jaxsoc.plots.columns import figure_columns
from jaxsoc.plots.style import save_figure

SMALL = SoilColumn((0.1, 0.3, 0.7, 1.5), below=2.5)


@pytest.fixture(scope="module")
def clm5():
    model, params = CLM5(idealised(column=SMALL)), CLM5Parameters()
    return model, params, eqx.filter_jit(steady_state)(model, params)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-14)


# Columns


def test_a_column_is_written_with_units_and_provenance(clm5, tmp_path):
    model, params, state = clm5
    path = save_dataset(column_dataset(model, params, state), tmp_path / "column.nc")
    with xr.open_dataset(path) as found:
        np.testing.assert_array_equal(found.carbon.sel(pool="s2"), state.s2)
        np.testing.assert_allclose(
            found.soil_organic_carbon, model.organic_carbon(state)
        )
        np.testing.assert_allclose(found.depth, SMALL.nodes)
        np.testing.assert_allclose(found.depth_bounds[:, 1], SMALL.bottom)
        assert found.soil_stock.stock_depth.values.tolist() == [0.3, 1.0, 2.0, 1.5]
        whole = float(model.organic_carbon(state) @ SMALL.thickness)
        assert float(found.soil_stock[-1]) == pytest.approx(whole, rel=1e-13)
        pools = float(found.pool_stock.sel(pool=["s1", "s2", "s3"]).sum())
        assert pools == pytest.approx(whole, rel=1e-13)
        respired = float(
            found.respiration @ xr.DataArray(SMALL.thickness, dims="layer")
        )
        assert respired == pytest.approx(600, rel=1e-12)
        budget = found.budget.sum("pool")
        assert float(budget.sel(term="respired")) == pytest.approx(respired, rel=1e-12)
        for name, value in components(model, params, state)._asdict().items():
            assert float(found[name]) == pytest.approx(float(value), rel=1e-12)
        units = {str(name): v.attrs.get("units") for name, v in found.data_vars.items()}
        assert all(units[name] for name in units if name != "depth_bounds"), units
        # Mass is that of carbon: "gC" is no unit that programs know.
        assert units["carbon"] == "g m-3" and units["K"] == "yr-1"
        assert found.attrs["Conventions"] == "CF-1.10"
        assert found.depth.attrs["standard_name"] == "depth"
        standard = found.soil_stock.attrs["standard_name"]
        assert standard == "soil_mass_content_of_carbon"
        assert abs(float(found.carbon_balance_error)) < 1e-12
        assert found.attrs["model"] == "CLM5"
        assert json.loads(found.attrs["model_options"])["bedrock"] == "closed"
        assert json.loads(found.attrs["parameters"])["tau_s3"] == [1 / 0.0045, "yr"]
        assert found.attrs["source"].startswith("jaxsoc ")


def test_depths_and_options_of_a_column_are_passed_on(clm5):
    found = column_dataset(
        *clm5,
        depths=(0.5,),
        options={"cte": "released", "k_pools": "soil"},
        attributes={"site": "one", "numbers": [1, 2]},
    )
    assert found.stock_depth.values.tolist() == [0.5, 1.5]
    expected = components(*clm5, cte="released", k_pools="soil")
    assert float(found.K) == pytest.approx(float(expected.K), rel=1e-12)
    assert json.loads(found.attrs["component_options"])["cte"] == "released"
    assert found.attrs["site"] == "one" and found.attrs["numbers"] == "[1, 2]"
    with pytest.raises(ValueError, match="depths .* got -0.3"):
        column_dataset(*clm5, depths=(-0.3,))


def test_parameters_by_layer_are_written(clm5):
    model, params, state = clm5
    found = column_dataset(model, params.with_sand(model.forcing.sand), state)
    values, unit = json.loads(found.attrs["parameters"])["f_s1_s2"]
    assert unit == "1" and len(values) == SMALL.layers


# Forcing


@pytest.mark.parametrize(
    "forcing",
    [
        idealised(),
        idealised(column=SMALL, sand=None, bedrock=3, active_layer=1.0),
        idealised(active_layer=0.0),
        Forcing(280.0, 0.5, [1.0, 2.0, 3.0, 4.0], active_layer_last_year=0.0),
        Forcing.from_layers(
            280.0, 0.5, np.random.default_rng(1).uniform(0, 1, (4, 20, 12))
        ),
    ],
    ids=["plain", "small", "frozen", "frozen last year", "by layer"],
)
def test_forcing_comes_back_from_a_file(forcing, tmp_path):
    path = save_dataset(forcing_to_dataset(forcing), tmp_path / "forcing.nc")
    same(load_forcing(path), forcing)


def dataset(**changes):
    """A forcing as a dataset, with some of its variables replaced."""
    whole = forcing_to_dataset(idealised(column=SMALL))
    return whole.drop_vars([n for n in changes if n in whole]).assign(
        {name: value for name, value in changes.items() if value is not None}
    )


def variable(dims, values, units):
    return xr.DataArray(np.asarray(values), dims=dims, attrs={"units": units})


def plain(name):
    return forcing_to_dataset(idealised(column=SMALL))[name]


def scaled(name, factor, offset, units):
    values = (plain(name) - offset) / factor
    return values.assign_attrs(units=units)


@pytest.mark.parametrize(
    "name, factor, offset, units",
    [
        ("temperature", 1.0, 273.15, "degC"),
        ("temperature", 1.0, 273.15, "degrees_Celsius"),
        ("water", 0.01, 0.0, "%"),
        ("active_layer", 0.01, 0.0, "cm"),
        ("litter", 1 / 12, 0.0, "gC m-2 yr-1"),
        ("litter", 1000 / 12, 0.0, "kgC m-2 year-1"),
        ("litter", 365 / 12, 0.0, "gC m-2 d-1"),
        ("litter", 365 / 12 * 86400, 0.0, "gC/m^2/s"),
        ("litter", 365 / 12 * 86400 * 1000, 0.0, "kg m-2 s-1"),
        ("sand", 100.0, 0.0, "1"),
    ],
)
def test_units_are_converted(name, factor, offset, units):
    found = forcing_from_dataset(dataset(**{name: scaled(name, factor, offset, units)}))
    expected = idealised(column=SMALL)
    np.testing.assert_allclose(
        getattr(found, name), getattr(expected, name), rtol=1e-13
    )


def test_dimensions_are_found_by_name_and_filled_up():
    expected = idealised(column=SMALL)
    turned = dataset(
        temperature=plain("temperature").transpose("month", "layer"),
        water=plain("water").isel(layer=0, drop=True),
        oxygen=variable((), 0.95, "1"),
        litter=variable(("litter_pool",), [60.0, 180.0, 240.0, 120.0], "gC m-2 yr-1"),
    )
    same(forcing_from_dataset(turned), expected)


def test_litter_by_name_in_any_order():
    order = [2, 0, 3, 1]
    turned = dataset().isel(litter_pool=order)
    assert turned.litter_pool.values.tolist() == [LITTER[i] for i in order]
    same(forcing_from_dataset(turned), idealised(column=SMALL))


def test_litter_by_layer_is_spread_as_given(rng):
    given = rng.uniform(0, 1, (4, 4, 12))
    changed = dataset(
        litter=None,
        litter_by_layer=variable(
            ("litter_pool", "layer", "month"), given, "gC m-3 month-1"
        ),
    )
    found = forcing_from_dataset(changed)
    expected = np.einsum("qzm,z->qm", given, SMALL.thickness)
    np.testing.assert_allclose(found.litter, expected, rtol=1e-13)
    np.testing.assert_allclose(jnp.sum(found.profile, axis=1), 1, rtol=1e-13)


def test_without_bounds_layers_are_those_of_clm5(tmp_path):
    whole = forcing_to_dataset(idealised()).drop_vars(["depth_bounds", "level_below"])
    assert forcing_from_dataset(whole).column == CLM5_COLUMN
    in_cm = 100 * forcing_to_dataset(idealised(column=SMALL))["depth_bounds"]
    found = forcing_from_dataset(dataset(depth_bounds=in_cm.assign_attrs(units="cm")))
    np.testing.assert_allclose(found.column.bottom, SMALL.bottom, rtol=1e-14)


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"temperature": scaled("temperature", 1.0, 0.0, "degF")},
            "temperature has unknown units 'degF', expected one of 'K', .*'degC'",
        ),
        (
            {"temperature": plain("temperature").drop_attrs()},
            "temperature has no units, expected one of 'K'",
        ),
        (
            {"temperature": scaled("temperature", 1.0, 273.15, "K")},
            r"temperature must lie in \[180, 350\] K, got .*273.15 added",
        ),
        ({"litter": scaled("litter", 1.0, 0.0, "gC m-3")}, "litter has unknown units"),
        ({"litter": None}, "no variable litter: found active_layer"),
        (
            {"temperature": None, "temperatures": plain("temperature")},
            "no variable temperature: .*did you mean 'temperatures'",
        ),
        (
            {"water": variable(("site", "month"), np.full((2, 12), 0.5), "1")},
            "water has the dimension 'site', expected layer, month of one site",
        ),
        (
            {"sand": variable(("layer",), ["a"] * 4, "%")},
            "sand must be numbers, got <U1",
        ),
        (
            {"water": plain("water").where(plain("month") > 2)},
            r"water must lie in \[0, 1\], got nan",
        ),
        (
            {"litter": variable(("month",), np.ones(12), "gC m-2 yr-1")},
            "litter needs the dimension litter_pool: cwd",
        ),
        (
            {"bedrock": variable((), 30, "1")},
            "bedrock must be the number .* from 1 to 4, got 30",
        ),
        (
            {"depth_bounds": plain("depth_bounds") + 0.1},
            "depth_bounds must begin at 0",
        ),
        (
            {"litter_by_layer": variable(("litter_pool",), np.ones(4), "gC m-3 yr-1")},
            "has both litter and litter_by_layer",
        ),
    ],
)
def test_what_a_file_lacks_is_said_in_one_line(changes, words):
    with pytest.raises(ValueError, match=f"^site.nc: {words}") as error:
        forcing_from_dataset(dataset(**changes), name="site.nc")
    assert "\n" not in str(error.value)


def test_sizes_that_do_not_fit_are_refused():
    shorter = dataset().isel(month=slice(10))
    with pytest.raises(ValueError, match="must be .*12 months.* got .*10"):
        forcing_from_dataset(shorter)
    with pytest.raises(ValueError, match=r"temperature must .* 20 layers"):
        forcing_from_dataset(dataset(), column=CLM5_COLUMN)
    renamed = dataset().assign_coords(litter_pool=["cwd", "a", "b", "c"])
    with pytest.raises(ValueError, match="litter has the pools cwd, a, b, c, expected"):
        forcing_from_dataset(renamed)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*gone.nc"):
        load_forcing(tmp_path / "gone.nc")
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"no netCDF")
    with pytest.raises(ValueError, match="cannot read broken.nc") as error:
        load_forcing(broken)
    assert "\n" not in str(error.value)


def test_half_a_forcing_is_not_written():
    with pytest.raises(ValueError, match="12 months is needed, got .*1"):
        forcing_to_dataset(idealised(column=SMALL).month(3))


def test_every_variable_is_one_of_the_forcing():
    by_other_names = {"litter_by_layer", "litter_profile", "active_layer_last_year"}
    assert set(VARIABLES) - by_other_names <= {f for f in vars(idealised())}


# Pictures


def test_the_picture_of_columns(clm5, tmp_path):
    _, _, state = clm5
    pools = {name: np.asarray(x) for name, x in state._asdict().items()}
    bounds = (0.0, *SMALL.interfaces)
    half = {name: 0.5 * x for name, x in pools.items()}
    figure = figure_columns(bounds, {"CLM5": pools, "half": half}, deepest=1.5)
    profiles, first, second = figure.axes
    assert len(profiles.lines) == 2
    total = 1e-3 * sum(pools.values())
    np.testing.assert_allclose(profiles.lines[0].get_xdata(), total)
    np.testing.assert_allclose(profiles.lines[0].get_ydata(), SMALL.nodes)
    # The outline of all pools holds all carbon.
    x, y = first.lines[0].get_data()
    held = np.sum(x[::2] * np.diff(y)[::2])
    assert held == pytest.approx(float(total @ SMALL.thickness), rel=1e-12)
    assert profiles.get_ylim() == (1.5, 0.0)
    assert profiles.get_ylabel() == "depth (m)"
    assert "kgC m" in first.get_xlabel() and "kgC m" in profiles.get_xlabel()
    labels = [text.get_text() for text in second.get_legend().get_texts()]
    assert labels[0] == "coarse wood" and len(labels) == 7
    assert save_figure(figure, tmp_path / "columns.png").stat().st_size > 10_000
