"""What a macro-scale model predicts of a core, and the guard that it stays possible."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxsoc.solve import follow, require_x64

from .macroscale import AbstractMacroModel
from .moment_models import ClosedMoments
from .quantities import named


class RealisabilityError(RuntimeError):
    """A macro-scale run that says what no soil can be."""


class Prediction(NamedTuple):
    """Means over a core, leading by time.

    `times`: h; `pools`: mgC/g; `fluxes`: mgC/g/h; `left`: h at which the run left what
    a soil can be, infinite if it never did; later values are not to be used;
    `non_negative`: by name, what must not be negative for a soil to be possible.
    """

    times: Any
    pools: Any
    fluxes: Any
    left: Any
    non_negative: dict[str, Any]


# Below zero by less than this, relative to the size of it in the run, is rounding.
_ROUNDING = 1e-9
_NUMBER = "a number"


def predict(
    closure: AbstractMacroModel,
    state: Any,
    params: Any,
    times: Any,
    *,
    steps: int | None = None,
    throw: bool = True,
) -> Prediction:
    """Predicts a core from its initial fields with a macro-scale model.

    **Arguments:** `state`, `params`: fields and numbers, as `integrate` takes them;
    `times`: h, increasing; `steps`: equal ones between two times in place of
    error-controlled ones; `throw`: False to find in `left` when a run became
    impossible. Batch it with `vmap`, with `throw=False`.
    **Raises:** `RealisabilityError` for a run that leaves what a soil can be: when, by
    what, and which closure to try; as `closure.initial`.
    """
    require_x64("a macro-scale prediction")
    core, given = closure.initial(state, params)
    cores, _ = follow(closure, core, given, times, steps=steps)
    times = jnp.asarray(times, jnp.result_type(float))
    fluxes = jax.vmap(lambda t, c: closure.fluxes(t, c, given))(times, cores)
    pools = jax.vmap(lambda c: closure.pools(c, given))(cores)
    non_negative = jax.vmap(lambda c: closure.realisability(c, given))(cores)
    # Pools may stay positive while a moment makes their rate negative.
    non_negative |= {n: x for n, x in named(fluxes).items() if n == "respiration"}
    non_negative |= {_NUMBER: _numbers(cores)}
    bad = [_below(x) for x in non_negative.values()]
    any_bad = jnp.any(jnp.stack(bad), axis=0)
    first = jnp.argmax(any_bad)
    left = jnp.where(any_bad[first], times[first], jnp.inf)
    found = Prediction(times, pools, fluxes, left, non_negative)
    if throw and not isinstance(left, Tracer) and jnp.isfinite(left):
        raise RealisabilityError(complaint(closure, found))
    return found


def _numbers(cores):
    finite = jax.vmap(lambda core: jnp.isfinite(ravel_pytree(core)[0]).all())(cores)
    return jnp.where(finite, 0.0, -jnp.inf)


def _below(value):
    size = jnp.max(jnp.where(jnp.isfinite(value), jnp.abs(value), 0.0))
    # Not `<`: a value that is not a number is none.
    return ~(value >= -_ROUNDING * size)


def complaint(closure: AbstractMacroModel, found: Prediction) -> str:
    """When and how one run left what a soil can be; empty if it never did."""
    if not np.isfinite(found.left):
        return ""
    place = int(np.argmax(np.asarray(found.times) == float(found.left)))
    series = {name: x for name, x in found.non_negative.items() if _below(x)[place]}
    what, value = next((name, float(x[place])) for name, x in series.items())
    known = what != _NUMBER and np.isfinite(value)
    said = f"{what} is {value:.3g}" if known else "it is not finite"
    apart = (
        "" if closure.dead else "the same with dead cells apart (dead='biomass'), or "
    )
    name = type(closure).__name__
    if isinstance(closure, ClosedMoments):
        name += f" ({getattr(closure.closure, '__name__', closure.closure)})"
    return (
        f"{name} leaves what a soil can be on day {found.left / 24:.1f}: {said}; "
        f"try {apart}representative cells, which cannot leave it"
    )
