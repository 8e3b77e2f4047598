"""Levenberg-Marquardt from many starts at once, the loop outside of the compiler.

The compiled part is one evaluation of the model and its Jacobian at all starts. With
the loop inside it as well, a program takes six times as long to compile (25 s against
4 s for a two-pool soil) and cannot tell how far it is.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Damping: where it starts, by how much it falls and rises, and where the search stops.
_FIRST, _FALL, _RISE, _LAST = 1e-3, 0.2, 5.0, 1e10
# Longest step on the line: a factor of e² for a positive constant.
_LONGEST = 2.0
# A sum of squares this small, relative to the data's, is an exact fit.
_EXACT = 1e-18
# Relative fall of the sum of squares below which rounding is all there is to gain: a
# flat minimum hides errors of the place as large as its root.
_LITTLE = 1e-11
# Largest cosine between the residuals and a column of the Jacobian at a minimum that
# rounding keeps from being improved.
_FLAT = 1e-4

# Places on the line, by start and constant -> residuals, by start and point, and
# their Jacobian, by start, point and constant.
Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Search(NamedTuple):
    """Where the starts ended: place, residuals, Jacobian, half the sum of squares."""

    place: np.ndarray
    residuals: np.ndarray
    jacobian: np.ndarray
    cost: np.ndarray
    steps: np.ndarray
    converged: np.ndarray


def search(
    evaluate: Evaluate,
    start: np.ndarray,
    *,
    max_steps: int,
    tolerance: float,
    watch: Callable[[int], None],
) -> Search:
    """Minimises half the sum of squared residuals from every start.

    (JᵀJ + λ diag JᵀJ) δ = -Jᵀr

    A step is taken if it improves, and λ falls; else λ rises.

    **Arguments:** `evaluate`: residuals and Jacobian; `start`: by start and constant;
    `max_steps`: evaluations after the first; `tolerance`: of the place; `watch`: called
    with the number of starts that are done, after every step.
    """
    z = np.array(start, dtype=float)
    r, J = evaluate(z)
    cost = _cost(r, J)
    damping = np.full(len(z), _FIRST)
    steps = np.zeros(len(z), dtype=int)
    converged = np.zeros(len(z), dtype=bool)
    lost = ~np.isfinite(cost)
    for _ in range(max_steps):
        stuck = damping > _LAST
        active = ~(converged | lost | stuck)
        watch(int((~active).sum()))
        if not active.any():
            break
        δ = np.where(active[:, None], _steps(r, J, damping), 0.0)
        r_new, J_new = evaluate(z + δ)
        cost_new = _cost(r_new, J_new)
        better = active & (cost_new < cost)
        small = np.abs(δ).max(axis=1) < tolerance * (1 + np.abs(z).max(axis=1))
        little = cost - cost_new < _LITTLE * cost
        exact = cost_new < _EXACT * r.shape[1]
        converged |= active & (small | (better & (little | exact)))
        z, r, J = (
            np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in ((z + δ, z), (r_new, r), (J_new, J))
        )
        cost = np.where(better, cost_new, cost)
        damping = np.where(better, damping * _FALL, damping * _RISE)
        steps += active
    converged |= ~lost & (damping > _LAST) & (_steepness(r, J) < _FLAT)
    return Search(z, r, J, cost, steps, converged)


def _cost(r, J):
    """Infinite where the model or its Jacobian is not finite."""
    finite = np.isfinite(r).all(axis=1) & np.isfinite(J).all(axis=(1, 2))
    return np.where(
        finite, 0.5 * (np.where(finite[:, None], r, 0.0) ** 2).sum(1), np.inf
    )


def _steps(r, J, damping):
    J, r = np.nan_to_num(J), np.nan_to_num(r)
    A = np.einsum("spi,spj->sij", J, J)
    gradient = np.einsum("spi,sp->si", J, r)
    size = np.einsum("sii->si", A)
    # A constant without effect must not make the matrix singular.
    floor = 1e-12 * size.max(axis=1, keepdims=True) + 1e-300
    ridge = damping[:, None] * np.maximum(size, floor) + floor
    A = A + ridge[:, :, None] * np.eye(J.shape[2])
    δ = -np.linalg.solve(A, gradient[..., None])[..., 0]
    return δ * np.minimum(1.0, _LONGEST / np.maximum(np.abs(δ).max(1), 1e-300))[:, None]


def _steepness(r, J):
    """Largest cosine between the residuals and a column of the Jacobian."""
    J, r = np.nan_to_num(J), np.nan_to_num(r)
    norms = np.sqrt((J**2).sum(1)) * np.sqrt((r**2).sum(1))[:, None]
    slopes = np.abs(np.einsum("spi,sp->si", J, r))
    return np.divide(slopes, norms, out=np.zeros_like(slopes), where=norms > 0).max(1)
