"""Sums and extremes over cells in an order that a processor's vector units can follow.

A plain sum adds one number after the other, each waiting for the last. Here every lane
of a vector adds its own cells, and the lanes are added at the end; rounding errors are
smaller, too.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_LANES = (16, 8)

Cells = Float[Array, "..."]


def mean(cells: Cells) -> Float[Array, ""]:
    """Average over all cells.

    x̄ = Σ x / N
    """
    return _reduce(jnp.sum, cells) / cells.size


def smallest(cells: Cells) -> Float[Array, ""]:
    """Least value over all cells."""
    return _reduce(jnp.min, cells)


def largest(cells: Cells) -> Float[Array, ""]:
    """Greatest value over all cells."""
    return _reduce(jnp.max, cells)


def _reduce(over: Callable, cells: Cells) -> Float[Array, ""]:
    for lanes in _LANES:
        if cells.size % lanes == 0 and cells.size > lanes:
            parts = over(cells.reshape(-1, lanes), axis=0)
            # Without the barrier XLA joins both reductions into the slow one again.
            return over(lax.optimization_barrier(parts))
    return over(cells)
