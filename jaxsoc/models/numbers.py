"""One line per number of a column model, with its published prior and component."""

from typing import Any

from jaxtyping import Float

from jaxsoc.physics.parameters import POSITIVE, SHARE, parameter
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
    **others: Any,
) -> Any:
    """A parameter of a column, see `parameter`.

    **Arguments:** `low`, `high`: of its prior; `others`: `bounds`, by default positive
    numbers, and `floor`.
    """
    said = {"component": component, "published": published, "meaning": meaning}
    said |= {"unit": unit, "prior": (low, high), "bounds": POSITIVE} | others
    return parameter(default, **said)


def share(default: float, low: float, high: float, *words: Any) -> Any:
    """A share of carbon, between 0 and 1.

    **Arguments:** `words`: component, published name, meaning, as in `number`.
    """
    return number(default, low, high, "1", *words, bounds=SHARE)
