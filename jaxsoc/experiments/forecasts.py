"""What closures predict of cores, beside what the cores do."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.solve import require_x64
from jaxsoc.upscale.catalogue import FittedClosure
from jaxsoc.upscale.macroscale import AbstractMacroModel, state_count
from jaxsoc.upscale.predict import complaint, predict_with_realisability
from jaxsoc.upscale.training import Examples, errors


class Forecast(NamedTuple):
    """What one closure predicts of some cores.

    `name`; `numbers`: how many of the initial field it reads, None for the field
    itself; `states`: variables; `respiration`: mgC/g/h, by core and time, NaN from when
    a run left what a soil can be; `left`: that hour by core, infinite if never;
    `error`: RMSE of respiration over its largest value by core, infinite for a run
    that left, NaN where no respiration is known; `reason`: how the first run that left
    did so, or nothing.
    """

    name: str
    numbers: int | None
    states: int
    respiration: np.ndarray
    left: np.ndarray
    error: np.ndarray
    reason: str = ""

    @property
    def track(self) -> str:
        """What is read of the initial field: "field" or "statistics"."""
        return "field" if self.numbers is None else "statistics"


def forecast(
    name: str, closure: AbstractMacroModel | FittedClosure, cores: Examples
) -> Forecast:
    """Predicts cores with a closure; a run that leaves the possible is no error.

    Warns, as `OutsideFittedRange`, of the core furthest outside the fitted range.

    **Arguments:** `name`: to call it by; `closure`: fitted or not; `cores`: respiration
    NaN where not known.
    """
    require_x64("a macro-scale prediction")
    if isinstance(closure, FittedClosure):
        _warn_of_furthest(closure, cores)
        closure = closure.closure
    made: AbstractMacroModel = closure
    found, non_negative = _predicted(
        made, cores.state, cores.params, jnp.asarray(cores.times)
    )
    left = np.asarray(found.left)
    after = np.asarray(cores.times)[None] >= left[:, None]
    respiration = np.where(after, np.nan, np.asarray(found.fluxes.respiration))
    off = np.asarray(errors(respiration, cores.respiration))
    first = _core(cores, 0)
    core, given = jax.eval_shape(made.initial, *first)
    some = np.isfinite(cores.respiration).any(axis=1)
    return Forecast(
        name,
        made.numbers_read(given.quantities.pools),
        state_count(core),
        respiration,
        left,
        np.where(some & np.isfinite(left), np.inf, off),
        complaint(made, *_one((found, non_negative), int(np.argmin(left)))),
    )


def null_forecast(training: Examples, cores: Examples) -> Forecast:
    """Every core as the training cores on average, whatever its field."""
    curve = np.asarray(training.respiration).mean(axis=0)
    respiration = np.broadcast_to(curve, np.shape(cores.respiration))
    off = np.asarray(errors(respiration, cores.respiration))
    return Forecast("null", 0, 0, respiration, np.full(cores.cores, np.inf), off)


@eqx.filter_jit
def _predicted(closure, states, params, times):
    one = lambda s, p: predict_with_realisability(closure, s, p, times)
    return jax.vmap(one)(states, params)


def _core(cores: Examples, number: int) -> tuple[Any, Any]:
    return jax.tree.map(jnp.asarray, _one((cores.state, cores.params), number))


def _one(tree, number):
    return jax.tree.map(lambda x: np.asarray(x[number]), tree)


def _warn_of_furthest(fitted, cores):
    far = jax.jit(jax.vmap(fitted.novelty))(cores.state, cores.params)
    worst = np.max([np.asarray(x) for x in far.values()], axis=0)
    fitted.warn_outside(_one(far, int(worst.argmax())))
