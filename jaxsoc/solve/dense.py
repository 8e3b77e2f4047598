"""Dense matrices of LAPACK, one after the other.

Batches of them wait for ever on several devices of one processor, each for threads
that another one holds (jaxlib 0.10, ParallelBatchMap).
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

cholesky = sequential_vmap(jnp.linalg.cholesky)
eigh = sequential_vmap(lambda matrix: tuple(jnp.linalg.eigh(matrix)))
_solve = sequential_vmap(jnp.linalg.solve)


def solve(matrix: Any, right: Any) -> Any:
    """x of A x = b, with derivatives of any order.

    **Arguments:** `matrix`: A, square; `right`: b, one or more columns.
    """
    return lax.custom_linear_solve(
        lambda x: matrix @ x,
        right,
        solve=lambda _, b: _solve(matrix, b),
        transpose_solve=lambda _, b: _solve(matrix.T, b),
    )
