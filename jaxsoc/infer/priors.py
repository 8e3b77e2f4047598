"""What is believed of a constant before the data, in its own unit or on its line.

Any object with `log_prob(value) -> log density` will do, such as those of numpyro.
"""

from typing import Any

import equinox as eqx
import numpy as np
from jax.scipy.stats import norm

from jaxsoc.physics.parameters import POSITIVE, check_within

_number = lambda x: np.asarray(x, dtype=float)


class Normal(eqx.Module):
    """Normal distribution.

    **Raises:** `ValueError` for a deviation that is not positive and finite.
    """

    mean: Any = eqx.field(converter=_number)
    deviation: Any = eqx.field(converter=_number)

    def __check_init__(self):
        check_within("deviation", self.deviation, POSITIVE)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        return norm.logpdf(value, self.mean, self.deviation)


class OnLine(eqx.Module):
    """A prior of the place on the whole line, not of the value; flat without one."""

    distribution: Any = None
