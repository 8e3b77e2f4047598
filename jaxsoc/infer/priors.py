"""What is believed of a constant before the data, in its own unit or on its line.

Any object with `log_prob(value) -> log density` will do, such as those of numpyro.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

_number = lambda x: np.asarray(x, dtype=float)


class Normal(eqx.Module):
    """Normal distribution.

    **Raises:** `ValueError` for a deviation that is not positive and finite.
    """

    mean: Any = eqx.field(converter=_number)
    deviation: Any = eqx.field(converter=_number)

    def __check_init__(self):
        if not 0 < self.deviation < np.inf:
            raise ValueError(
                f"deviation must be positive and finite, got {self.deviation:g}"
            )

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        away = (value - self.mean) / self.deviation
        return -0.5 * away**2 - jnp.log(self.deviation) - 0.5 * np.log(2 * np.pi)


class OnLine(eqx.Module):
    """A prior of the place on the whole line, not of the value; flat without one."""

    distribution: Any = None
