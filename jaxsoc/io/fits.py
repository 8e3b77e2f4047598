"""Fits as an xarray dataset with units and provenance."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxsoc.fitting import Fit
from jaxsoc.physics.units import HOURS_PER_DAY

_CARBON, _FLUX = "mgC g-1", "mgC g-1 h-1"
_UNITS = {
    "substrate": _CARBON,
    "biomass": _CARBON,
    "co2": _CARBON,
    "respiration": _FLUX,
    "mean_rate": _FLUX,
}


class Fitted(NamedTuple):
    """One fit with what it was fitted to: times in h, data as in `fit`."""

    series: str
    kinetics: str
    quantity: str
    times: np.ndarray
    fit: Fit


def fits_to_dataset(
    fitted: Sequence[Fitted], attributes: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """Fits as a dataset over series, kinetics, constant and point.

    Series of different lengths are filled up with NaN, as is a constant that a kinetics
    does not have. Time in days, carbon in mgC per g soil, rates per hour; the unit of a
    constant by kinetics is in the variable `unit`.

    **Arguments:** `fitted`: every series with every kinetics at most once;
    `attributes`: more provenance; what is not text or a number is stored as JSON.
    """
    first = {one.series: one for one in reversed(fitted)}
    series = list(dict.fromkeys(one.series for one in fitted))
    kinetics = list(dict.fromkeys(one.kinetics for one in fitted))
    constants = list(dict.fromkeys(n for one in fitted for n in one.fit.names))
    points = max(one.times.size for one in fitted)
    arrays = _filled(fitted, series, kinetics, constants, points)
    for row, name in enumerate(series):
        count = first[name].times.size
        arrays["time"][1][row, :count] = first[name].times / HOURS_PER_DAY
        arrays["observed"][1][row, :count] = first[name].fit.data
    quantities = [first[name].quantity for name in series]
    provenance = {
        "title": "Constants of decomposition fitted to series",
        "source": f"jaxsoc {version('jaxsoc')}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("jaxsoc", "jax", "jaxlib")},
        "units_of_quantities": _UNITS,
    } | dict(attributes or {})
    return xr.Dataset(
        arrays | {"quantity": ("series", quantities, {"long_name": "what was fitted"})},
        {"series": series, "kinetics": kinetics, "constant": constants},
        {
            key: value if isinstance(value, str | int | float) else json.dumps(value)
            for key, value in provenance.items()
        },
    )


def _filled(fitted, series, kinetics, constants, points):
    case = ("series", "kinetics")
    shape = (len(series), len(kinetics))
    empty = lambda *more: np.full((*shape, *more), np.nan)
    by_constant, said = (*case, "constant"), {"units": "see unit"}
    as_quantity = {"units": "see units_of_quantities and quantity"}
    arrays: dict[str, Any] = {
        "time": (
            ("series", "point"),
            np.full((len(series), points), np.nan),
            {"units": "d", "long_name": "time since the start in days"},
        ),
        "observed": (
            ("series", "point"),
            np.full((len(series), points), np.nan),
            as_quantity,
        ),
        "predicted": ((*case, "point"), empty(points), as_quantity),
        "value": (by_constant, empty(len(constants)), said),
        "standard_error": (by_constant, empty(len(constants)), said),
        "relative_error": (by_constant, empty(len(constants)), {"units": "1"}),
        "unit": (by_constant, np.full((*shape, len(constants)), "", object), {}),
        "rmse": (case, empty(), as_quantity),
        "r_squared": (case, empty(), {"units": "1"}),
        "steps": (case, empty(), {"units": "1", "long_name": "of the optimiser"}),
        "starts_converged": (case, empty(), {"units": "1"}),
        "outcome": (case, np.full(shape, "", object), {}),
        "reason": (case, np.full(shape, "", object), {}),
    }
    for one in fitted:
        where = series.index(one.series), kinetics.index(one.kinetics)
        fit, columns = one.fit, [constants.index(name) for name in one.fit.names]
        arrays["predicted"][1][(*where, slice(fit.data.size))] = fit.predicted
        for name, values in (
            ("value", fit.values),
            ("standard_error", fit.standard_error),
            ("relative_error", fit.log_error),
            ("unit", fit.units),
        ):
            arrays[name][1][(*where, columns)] = values
        for name, value in (
            ("rmse", fit.rmse),
            ("r_squared", fit.r_squared),
            ("steps", fit.steps),
            ("starts_converged", fit.starts.converged),
            ("outcome", fit.outcome.name.lower()),
            ("reason", fit.reason),
        ):
            arrays[name][1][where] = value
    return {
        name: (dims, values.astype(str) if values.dtype == object else values, attrs)
        for name, (dims, values, attrs) in arrays.items()
    }
