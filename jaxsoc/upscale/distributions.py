"""Distributions of kinetic constants over cells: white noise, by quantile function."""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsoc.physics.parameters import POSITIVE

LN10 = float(np.log(10.0))


class AbstractDistribution(eqx.Module):
    """Anything with a quantile function."""

    @abstractmethod
    def quantile(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """Value below which a share `u` of the cells lies."""

    @abstractmethod
    def scaled(self, factor: float) -> "AbstractDistribution":
        """Distribution of `factor` times the variable."""

    def sample(
        self, key: PRNGKeyArray, shape: tuple[int, ...]
    ) -> Float[Array, "*cell"]:
        """Independent draws, one per cell; the same key gives the same field."""
        return self.quantile(jax.random.uniform(key, shape))


def _check_ends(low, high):
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"a distribution needs low < high, got {low} and {high}")


class LogUniform(AbstractDistribution):
    """Density constant in the logarithm, between 10^low and 10^high.

    **Arguments:** `low`, `high`: log10 of the bounds; `scale`: factor for units.

    **Raises:** `ValueError` unless low < high and the scale is positive, all finite.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Table A3.
    """

    low: float
    high: float
    scale: float = 1.0

    def __check_init__(self):
        _check_ends(self.low, self.high)
        POSITIVE.check("scale", self.scale)

    @classmethod
    def with_mean(cls, mean: float, decades: float) -> "LogUniform":
        """The log-uniform distribution of a given mean that spans some decades."""
        lowest = mean * decades * LN10 / (10.0**decades - 1.0)
        low = float(np.log10(lowest))
        return cls(low, low + decades)

    @property
    def width(self) -> float:
        """Decades between the bounds."""
        return self.high - self.low

    @property
    def mean(self) -> float:
        """E[k] = (10ᵇ - 10ᵃ) / ((b - a) ln 10)."""
        bounds = 10.0**self.high - 10.0**self.low
        return self.scale * bounds / (self.width * LN10)

    def quantile(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """k(u) = 10^(a + (b - a) u)."""
        return self.scale * 10.0 ** (self.low + self.width * u)

    def scaled(self, factor: float) -> "LogUniform":
        """Distribution of `factor` times the variable."""
        return LogUniform(self.low, self.high, self.scale * factor)


class Uniform(AbstractDistribution):
    """Density constant between `low` and `high`.

    **Raises:** `ValueError` unless low < high, both finite.
    """

    low: float
    high: float

    def __check_init__(self):
        _check_ends(self.low, self.high)

    @property
    def mean(self) -> float:
        """Midpoint of the bounds."""
        return 0.5 * (self.low + self.high)

    def quantile(self, u: Float[Array, "..."]) -> Float[Array, "..."]:
        """K(u) = a + (b - a) u."""
        return self.low + (self.high - self.low) * u

    def scaled(self, factor: float) -> "Uniform":
        """Distribution of `factor` times the variable."""
        return Uniform(self.low * factor, self.high * factor)


def sample_constants(
    key: PRNGKeyArray,
    distributions: dict[str, AbstractDistribution],
    shape: tuple[int, ...],
    *,
    coupled: bool = False,
) -> dict[str, Any]:
    """One field per constant, from the variate of its place in the list.

    **Arguments:** `distributions`: by name; `coupled`: all constants of a cell follow
    from one uniform variate (rank correlation 1), as in the published inverse
    Michaelis-Menten fields, instead of independent ones.
    """
    return {
        name: distribution.sample(
            jax.random.fold_in(key, 0 if coupled else place), shape
        )
        for place, (name, distribution) in enumerate(distributions.items())
    }
