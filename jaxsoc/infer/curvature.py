"""How well a minimum determines its constants: covariance, and what it leaves open."""

import numpy as np

from .result import Outcome

# Smallest singular value of the scaled Jacobian, relative to the largest, that counts
# as more than rounding of the integration.
SINGULAR = 1e-7
# Standard error on the line above which a constant counts as not determined: a factor
# of e³ = 20 either way for a positive constant.
LARGEST_LOG_ERROR = 3.0


def uncertainty(
    names: tuple[str, ...],
    jacobian: np.ndarray,
    variance: float,
    outcome: Outcome,
) -> tuple[np.ndarray, Outcome, str]:
    """Covariance of the constants at a minimum, and whether it is one.

    C = σ² (JᵀJ)⁻¹, as Gauss and Newton have the curvature

    **Arguments:** `names`: of the constants; `jacobian`: of the residuals, by point and
    constant; `variance`: σ² of a residual; `outcome`: of the search, which a sound
    curvature leaves as it is.
    **Returns:** covariance on the line, infinite where it is not determined; the
    verdict that follows from it, as data and in plain words.
    """
    covariance = np.full((len(names), len(names)), np.inf)
    curvature = jacobian.T @ jacobian
    if outcome is Outcome.NOT_FINITE or not np.isfinite(curvature).all():
        return covariance, Outcome.NOT_FINITE, Outcome.NOT_FINITE.value
    _, singular, directions = np.linalg.svd(jacobian, full_matrices=False)
    steep = singular[-1] > SINGULAR * singular[0]
    if steep and np.linalg.eigvalsh(curvature)[0] > 0:
        covariance = variance * np.linalg.inv(curvature)
        if np.sqrt(np.diag(covariance)).max() <= LARGEST_LOG_ERROR:
            return covariance, outcome, outcome.value
    # Constants that can move together without changing the prediction.
    share = np.abs(directions[-1])
    loose = [n for n, s in zip(names, share, strict=True) if s > 0.2 * share.max()]
    return (
        covariance,
        Outcome.UNIDENTIFIABLE,
        f"the data do not determine {' and '.join(loose)}"
        f"{' together' if len(loose) > 1 else ''}; free fewer, or give more data",
    )
