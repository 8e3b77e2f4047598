"""An unknown error scale: its prior, and measurements with it integrated out."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln
from numpyro.distributions import constraints


class ErrorScale(dist.Distribution):
    """Of s, s² inverse gamma: as much as 2a residuals of deviation √(b/a) would tell.

    p(s²) = bᵃ / Γ(a) (s²)⁻ᵃ⁻¹ exp(-b / s²)

    Conjugate to residuals that are normal: what is known of s given those is of the
    same family, see `given`, and their density without s is known, see `log_evidence`.

    **Arguments:** `concentration`: a; `rate`: b, in squares of s.
    Source: Gelman et al. (2013), Bayesian Data Analysis, 3rd edition, section 3.2.
    """

    arg_constraints = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    pytree_data_fields = ("concentration", "rate")

    def __init__(self, concentration: Any, rate: Any, *, validate_args: Any = None):
        # No arrays are made of numbers here: this is done when the library is imported.
        self.concentration, self.rate = concentration, rate
        shape = jnp.broadcast_shapes(jnp.shape(concentration), jnp.shape(rate))
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Positive."""
        return constraints.positive

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of s."""
        shape = *sample_shape, *self.batch_shape
        return jnp.sqrt(self.rate / jax.random.gamma(key, self.concentration, shape))

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Logarithm of the density of s."""
        a, b = self.concentration, self.rate
        tail = a * jnp.log(b) - gammaln(a) - b / value**2
        return tail - (2 * a + 1) * jnp.log(value) + jnp.log(2.0)

    @property
    def mean(self) -> Any:
        """√b Γ(a - 1/2) / Γ(a), infinite for a up to 1/2."""
        a = self.concentration
        found = jnp.sqrt(self.rate) * jnp.exp(gammaln(a - 0.5) - gammaln(a))
        return jnp.where(a > 0.5, found, jnp.inf)

    @property
    def variance(self) -> Any:
        """b / (a - 1), less the square of the mean; infinite for a up to 1."""
        a = self.concentration
        found = self.rate / jnp.where(a > 1, a - 1, 1.0) - self.mean**2
        return jnp.where(a > 1, found, jnp.inf)

    def given(self, count: Any, squares: Any) -> "ErrorScale":
        """Of s where so many residuals, with such a sum of squares, are known."""
        return ErrorScale(self.concentration + 0.5 * count, self.rate + 0.5 * squares)

    def log_evidence(self, count: Any, squares: Any) -> Any:
        """Logarithm of the density of residuals, over all s.

        Γ(a + n/2) / Γ(a) bᵃ (b + Σr²/2)⁻ᵃ⁻ⁿᐟ² (2π)⁻ⁿᐟ²
        """
        a, b, n = self.concentration, self.rate, count
        after = self.given(n, squares)
        found = gammaln(after.concentration) - gammaln(a) + a * jnp.log(b)
        found = found - after.concentration * jnp.log(after.rate)
        return found - 0.5 * n * jnp.log(2 * jnp.pi)


class Scattered(dist.Distribution):
    """Of measurements that scatter by one unknown scale about what is predicted.

    g(y) = μ + s c e,  e standard normal, s of an `ErrorScale`, over all s

    g is the identity or the logarithm. The same draws as where s is sampled beside the
    rest, without the funnel that few measurements then make of it.

    **Arguments:** `location`: μ; `size`: c; `scale`: the prior of s; `known`: where
    there is a measurement; `logarithmic`: whether g is the logarithm. All of one
    length.
    """

    arg_constraints = {
        "location": constraints.real_vector,
        "size": constraints.real_vector,
    }
    pytree_data_fields = ("location", "size", "scale", "known")
    pytree_aux_fields = ("logarithmic",)

    def __init__(
        self,
        location: Any,
        size: Any,
        scale: ErrorScale,
        known: Any,
        *,
        logarithmic: bool,
        validate_args: Any = None,
    ):
        self.location, self.size = location, size
        self.scale, self.known = scale, known
        self.logarithmic = logarithmic
        super().__init__(
            event_shape=jnp.shape(location)[-1:], validate_args=validate_args
        )

    @property
    def support(self) -> Any:
        """Positive where logarithms are taken."""
        each = constraints.positive if self.logarithmic else constraints.real
        return constraints.independent(each, 1)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draws of all measurements, with one s for each."""
        first, second = jax.random.split(key)
        shape = *sample_shape, *self.event_shape
        whole = lambda x: jnp.broadcast_to(x, shape)
        s = whole(self.scale.sample(first, sample_shape)[..., None])
        deviate = jax.random.normal(second, shape, jnp.result_type(float))
        found = whole(self.location) + s * whole(self.size) * deviate
        return jnp.exp(found) if self.logarithmic else found

    def log_prob(self, value: Any, intermediates: Any = None) -> Any:
        """Logarithm of their density."""
        stretch = jnp.log(self.size)
        if self.logarithmic:
            stretch = stretch + jnp.log(value)
        stretch = jnp.sum(jnp.where(self.known, stretch, 0.0), axis=-1)
        return self.scale.log_evidence(*self.squares(value)) - stretch

    def squares(self, value: Any) -> tuple[Any, Any]:
        """Number of measurements, and the sum of squares of their residuals."""
        seen = jnp.log(value) if self.logarithmic else value
        residual = jnp.where(self.known, (seen - self.location) / self.size, 0.0)
        count = jnp.sum(self.known, axis=-1, dtype=residual.dtype)
        return count, jnp.sum(residual**2, axis=-1)
