"""Steppers: a tendency in, a step `(t, state, params, dt) -> state` out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .dependence import depends_on

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


def rosenbrock(tendency: Tendency) -> Step:
    """Rodas3, order 3, L-stable: implicit in the pools of each cell by themselves.

    (1/(γ h) - J) k_i = f(y + Σ a_ij k_j) + Σ c_ij/h k_j + g_i h ∂f/∂t

    The Jacobian J of a cell's pools comes from the tendency by forward derivatives, and
    the small system is solved in place, cell by cell: 2 x 2 for substrate and biomass,
    and what is only added up, such as CO2, follows. Cells must not exchange carbon.
    Linear invariants hold to rounding. A step may still jump over a pole of the
    kinetics, which lies at negative stocks.
    Source: Sandu et al. (1997), doi:10.1016/S1352-2310(97)83212-8.
    """

    def step(t, state, params, dt):
        pools, structure = jax.tree.flatten(state)
        pack = lambda pools: jax.tree.unflatten(structure, pools)
        f = lambda t, *pools: jax.tree.leaves(tendency(t, pack(pools), params))
        shift = 1 / (0.5 * dt)
        columns = _jacobian_columns(f, t, pools)
        by_time = jax.jvp(lambda t: f(t, *pools), (t,), (jnp.ones_like(t),))[1]
        solve = _cell_solver(columns, shift, pools)

        def stage(fraction, carried, coupled, slope):
            at = [sum(terms, y) for y, *terms in zip(pools, *carried, strict=True)]
            right = f(t + fraction * dt, *at)
            return solve(
                [
                    sum((c / dt * k for c, k in terms), r + slope * dt * d)
                    for r, d, *terms in zip(right, by_time, *coupled, strict=True)
                ]
            )

        times = lambda factor, k: [factor * x for x in k]
        with_factor = lambda factor, k: [(factor, x) for x in k]
        k1 = stage(0.0, [], [], 0.5)
        k2 = stage(0.0, [], [with_factor(4.0, k1)], 1.5)
        pair = [with_factor(1.0, k1), with_factor(-1.0, k2)]
        k3 = stage(1.0, [times(2.0, k1)], pair, 0.0)
        triple = [*pair, with_factor(-8 / 3, k3)]
        k4 = stage(1.0, [times(2.0, k1), k3], triple, 0.0)
        ends = zip(pools, k1, k3, k4, strict=True)
        return pack([y + 2 * a + c + d for y, a, c, d in ends])

    return step


def _jacobian_columns(f, t, pools):
    """∂f/∂pool of each pool, a list of leaves each; None for one that f ignores."""
    # CO2, for one, is only added up.
    used = depends_on(partial(f, t), pools)
    columns = []
    for place, pool in enumerate(pools):
        one = lambda y, place=place: f(t, *pools[:place], y, *pools[place + 1 :])
        slope = jax.jvp(one, (pool,), (jnp.ones_like(pool),))[1]
        columns.append(slope if used[place] else None)
    return columns


def _cell_solver(columns, shift, pools):
    """Solver of (shift - J) k = r in every cell, by elimination written out."""
    coupled = [i for i, column in enumerate(columns) if column is not None]
    rows = [[-columns[j][i] for j in coupled] for i in coupled]
    for place, row in enumerate(rows):
        row[place] = row[place] + shift
    factors: dict[tuple[int, int], Any] = {}
    for i in range(len(rows)):
        for j in range(i + 1, len(rows)):
            factors[j, i] = rows[j][i] / rows[i][i]
            for k in range(i, len(rows)):
                rows[j][k] = rows[j][k] - factors[j, i] * rows[i][k]

    def solve(right):
        r = [right[i] for i in coupled]
        for (j, i), factor in factors.items():
            r[j] = r[j] - factor * r[i]
        for i in reversed(range(len(rows))):
            known = sum(
                (rows[i][k] * r[k] for k in range(i + 1, len(rows))), 0.0 * r[i]
            )
            r[i] = (r[i] - known) / rows[i][i]
        found = dict(zip(coupled, r, strict=True))
        for i in range(len(pools)):
            if i not in found:
                fed = sum((columns[j][i] * found[j] for j in coupled), right[i])
                found[i] = fed / shift
        return [found[i] for i in range(len(pools))]

    return solve


# Nominal order of convergence, read by the error estimate.
ORDER: dict[Callable[[Tendency], Step], int] = {heun: 2, rosenbrock: 3, rk4: 4}
