"""What a fit returns: constants with uncertainty, and how each start ended."""

from enum import Enum
from typing import Any

import equinox as eqx
import numpy as np

from .problem import full_name


class Outcome(Enum):
    """How a start, or a fit, ended; the value is the sentence a user reads."""

    CONVERGED = "converged"
    UNIDENTIFIABLE = "the data do not determine every free constant"
    NOT_CONVERGED = (
        "still moving after the largest number of steps; allow more, or free fewer"
    )
    NOT_FINITE = (
        "the model leaves the finite numbers at the start; give a start nearer to "
        "the data"
    )


class Starts(eqx.Module):
    """Every start of a fit, the given one first.

    `start`, `end`: free constants, natural units, by start and constant; `rmse`: in the
    unit of the data; `steps`: of the optimiser; `outcome`: by start.
    """

    start: np.ndarray
    end: np.ndarray
    rmse: np.ndarray
    steps: np.ndarray
    outcome: tuple[Outcome, ...]

    @property
    def converged(self) -> int:
        """How many reached a minimum, any minimum."""
        return sum(outcome is Outcome.CONVERGED for outcome in self.outcome)


class Fit(eqx.Module):
    """Outcome of `fit`; every array is plain numpy.

    `names`, `units`, `values`: of the free constants; `params`: all parameters with
    the fitted ones in place; `predicted`, `data`: by point that counts; `args`: of the
    prediction, see `Problem`; `covariance`: of the free constants, natural units;
    `standard_error`: its roots; `log_error`: standard errors on the line that the
    search ran on, relative ones for a positive constant; `starts`: how each start
    ended; `outcome`, `reason`: of the best, as data and in plain words.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray
    log_error: np.ndarray
    params: Any
    predicted: np.ndarray
    data: np.ndarray
    args: Any
    starts: Starts
    outcome: Outcome
    reason: str

    @property
    def residuals(self) -> np.ndarray:
        """Data minus prediction, in the unit of the data."""
        return self.data - self.predicted

    @property
    def rmse(self) -> float:
        """Root of the mean squared residual, unweighted, in the unit of the data."""
        return float(np.sqrt(np.mean(self.residuals**2)))

    @property
    def r_squared(self) -> float:
        """Share of the variance of the data that the fit explains; NaN if none."""
        spread = np.sum((self.data - self.data.mean()) ** 2)
        return float(1 - np.sum(self.residuals**2) / spread) if spread else np.nan

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors from the curvature, natural units."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def steps(self) -> int:
        """Steps of the optimiser, all starts together."""
        return int(self.starts.steps.sum())

    @property
    def sound(self) -> bool:
        """Whether the minimum was reached and every constant is determined."""
        return self.outcome is Outcome.CONVERGED

    def __getitem__(self, name: str) -> float:
        """A free constant by its name, or by the end of its name if only one has it.

        **Raises:** `ValueError` naming the constants that were free.
        """
        return float(self.values[self.names.index(full_name(name, self.names))])
