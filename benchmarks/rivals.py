"""The rivals: SciPy's LSODA cell by cell, and diffrax over a batch of cells."""

import warnings
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.integrate import ODEintWarning, odeint, solve_ivp

from jaxsoc.experiments import Soil
from jaxsoc.models import Pools
from jaxsoc.physics.kinetics import multiplicative
from jaxsoc.upscale import moments

ATOL_PER_RTOL = 1.0
"""Absolute tolerance (mgC/g) per relative one; the pools are 1 to 100 mgC/g."""

Right = Callable[[float, Any], tuple[float, float, float]]


def right_hand_sides(soil: Soil) -> list[tuple[Right, tuple[float, float, float]]]:
    """Tendency and initial pools of each cell, in plain Python numbers."""
    params, constants = soil.params, soil.params.decomposition
    cells = soil.state.substrate.size
    number = lambda x: np.broadcast_to(np.asarray(x), (cells,)).tolist()
    I, Y, m = (
        float(x)
        for x in (params.input, params.carbon_use_efficiency, params.mortality.rate)
    )
    saturates = soil.model.decomposition is not multiplicative
    half = number(constants.half_saturation) if saturates else [0.0] * cells

    def of_cell(k, K):
        def right(t, y):
            S, B, _ = y
            D = k * S * B / (K + S) if saturates else k * S * B
            T, growth = m * B, Y * D
            return I - D + T, growth - T, D - growth

        return right

    pools = zip(*(number(pool) for pool in soil.state), strict=True)
    rates = zip(number(constants.rate), half, strict=True)
    return [(of_cell(*c), y) for c, y in zip(rates, pools, strict=True)]


def lsoda(soil: Soil, times: np.ndarray, rtol: float) -> np.ndarray:
    """Daily pools of each cell, one solve per cell: time x cell x pool.

    By `odeint`, the faster of SciPy's two interfaces to LSODA.
    """
    with warnings.catch_warnings():
        # A failed solve shows in the error, which is measured.
        warnings.simplefilter("ignore", ODEintWarning)
        solved = [
            odeint(
                right,
                start,
                times,
                tfirst=True,
                rtol=rtol,
                atol=rtol * ATOL_PER_RTOL,
                mxstep=100_000,
            )
            for right, start in right_hand_sides(soil)
        ]
    return np.stack(solved, axis=1)


def solve_ivp_lsoda(soil: Soil, times: np.ndarray, rtol: float) -> np.ndarray:
    """As `lsoda`, by `solve_ivp`, which SciPy recommends for new code."""
    span = (times[0], times[-1])
    solved = [
        solve_ivp(
            right,
            span,
            start,
            "LSODA",
            times,
            rtol=rtol,
            atol=rtol * ATOL_PER_RTOL,
        ).y.T
        for right, start in right_hand_sides(soil)
    ]
    return np.stack(solved, axis=1)


def prepare_lsoda(
    soil: Soil, times: np.ndarray, solver: Callable = lsoda
) -> Callable[[float], np.ndarray]:
    """LSODA on every cell, then the daily moments: call it with rtol for mean R."""
    measure = jax.jit(lambda ys, params: _moments(soil, times, ys, params))

    def run(rtol):
        found = measure(_pools(solver(soil, times, rtol)), soil.params)
        return np.asarray(jax.block_until_ready(found).flux.respiration)

    return run


def _pools(solved):
    return Pools(*(solved[..., i] for i in range(3)))


def mean_respiration(soil: Soil, solved: np.ndarray) -> np.ndarray:
    """Mean respiration by time of pools by time and cell."""
    fluxes = soil.model.fluxes(0.0, _pools(jnp.asarray(solved)), soil.params)
    return np.asarray(fluxes.respiration).mean(axis=1)


def dop853(soil: Soil, times: np.ndarray) -> np.ndarray:
    """Mean respiration by time, from SciPy's DOP853 with tight tolerances."""
    total = 0.0
    for right, start in right_hand_sides(soil):
        span = (times[0], times[-1])
        solved = solve_ivp(right, span, start, "DOP853", times, rtol=1e-9, atol=1e-10)
        total = total + np.array(
            [right(t, y)[2] for t, y in zip(times, solved.y.T, strict=True)]
        )
    return total / soil.state.substrate.size


def prepare_diffrax(
    soil: Soil, times: np.ndarray, stiff: bool
) -> Callable[[float], np.ndarray]:
    """`vmap` of diffrax over the cells, then moments: call it with rtol for mean R.

    Tsit5, or Kvaerno5 where some cells are stiff, with error control in each cell.
    """
    moments_at: Any = jnp.asarray(times)
    solver = diffrax.Kvaerno5() if stiff else diffrax.Tsit5()

    def one_cell(state, params, rtol):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(soil.model),
            solver,
            moments_at[0],
            moments_at[-1],
            None,
            state,
            params,
            saveat=diffrax.SaveAt(ts=moments_at),
            stepsize_controller=diffrax.PIDController(
                rtol=rtol, atol=rtol * ATOL_PER_RTOL
            ),
            max_steps=100_000,
            throw=False,
        ).ys

    by_cell = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, soil.params)

    def solve(state, params, rtol):
        every = jax.vmap(one_cell, (0, by_cell, None), out_axes=1)
        return _moments(soil, times, every(state, params, rtol), params)

    compiled = jax.jit(solve)

    def run(rtol):
        found = compiled(soil.state, soil.params, jnp.asarray(rtol))
        return np.asarray(jax.block_until_ready(found).flux.respiration)

    return run


def _moments(soil, times, states, params):
    save = moments.of(soil.model.fluxes)
    measure = lambda moment: save(moment[0], moment[1], params)
    return lax.map(measure, (jnp.asarray(times), states))
