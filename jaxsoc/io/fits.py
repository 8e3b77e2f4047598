"""Fits as an xarray dataset with units and provenance."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxsoc.fitting import Fit
from jaxsoc.physics.units import HOURS_PER_DAY
from jaxsoc.tables import blank

from .labels import dataset, provenance

_CARBON, _FLUX = "mgC g-1", "mgC g-1 h-1"
_UNITS = {
    "substrate": _CARBON,
    "biomass": _CARBON,
    "co2": _CARBON,
    "respiration": _FLUX,
    "mean_rate": _FLUX,
}

_CASE, _POINT = ("series", "kinetics"), ("series", "point")
_BY_CONSTANT = (*_CASE, "constant")
_AS_QUANTITY = "see units_of_quantities and quantity"

# name -> (dimensions, unit, long name)
_VARIABLES = {
    "time": (_POINT, "d", "time since the start in days"),
    "observed": (_POINT, _AS_QUANTITY, ""),
    "predicted": ((*_CASE, "point"), _AS_QUANTITY, ""),
    "value": (_BY_CONSTANT, "see unit", ""),
    "standard_error": (_BY_CONSTANT, "see unit", ""),
    "relative_error": (_BY_CONSTANT, "1", ""),
    "unit": (_BY_CONSTANT, None, ""),
    "rmse": (_CASE, _AS_QUANTITY, ""),
    "r_squared": (_CASE, "1", ""),
    "steps": (_CASE, "1", "of the optimiser"),
    "starts_converged": (_CASE, "1", ""),
    "outcome": (_CASE, None, ""),
    "reason": (_CASE, None, ""),
    "quantity": (("series",), None, "what was fitted"),
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
    sizes = {
        "series": len(series),
        "kinetics": len(kinetics),
        "constant": len(constants),
        "point": max(one.times.size for one in fitted),
    }
    arrays = blank(sizes, _VARIABLES)
    for one in fitted:
        _fill(arrays, one, series.index(one.series), kinetics, constants)
    for row, name in enumerate(series):
        count = first[name].times.size
        arrays["time"][1][row, :count] = first[name].times / HOURS_PER_DAY
        arrays["observed"][1][row, :count] = first[name].fit.data
        arrays["quantity"][1][row] = first[name].quantity
    known = provenance(
        "Constants of decomposition fitted to series", units_of_quantities=_UNITS
    )
    coordinates = {"series": series, "kinetics": kinetics, "constant": constants}
    return dataset(arrays, coordinates, known, attributes)


def _fill(arrays, one, row, kinetics, constants):
    where = row, kinetics.index(one.kinetics)
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
