"""Rodas4: a stiff step of order 4, implicit in the pools of each cell by themselves."""

from typing import Any

import jax
import jax.numpy as jnp

from .steppers import Step, Tendency, _cell_solver, _jacobian_columns

_GAMMA = 0.25
# When a stage is taken, and how much of the tendency's change in time it feels.
_TIMES = (0.0, 0.386, 0.21, 0.63, 1.0, 1.0)
_BY_TIME = (0.25, -0.1043, 0.1035, -0.03620000000000023, 0.0, 0.0)
# Where a stage is taken: so much of the stages before it. The end is the last one.
_CARRIED = (
    (),
    (1.544,),
    (0.9466785280815826, 0.2557011698983284),
    (3.314825187068521, 2.896124015972201, 0.9986419139977817),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895),
    (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895, 1.0),
)
# What a stage feels of those before it.
_COUPLED = (
    (),
    (-5.6688,),
    (-2.430093356833875, -0.2063599157091915),
    (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
    (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616),
    (
        *(8.083246795921522, -7.981132988064893, -31.52159432874371),
        *(16.31930543123136, -6.058818238834054),
    ),
)


def rodas4(tendency: Tendency) -> Step:
    """Rodas4, order 4, L-stable: implicit in the pools of each cell by themselves.

    (1/(γ h) - J) k_i = f(y + Σ a_ij k_j) + Σ c_ij/h k_j + g_i h ∂f/∂t

    As `rosenbrock`, with six stages; pools that are only added up, integrals of others,
    are integrated to the same order.
    Source: Hairer & Wanner (1996), Solving Ordinary Differential Equations II, § IV.10.
    """

    def step(t, state, params, dt):
        pools, structure = jax.tree.flatten(state)
        pack = lambda pools: jax.tree.unflatten(structure, pools)
        f = lambda t, *pools: jax.tree.leaves(tendency(t, pack(pools), params))
        by_time = jax.jvp(lambda t: f(t, *pools), (t,), (jnp.ones_like(t),))[1]
        solve = _cell_solver(_jacobian_columns(f, t, pools), 1 / (_GAMMA * dt), pools)
        stages: list[list[Any]] = []

        def moved(factors, base):
            for factor, k in zip(factors, stages, strict=True):
                base = [y + factor * x for y, x in zip(base, k, strict=True)]
            return base

        for time, slope, carried, coupled in zip(
            _TIMES, _BY_TIME, _CARRIED, _COUPLED, strict=True
        ):
            right = f(t + time * dt, *moved(carried, pools))
            right = [r + slope * dt * d for r, d in zip(right, by_time, strict=True)]
            stages.append(solve(moved([c / dt for c in coupled], right)))
        return pack(moved((*_CARRIED[-1], 1.0), pools))

    return step
