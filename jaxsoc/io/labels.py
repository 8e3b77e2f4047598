"""What every dataset says of its variables, and of where they come from."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.physics.units import HOURS_PER_DAY

Dims = str | tuple[str, ...]
Variable = tuple[Dims, np.ndarray, dict[str, Any]]


def about(unit: str | None = None, long_name: str = "") -> dict[str, str]:
    """Attributes of a variable; text has no unit."""
    said = {} if unit is None else {"units": unit}
    return said | ({"long_name": long_name} if long_name else {})


def variable(
    dims: Dims, values: Any, unit: str | None = None, long_name: str = ""
) -> Variable:
    """A variable with its attributes."""
    return dims, np.asarray(values), about(unit, long_name)


def blank(
    sizes: Mapping[str, int],
    table: Mapping[str, tuple[tuple[str, ...], str | None, str]],
) -> dict[str, Variable]:
    """Variables to be filled, of NaN, or of empty text where there is no unit.

    **Arguments:** `sizes`: by dimension; `table`: dimensions, unit and long name.
    """
    found = {}
    for name, (dims, unit, long_name) in table.items():
        shape = [sizes[dim] for dim in dims]
        values = np.full(shape, "", object) if unit is None else np.full(shape, np.nan)
        found[name] = dims, values, about(unit, long_name)
    return found


def time_axis(hours: Any) -> Variable:
    """Times (h) as a coordinate in days."""
    # "d", because tools turn "days" into time differences when they read it.
    days = np.asarray(hours) / HOURS_PER_DAY
    return variable("time", days, "d", "time since the start in days")


def dataset(
    variables: Mapping[str, Any],
    coordinates: Mapping[str, Any],
    *attributes: Mapping[str, Any] | None,
) -> xr.Dataset:
    """A dataset; what a file cannot hold as an attribute is stored as JSON.

    **Arguments:** `attributes`: the later ones win.
    """
    known = {k: plain(v) for one in attributes for k, v in (one or {}).items()}
    texts = {
        name: (dims, values.astype(str), said)
        for name, (dims, values, said) in variables.items()
        if values.dtype == object
    }
    return xr.Dataset({**variables, **texts}, coordinates, known)


def provenance(title: str, **more: Any) -> dict[str, Any]:
    """Where results come from: what they are, when and with what they were made."""
    return {
        "title": title,
        "source": f"jaxsoc {version('jaxsoc')}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            name: version(name) for name in ("jaxsoc", "jax", "jaxlib", "diffrax")
        }
        | {"python": platform.python_version()},
        **more,
    }


def plain(value: Any) -> str | int | float:
    """A value that an attribute of a file can hold."""
    return value if isinstance(value, str | int | float) else json.dumps(value)
