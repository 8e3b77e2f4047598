"""Predictions of closures as an xarray dataset with units and provenance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Design, Forecast, design_provenance
from jaxsoc.physics.units import HOURS_PER_DAY
from jaxsoc.tables import Dims, time_axis, variable
from jaxsoc.upscale import Examples

from .labels import dataset, provenance

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
    each = lambda name: [getattr(f, name) for f in forecasts]
    off = ("1", "RMSE of respiration over its largest value")
    numbers = np.asarray([np.nan if n is None else n for n in each("numbers")], float)
    table: dict[str, tuple[Dims, Any, str | None, str]] = {
        "respiration": (
            (*by_core, "time"),
            stack("respiration"),
            _FLUX,
            "mean respiration rate as predicted",
        ),
        "distributed": (
            ("core", "time"),
            cores.respiration,
            _FLUX,
            "mean respiration rate of all cells",
        ),
        "error": (by_core, finite(stack("error")), *off),
        "left": (
            by_core,
            finite(stack("left")) / HOURS_PER_DAY,
            "d",
            "when a run left what a soil can be, if ever",
        ),
        "states": ("closure", each("states"), "1", "number of state variables"),
        "numbers_read": (
            "closure",
            numbers,
            "1",
            "numbers read of a field, NaN for all of it",
        ),
        "track": ("closure", each("track"), None, "what is read of the initial field"),
        "reason": (
            "closure",
            each("reason"),
            None,
            "how the first run left what a soil can be",
        ),
    }
    if null is not None:
        mean = "mean respiration rate of training cores"
        table["null"] = ("time", null.respiration[0], _FLUX, mean)
        table["null_error"] = ("core", null.error, *off)
    coordinates = {
        "closure": each("name"),
        "core": np.arange(cores.cores) if names is None else list(names),
        "time": time_axis(cores.times),
    }
    known = {
        "title": "Respiration of soil cores as macro-scale closures predict it",
        "kinetics": ", ".join(design.kinetics),
        "heterogeneity": ", ".join(design.heterogeneity),
        "correlation": ", ".join(design.correlation or ()),
    }
    variables = {name: variable(*said) for name, said in table.items()}
    said = provenance(**design_provenance(design) | known)
    return dataset(variables, coordinates, said, attributes)
