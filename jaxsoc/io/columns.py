"""A soil column as an xarray dataset with units and provenance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.columns.budgets import PoolBudget
from jaxsoc.columns.matrices import UNITS, Matrices
from jaxsoc.columns.summary import STOCK_DEPTHS, SiteResults, stock_ends, summary
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import MONTHS
from jaxsoc.physics.parameters import declarations
from jaxsoc.tables import Table, about, variable

from .labels import to_dataset
from .places import CONVENTIONS, Places

_ABOUT = {
    "title": "Carbon of a soil column",
    "Conventions": CONVENTIONS,
    "references": "https://doi.org/10.1111/gcb.17297",
}
_DOWN = {"positive": "down"}
_MASS = "soil_mass_content_of_carbon"
# name -> dimensions, unit, long name; all mass is that of carbon.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "carbon": ("pool layer", "g m-3", "carbon of a pool"),
    "soil_organic_carbon": ("layer", "g m-3", "soil organic carbon"),
    "respiration": ("layer", "g m-3 yr-1", "carbon respired"),
    "soil_stock": ("stock_depth", "g m-2", "soil organic carbon down to the depth"),
    "pool_stock": ("pool", "g m-2", "carbon of a pool in the whole column"),
    "budget": ("term pool", "g m-2 yr-1", "budget of each pool in the whole column"),
    "carbon_balance_error": ("", "1", "carbon that stays, per carbon that comes in"),
    "CTE": ("", "1", "carbon transfer efficiency"),
    "K": ("", "yr-1", "decomposition rate without environmental scalars"),
    "xi": ("", "1", "environmental scalar of temperature, water and depth"),
    "B": ("", "1", "shape of the litter input with depth, per cm"),
    "below_5cm": ("", "1", "share of the litter input below 5 cm"),
    "V": ("", "yr-1", "rate of vertical mixing"),
    "residence_time": ("", "yr", "soil organic carbon per litter input"),
    "litter_to_soil": ("", "1", "share of decomposed litter that becomes soil carbon"),
    "feasibility_margin": ("", "1", "smallest feasibility of all layers"),
    "yearly_mean_carbon": ("pool layer", "g m-3", "carbon of a pool over a year"),
    "monthly_soil_organic_carbon": ("month layer", "g m-3", "soil organic carbon"),
    "drift": ("pool", "g m-2", "change of a stock in one year more"),
}
"""What is written of a column, with dimensions, unit and long name."""

STATES = ("no_forcing", "none", "found")
"""Meanings of `steady_state` and `periodic_state` by number."""


def column_dataset(
    model: AbstractColumnModel,
    params: Any,
    state: Any,
    *,
    depths: Sequence[float] = STOCK_DEPTHS,
    options: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A column at a state as a dataset over layer, pool, stock depth and budget term.

    **Arguments:** `state`: pools, gC m⁻³; `depths`: of stocks, m, besides the whole
    column; `options`: of `components`; `attributes`: more provenance, what is not text
    or a number is stored as JSON.
    **Returns:** carbon in g m⁻³, stocks in g m⁻², fluxes in g m⁻² yr⁻¹, all as mass of
    carbon; components, NaN where the model has none of them; model, its options,
    parameters with units, and versions as attributes.
    **Raises:** `ValueError` for a depth that is not positive, or an unknown option.
    """
    options, ends = dict(options or {}), stock_ends(model, depths)
    kept = _flat(summary(model, params, state, ends=ends, **options))
    column_table = Table(
        {name: _variable(name, values) for name, values in kept.items()},
        column_coordinates(model, model.pools._fields, ends),
        column_about(model, params) | {"component_options": options},
    )
    return to_dataset(column_table, attributes)


