"""What drives a column, from and to xarray and netCDF; units are checked here."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import LITTER, MONTHS, Forcing
from jaxsoc.physics.units import DAYS_PER_YEAR
from jaxsoc.tables import variable

from . import cesm
from .columns import depth_coordinates
from .reading import are_numbers, lacking, netcdf, reading

_SECONDS_PER_DAY = 86400.0

# unit -> (factor, offset) to the unit used inside, which comes first.
_Units = Mapping[str, tuple[float, float]]
_SAME = (1.0, 0.0)
_CELSIUS = "degC", "°C", "C", "celsius", "Celsius", "degree_Celsius", "degrees_Celsius"
_NUMBER: _Units = dict.fromkeys(("1", "", "unitless", "proportion"), _SAME)
_SHARE: _Units = {**_NUMBER, **dict.fromkeys(("%", "percent"), (0.01, 0.0))}
_SAND: _Units = dict.fromkeys(("%", "percent"), _SAME) | {"1": (100.0, 0.0)}
_DEPTH: _Units = dict.fromkeys(("m", "meter", "metre"), _SAME) | {"cm": (0.01, 0.0)}
_TEMPERATURE: dict[str, tuple[float, float]] = dict.fromkeys(
    ("K", "kelvin", "Kelvin"), _SAME
)
_TEMPERATURE |= dict.fromkeys(_CELSIUS, (1.0, 273.15))
_TIMES = {
    **dict.fromkeys(("month", "months", "mon"), 1.0),
    **dict.fromkeys(("yr", "year", "a"), 1.0 / MONTHS),
    **dict.fromkeys(("d", "day"), DAYS_PER_YEAR / MONTHS),
    "s": _SECONDS_PER_DAY * DAYS_PER_YEAR / MONTHS,
}


def _fluxes(space: str) -> _Units:
    """Units of litter, to gC per area or volume and month."""
    power = space.replace("m-", "m^")
    return {
        unit: (grams * months, 0.0)
        for mass, grams in (("gC", 1.0), ("kgC", 1e3))
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
    "sand": _Variable(("layer",), _SAND, "sand"),
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


def forcing_from_dataset(
    dataset: xr.Dataset,
    *,
    column: SoilColumn | None = None,
    name: str = "dataset",
    at: tuple[float, float] | None = None,
) -> Forcing:
    """Forcing of one site from a dataset, checked, units converted.

    Needed: `temperature`, `water`, and `litter` or `litter_by_layer`; the others of
    `VARIABLES` where there are any, each by this name or as CESM calls it, see
    `io.cesm.NAMES`. Dimensions are found by name; along one that a
    variable lacks, it is the same everywhere. The coordinate `litter_pool`, where it
    names the four inputs, puts them in order; else they come as in `LITTER`.

    **Arguments:** `column`: layers, by default those of `depth_bounds`, else CLM5's;
    `name`: what errors call the dataset; `at`: latitude and longitude, degrees, of the
    site in a dataset of CESM with many, which the nearest cell stands for.
    **Raises:** `ValueError` that names the variable, what was received and expected.
    """
    try:
        return _forcing(dataset, column, at)
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
    return xr.Dataset(variables, coordinates)


def _forcing(dataset, column, at):
    column = _column(dataset) if column is None else column
    dataset = cesm.by_our_names(dataset, column, at)
    present = [name for name in VARIABLES if name in dataset]
    found = {name: _read(dataset, name, column) for name in present}
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
    profile = found.pop("litter_profile", None)
    if by_layer:
        return Forcing.from_layers(**found, column=column)
    return Forcing(**found, profile=profile, column=column)


def _column(dataset):
    if "depth_bounds" not in dataset:
        return CLM5_COLUMN
    bounds = dataset["depth_bounds"]
    if bounds.ndim != 2 or bounds.shape[1] != 2:
        raise ValueError(
            f"depth_bounds must be layers x 2 ends, got shape {bounds.shape}"
        )
    ends = np.asarray(bounds, float)
    # By the conventions of netCDF, bounds are in the units of what they bound.
    said = bounds if "units" in bounds.attrs else dataset.get("depth", bounds)
    factor, _ = _factor("depth_bounds", said, _DEPTH)
    if ends[0, 0] != 0 or not np.array_equal(ends[1:, 0], ends[:-1, 1]):
        raise ValueError(
            "depth_bounds must begin at 0, each layer where the one above it ends"
        )
    below = None
    if "level_below" in dataset:
        given = dataset["level_below"]
        below = float(_factor("level_below", given, _DEPTH)[0] * given)
    return SoilColumn(tuple(factor * ends[:, 1]), below=below)


def _read(dataset, name, column):
    variable, known = dataset[name], VARIABLES[name]
    if not are_numbers(variable):
        raise ValueError(f"{name} must be numbers, got {variable.dtype}")
    factor, offset = _factor(name, variable, known.units)
    strange = [str(dim) for dim in variable.dims if dim not in known.dims]
    if strange:
        raise ValueError(
            f"{name} has the dimension {strange[0]!r}, expected {', '.join(known.dims)}"
            " of one site; at picks one of many that CESM has"
        )
    if _POOL in known.dims:
        variable = _in_order(name, variable)
    sizes = {"layer": column.layers, "month": MONTHS, _POOL: len(LITTER)}
    sizes |= {str(dim): size for dim, size in variable.sizes.items()}
    # Axes by name, those that are lacking with as many equal entries as it takes.
    wide = variable.variable.set_dims({dim: sizes[dim] for dim in known.dims})
    return factor * np.asarray(wide, dtype=float) + offset


def _factor(name, variable, known):
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
