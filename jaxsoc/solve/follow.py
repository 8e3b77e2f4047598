"""Runs of small systems of any shape, such as macro-scale models."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from .loops import equal_steps, march
from .methods import Adaptive
from .runs import controlled
from .steppers import rk4


def follow(
    tendency: Callable,
    state: Any,
    params: Any,
    times: Any,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    steps: int | None = None,
) -> tuple[Any, Any]:
    """The state at every time, and whether the run got there.

    **Arguments:** `tendency`: `(t, state, params) -> d(state)/dt`, any pytree;
    `times`: increasing, the state is that at the first; `rtol`, `atol`, `max_steps`:
    of error-controlled steps; `steps`: that many equal ones between two times in their
    place, for batches and gradients. Batch it with `vmap`.
    **Returns:** states leading by time, infinite after a run that left the finite
    numbers; whether all are finite.
    **Raises:** `ValueError` for fewer than one step.
    """
    times = jnp.asarray(times, jax.tree.leaves(state)[0].dtype)
    if steps is None:
        method = Adaptive(rtol=rtol, atol=atol, max_steps=max_steps)
        at_times = diffrax.SaveAt(ts=times)
        states = controlled(method, tendency, state, params, times, at_times).ys
    elif steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    else:
        advance = equal_steps(rk4(tendency), steps, steps)
        later, _ = march(advance, lambda t, state: state, state, params, times)
        first = jax.tree.map(lambda x: x[None], state)
        states = jax.tree.map(lambda *both: jnp.concatenate(both), first, later)
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(states)]
    return states, jnp.all(jnp.stack(finite))
