"""A soil column as an xarray dataset with units and provenance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.columns.budgets import PoolBudget, layer_budget, whole_column
from jaxsoc.columns.components import components
from jaxsoc.columns.matrices import UNITS, Matrices
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.profiles import stock
from jaxsoc.tables import Table, about, variable

from .labels import to_dataset

STOCK_DEPTHS = (0.3, 1.0, 2.0)
"""Depths that stocks are given to besides the whole column, m."""

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
    column = model.forcing.column
    ends = np.array((*depths, column.interfaces[-1]), float)
    variables = _variables(model, params, state, ends)
    for name, value in components(model, params, state, **options)._asdict().items():
        variables[name] = variable((), float(value), *COMPONENTS[name])
    said = "depth of the stock, the last the whole column"
    terms = "change = input + received + mixing - passed_on - respired"
    coordinates = {
        **depth_coordinates(column),
        "pool": list(model.pools._fields),
        "stock_depth": variable("stock_depth", ends, "m", said),
        "term": variable("term", PoolBudget._fields, long_name=terms),
    }
    about_column = column_about(model, params) | {"component_options": options}
    table = Table(variables, coordinates, about_column)
    return to_dataset(table, attributes)


def _variables(model, params, state, ends):
    layers = layer_budget(model, model.surroundings(params), params, state)
    column, carbon = model.forcing.column, np.stack(state)
    soil, respired = model.organic_carbon(state), np.stack(layers.respired).sum(axis=0)
    budget = np.stack([np.stack(term) for term in whole_column(model, layers)])
    soil_name = f"soil organic carbon ({', '.join(model.soil)})"
    to_depth = "soil organic carbon from the surface to the depth"
    in_column = "carbon in the whole column"
    of_pools = "budget of each pool in the whole column"
    stocks = stock(soil, column, ends)
    return {
        "carbon": variable(("pool", "layer"), carbon, "gC m-3", "carbon"),
        "soil_organic_carbon": variable("layer", soil, "gC m-3", soil_name),
        "respiration": variable("layer", respired, "gC m-3 yr-1", "carbon respired"),
        "soil_stock": variable("stock_depth", stocks, "gC m-2", to_depth),
        "pool_stock": variable("pool", carbon @ column.thickness, "gC m-2", in_column),
        "budget": variable(("term", "pool"), budget, "gC m-2 yr-1", of_pools),
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
    chosen = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    plain = lambda x: x if isinstance(x, str | bool | int | float) else str(x)
    return {
        "title": "Carbon of a soil column",
        "references": "https://doi.org/10.1111/gcb.17297",
        "model": type(model).__name__,
        "model_options": {n: plain(x) for n, x in chosen.items() if n != "forcing"},
        "parameters": {
            d.name: [np.asarray(getattr(params, d.name)).tolist(), d.unit]
            for d in declarations(type(params))
        },
    }


def depth_coordinates(column: SoilColumn) -> dict[str, Any]:
    """The middles of the layers as a coordinate, and their upper and lower ends."""
    said = about("m", "depth of the middle of the layer")
    said |= {"positive": "down", "bounds": "depth_bounds"}
    ends = np.stack([column.top, column.bottom], axis=1)
    of_ends = "upper and lower end of the layer"
    return {
        "depth": ("layer", column.nodes, said),
        "depth_bounds": variable(("layer", "bound"), ends, "m", of_ends),
    }
