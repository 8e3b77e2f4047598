"""A soil column as an xarray dataset with units and provenance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.columns.budgets import PoolBudget, layer_budget, whole_column
from jaxsoc.columns.components import components
from jaxsoc.columns.matrices import DIMS, UNITS, Matrices
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.profiles import stock
from jaxsoc.tables import about, variable

from .labels import dataset, provenance

STOCK_DEPTHS = (0.3, 1.0, 2.0)
"""Depths that stocks are given to besides the whole column, m."""

_DENSITY, _STOCK, _FLUX = "gC m-3", "gC m-2", "gC m-2 yr-1"

# component -> (unit, long name)
COMPONENTS = {
    "CTE": ("1", "carbon transfer efficiency"),
    "K": ("yr-1", "decomposition rate without environmental scalars"),
    "xi": ("1", "environmental scalar of temperature, water and depth"),
    "B": ("1", "shape of the litter input with depth, per cm"),
    "below_5cm": ("1", "share of the litter input below 5 cm"),
    "V": ("yr-1", "rate of vertical mixing"),
    "residence_time": ("yr", "soil organic carbon per litter input"),
    "litter_to_soil": ("1", "share of decomposed litter that becomes soil carbon"),
}


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
    **Returns:** carbon in gC m⁻³, stocks in gC m⁻², fluxes in gC m⁻² yr⁻¹; model, its
    options, parameters with units, and versions as attributes.
    **Raises:** `ValueError` for a depth that is not positive, or an unknown option.
    """
    options = dict(options or {})
    whole = components(model, params, state, **options)._asdict()
    layers = layer_budget(model, model.surroundings(params), params, state)
    variables = _by_layer(model, layers, state) | _stocks(model, layers, state, depths)
    for name, value in whole.items():
        variables[name] = variable((), float(value), *COMPONENTS[name])
    return dataset(
        variables | depth_bounds(model.forcing.column),
        _coordinates(model, depths),
        column_provenance(model, params),
        {"component_options": options},
        attributes,
    )


def matrices_dataset(
    model: AbstractColumnModel, params: Any, found: Matrices
) -> xr.Dataset:
    """The matrices of a column at rest as a dataset over pool and layer.

    **Arguments:** `found`: `jaxsoc.columns.matrices(model, params)`.
    """
    arrays = {
        name: variable(dims, getattr(found, name), UNITS[name], name)
        for name, dims in DIMS.items()
    }
    pools = list(found.pools)
    labels = {"pool": ("pool", pools), "receiver": ("receiver", pools)}
    return dataset(
        arrays,
        labels | depth_coordinate(model.forcing.column),
        column_provenance(model, params),
    )


def column_provenance(model: AbstractColumnModel, params: Any) -> dict[str, Any]:
    """Where a column comes from: model, options, parameters and versions."""
    chosen = [f.name for f in dataclasses.fields(model) if f.name != "forcing"]
    return provenance(
        "Carbon of a soil column",
        references="https://doi.org/10.1111/gcb.17297",
        model=type(model).__name__,
        model_options={name: _told(getattr(model, name)) for name in chosen},
        parameters={
            d.name: [np.asarray(getattr(params, d.name)).tolist(), d.unit]
            for d in declarations(type(params))
        },
    )


def depth_coordinate(column: SoilColumn) -> dict[str, Any]:
    """The middles of the layers as a coordinate, with their bounds named."""
    said = about("m", "depth of the middle of the layer")
    said |= {"positive": "down", "bounds": "depth_bounds"}
    return {"depth": ("layer", column.nodes, said)}


def depth_bounds(column: SoilColumn) -> dict[str, Any]:
    """The upper and lower ends of the layers."""
    ends = np.stack([column.top, column.bottom], axis=1)
    said = about("m", "upper and lower end of the layer")
    return {"depth_bounds": (("layer", "bound"), ends, said)}


def _by_layer(model, layers, state):
    carbon, respired = np.stack(state), layers.respired
    return {
        "carbon": variable(("pool", "layer"), carbon, _DENSITY, "carbon"),
        "soil_organic_carbon": variable(
            "layer",
            model.organic_carbon(state),
            _DENSITY,
            f"soil organic carbon ({', '.join(model.soil)})",
        ),
        "respiration": variable(
            "layer",
            np.sum(np.stack(respired), axis=0),
            "gC m-3 yr-1",
            "carbon respired",
        ),
    }


def _stocks(model, layers, state, depths):
    column = model.forcing.column
    ends = (*depths, column.interfaces[-1])
    budget = whole_column(model, layers)
    return {
        "soil_stock": variable(
            "stock_depth",
            stock(model.organic_carbon(state), column, ends),
            _STOCK,
            "soil organic carbon from the surface to the depth",
        ),
        "pool_stock": variable(
            "pool",
            np.stack(state) @ column.thickness,
            _STOCK,
            "carbon in the whole column",
        ),
        "budget": variable(
            ("term", "pool"),
            np.stack([np.stack(term) for term in budget]),
            _FLUX,
            "budget of each pool in the whole column",
        ),
    }


def _coordinates(model, depths):
    column = model.forcing.column
    return depth_coordinate(column) | {
        "pool": ("pool", list(model.pools._fields)),
        "stock_depth": variable(
            "stock_depth",
            np.array((*depths, column.interfaces[-1]), float),
            "m",
            "depth of the stock, the last the whole column",
        ),
        "term": variable(
            "term",
            list(PoolBudget._fields),
            long_name="change = input + received + mixing - passed_on - respired",
        ),
    }


def _told(option):
    return option if isinstance(option, str | bool | int | float) else str(option)
