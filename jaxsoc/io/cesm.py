"""Forcing by the names of CESM: its own files, and those of Tao et al. (2024).

Their folder holds a file `..._NAME.mat` for each variable, with an array
`var_record_monthly_mean` of latitudes from the north x longitudes from 180° W
(x layers) x months on an even grid.

Source: released programs of Tao et al. (2024), doi:10.1111/gcb.17297.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.physics.columns import SoilColumn

from .reading import check_size, read_matlab, reading

_LITTER = [f"{pool}_INPUT_ACC_VECTOR" for pool in ("CWD", "LITR1", "LITR2", "LITR3")]
NAMES: Mapping[str, str] = {
    "TSOI": "temperature",
    "W_SCALAR": "water",
    "O_SCALAR": "oxygen",
    "FPI_vr": "nitrogen",
    "ALTMAX": "active_layer",
    "ALTMAX_LASTYEAR": "active_layer_last_year",
    "nbedrock": "bedrock",
    "CELLSAND": "sand",
    **dict.fromkeys(_LITTER, "litter_by_layer"),
}
"""CESM's variables and ours; the inputs of coarse wood, metabolic, cellulose and lignin
litter by layer become one."""

_LAYERS = ("levgrnd", "levsoi", "levdcmp")
_DIMS = {**dict.fromkeys(_LAYERS, "layer"), "time": "month"}
_ARRAY = "var_record_monthly_mean"
# What the variables are in where a file does not say.
_UNITS = {
    **{"TSOI": "K", "ALTMAX": "m", "ALTMAX_LASTYEAR": "m", "CELLSAND": "%"},
    **dict.fromkeys(_LITTER, "gC m-3 month-1"),
}


def by_our_names(dataset: xr.Dataset, column: SoilColumn, at: Any) -> xr.Dataset:
    """A dataset with CESM's variables renamed, cut to the layers, and to one site.

    **Arguments:** `at`: latitude and longitude, degrees, whose nearest cell is taken;
    None to keep all.
    **Raises:** `ValueError` for a variable under both names, a part of the four litter
    inputs, or layers that are not those of the column.
    """
    site = dataset if at is None else _nearest(dataset, at)
    known = [name for name in NAMES if name in site]
    for name in known:
        if NAMES[name] in site:
            raise ValueError(f"has both {name} and {NAMES[name]}, expected one of them")
    found = {name: _by_layer(name, site[name], column) for name in known}
    litter = [found.pop(name) for name in _LITTER if name in found]
    if litter:
        units = {str(one.attrs["units"]) for one in litter}
        if len(litter) < len(_LITTER) or len(units) > 1:
            raise ValueError(f"expected all of {', '.join(_LITTER)}, in the same units")
        whole = xr.concat(litter, "litter_pool")
        found["litter_by_layer"] = whole.assign_attrs(units=units.pop())
    ours = {NAMES.get(name, name): one.variable for name, one in found.items()}
    return site.drop_vars(known).assign(ours)


def read_folder(folder: Path, at: Any) -> xr.Dataset:
    """One site of the authors' folder, by CESM's names.

    **Arguments:** `at`: latitude and longitude, degrees.
    **Raises:** `ValueError` for files that cannot be read, several for one variable, or
    no place.
    """
    _check_place(at)
    found = {}
    for name in NAMES:
        files = sorted(folder.glob(f"*_{name}.mat"))
        if len(files) > 1:
            raise ValueError(
                f"{folder.name} has {len(files)} files *_{name}.mat, expected one"
            )
        for path in files:
            with reading(path, f"{_ARRAY} from "):
                values = read_matlab(path, [_ARRAY], partial(_cell, at))[_ARRAY]
            found[name] = (("levsoi", "time")[-values.ndim :], values)
    return xr.Dataset(found)


def _cell(at, shape):
    """Indices of the cell of an even grid from 90° N and 180° W that a place is in."""
    latitudes, longitudes, *_ = shape
    i = int((90 - at[0]) / 180 * latitudes)
    return min(i, latitudes - 1), int((at[1] + 180) % 360 / 360 * longitudes)


def _nearest(dataset, at):
    _check_place(at)
    if not {"lat", "lon"} <= set(dataset.coords):
        raise ValueError("has no coordinates lat and lon to find a place by")
    away = np.abs((dataset["lon"].values - at[1] + 180) % 360 - 180)
    lat = np.abs(dataset["lat"].values - at[0])
    return dataset.isel(lat=int(np.argmin(lat)), lon=int(np.argmin(away)))


def _check_place(at):
    if at is None or not (abs(at[0]) <= 90 and abs(at[1]) <= 360):
        raise ValueError(f"at must be a latitude and a longitude, degrees, got {at}")


def _by_layer(name, variable, column):
    """Dimensions by our names, layers of the column, and units."""
    for dim in set(variable.dims) & set(_LAYERS):
        variable = variable.isel({dim: slice(column.layers)})
        depth = variable.coords.get(dim)
        if depth is None or str(depth.attrs.get("units")) != "m":
            continue
        if not np.allclose(depth, column.nodes[: depth.size], rtol=1e-2):
            raise ValueError(
                f"{name} is of layers at {np.asarray(depth)[:3]} ... m, expected "
                f"{column.nodes[:3]} ..."
            )
    plain = variable.drop_vars(list(variable.coords))
    plain = plain.rename({d: _DIMS[d] for d in plain.dims if d in _DIMS})
    if name == "CELLSAND" and "month" in plain.dims:
        check_size([plain.shape])
        plain = plain.mean("month")
    units = variable.attrs.get("units", _UNITS.get(name, "1"))
    return plain.assign_attrs(units=units)
