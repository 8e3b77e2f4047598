"""Arithmetic that stays finite, value and gradient, at zero."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .shapes import Cells


def ratio(numerator: Cells, denominator: Cells) -> Float[Array, "..."]:
    """Quotient that is zero, with zero gradient, where the denominator is zero.

    x / y for y ≠ 0, else 0.
    """
    empty = jnp.equal(denominator, 0)
    return jnp.where(empty, 0.0, numerator / jnp.where(empty, 1.0, denominator))


def power(base: Cells, exponent: Cells) -> Float[Array, "..."]:
    """Power of a non-negative number with finite derivatives at zero.

    xᵝ for x > 0. At and below zero (a stepper may overshoot) the value is 0, or x
    itself when β = 1, so that the slope at zero is the true one for every β ≥ 1. For
    β < 1 the true slope is infinite; 0 is returned, which keeps a dead cell dead.
    """
    live = jnp.greater(base, 0)
    x = jnp.where(live, base, 1.0)
    at_zero = jnp.where(jnp.equal(exponent, 1), 1.0, 0.0) * base
    return jnp.where(live, x**exponent, at_zero)


@jax.custom_jvp
def quotient(numerator: Cells, denominator: Cells) -> Float[Array, "..."]:
    """Quotient whose derivatives reuse its value: one division less per derivative.

    q = x / y,  dq = (dx - q dy) / y
    """
    return jnp.asarray(numerator / denominator)


@quotient.defjvp
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    q = quotient(x, y)
    return q, quotient(dx - q * dy, y)
