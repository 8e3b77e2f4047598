"""Error-controlled runs of small systems of any shape, such as macro-scale models."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp


def follow(
    tendency: Callable,
    state: Any,
    params: Any,
    times: Any,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
) -> tuple[Any, Any]:
    """The state at every time, and whether the run got there.

    **Arguments:** `tendency`: `(t, state, params) -> d(state)/dt`, any pytree;
    `times`: increasing, the state is that at the first. Batch it with `vmap`.
    **Returns:** states leading by time, infinite after a run that left the finite
    numbers; whether all are finite.
    """
    times = jnp.asarray(times, jax.tree.leaves(state)[0].dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(tendency),
        diffrax.Tsit5(),
        times[0],
        times[-1],
        None,
        state,
        params,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
        max_steps=max_steps,
        throw=False,
    )
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(solution.ys)]
    return solution.ys, jnp.all(jnp.stack(finite))
