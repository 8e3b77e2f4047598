"""Predictions of closures as an xarray dataset with units and provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Design, Forecast
from jaxsoc.physics.units import HOURS_PER_DAY
from jaxsoc.upscale import Examples

from .results import plain, provenance

_FLUX = "mgC g-1 h-1"


def closure_dataset(
    design: Design,
    cores: Examples,
    forecasts: Sequence[Forecast],
    *,
    names: Sequence[int | str] | None = None,
    null: Forecast | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Predicted respiration as a dataset over closure, core and time.

    Time in days, respiration in mgC per g soil and hour. A prediction is NaN from the
    time at which its run left what a soil can be, and so is its error.

    **Arguments:** `design`: what cores were drawn from; `cores`: with `distributed`
    respiration, NaN where not known; `forecasts`: of these cores; `names`: of the
    cores, their numbers by default; `null`: what the training cores do on average;
    `attributes`: more provenance; what is not text or a number is stored as JSON.
    """
    by_core = ("closure", "core")
    stack = lambda name: np.stack([np.asarray(getattr(f, name)) for f in forecasts])
    finite = lambda x: np.where(np.isfinite(x), x, np.nan)
    off = {"units": "1", "long_name": "RMSE of respiration over its largest value"}
    numbers = [np.nan if f.numbers is None else f.numbers for f in forecasts]
    variables: dict[str, Any] = {
        "respiration": (
            (*by_core, "time"),
            stack("respiration"),
            {"units": _FLUX, "long_name": "mean respiration rate as predicted"},
        ),
        "distributed": (
            ("core", "time"),
            np.asarray(cores.respiration),
            {"units": _FLUX, "long_name": "mean respiration rate of all cells"},
        ),
        "error": (by_core, finite(stack("error")), off),
        "left": (
            by_core,
            finite(stack("left")) / HOURS_PER_DAY,
            {"units": "d", "long_name": "when a run left what a soil can be, if ever"},
        ),
        "states": (
            "closure",
            [f.states for f in forecasts],
            {"units": "1", "long_name": "number of state variables"},
        ),
        "numbers_read": (
            "closure",
            np.asarray(numbers, float),
            {"units": "1", "long_name": "numbers read of a field, NaN for all of it"},
        ),
        "track": (
            "closure",
            [f.track for f in forecasts],
            {"long_name": "what is read of the initial field"},
        ),
        "reason": (
            "closure",
            [f.reason for f in forecasts],
            {"long_name": "how the first run left what a soil can be"},
        ),
    }
    if null is not None:
        variables["null"] = (
            "time",
            null.respiration[0],
            {"units": _FLUX, "long_name": "mean respiration rate of training cores"},
        )
        variables["null_error"] = ("core", null.error, off)
    coordinates = {
        "closure": [f.name for f in forecasts],
        "core": np.arange(cores.cores) if names is None else list(names),
        "time": (
            "time",
            np.asarray(cores.times) / HOURS_PER_DAY,
            {"units": "d", "long_name": "time since the start in days"},
        ),
    }
    known = provenance(design) | {
        "title": "Respiration of soil cores as macro-scale closures predict it",
        "kinetics": ", ".join(design.kinetics),
        "heterogeneity": ", ".join(design.heterogeneity),
        "correlation": ", ".join(design.correlation or ()),
    }
    known |= dict(attributes or {})
    return xr.Dataset(variables, coordinates, {k: plain(v) for k, v in known.items()})
