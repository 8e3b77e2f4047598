"""Fits as labelled arrays, by series and kinetics."""

from collections.abc import Mapping

import numpy as np

from jaxsoc.observe import QUANTITIES
from jaxsoc.physics.units import HOURS_PER_DAY
from jaxsoc.tables import Table, blank

from .result import Fit


def quantity_of(fit: Fit) -> str:
    """What the series of a fit holds, one of `QUANTITIES`."""
    return list(QUANTITIES)[int(fit.args.quantity)]


_CASE, _POINT = ("series", "kinetics"), ("series", "point")
_BY_CONSTANT = (*_CASE, "constant")
_AS_QUANTITY = "see units_of_quantities and quantity"

# name -> (dimensions, unit, long name, values of a fit)
_VARIABLES = {
    "time": (
        _POINT,
        "d",
        "time since the start in days",
        lambda fit: np.asarray(fit.args.points)[: fit.data.size] / HOURS_PER_DAY,
    ),
    "observed": (_POINT, _AS_QUANTITY, "", lambda fit: fit.data),
    "predicted": ((*_CASE, "point"), _AS_QUANTITY, "", lambda fit: fit.predicted),
    "value": (_BY_CONSTANT, "see unit", "", lambda fit: fit.values),
    "standard_error": (_BY_CONSTANT, "see unit", "", lambda fit: fit.standard_error),
    "relative_error": (_BY_CONSTANT, "1", "", lambda fit: fit.log_error),
    "unit": (_BY_CONSTANT, None, "", lambda fit: fit.units),
    "rmse": (_CASE, _AS_QUANTITY, "", lambda fit: fit.rmse),
    "r_squared": (_CASE, "1", "", lambda fit: fit.r_squared),
    "steps": (_CASE, "1", "of the optimiser", lambda fit: fit.steps),
    "starts_converged": (_CASE, "1", "", lambda fit: fit.starts.converged),
    "outcome": (_CASE, None, "", lambda fit: fit.outcome.name.lower()),
    "reason": (_CASE, None, "", lambda fit: fit.reason),
    "quantity": (("series",), None, "what was fitted", quantity_of),
}


def fits_table(fits: Mapping[tuple[str, str], Fit]) -> Table:
    """Fits over series, kinetics, constant and point.

    Series of different lengths are filled up with NaN, as is a constant that a kinetics
    does not have. Time in days, carbon in mgC per g soil, rates per hour; the unit of a
    constant by kinetics is in the variable `unit`.

    **Arguments:** `fits`: by name of the series and of the kinetics, of problems whose
    prediction takes `Observed`.
    """
    series, kinetics = (list(dict.fromkeys(names)) for names in zip(*fits, strict=True))
    constants = list(dict.fromkeys(n for fit in fits.values() for n in fit.names))
    labels = {"series": series, "kinetics": kinetics, "constant": constants}
    sizes = {dim: len(names) for dim, names in labels.items()}
    sizes["point"] = max(fit.data.size for fit in fits.values())
    arrays = blank(sizes, {n: said[:3] for n, said in _VARIABLES.items()})
    for (one, law), fit in fits.items():
        places = {
            "series": series.index(one),
            "kinetics": kinetics.index(law),
            "constant": [constants.index(name) for name in fit.names],
            "point": slice(fit.data.size),
        }
        for name, (dims, *_, of) in _VARIABLES.items():
            arrays[name][1][tuple(places[dim] for dim in dims)] = of(fit)
    about = {
        "title": "Constants of decomposition fitted to series",
        "units_of_quantities": dict(QUANTITIES),
    }
    return Table(arrays, labels, about)
