"""What a macro-scale model predicts of a core, and the guard that it stays possible."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import follow, require_x64

from .macroscale import AbstractMacroModel


class RealisabilityError(RuntimeError):
    """A macro-scale run that says what no soil can be."""


class Prediction(NamedTuple):
    """Means over a core, leading by time.

    `times`: h; `pools`: mgC/g; `fluxes`: mgC/g/h; `left`: h at which the run left what
    a soil can be, infinite if it never did; later values are not to be used.
    """

    times: Any
    pools: Any
    fluxes: Any
    left: Any


# Below zero by less than this, relative to the size of it in the run, is rounding.
_ROUNDING = 1e-9
_BETTER = "representative cells, which cannot leave it"


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
    found, margins = predict_with_margins(closure, state, params, times, steps=steps)
    if throw and not isinstance(found.left, Tracer):
        said = complaint(closure, found, margins)
        if said:
            raise RealisabilityError(said)
    return found


def predict_with_margins(
    closure: AbstractMacroModel,
    state: Any,
    params: Any,
    times: Any,
    *,
    steps: int | None = None,
) -> tuple[Prediction, dict[str, Any]]:
    """As `predict`, which never raises, and what must not be negative, by its words."""
    require_x64("a macro-scale prediction")
    core, given = closure.initial(state, params)
    cores, _ = follow(closure, core, given, times, steps=steps)
    times = jnp.asarray(times, jnp.result_type(float))
    fluxes = jax.vmap(lambda t, c: closure.fluxes(t, c, given))(times, cores)
    pools = jax.vmap(lambda c: closure.pools(c, given))(cores)
    margins = jax.vmap(lambda c: closure.margins(c, given))(cores)
    rates = dict(zip(leaves_by_name(fluxes), jax.tree.leaves(fluxes), strict=True))
    # Pools may stay positive while a moment makes their rate negative.
    margins |= {n: x for n, x in rates.items() if n == "respiration"}
    margins |= {"a number": _numbers(cores)}
    bad = {name: _below(x) for name, x in margins.items()}
    any_bad = jnp.any(jnp.stack(list(bad.values())), axis=0)
    first = jnp.argmax(any_bad)
    left = jnp.where(any_bad[first], times[first], jnp.inf)
    return Prediction(times, pools, fluxes, left), margins


def _numbers(cores):
    finite = [
        jnp.all(jnp.isfinite(x.reshape(x.shape[0], -1)), axis=1)
        for x in jax.tree.leaves(cores)
    ]
    return jnp.where(jnp.all(jnp.stack(finite), axis=0), 0.0, -jnp.inf)


def _below(margin):
    size = jnp.max(jnp.where(jnp.isfinite(margin), jnp.abs(margin), 0.0))
    # Not `<`: a margin that is not a number is none.
    return ~(margin >= -_ROUNDING * size)


def complaint(
    closure: AbstractMacroModel, found: Prediction, margins: dict[str, Any]
) -> str:
    """When and how one run left what a soil can be; empty if it never did."""
    if not np.isfinite(found.left):
        return ""
    place = int(np.argmax(np.asarray(found.times) == float(found.left)))
    guilty = [name for name, x in margins.items() if bool(_below(x)[place])]
    what, value = guilty[0], float(np.asarray(margins[guilty[0]])[place])
    known = what != "a number" and np.isfinite(value)
    said = f"{what} is {value:.3g}" if known else "it is not finite"
    return (
        f"{name_of(closure)} leaves what a soil can be on day "
        f"{float(found.left) / 24:.1f}: {said}; try {_instead(closure)}"
    )


def _instead(closure):
    if closure.dead is None:
        return f"the same with dead cells apart (dead='biomass'), or {_BETTER}"
    return _BETTER


def name_of(closure: AbstractMacroModel) -> str:
    """What to call a closure in a sentence."""
    kind = type(closure).__name__
    inner = getattr(closure, "closure", None)
    return f"{kind} ({inner.__name__})" if inner is not None else kind
