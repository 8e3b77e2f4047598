"""One line per number of a column model, with its published prior and component."""

from typing import Any

from jaxtyping import Float

from jaxsoc.physics.parameters import POSITIVE, SHARE, Interval, parameter
from jaxsoc.physics.shapes import Number

Scalar = Float[Number, "..."]


def number(
    default: float,
    low: float,
    high: float,
    unit: str,
    component: str,
    published: str | None,
    meaning: str,
    *,
    bounds: Interval = POSITIVE,
    floor: float | None = None,
) -> Any:
    """A parameter of a column, see `parameter`; `low` and `high`: of its prior."""
    return parameter(
        default,
        bounds=bounds,
        unit=unit,
        meaning=meaning,
        prior=(low, high),
        floor=floor,
        component=component,
        published=published,
    )


def share(
    default: float,
    low: float,
    high: float,
    component: str,
    published: str | None,
    meaning: str,
) -> Any:
    """A share of carbon, between 0 and 1."""
    return number(default, low, high, "1", component, published, meaning, bounds=SHARE)
