"""How well a model predicts what it has not seen."""

import math
from typing import Any

import numpy as np
from scipy import stats

from jaxsoc.physics.parameters import POSITIVE, Interval


def log_predictive_density(
    data: Any, predicted: Any, scale: Any, freedom: float = math.inf
) -> np.ndarray:
    """Logarithm of the Student-t density of each point, Gaussian for infinite ν.

    **Arguments:** `data`, `predicted`: y and f, by point; `scale`: s, one or by point,
    in the same unit; `freedom`: ν, degrees of freedom from which s was estimated.
    **Returns:** by point; minus infinity where the prediction is not finite.
    **Raises:** `ValueError` for a scale or degrees of freedom that are not positive.
    """
    y, f, s = (np.asarray(x, dtype=float) for x in (data, predicted, scale))
    POSITIVE.check("scale", np.min(s))
    Interval(0, np.inf, closed_high=True).check("degrees of freedom", freedom)
    return np.where(np.isfinite(y - f), stats.t.logpdf(y, freedom, f, s), -np.inf)
