"""How a soil comes back to rest after a small change, or does not."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .steady import steady_state, unknowns


class Stability(NamedTuple):
    """What becomes of small changes of a steady state.

    `eigenvalues`: of the Jacobian, the slowest to die out first, per unit of time;
    `period`: of the oscillation that dies out slowest, infinite where nothing swings;
    `damping_time`: in which that falls to 1/e of itself, NaN where nothing swings;
    `stable`: whether every change dies out.
    """

    eigenvalues: np.ndarray
    period: float
    damping_time: float
    stable: bool


# Imaginary parts below this share of the largest eigenvalue are rounding.
_ROUNDING = 1e-9


def stability(model: Callable, params: Any, state: Any = None) -> Stability:
    """Eigenvalues of a tendency's Jacobian at a steady state, and its slowest swing.

    J = ∂f/∂x,  period = 2π / |Im λ|,  damping time = -1 / Re λ

    **Arguments:** `state`: by default `steady_state(model, params)`; pools that nothing
    depends on do not count. Time is in the unit of the tendency: hours for `TwoPool`,
    days for columns.
    **Raises:** as `steady_state`.
    """
    state = steady_state(model, params) if state is None else state
    J = np.asarray(_jacobian(model, *jax.tree.map(jnp.asarray, (params, state))))
    values = np.linalg.eigvals(J)
    values = values[np.argsort(-values.real, kind="stable")]
    swings = values[abs(values.imag) > _ROUNDING * abs(values).max(initial=0.0)]
    period, damping = np.inf, np.nan
    if swings.size:
        period = 2 * np.pi / abs(swings[0].imag)
        damping = -1 / swings[0].real
    return Stability(
        values, float(period), float(damping), bool((values.real < 0).all())
    )


@eqx.filter_jit
def _jacobian(model, params, state):
    x, _, tendency = unknowns(model, params, state)
    return jax.jacfwd(tendency)(x, (model, params))
