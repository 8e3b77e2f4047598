"""Dense matrices of LAPACK, on a processor one after the other.

Batches of them wait for ever on several devices of one processor, each for threads
that another one holds (jaxlib 0.10, ParallelBatchMap).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jax.scipy.linalg import lu_factor, lu_solve

from .devices import accelerated


def _one_by_one(function: Callable) -> Callable:
    """A function of matrices that is mapped one by one, unless on an accelerator."""
    alone = sequential_vmap(function)
    return lambda *args: (function if accelerated() else alone)(*args)


cholesky = _one_by_one(jnp.linalg.cholesky)
eigh = _one_by_one(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
_factors = _one_by_one(lambda matrix: tuple(lu_factor(matrix)))
_solved = _one_by_one(lambda lu, pivots, right: lu_solve((lu, pivots), right))
_transposed = _one_by_one(
    lambda lu, pivots, right: lu_solve((lu, pivots), right, trans=1)
)


def solve(matrix: Any, right: Any) -> Any:
    """x of A x = b, with derivatives of any order; A is factored once.

    **Arguments:** `matrix`: A, square; `right`: b, one or more columns.
    """
    factors = _factors(lax.stop_gradient(matrix))
    return lax.custom_linear_solve(
        lambda x: matrix @ x,
        right,
        solve=lambda _, b: _solved(*factors, b),
        transpose_solve=lambda _, b: _transposed(*factors, b),
    )
