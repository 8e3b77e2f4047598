"""Runs of small systems of any shape, such as macro-scale models."""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jax import lax

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
    if steps is not None:
        states = _marched(tendency, state, params, times, steps)
    else:
        states = diffrax.diffeqsolve(
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
        ).ys
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(states)]
    return states, jnp.all(jnp.stack(finite))


def _marched(tendency, state, params, times, steps):
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    step = rk4(tendency)

    def interval(state, ends):
        start, end = ends
        dt = (end - start) / steps

        def one(state, number):
            return step(start + number * dt, state, params, dt), None

        numbers = jnp.arange(steps, dtype=times.dtype)
        state = lax.scan(one, state, numbers)[0]
        return state, state

    first = jax.tree.map(lambda x: x[None], state)
    _, later = lax.scan(interval, state, (times[:-1], times[1:]))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, later)
