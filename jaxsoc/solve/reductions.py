"""Sums and extremes over cells in an order that a processor's vector units can follow.

A plain sum adds one number after the other, each waiting for the last. Here the cells
are folded into a few rows, which are added lane by lane until one vector is left;
rounding errors are smaller, too. An accelerator, for which every fold would be a kernel
of its own, is given the plain sum.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from .devices import accelerated

# As many rows as XLA writes out instead of looping over them, and lanes that fill the
# widest vectors of a processor. Measured: 0.9 ns a cell for all moments of a block of
# 512 in float32; 2.4 ns with 32 rows of 16 lanes.
_MOST_ROWS = 16
LANES = 16

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
    row = cells.reshape(-1)
    fold = not accelerated()
    while fold and row.size > LANES and (rows := _rows(row.size)):
        # Without the barrier XLA joins both reductions into the slow one again.
        row = lax.optimization_barrier(over(row.reshape(rows, -1), axis=0))
    return over(row)


def _rows(cells: int) -> int | None:
    """The most rows that cells can be folded into, all lanes of a vector full."""
    rows = range(_MOST_ROWS, 1, -1)
    return next((n for n in rows if cells % (n * LANES) == 0), None)
