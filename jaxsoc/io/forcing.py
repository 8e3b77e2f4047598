"""What drives a column, from and to xarray and netCDF; units are checked here."""

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import (
    DAYS_PER_MONTH,
    LITTER,
    MONTHS,
    Forcing,
    forcing_of_sites,
)
from jaxsoc.physics.units import SECONDS_PER_DAY, ZERO_CELSIUS
from jaxsoc.tables import Table, variable

from . import cesm
from .columns import depth_coordinates
from .labels import to_dataset
from .places import Places, by_standard_names, places_of
from .reading import are_numbers, lacking, netcdf, reading

# unit -> (factor, offset) to the unit used inside, which comes first.
_Units = Mapping[str, tuple[float, float]]
_SAME = (1.0, 0.0)
CELSIUS = "degC", "°C", "C", "celsius", "Celsius", "degree_Celsius", "degrees_Celsius"
_NUMBER: _Units = dict.fromkeys(("1", "", "unitless", "proportion"), _SAME)
_SHARE: _Units = {**_NUMBER, **dict.fromkeys(("%", "percent"), (0.01, 0.0))}
PERCENT: _Units = dict.fromkeys(("%", "percent"), _SAME) | {"1": (100.0, 0.0)}
_DEPTH: _Units = dict.fromkeys(("m", "meter", "metre"), _SAME) | {"cm": (0.01, 0.0)}
KELVIN = "K", "kelvin", "Kelvin"
_TEMPERATURE: dict[str, tuple[float, float]] = dict.fromkeys(KELVIN, _SAME)
_TEMPERATURE |= dict.fromkeys(CELSIUS, (1.0, ZERO_CELSIUS))
_TIMES = {
    **dict.fromkeys(("month", "months", "mon"), 1.0),
    **dict.fromkeys(("yr", "year", "a"), 1.0 / MONTHS),
    **dict.fromkeys(("d", "day"), DAYS_PER_MONTH),
    "s": SECONDS_PER_DAY * DAYS_PER_MONTH,
}


def _fluxes(space: str) -> _Units:
    """Units of litter, to gC per area or volume and month; mass is that of carbon."""
    power = space.replace("m-", "m^")
    return {
        unit: (grams * months, 0.0)
        for mass, grams in (("gC", 1.0), ("kgC", 1e3), ("g", 1.0), ("kg", 1e3))
        for time, months in _TIMES.items()
        for unit in (f"{mass} {space} {time}-1", f"{mass}/{power}/{time}")
    }


class _Variable(NamedTuple):
    dims: tuple[str, ...]
    units: _Units
    long_name: str


# Not "litter": a variable with two dimensions cannot bear the name of one of them.
_POOL = "litter_pool"
_BY_LAYER, _BY_MONTH = ("layer", "month"), ("month",)
_OWN = (_POOL, *_BY_LAYER)
_LAST_YEAR = "largest depth of the active layer in the year before"
_BEDROCK = "number of the last layer above the bedrock, from 1"
_PROFILE = "share of the litter that enters each layer"
VARIABLES: Mapping[str, _Variable] = {
    "temperature": _Variable(_BY_LAYER, _TEMPERATURE, "soil temperature"),
    "water": _Variable(_BY_LAYER, _SHARE, "water scalar of decomposition"),
    "oxygen": _Variable(_BY_LAYER, _SHARE, "oxygen scalar of decomposition"),
    "nitrogen": _Variable(_BY_LAYER, _SHARE, "nitrogen scalar of litter decomposition"),
    "active_layer": _Variable(_BY_MONTH, _DEPTH, "largest depth of the active layer"),
    "active_layer_last_year": _Variable(_BY_MONTH, _DEPTH, _LAST_YEAR),
    "bedrock": _Variable(_BY_MONTH, _NUMBER, _BEDROCK),
    "litter": _Variable((_POOL, "month"), _fluxes("m-2"), "litter input"),
    "litter_by_layer": _Variable(
        (_POOL, *_BY_LAYER), _fluxes("m-3"), "litter input by layer"
    ),
    "litter_profile": _Variable((_POOL, "layer"), _SHARE, _PROFILE),
    "sand": _Variable(("layer",), PERCENT, "sand"),
}
"""Variables that a forcing is read from, with their dimensions and known units."""


