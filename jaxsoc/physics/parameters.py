"""One line per parameter: default, bounds, unit, meaning; checked at construction."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jax.core import Tracer


class Interval(NamedTuple):
    """Where a parameter may lie; open ends unless said otherwise."""

    low: float
    high: float
    closed_low: bool = False

    def contains(self, values: np.ndarray) -> np.ndarray:
        """Elementwise membership; NaN is outside every interval."""
        above = values >= self.low if self.closed_low else values > self.low
        return np.asarray(above & (values < self.high))

    def __str__(self) -> str:
        return f"{'[' if self.closed_low else '('}{self.low:g}, {self.high:g})"


POSITIVE = Interval(0.0, np.inf)
NON_NEGATIVE = Interval(0.0, np.inf, closed_low=True)
FRACTION = Interval(0.0, 1.0)


def parameter(default: float, *, bounds: Interval, unit: str, meaning: str) -> Any:
    """Declares a field of a `Parameters` class, once and for all its uses."""
    return eqx.field(
        default=default,
        metadata={"bounds": bounds, "unit": unit, "meaning": meaning},
    )


class AbstractParameters(eqx.Module):
    """Numbers one may fit. A heterogeneous parameter is a leaf with cell axes.

    **Raises:** `ValueError` at construction for a value outside its bounds or not a
    number, naming the parameter, what was received and what was expected.
    """

    def __check_init__(self):
        for field in dataclasses.fields(self):
            if "bounds" in field.metadata:
                _check(field, getattr(self, field.name))


class Declaration(NamedTuple):
    """What `parameter` declared."""

    name: str
    default: float
    bounds: Interval
    unit: str
    meaning: str


def declarations(parameters: type[AbstractParameters]) -> tuple[Declaration, ...]:
    """The parameters that a class declares, in order."""
    return tuple(
        Declaration(field.name, float(_default(field)), **field.metadata)
        for field in dataclasses.fields(parameters)
        if "bounds" in field.metadata
    )


def default(parameters: type[AbstractParameters], name: str) -> float:
    """The default that a class declares for a parameter."""
    return {d.name: d.default for d in declarations(parameters)}[name]


def _default(field: dataclasses.Field) -> Any:
    return field.default


def _check(field: dataclasses.Field, value: Any) -> None:
    if isinstance(value, Tracer):
        return
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        # Transformations rebuild modules with placeholders in place of numbers.
        if isinstance(value, str):
            raise ValueError(f"{field.name} must be a number, got {value!r}") from None
        return
    bounds, unit = field.metadata["bounds"], field.metadata["unit"]
    outside = ~bounds.contains(numbers)
    if outside.any():
        where = f" in {outside.sum()} of {numbers.size} cells" if numbers.ndim else ""
        raise ValueError(
            f"{field.name} ({field.metadata['meaning']}) must lie in {bounds}"
            f"{'' if unit == '1' else ' ' + unit}, got "
            f"{numbers[outside].flat[0]:g}{where}"
        )
