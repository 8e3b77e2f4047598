"""What closures predict of cores, beside what the cores do."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.units import HOURS_PER_DAY
from jaxsoc.solve import require_x64
from jaxsoc.tables import Table, time_axis, variable
from jaxsoc.upscale.catalogue import FittedClosure
from jaxsoc.upscale.macroscale import AbstractMacroModel, state_count
from jaxsoc.upscale.predict import Prediction, complaint, predict
from jaxsoc.upscale.training import Examples, errors

from .design import Design, design_provenance

_FLUX = "mgC g-1 h-1"
_BY_CORE = ("closure", "core")
_ERROR = ("1", "RMSE of respiration over its largest value")
# name -> dimensions, unit, long name
_VARIABLES = {
    "respiration": ((*_BY_CORE, "time"), _FLUX, "mean respiration rate as predicted"),
    "distributed": (("core", "time"), _FLUX, "mean respiration rate of all cells"),
    "error": (_BY_CORE, *_ERROR),
    "left": (_BY_CORE, "d", "when a run left what a soil can be, if ever"),
    "states": ("closure", "1", "number of state variables"),
    "numbers_read": ("closure", "1", "numbers read of a field, NaN for all of it"),
    "track": ("closure", None, "what is read of the initial field"),
    "reason": ("closure", None, "how the first run left what a soil can be"),
    "null": ("time", _FLUX, "mean respiration rate of training cores"),
    "null_error": ("core", *_ERROR),
}


def forecasts(
    design: Design,
    made: Mapping[str, AbstractMacroModel | FittedClosure],
    cores: Examples,
    *,
    names: Sequence[int | str] | None = None,
    training: Examples | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Table:
    """What closures predict of cores; a run that leaves the possible is no error.

    A prediction is NaN from the time at which its run left what a soil can be, and so
    is its error, and an error where no respiration is known. Warns, as
    `OutsideFittedRange`, of the core furthest outside the fitted range.

    **Arguments:** `design`: what the cores were drawn from; `made`: closures, fitted
    or not, by what to call them; `cores`: respiration NaN where not known; `names`: of
    the cores, their numbers by default; `training`: cores whose mean is the `null`
    that every closure should beat; `progress`: called with closures done, closures in
    all, and the next.
    **Returns:** by closure, core and time (days): respiration (mgC/g/h) as predicted
    and, `distributed`, of all cells; error: RMSE over the largest respiration.
    """
    require_x64("a macro-scale prediction")
    rows = []
    for done, (name, one) in enumerate(made.items()):
        progress(done, len(made), f"predicting with {name}")
        rows.append(_forecast(one, cores))
    values = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    values["distributed"] = cores.respiration
    if training is not None:
        values["null"] = np.asarray(training.respiration).mean(axis=0)
        values["null_error"] = errors(values["null"][None], cores.respiration)
    variables = {
        name: variable(dims, values[name], *said)
        for name, (dims, *said) in _VARIABLES.items()
        if name in values
    }
    coordinates = {
        "closure": list(made),
        "core": np.arange(cores.cores) if names is None else list(names),
        "time": time_axis(cores.times),
    }
    title = "Respiration of soil cores as macro-scale closures predict it"
    about = design_provenance(design) | {"title": title}
    about |= {
        name: ", ".join(getattr(design, name) or ())
        for name in ("kinetics", "heterogeneity", "correlation")
    }
    return Table(variables, coordinates, about)


def _forecast(made: Any, cores: Examples) -> dict[str, Any]:
    """Values of `_VARIABLES` of one closure."""
    if isinstance(made, FittedClosure):
        _warn_of_furthest(made, cores)
        made = made.closure
    found = _predicted(made, cores.state, cores.params, jnp.asarray(cores.times))
    left = np.asarray(found.left)
    after = np.asarray(cores.times)[None] >= left[:, None]
    respiration = np.where(after, np.nan, np.asarray(found.fluxes.respiration))
    off = np.asarray(errors(respiration, cores.respiration))
    first = _one((cores.state, cores.params), 0)
    core, given = jax.eval_shape(made.initial, *first)
    read = made.numbers_read(given.quantities.pools)
    return {
        "respiration": respiration,
        "error": _finite(np.where(np.isfinite(left), np.inf, off)),
        "left": _finite(left) / HOURS_PER_DAY,
        "states": state_count(core),
        "numbers_read": np.nan if read is None else float(read),
        "track": "field" if read is None else "statistics",
        "reason": complaint(made, _one(found, int(np.argmin(left)))),
    }


def _finite(values):
    return np.where(np.isfinite(values), values, np.nan)


@eqx.filter_jit
def _predicted(closure, states, params, times) -> Prediction:
    one = lambda s, p: predict(closure, s, p, times, throw=False)
    return jax.vmap(one)(states, params)


def _one(tree, number):
    return jax.tree.map(lambda x: np.asarray(x[number]), tree)


def _warn_of_furthest(fitted, cores):
    far = jax.jit(jax.vmap(fitted.novelty))(cores.state, cores.params)
    worst = np.max([np.asarray(x) for x in far.values()], axis=0)
    fitted.warn_outside(_one(far, int(worst.argmax())))