def load_forcing(
    path: Path | str,
    *,
    column: SoilColumn | None = None,
    at: tuple[float, float] | None = None,
) -> Forcing:
    """Forcing from a netCDF file, or from the folder of Tao et al. (2024).

    **Arguments:** `path`: a file, by our names or CESM's, or a folder of files
    `..._TSOI.mat` and so on, see `io.cesm`; `column`, `at`: see `forcing_from_dataset`.
    **Raises:** `ValueError` for a file that is missing or cannot be read, and as
    `forcing_from_dataset`, naming the file.
    """
    path = Path(path)
    if path.is_dir():
        site = cesm.read_folder(path, at)
        return forcing_from_dataset(site, column=column, name=path.name)
    with reading(path), netcdf(path) as dataset:
        return forcing_from_dataset(dataset, column=column, name=path.name, at=at)


def load_forcings(
    path: Path | str, *, column: SoilColumn | None = None
) -> tuple[Forcing, Places]:
    """Forcing of all sites of a netCDF file, and where they lie.

    **Arguments:** `column`: see `forcing_from_dataset`.
    **Raises:** `ValueError` for a file that is missing or cannot be read, and as
    `forcings_from_dataset`, naming the file.
    """
    path = Path(path)
    with reading(path), netcdf(path) as dataset:
        return forcings_from_dataset(dataset, column=column, name=path.name)


def forcing_from_dataset(
    dataset: xr.Dataset,
    *,
    column: SoilColumn | None = None,
    name: str = "dataset",
    at: tuple[float, float] | None = None,
) -> Forcing:
    """Forcing of one site from a dataset, checked, units converted.

    Needed: `temperature`, `water`, and `litter` or `litter_by_layer`; the others of
    `VARIABLES` where there are any, each by this name, as CESM calls it, see
    `io.cesm.NAMES`, or by a standard name of CF. Dimensions are found by name; along
    one that a variable lacks, it is the same everywhere. Months come in order, or as
    the numbers or dates of `month` or `time` say. The coordinate `litter_pool`, where
    it names the four inputs, puts them in order; else they come as in `LITTER`.

    **Arguments:** `column`: layers, by default those of `depth_bounds`, else CLM5's;
    `name`: what errors call the dataset; `at`: latitude and longitude, degrees, of the
    site in a dataset of CESM with many, which the nearest cell stands for.
    **Raises:** `ValueError` that names the variable, what was received and expected.
    """
    with _named(name):
        found, column, _ = _arrays(dataset, column, at, ())
        make = Forcing.from_layers if "litter_by_layer" in found else Forcing
        return make(**found, column=column)


def forcings_from_dataset(
    dataset: xr.Dataset,
    *,
    column: SoilColumn | None = None,
    name: str = "dataset",
) -> tuple[Forcing, Places]:
    """Forcing of all sites of a dataset, whose leaves lead by site, and where they lie.

    As `forcing_from_dataset`, over one or two dimensions more, of any name: sites, or
    latitudes by longitudes. A variable that lacks one of them is the same along it. A
    place where some variable is NaN throughout, as of the sea, has no data and is left
    out.

    **Arguments:** `column`, `name`: see `forcing_from_dataset`.
    **Returns:** the forcing, and the places, which give results their dimensions back.
    **Raises:** `ValueError` as `forcing_from_dataset`, naming the place, for a dataset
    without such dimensions or with three, or places all of which lack data.
    """
    with _named(name):
        found, column, places = _arrays(dataset, column, None, None)
        return forcing_of_sites(found, column=column, name=places.name), places


