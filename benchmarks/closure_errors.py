"""Errors of closures on the cores of a case."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.upscale import Examples, errors, predict, state_count

from .closure_cases import EVERY, SHIFTS, Case, Drawn

STEPS = 3
"""Equal steps of a closure between two times."""


def respiration_of(every: float, steps: int) -> Any:
    """Predictor `(closure, state, params) -> respiration` every so many hours."""
    times = np.arange(0.0, 4800.0 + 0.5 * every, every)

    def one(made, state, params):
        found = predict(made, state, params, times, steps=steps, throw=False)
        rate = found.fluxes.respiration
        # What came after a run left the possible is no prediction.
        return jnp.where(jnp.isfinite(found.left), jnp.inf, rate)

    return one


_SCORE = eqx.filter_jit(jax.vmap(respiration_of(EVERY, STEPS), (None, 0, 0)))


def judge(made: Any, cores: Examples) -> np.ndarray:
    """Error of each core, infinite where the closure left what a soil can be."""
    found = np.asarray(_SCORE(made, cores.state, cores.params))
    off = np.asarray(errors(found, cores.respiration))
    return np.where(np.isfinite(off), off, np.inf)


class Result(NamedTuple):
    """Errors by closure and core: on unseen cores and, by shift, on shifted ones.

    `states`: by closure; `training`: median error by fitted closure.
    """

    unseen: dict[str, np.ndarray]
    shifted: dict[str, dict[str, np.ndarray]]
    states: dict[str, int]
    training: dict[str, float]


def evaluate(
    case: Case, drawn: Drawn, kept: dict[str, Any], made: dict[str, Any]
) -> Result:
    """Errors of closures on unseen cores of a case, and on shifted ones.

    **Arguments:** `kept`: what is stored of the case; `made`: closures by name.
    """
    unseen = drawn.run(case)
    null = np.asarray(kept["mean_respiration"])[None]
    found = {
        "null": np.asarray(errors(null, unseen.respiration)),
        **{name: judge(one, unseen) for name, one in made.items()},
    }
    moved = {}
    for label, shift in SHIFTS.items() if drawn.dead else ():
        shifted = drawn.run(case, shift)
        moved[label] = {name: judge(one, shifted) for name, one in made.items()}
    training = {n: f["training_error"] for n, f in kept["fits"].items()}
    return Result(
        found, moved, {n: _count(one, unseen) for n, one in made.items()}, training
    )


def _count(made, cores):
    one = jax.tree.map(lambda x: x[0], (cores.state, cores.params))
    core, _ = jax.eval_shape(made.initial, *one)
    return state_count(core)
