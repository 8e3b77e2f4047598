"""A user's own fields, from .npz, .npy, .nc, .mat or a folder of them."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.units import conversion_factor
from jaxsoc.upscale.supplied import Supplied

from .reading import (
    are_numbers,
    check_size,
    lacking,
    netcdf,
    read_matlab,
    read_numpy,
    reading,
)

PUBLISHED_UNIT = "fgC/cell"


def _declared(kinetics):
    """What is declared of the constants of a law, by name."""
    return {d.name: d for d in declarations(KINETICS[kinetics].constants)}


# Names of constants in the published archives; `{kinetics}_{constant}` works as well.
_SHORT_LAWS = {
    "linear": "lin",
    "multiplicative": "mult",
    "michaelis_menten": "mm",
    "inverse_michaelis_menten": "inverse_mm",
}
_SHORT_CONSTANTS = {"rate": "k", "half_saturation": "km"}
_CONSTANT_NAMES = {
    name: (kinetics, constant)
    for kinetics in KINETICS
    for constant in _declared(kinetics)
    for name in (
        f"{_SHORT_CONSTANTS.get(constant, constant)}"
        f"_{_SHORT_LAWS.get(kinetics, kinetics)}",
        f"{kinetics}_{constant}",
    )
}


def load_fields(
    path: Path | str,
    *,
    units: str | None = None,
    parameter_spread: str = "case1",
    grid: CellGrid = CellGrid(),
) -> Supplied:
    """Initial fields, and fields of kinetic constants where there are any.

    Arrays are found by name: `biomass`; `substrate`, or `substrate_NAME` once per
    correlation; constants as `k_mult`, `k_mm`, `km_mm`, `k_inverse_mm`,
    `km_inverse_mm`, `k_lin`, `k_eca`, `km_eca`, or `KINETICS_CONSTANT`, with `_case1`
    or `_case2` behind where there are two spreads. A .npy file holds two fields,
    substrate then biomass; a folder holds one file per array. Arrays with named
    dimensions (netCDF) are brought to the order of the biomass.

    **Arguments:** `units`: of carbon, "fgC/cell" or "mgC/g"; by default what the
    `units` attributes say (netCDF), else fgC/cell, as published. Rates are per hour
    and, for multiplicative kinetics, per this unit, unless they say otherwise.
    `parameter_spread`: which of two to take; `grid`: whose cells give fgC per cell a
    meaning.

    **Raises:** `ValueError` for a file that is missing or of an unknown kind, a missing
    field or two for one, dimensions that differ, unknown units, and as `Supplied`.
    """
    path = Path(path)
    known = _by_meaning(path, _read(path), parameter_spread)

    # What is said of the pools holds for constants that say nothing themselves.
    unit_of = lambda field: str(field.attrs.get("units", ""))
    pools = [unit_of(field) for (kind, _), field in known.items() if kind in _POOLS]
    said = units or next(filter(None, pools), None)
    factor = partial(conversion_factor, fgc_per_mgc_per_g=grid.fgc_per_mgc_per_g)
    carbon = factor(said or PUBLISHED_UNIT, "mgC/g")
    defaults = {"mgC/g": carbon, "1/h": 1.0, "1/h/(mgC/g)": 1.0 / carbon}

    def converted(field, inside):
        values = np.ascontiguousarray(field.values, np.float64)
        overruled = units and inside == "mgC/g"
        if unit_of(field) and not overruled:
            return factor(unit_of(field), inside) * values
        return defaults[inside] * values

    substrate: dict[str, Any] = {}
    constants: dict[str, dict[str, Any]] = {}
    for (kind, name), field in known.items():
        if kind == "substrate":
            substrate[name] = converted(field, "mgC/g")
        elif kind != "biomass":
            values = converted(field, _declared(kind)[name].unit)
            constants.setdefault(kind, {})[name] = values
    biomass = converted(known["biomass", ""], "mgC/g")
    supplied = Supplied(biomass, substrate, constants)
    if said is None:
        _doubt_the_assumed_unit(supplied)
    return supplied


# Mean substrate (mgC/g) outside of which fields without a unit are hardly in fgC/cell.
_PLAUSIBLE = (0.01, 1000.0)


def _doubt_the_assumed_unit(supplied):
    mean = max(float(field.mean()) for field in supplied.substrate.values())
    if mean and not _PLAUSIBLE[0] <= mean <= _PLAUSIBLE[1]:
        warnings.warn(
            f"no units are given, so that fields are read as {PUBLISHED_UNIT}; this "
            f"makes a mean substrate of {mean:.2g} mgC/g. Is it units mgC/g?",
            stacklevel=3,
        )


_POOLS = ("biomass", "substrate")


def _by_meaning(path, raw, spread):
    """Fields by what they are, (pool or kinetics, correlation or constant), aligned."""
    known: dict[tuple[str, str], xr.DataArray] = {}
    unused = []
    for field in raw:
        name = _strip_spread(field.name, spread)
        if name is None:
            continue
        meaning = _meaning(name)
        if meaning is None:
            unused.append(field.name)
        elif meaning in known:
            raise ValueError(
                f"{path.name} has two arrays for the {' '.join(meaning).strip()} "
                f"field, {known[meaning].name!r} and {field.name!r}: expected one"
            )
        else:
            known[meaning] = field
    for wanted in _POOLS:
        if not any(kind == wanted for kind, _ in known):
            held = lacking(wanted, [field.name for field in raw])
            raise ValueError(f"no {wanted} field in {path.name}: {held}")
    if unused:
        warnings.warn(
            f"not used from {path.name}: {', '.join(sorted(unused))}", stacklevel=3
        )
    like = known["biomass", ""]
    return {meaning: _aligned(path, field, like) for meaning, field in known.items()}


def _meaning(name):
    if name == "biomass":
        return "biomass", ""
    if name.startswith("substrate"):
        return "substrate", name.removeprefix("substrate").lstrip("_") or "given"
    return _CONSTANT_NAMES.get(name)


def _aligned(path, field, like):
    """The field with its dimensions in the order of another one."""
    if sorted(field.dims) != sorted(like.dims):
        names = lambda one: f"({', '.join(one.dims)})"
        raise ValueError(
            f"fields in {path.name} must have one set of dimensions: {field.name!r} "
            f"has {names(field)}, {like.name!r} has {names(like)}"
        )
    return field.transpose(*like.dims)


def _strip_spread(name, spread):
    """Name without its spread; None for the other spread's field."""
    for suffix in ("_case1", "_case2"):
        if name.endswith(suffix):
            return name.removesuffix(suffix) if suffix == f"_{spread}" else None
    return name


