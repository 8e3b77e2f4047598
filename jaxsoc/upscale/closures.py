"""Closures: what means and covariances say about the moments that come next.

A closure is a function `(mean, covariance) -> Higher`: means `(d,)`, covariance
`(d, d)`, central moments of order 3 `(d, d, d)` and 4 `(d, d, d, d)`. A user's own is
any function with the same call. With gᵢⱼ = Cᵢⱼ / (x̄ᵢ x̄ⱼ), third moments are in units of
x̄ᵢ x̄ⱼ x̄ₖ; a quantity that is zero in all cells has none.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.safe import ratio

Mean = Float[Array, " quantity"]
Covariance = Float[Array, "quantity quantity"]


class Higher(NamedTuple):
    """Central moments of order 3 and 4 of every triple and quadruple."""

    third: Float[Array, "quantity quantity quantity"]
    fourth: Float[Array, "quantity quantity quantity quantity"]


Closure = Callable[[Mean, Covariance], Higher]


def zero_third(mean: Mean, covariance: Covariance) -> Higher:
    """Nothing beyond the covariances.

    ⟨xyz⟩ = 0,  ⟨xyzw⟩ = 0, which makes the covariances linear: dP/dt = J P + P Jᵀ
    """
    d = mean.size
    return Higher(
        jnp.zeros((d,) * 3, covariance.dtype), jnp.zeros((d,) * 4, covariance.dtype)
    )


def gaussian(mean: Mean, covariance: Covariance) -> Higher:
    """As if everything were normally distributed.

    ⟨xyz⟩ = 0,  ⟨xyzw⟩ = Cxy Czw + Cxz Cyw + Cxw Cyz
    """
    return Higher(zero_third(mean, covariance).third, _isserlis(covariance))


def power_two(mean: Mean, covariance: Covariance) -> Higher:
    """Symmetric power-2 closure; fourth moments as in `gaussian`.

    ⟨xyz⟩ = ½ (gxy gxz + gxy gyz + gxz gyz) x̄ ȳ z̄

    Source: Murrell, Dieckmann and Law (2004), Journal of Theoretical Biology 229, for
    spatial moments.
    """
    return Higher(_products(mean, covariance, 0.5), _isserlis(covariance))


def gamma(mean: Mean, covariance: Covariance) -> Higher:
    """Skewness of a gamma distribution, 2 V² / x̄; fourth moments as in `gaussian`.

    ⟨xyz⟩ = ⅔ (gxy gxz + gxy gyz + gxz gyz) x̄ ȳ z̄, so that ⟨xxx⟩ = 2 Vx² / x̄
    """
    return Higher(_products(mean, covariance, 2 / 3), _isserlis(covariance))


def log_normal(mean: Mean, covariance: Covariance) -> Higher:
    """As if everything were log-normally distributed; for positive quantities.

    ⟨xyz⟩ = (gxy gxz + gxy gyz + gxz gyz + gxy gxz gyz) x̄ ȳ z̄, fourth moments from
    ⟨XYZW⟩ = Π (1 + g) over the six pairs, in units of the means

    Source: Keeling (2000), Journal of Theoretical Biology 205.
    """
    g = ratio(covariance, jnp.outer(mean, mean))
    r = 1 + g
    two = lambda *axes: _spread(r, axes, 4)
    three = lambda i, j, k: two(i, j) * two(i, k) * two(j, k)
    pairs, triples = combinations(range(4), 2), combinations(range(4), 3)
    every = [two(*pair) for pair in pairs]
    fourth = math.prod(every) - sum(three(*t) for t in triples) + sum(every) - 3
    a, b, c = _three_pairs(g)
    third = a * b + a * c + b * c + a * b * c
    return Higher(third * _outer(mean, 3), fourth * _outer(mean, 4))


_CLOSURES = (zero_third, gaussian, power_two, gamma, log_normal)
CLOSURES: Mapping[str, Closure] = MappingProxyType(
    {closure.__name__: closure for closure in _CLOSURES}
)


def _spread(array, axes, order) -> Any:
    """An array along some axes of one of this many axes."""
    return jnp.expand_dims(array, [a for a in range(order) if a not in axes])


def _outer(mean, order) -> Any:
    return math.prod(_spread(mean, (axis,), order) for axis in range(order))


def _three_pairs(g):
    return [_spread(g, pair, 3) for pair in combinations(range(3), 2)]


def _products(mean, covariance, factor):
    a, b, c = _three_pairs(ratio(covariance, jnp.outer(mean, mean)))
    return factor * (a * b + a * c + b * c) * _outer(mean, 3)


def _isserlis(covariance):
    two = lambda *axes: _spread(covariance, axes, 4)
    return two(0, 1) * two(2, 3) + two(0, 2) * two(1, 3) + two(0, 3) * two(1, 2)
