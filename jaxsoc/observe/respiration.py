"""A measured respiration series, and which series of a collection are fitted."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import numpy as np

from jaxsoc.physics.options import check_option
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
    points, a mean rate at time 0, a negative cumulative value, or lengths that differ.
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
        check_option("quantity", self.quantity, MEASURED)
        times, values = self.times, self.values
        deviation, carbon = self.deviation, self.soil_carbon
        refuse = partial(_refuse, self.name)
        refuse(
            times.ndim != 1 or values.shape != times.shape,
            f"one value per time is needed, got {times.shape} times and "
            f"{values.shape} values",
        )
        refuse(
            times.size < FEWEST_POINTS,
            f"at least {FEWEST_POINTS} points are needed, got {times.size}",
        )
        refuse(~np.isfinite(times), "time is {} at position {place}", times)
        refuse(~np.isfinite(values), "value is {} at position {place}", values)
        refuse(times < 0, "times must not be negative, got {:g} h", times)
        refuse(
            np.diff(times, prepend=-np.inf) <= 0,
            "times must increase, got {:g} h followed by {:g} h at position {place}",
            *(np.roll(times, 1), times),
        )
        refuse(
            (times == 0) & (self.quantity == "mean_rate"),
            "a mean rate needs time before it, got {:g} h",
            times,
        )
        refuse(
            (values < 0) & (self.quantity == "co2"),
            "cumulative CO2 must not be negative, got {:g} mgC/g at position {place}",
            values,
        )
        refuse(
            deviation is not None
            and not (deviation.shape == times.shape and (deviation > 0).all()),
            "one positive standard deviation per point is needed",
        )
        refuse(
            carbon is not None and not 0 < carbon < np.inf,
            f"soil carbon must be positive, got {carbon} mgC/g",
        )

    @property
    def respired(self) -> float:
        """Carbon respired until the last point, mgC/g, the first rate from t = 0."""
        if self.quantity == "co2":
            return float(self.values[-1])
        times = np.concatenate([[0.0], self.times])
        if self.quantity == "mean_rate":
            return float(np.sum(np.diff(times) * self.values))
        rates = np.concatenate([self.values[:1], self.values])
        return float(np.trapezoid(rates, times))


def _refuse(name: str, bad: Any, words: str, *arrays: np.ndarray) -> None:
    """Raises with the words, filled with the first place that is bad and what is there.

    **Arguments:** `bad`: one, or by place; `arrays`: whose numbers fill the braces.
    """
    if np.any(bad):
        place = int(np.argmax(bad))
        there = (array[place] for array in arrays)
        raise ValueError(f"{name}: {words.format(*there, place=place)}")


def mean_rates(series: Respiration) -> Respiration:
    """Cumulative CO2 as mean rates since the point before; rates as they are.

    rᵢ = (Cᵢ - Cᵢ₋₁) / (tᵢ - tᵢ₋₁),  C₀ = 0 at t₀ = 0

    **Raises:** as `Respiration`, if too few points are left.
    """
    if series.quantity != "co2":
        return series
    start = np.zeros(int(series.times[0] > 0))  # where it was not measured
    times, values = (np.append(start, x) for x in (series.times, series.values))
    rates = np.diff(values) / np.diff(times)
    return replace(
        series, times=times[1:], values=rates, quantity="mean_rate", deviation=None
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
    known = np.append(np.zeros(int(series.times[0] > 0)), known)
    _refuse(
        series.name,
        np.diff(known) <= 0,
        "standard deviations of cumulative CO2 must grow, since each value holds the "
        "errors before it, got {:g} followed by {:g} mgC/g; give independent_errors if "
        "they do not",
        *(known, known[1:]),
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