def columns_dataset(
    results: SiteResults | Mapping[str, SiteResults],
    places: Places,
    *,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Columns at many sites as a dataset, see `columns_table`.

    **Arguments:** `attributes`: see `column_dataset`.
    """
    return to_dataset(columns_table(results, places), attributes)


def columns_table(
    results: SiteResults | Mapping[str, SiteResults], places: Places
) -> Table:
    """Columns at many sites, of one or several models, over the dimensions they have.

    As `column_dataset`, over `model` and the dimensions of the places: sites, or
    latitudes by longitudes. `steady_state` says of each place whether it has no
    forcing, no steady state, or one, by `STATES`, and `periodic_state` likewise; all
    else is NaN but where there is one, and for pools and components that a model does
    not have. `feasibility_margin` says how far
    a model with a closed form is from having none. Parameters that differ between
    sites are variables `parameter_...`.

    **Arguments:** `results`: of `experiments.columns_at_sites`, or of several models
    by label; `places`: of `forcings_from_dataset`; `attributes`: see `column_dataset`.
    **Raises:** `ValueError` for models with other layers or stock depths, some of them
    with a year and some without, or results of other sites than the places.
    """
    if isinstance(results, SiteResults):
        results = {type(results.model).__name__: results}
    _check_alike(results, int(places.valid.sum()))
    first = next(iter(results.values()))
    pools = [*dict.fromkeys(p for r in results.values() for p in r.model.pools._fields)]
    found = [_of_sites(one, pools) for one in results.values()]
    over = ("model", *places.dims)
    variables = {}
    for known in found:
        for name, (dims, values, said) in known.items():
            # Of a model that has no such variable, NaN.
            lacking = dims, np.full_like(values, np.nan)
            of_all = (places.spread(one.get(name, lacking)[1]) for one in found)
            variables.setdefault(name, ((*over, *dims), np.stack([*of_all]), said))
    asked = {"steady_state": [one.found for one in results.values()]}
    if first.year is not None:
        asked["periodic_state"] = [one.year.found for one in results.values()]
    for name, flags in asked.items():
        states = [places.spread(1 + flag.astype(np.int8), 0) for flag in flags]
        variables[name] = over, np.stack(states), _flags(name)
    coordinates = {
        "model": variable("model", [*results], long_name="soil carbon model"),
        **column_coordinates(first.model, pools, first.ends),
        **places.coordinates,
    }
    if first.year is not None:
        coordinates["month"] = np.arange(1, MONTHS + 1)
    models = {
        label: _model_about(one.model, None if one.by_site else one.params)
        for label, one in results.items()
    }
    said = {"models": models, "component_options": dict(first.options)}
    return Table(variables, coordinates, _ABOUT | said)


def without_steady_state(dataset: xr.Dataset, places: Places) -> list[str]:
    """A sentence for each place of a `columns_dataset` without a steady state."""
    states = dataset["steady_state"].values.reshape(dataset.sizes["model"], -1)
    margins = dataset["feasibility_margin"].values.reshape(states.shape)
    said = []
    for label, state, margin in zip(
        dataset["model"].values, states, margins, strict=True
    ):
        for site, place in enumerate(np.flatnonzero(places.valid)):
            if STATES[state[place]] == "none":
                known = np.isfinite(margin[place])
                far = f" (feasibility margin {margin[place]:.3g})" if known else ""
                said.append(f"{label} has no steady state at {places.name(site)}{far}")
    return said


def _check_alike(results, count):
    first = next(iter(results.values()))
    layers = lambda one: (one.ends, one.model.forcing.column)
    for label, one in results.items():
        if layers(one) != layers(first):
            raise ValueError(f"{label} has other layers or stock depths than the first")
        if (one.year is None) != (first.year is None):
            raise ValueError("expected a year of all models or of none, got some")
        if len(one.found) != count:
            raise ValueError(
                f"{label} has results of {len(one.found)} sites, expected {count}, "
                "those of the places with data"
            )


def _flags(name):
    values = {"flag_values": np.arange(len(STATES), dtype=np.int8)}
    said = about(long_name=f"whether a {name.replace('_', ' ')} was found")
    return said | values | {"flag_meanings": " ".join(STATES)}


def _flat(kept):
    """Arrays of a summary by name, those of its components among them."""
    whole = kept._asdict()
    return whole | whole.pop("components")._asdict()


def _variable(name, values):
    dims, unit, long_name = VARIABLES[name]
    standard = _MASS if name == "soil_stock" else ""
    return tuple(dims.split()), np.asarray(values), _said(unit, long_name, standard)


def _said(unit, long_name, standard=""):
    return about(unit, long_name) | ({"standard_name": standard} if standard else {})


def _of_sites(results, pools):
    """Variables of one model by name, leading by site, over the pools of all models."""
    own = [pools.index(name) for name in results.model.pools._fields]
    kept = _flat(results.summary) | {"feasibility_margin": results.margin}
    kept |= {} if results.year is None else results.year._asdict()
    kept.pop("found", None)
    found = {}
    for name, given in kept.items():
        dims, values, about_it = _variable(name, given)
        if "pool" in dims:
            axis = 1 + dims.index("pool")
            wide = np.full(
                (*values.shape[:axis], len(pools), *values.shape[axis + 1 :]), np.nan
            )
            np.moveaxis(wide, axis, 0)[own] = np.moveaxis(values, axis, 0)
            values = wide
        found[name] = dims, values, about_it
    for d in declarations(type(results.params)) if results.by_site else ():
        values = np.asarray(getattr(results.params, d.name))
        dims = ("layer",)[: values.ndim - 1]
        found[f"parameter_{d.name}"] = dims, values, _said(d.unit, d.meaning)
    return found


def column_coordinates(
    model: AbstractColumnModel, pools: Sequence[str], ends: Sequence[float]
) -> dict[str, Any]:
    """Layers, pools, depths of stocks and terms of budgets, as coordinates."""
    depth = "depth of the stock, the last the whole column"
    terms = "change = input + received + mixing - passed_on - respired"
    return {
        **depth_coordinates(model.forcing.column),
        "pool": list(pools),
        "stock_depth": (
            "stock_depth",
            np.array(ends),
            _said("m", depth, "depth") | _DOWN,
        ),
        "term": variable("term", PoolBudget._fields, long_name=terms),
    }


def matrices_dataset(
    model: AbstractColumnModel, params: Any, found: Matrices
) -> xr.Dataset:
    """The matrices of a column at rest as a dataset over pool and layer.

    **Arguments:** `found`: `jaxsoc.columns.matrices(model, params)`.
    """
    arrays = {
        name: variable(dims, getattr(found, name), UNITS[name], name)
        for name, dims in Matrices.dims().items()
    }
    pools = list(found.pools)
    labels = {"pool": pools, "receiver": pools}
    labels |= depth_coordinates(model.forcing.column)
    return to_dataset(Table(arrays, labels, column_about(model, params)))


def column_about(model: AbstractColumnModel, params: Any) -> dict[str, Any]:
    """Where a column comes from: model, options and parameters."""
    return _ABOUT | _model_about(model, params)


def _model_about(model, params):
    chosen = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    plain = lambda x: x if isinstance(x, str | bool | int | float) else str(x)
    return {
        "model": type(model).__name__,
        "model_options": {n: plain(x) for n, x in chosen.items() if n != "forcing"},
        "parameters": {
            d.name: [np.asarray(getattr(params, d.name)).tolist(), d.unit]
            for d in (() if params is None else declarations(type(params)))
        },
    }


def depth_coordinates(column: SoilColumn) -> dict[str, Any]:
    """The middles of the layers as a coordinate, and their upper and lower ends."""
    said = _said("m", "depth of the middle of the layer", "depth") | _DOWN
    said |= {"bounds": "depth_bounds"}
    ends = np.stack([column.top, column.bottom], axis=1)
    of_ends = "upper and lower end of the layer"
    return {
        "depth": ("layer", column.nodes, said),
        "depth_bounds": variable(("layer", "bound"), ends, "m", of_ends),
    }
