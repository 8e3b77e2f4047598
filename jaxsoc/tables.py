"""Named arrays with units: what experiments and fits return, and files hold."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxsoc.physics.units import HOURS_PER_DAY

Dims = str | tuple[str, ...]
Variable = tuple[Dims, np.ndarray, dict[str, Any]]
"""Names of dimensions, values, attributes (`units`, `long_name`)."""


class Table(NamedTuple):
    """Variables by name over shared coordinates, and where they come from.

    `variables`: name -> `(dims, values, attributes)`, see `variable`; `coordinates`:
    name -> labels along the dimension of that name, or such a variable; `about`: title,
    source, seed and whatever else tells how they were made.
    """

    variables: dict[str, Variable]
    coordinates: dict[str, Any]
    about: dict[str, Any]

    def values(self, name: str) -> np.ndarray:
        """The array of a variable or a coordinate.

        **Raises:** `KeyError` that lists what there is.
        """
        known = {**self.coordinates, **self.variables}
        if name not in known:
            raise KeyError(f"no variable {name!r}: there are {', '.join(known)}")
        found = known[name]
        return np.asarray(found[1] if isinstance(found, tuple) else found)


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
    named: Mapping[str, tuple[tuple[str, ...], str | None, str]],
) -> dict[str, Variable]:
    """Variables to be filled, of NaN, or of empty text where there is no unit.

    **Arguments:** `sizes`: by dimension; `named`: dimensions, unit and long name.
    """
    found = {}
    for name, (dims, unit, long_name) in named.items():
        shape = [sizes[dim] for dim in dims]
        values = np.full(shape, "", object) if unit is None else np.full(shape, np.nan)
        found[name] = dims, values, about(unit, long_name)
    return found


def time_axis(hours: Any) -> Variable:
    """Times (h) as a coordinate in days."""
    # "d", because tools turn "days" into time differences when they read it.
    days = np.asarray(hours) / HOURS_PER_DAY
    return variable("time", days, "d", "time since the start in days")
