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


def mean_rates(series: Respiration) -> Respiration:
    """Cumulative CO2 as mean rates since the point before; rates as they are.

    rᵢ = (Cᵢ - Cᵢ₋₁) / (tᵢ - tᵢ₋₁),  C₀ = 0 at t₀ = 0

    **Raises:** as `Respiration`, if too few points are left.
    """
    if series.quantity != "co2":
        return series
    later = series.times > 0
    start = series.values[~later][-1:] if not later.all() else np.zeros(1)
    times = np.concatenate([[0.0], series.times[later]])
    values = np.concatenate([start, series.values[later]])
    return eqx.tree_at(
        lambda s: (s.times, s.values, s.quantity, s.deviation),
        series,
        (times[1:], np.diff(values) / np.diff(times), "mean_rate", None),
        is_leaf=lambda x: x is None,
    )


def compared(
    series: Respiration, *, independent_errors: bool = False
) -> tuple[Respiration, np.ndarray]:
    """What a fit compares with a model, and the weight of each point.

    Cumulative CO2 is compared by its increments, as mean rates with the length of the
    interval as weight: each value holds the errors of all before it, the increments are
    independent. Var(Cᵢ - Cᵢ₋₁) = Var(Cᵢ) - Var(Cᵢ₋₁) where deviations are known.

    **Arguments:** `independent_errors`: of cumulative values, which are then compared
    as they are.
    **Returns:** the series, and one over the standard deviation of each point, up to a
    common factor.
    **Raises:** `ValueError` for deviations of cumulative CO2 that do not grow, or as
    `mean_rates`.
    """
    known = series.deviation
    if series.quantity != "co2" or independent_errors:
        weights = np.ones_like(series.times) if known is None else 1 / known
        return series, weights
    rates = mean_rates(series)
    intervals = np.diff(rates.times, prepend=0.0)
    if known is None:
        return rates, intervals
    known = np.concatenate([np.zeros(int(series.times[0] > 0)), known])
    if not (np.diff(known) > 0).all():
        where = int(np.argmax(np.diff(known) <= 0))
        raise ValueError(
            f"{series.name}: standard deviations of cumulative CO2 must grow, since "
            f"each value holds the errors before it, got {known[where]:g} followed by "
            f"{known[where + 1]:g} mgC/g; give independent_errors if they do not"
        )
    return rates, intervals / np.sqrt(np.diff(known**2))


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