@contextmanager
def _named(name):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def forcing_to_dataset(forcing: Forcing) -> xr.Dataset:
    """A forcing of one site as a dataset, which `forcing_from_dataset` reads back.

    **Raises:** `ValueError` for one that is not a whole year of one site.
    """
    shape, column = forcing.temperature.shape, forcing.column
    if shape != (column.layers, MONTHS):
        raise ValueError(
            f"a forcing of one site and {MONTHS} months is needed, got temperature of "
            f"shape {shape}"
        )
    last = np.where(np.asarray(forcing.frozen), 0.0, np.asarray(forcing.active_layer))
    named = {"active_layer_last_year": last, "litter_profile": forcing.profile}
    written = {**vars(forcing), **named}
    variables = {
        name: variable(
            known.dims, written[name], next(iter(known.units)), known.long_name
        )
        for name, known in VARIABLES.items()
        if written.get(name) is not None
    }
    below = "lower end of the level below the layers"
    variables["level_below"] = variable((), column.levels[-1], "m", below)
    coordinates = depth_coordinates(column) | {
        "month": np.arange(1, MONTHS + 1),
        _POOL: list(LITTER),
    }
    table = Table(variables, coordinates, {"title": "forcing of a soil column"})
    return to_dataset(table)


def _arrays(dataset, column, at, dims):
    """Arguments of `Forcing` by name, the column, and the places they lead by.

    **Arguments:** `dims`: of the places, () for one site, None for those that are there
    besides what a forcing has.
    """
    column = _column(dataset) if column is None else column
    dataset = by_standard_names(cesm.by_our_names(dataset, column, at), _OWN)
    present = [name for name in VARIABLES if name in dataset]
    sizes = {dim: size for name in present for dim, size in dataset[name].sizes.items()}
    around = {str(dim): size for dim, size in sizes.items() if dim not in _OWN}
    one_site = dims == ()
    if one_site:
        # Of one cell, as it is cut out of a grid.
        dataset = dataset.squeeze([dim for dim in around if around[dim] == 1])
        around = {}
    elif not 1 <= len(around) <= 2:
        raise ValueError(
            "expected a dimension of sites, or two as latitudes and longitudes, got "
            f"{', '.join(around) or 'none'}"
        )
    _check_depth(dataset, column)
    found = {name: _read(dataset, name, column, around) for name in present}
    by_layer = "litter_by_layer" in found
    for name in ("temperature", "water", "litter"):
        if name not in found and not (name == "litter" and by_layer):
            held = lacking(name, map(str, dataset.data_vars))
            raise ValueError(f"no variable {name}: {held}")
    for name in ("litter", "litter_profile"):
        if name in found and by_layer:
            raise ValueError(
                f"has both {name} and litter_by_layer, expected one of them"
            )
    if "litter_profile" in found:
        found["profile"] = found.pop("litter_profile")
    if one_site:
        return found, column, places_of(dataset, {})
    kept = np.ones(next(iter(found.values())).shape[0], bool)
    for values in found.values():
        kept &= ~np.isnan(values).reshape(kept.size, -1).all(axis=1)
    if not kept.any():
        raise ValueError(
            f"none of the {kept.size} places has data: at each some variable is missing"
        )
    found = {name: values[kept] for name, values in found.items()}
    return found, column, places_of(dataset, around, kept)


def _depth(dataset):
    """The depths of the layers, by name or standard name, None where there are none."""
    known = lambda given: given.attrs.get("standard_name") == "depth"
    named = [str(n) for n, x in dataset.coords.items() if n == "depth" or known(x)]
    return dataset[named[0]] if named else None


def _check_depth(dataset, column):
    depth = _depth(dataset)
    if depth is None or depth.dims != ("layer",) or depth.size != column.layers:
        return
    if "units" not in depth.attrs:
        return
    nodes = factor_of(depth.name, depth, _DEPTH)[0] * depth.values
    if not np.allclose(nodes, column.nodes, rtol=1e-2):
        raise ValueError(
            f"{depth.name} has layers at {nodes[:3]} ... m, expected their middles, "
            f"{column.nodes[:3]} ...: give depth_bounds or a column"
        )


