"""A measured respiration series, and which series of a collection are fitted."""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import numpy as np

from jaxsoc.physics.units import respiration_unit

# Fewest points of a series, and its quantities by the name in the model.
FEWEST_POINTS = 3
MEASURED = ("respiration", "co2", "mean_rate")


def _numbers(values: Any) -> Any:
    return None if values is None else np.asarray(values, dtype=float)


class Respiration(eqx.Module):
    """CO2 carbon respired by a soil without input, in mgC per g soil and hours.

    **Arguments:** `times`: h since the start; `values`: by time; `quantity`:
    "respiration", the rate at that moment (mgC/g/h), "mean_rate", the mean rate since
    the point before (mgC/g/h), or "co2", respired since the start (mgC/g);
    `deviation`: standard deviation of each value, where known; `soil_carbon`: mgC/g,
    where known; `name`; `study`: where it comes from; `unit`: as recorded.

    **Raises:** `ValueError` for times that do not increase, NaN, fewer than three
    points, a negative cumulative value, or lengths that differ.
    """

    times: np.ndarray = eqx.field(converter=_numbers)
    values: np.ndarray = eqx.field(converter=_numbers)
    quantity: str = "respiration"
    deviation: np.ndarray | None = eqx.field(default=None, converter=_numbers)
    soil_carbon: float | None = None
    name: str = "series"
    study: str = ""
    unit: str = ""

    def __check_init__(self):
        said = f"{self.name}: "
        if self.quantity not in MEASURED:
            raise ValueError(
                f"{said}unknown quantity {self.quantity!r}: expected one of "
                f"{', '.join(MEASURED)}"
            )
        if self.times.ndim != 1 or self.values.shape != self.times.shape:
            raise ValueError(
                f"{said}one value per time is needed, got {self.times.shape} times and "
                f"{self.values.shape} values"
            )
        if self.times.size < FEWEST_POINTS:
            raise ValueError(
                f"{said}at least {FEWEST_POINTS} points are needed, got "
                f"{self.times.size}"
            )
        _check_finite(said, self.times, self.values)
        _check_order(said, self.times)
        if self.quantity == "co2":
            _check_not_negative(said + "cumulative CO2", self.values)
        if self.deviation is not None:
            _check_deviation(said, self.deviation, self.times.shape)
        if self.soil_carbon is not None and not self.soil_carbon > 0:
            raise ValueError(
                f"{said}soil carbon must be positive, got {self.soil_carbon:g} mgC/g"
            )

    @property
    def respired(self) -> float:
        """Carbon respired until the last point, mgC/g, the first rate from t = 0."""
        if self.quantity == "co2":
            return float(self.values[-1])
        times = np.concatenate([[0.0], self.times])
        rates = np.concatenate([self.values[:1], self.values])
        if self.quantity == "mean_rate":
            return float(np.sum(np.diff(times) * self.values))
        return float(np.trapezoid(rates, times))


def _check_deviation(said, deviation, shape):
    if deviation.shape != shape or not (deviation > 0).all():
        raise ValueError(f"{said}one positive standard deviation per point is needed")


def _check_finite(said, times, values):
    for what, numbers in (("time", times), ("value", values)):
        bad = ~np.isfinite(numbers)
        if bad.any():
            first = int(np.argmax(bad))
            raise ValueError(f"{said}{what} is {numbers[first]} at position {first}")


def _check_order(said, times):
    if times[0] < 0:
        raise ValueError(f"{said}times must not be negative, got {times[0]:g} h")
    steps = np.diff(times)
    if not (steps > 0).all():
        where = int(np.argmax(steps <= 0)) + 1
        raise ValueError(
            f"{said}times must increase, got {times[where - 1]:g} h followed by "
            f"{times[where]:g} h at position {where}"
        )


def _check_not_negative(what, values):
    if (values < 0).any():
        first = int(np.argmax(values < 0))
        raise ValueError(
            f"{what} must not be negative, got {values[first]:g} mgC/g at position "
            f"{first}"
        )


def standard_choice(
    series: Iterable[Respiration],
    *,
    per_study: int = 3,
    fewest: int = 8,
    most: int | None = None,
) -> list[Respiration]:
    """The series of a collection that are fitted, by a rule that sees no outcome.

    In the order given: the first `per_study` of each study with at least `fewest`
    points that are counted per gram of soil, until there are `most`. Of the part of the
    Soil Incubation Database for developers these are thirty: three of each of ten
    studies.
    """
    taken: dict[str, int] = {}
    chosen = []
    for one in series:
        if one.unit and respiration_unit(one.unit).per_carbon:
            continue
        if one.times.size < fewest or taken.get(one.study, 0) >= per_study:
            continue
        taken[one.study] = taken.get(one.study, 0) + 1
        chosen.append(one)
    return chosen[:most]
