"""How well a minimum determines its constants: covariance, and what it leaves open."""

from typing import NamedTuple

import numpy as np

from .result import Outcome

# Smallest singular value of the scaled Jacobian, relative to the largest, that counts
# as more than rounding of the integration.
SINGULAR = 1e-7
# Standard error on the line above which a constant counts as not determined: a factor
# of e³ = 20 either way for a positive constant.
LARGEST_LOG_ERROR = 3.0


class Uncertainty(NamedTuple):
    """Covariance on the line, and the verdict that follows from it."""

    covariance: np.ndarray
    outcome: Outcome
    reason: str


def uncertainty(
    names: tuple[str, ...],
    jacobian: np.ndarray,
    curvature: np.ndarray,
    variance: float,
    outcome: Outcome,
) -> Uncertainty:
    """Covariance of the constants at a minimum, and whether it is one.

    C = σ² H⁻¹, with H = JᵀJ (Gauss-Newton) or the exact second derivatives

    **Arguments:** `names`: of the constants; `jacobian`: of the residuals, by point and
    constant; `curvature`: H; `variance`: σ² of a residual; `outcome`: of the search,
    which a sound curvature leaves as it is.
    """
    count = len(names)
    nothing = np.full((count, count), np.inf)
    if outcome is Outcome.NOT_FINITE or not np.isfinite(curvature).all():
        return Uncertainty(nothing, Outcome.NOT_FINITE, Outcome.NOT_FINITE.value)
    _, singular, directions = np.linalg.svd(jacobian, full_matrices=False)
    if not singular[-1] > SINGULAR * singular[0]:
        return Uncertainty(nothing, *_undetermined(names, directions[-1]))
    if not np.linalg.eigvalsh(curvature)[0] > 0:
        return Uncertainty(nothing, *_undetermined(names, directions[-1]))
    covariance = variance * np.linalg.inv(curvature)
    if np.sqrt(np.diag(covariance)).max() > LARGEST_LOG_ERROR:
        return Uncertainty(covariance, *_undetermined(names, directions[-1]))
    return Uncertainty(covariance, outcome, outcome.value)


def _undetermined(names, direction):
    """Names the constants that can move together without changing the prediction."""
    share = np.abs(direction)
    open_ones = [n for n, s in zip(names, share, strict=True) if s > 0.2 * share.max()]
    together = " together" if len(open_ones) > 1 else ""
    return (
        Outcome.UNIDENTIFIABLE,
        f"the data do not determine {' and '.join(open_ones)}{together}; free fewer, "
        "or give more data",
    )