def _column(dataset):
    depth = _depth(dataset)
    said = "depth_bounds" if depth is None else depth.attrs.get("bounds")
    name = said if said in dataset else "depth_bounds"
    if name not in dataset:
        return CLM5_COLUMN
    bounds = dataset[name]
    if bounds.ndim != 2 or bounds.shape[1] != 2:
        raise ValueError(f"{name} must be layers x 2 ends, got shape {bounds.shape}")
    ends = np.asarray(bounds, float)
    # By the conventions of netCDF, bounds are in the units of what they bound.
    said = bounds if "units" in bounds.attrs or depth is None else depth
    factor, _ = factor_of(name, said, _DEPTH)
    if ends[0, 0] != 0 or not np.array_equal(ends[1:, 0], ends[:-1, 1]):
        raise ValueError(
            f"{name} must begin at 0, each layer where the one above it ends"
        )
    below = None
    if "level_below" in dataset:
        given = dataset["level_below"]
        below = float(factor_of("level_below", given, _DEPTH)[0] * given)
    return SoilColumn(tuple(factor * ends[:, 1]), below=below)


def _read(dataset, name, column, around):
    """A variable in the unit used inside, leading by place where there are places."""
    variable, known = dataset[name], VARIABLES[name]
    if not are_numbers(variable):
        raise ValueError(f"{name} must be numbers, got {variable.dtype}")
    factor, offset = factor_of(name, variable, known.units)
    axes = (*around, *known.dims)
    strange = [str(dim) for dim in variable.dims if dim not in axes]
    if strange:
        raise ValueError(
            f"{name} has the dimension {strange[0]!r}, expected {', '.join(known.dims)}"
            " of one site; at picks one of many, forcings_from_dataset reads all"
        )
    if _POOL in known.dims:
        variable = _in_order(name, variable)
    sizes = {"layer": column.layers, "month": MONTHS, _POOL: len(LITTER), **around}
    sizes |= {str(dim): size for dim, size in variable.sizes.items()}
    # Axes by name, those that are lacking with as many equal entries as it takes.
    wide = variable.variable.set_dims({dim: sizes[dim] for dim in axes})
    values = factor * np.asarray(wide, dtype=float) + offset
    return values.reshape(-1, *values.shape[len(around) :]) if around else values


def factor_of(name: str, variable: Any, known: _Units) -> tuple[float, float]:
    """Factor and offset from the units of a variable to the first of those known.

    **Raises:** `ValueError` for units that are not known, or missing where there are
    any.
    """
    unit = variable.attrs.get("units", "1" if next(iter(known)) == "1" else None)
    spaceless = {u.replace(" ", ""): factor for u, factor in known.items()}
    found = spaceless.get(str(unit).replace(" ", ""))
    if found is None:
        said = "no units" if unit is None else f"unknown units {unit!r}"
        # Of units that can be written in two ways, those with spaces.
        some = ", ".join(repr(unit) for unit in known if unit and "/" not in unit)
        raise ValueError(f"{name} has {said}, expected one of {some}")
    return found


def _in_order(name, variable):
    """The four inputs as they are named, else as they come."""
    if _POOL not in variable.dims:
        raise ValueError(f"{name} needs the dimension {_POOL}: {', '.join(LITTER)}")
    if _POOL not in variable.coords or variable[_POOL].dtype.kind not in "UOST":
        return variable
    names = [str(value) for value in variable[_POOL].values]
    if sorted(names) != sorted(LITTER):
        raise ValueError(
            f"{name} has the pools {', '.join(names)}, expected {', '.join(LITTER)}"
        )
    return variable.sel({_POOL: list(LITTER)})