def _read(path: Path) -> list[xr.DataArray]:
    """Arrays of numbers, with their names, and units and dimensions where given."""
    if path.is_dir():
        fields: list[xr.DataArray] = []
        for file in sorted(path.iterdir()):
            if file.suffix in (".npy", ".mat"):
                inner = _read_file(file)
                single = len(inner) == 1
                fields += [inner[0].rename(file.stem)] if single else inner
        if not fields:
            raise ValueError(f"no .npy or .mat file in the folder {str(path)!r}")
        return fields
    fields = _read_file(path)
    if path.suffix != ".npy":
        return fields
    shape = fields[0].shape if fields else (0,)
    if len(shape) < 2 or shape[0] != 2:
        raise ValueError(
            f"{path.name} must hold two fields, substrate then biomass, got shape "
            f"{shape}"
        )
    return [field.rename(n) for field, n in zip(fields[0], _POOLS[::-1], strict=True)]


def _read_file(path: Path) -> list[xr.DataArray]:
    readers = {".npz": read_numpy, ".npy": read_numpy, ".nc": _netcdf}
    readers |= {".mat": read_matlab}
    if path.exists() and path.suffix not in readers:
        raise ValueError(
            f"cannot read fields from {path.name!r}: expected one of "
            f"{', '.join(readers)} or a folder"
        )
    with reading(path):
        found = readers[path.suffix](path)
        held = [xr.DataArray(array, name=name) for name, array in found.items()]
        fields = [field for field in held if are_numbers(field)]
        if held and not fields:
            said = ", ".join(f"{one.name} of {_kind(one)}" for one in held)
            raise ValueError(f"it holds {said}, expected real numbers")
        return fields


def _kind(array):
    return "text" if array.dtype.kind in "SU" else array.dtype


def _netcdf(path):
    with netcdf(path) as dataset:
        plain = dataset.drop_vars(list(dataset.coords)).data_vars.items()
        found = {str(name): one for name, one in plain if are_numbers(one)}
        check_size(one.shape for one in found.values())
        return {name: one.load() for name, one in found.items()}
