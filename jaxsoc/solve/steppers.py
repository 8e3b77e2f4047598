"""Explicit steppers: a tendency in, a step `(t, state, params, dt) -> state` out."""

from collections.abc import Callable
from typing import Any

import jax

Tendency = Callable[[Any, Any, Any], Any]
Step = Callable[[Any, Any, Any, Any], Any]


def _axpy(scale, direction, state):
    return jax.tree.map(lambda x, y: x + scale * y, state, direction)


def heun(tendency: Tendency) -> Step:
    """Heun's method, order 2."""

    def step(t, state, params, dt):
        k1 = tendency(t, state, params)
        k2 = tendency(t + dt, _axpy(dt, k1, state), params)
        return jax.tree.map(lambda x, a, b: x + 0.5 * dt * (a + b), state, k1, k2)

    return step


def rk4(tendency: Tendency) -> Step:
    """The classical Runge-Kutta method, order 4; stable for |λ| dt < 2.78."""

    def step(t, state, params, dt):
        half = 0.5 * dt
        k1 = tendency(t, state, params)
        k2 = tendency(t + half, _axpy(half, k1, state), params)
        k3 = tendency(t + half, _axpy(half, k2, state), params)
        k4 = tendency(t + dt, _axpy(dt, k3, state), params)
        return jax.tree.map(
            lambda x, a, b, c, d: x + dt / 6 * (a + 2 * (b + c) + d),
            state,
            k1,
            k2,
            k3,
            k4,
        )

    return step


# Nominal order of convergence, read by the error estimate.
ORDER: dict[Callable[[Tendency], Step], int] = {heun: 2, rk4: 4}
