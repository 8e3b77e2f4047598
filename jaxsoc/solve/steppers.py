"""Steppers: a tendency in, a step `(t, state, params, dt) -> state` out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .pointwise import Jacobian, Tendency, check_apart

Step = Callable[[Any, Any, Any, Any], Any]
Stepper = Callable[[Tendency], Step]


def _axpy(scale, direction, state):
    return jax.tree.map(lambda x, y: x + scale * y, state, direction)


def heun(tendency: Tendency) -> Step:
    """Heun's method, order 2; stable for |λ| dt < 2."""

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
        end = lambda x, a, b, c, d: x + dt / 6 * (a + 2 * (b + c) + d)
        return jax.tree.map(end, state, k1, k2, k3, k4)

    return step


class _Tableau(NamedTuple):
    """Numbers of a Rosenbrock method, a row by stage.

    `gamma`: of the implicit part; `times`: when a stage is taken; `by_time`: how much
    of the tendency's change in time it feels; `carried`: where it is taken, so much of
    the stages before; `coupled`: what it feels of them; `end`: weights of the stages.
    """

    gamma: float
    times: tuple[float, ...]
    by_time: tuple[float, ...]
    carried: tuple[tuple[float, ...], ...]
    coupled: tuple[tuple[float, ...], ...]
    end: tuple[float, ...]


_RODAS3 = _Tableau(
    gamma=0.5,
    times=(0.0, 0.0, 1.0, 1.0),
    by_time=(0.5, 1.5, 0.0, 0.0),
    carried=((), (0.0,), (2.0, 0.0), (2.0, 0.0, 1.0)),
    coupled=((), (4.0,), (1.0, -1.0), (1.0, -1.0, -8 / 3)),
    end=(2.0, 0.0, 1.0, 1.0),
)
_LAST = (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895)
_RODAS4 = _Tableau(
    gamma=0.25,
    times=(0.0, 0.386, 0.21, 0.63, 1.0, 1.0),
    by_time=(0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0),
    carried=(
        (),
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        _LAST,
        (*_LAST, 1.0),
    ),
    coupled=(
        (),
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616),
        (
            *(8.083246795921522, -7.981132988064893, -31.52159432874371),
            *(16.31930543123136, -6.058818238834054),
        ),
    ),
    end=(*_LAST, 1.0, 1.0),
)


def rodas3(tendency: Tendency) -> Step:
    """Rodas3, order 3, L-stable: implicit in the pools of each cell by themselves.

    (1/(γ h) - J) k_i = f(y + Σ a_ij k_j) + Σ c_ij/h k_j + g_i h ∂f/∂t

    The Jacobian J of a cell's pools comes from the tendency by forward derivatives, and
    the small system is solved in place, cell by cell: 2 x 2 for substrate and biomass,
    and what is only added up, such as CO2, follows. Linear invariants hold to rounding.
    A step may still jump over a pole of the kinetics, which lies at negative stocks.

    **Raises:** `ValueError` for a tendency that does not declare its cells apart.
    Source: Sandu et al. (1997), doi:10.1016/S1352-2310(97)83212-8.
    """
    return _rosenbrock(tendency, _RODAS3)


def rodas4(tendency: Tendency) -> Step:
    """Rodas4, order 4, L-stable: as `rodas3`, with six stages.

    Pools that are only added up, integrals of others, are integrated to order 4, too.
    Source: Hairer & Wanner (1996), Solving Ordinary Differential Equations II, § IV.10.
    """
    return _rosenbrock(tendency, _RODAS4)


def _rosenbrock(tendency, tableau):
    check_apart("steps that are implicit cell by cell", tendency)
    stages = tuple(zip(*tableau[1:5], strict=True))

    def step(t, state, params, dt):
        pools, structure = jax.tree.flatten(state)
        pack = lambda pools: jax.tree.unflatten(structure, pools)
        f = lambda t, *pools: jax.tree.leaves(tendency(t, pack(pools), params))
        by_time = jax.jvp(lambda t: f(t, *pools), (t,), (jnp.ones_like(t),))[1]
        solve = Jacobian(f, t, pools).solver(1 / (tableau.gamma * dt))
        found: list[Any] = []

        def moved(factors, base):
            for factor, k in zip(factors, found, strict=True):
                if not (isinstance(factor, float) and factor == 0):
                    base = [y + factor * x for y, x in zip(base, k, strict=True)]
            return base

        for time, slope, carried, coupled in stages:
            right = f(t + time * dt, *moved(carried, pools))
            right = [r + slope * dt * d for r, d in zip(right, by_time, strict=True)]
            found.append(solve(moved([c / dt for c in coupled], right)))
        return pack(moved(tableau.end, pools))

    return step


# Nominal order of convergence, read by the error estimate.
ORDER: dict[Any, int] = {heun: 2, rodas3: 3, rk4: 4, rodas4: 4}
# Largest |λ| dt on the negative axis that does not grow.
STABLE: dict[Any, float] = {heun: 2.0, rk4: 2.785}
# What grows more than e times in an implicit step is damped instead of followed.
GROWTH = 1.0
