"""Linear systems of layers that exchange with their neighbours; small blocks by layer.

The layers are gone through in a loop whose body holds one layer's block, written out
entry by entry: under `vmap` over the last axis, every entry is a row of sites, and the
loop's few arrays stay in the cache. On an accelerator the loop is written out, too: few
kernels are left of it, in which the elimination and the first substitution are one.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .devices import accelerated

Rows = tuple[tuple[Any, ...], ...]


class LayeredSystem(NamedTuple):
    """Σ_j B_ij,z x_j,z + m_i [a_z (x_i,z - x_i,z-1) + b_z (x_i,z - x_i,z+1)] = r_i,z.

    `blocks`: B, rows of (layer,) arrays or scalars; `above`, `below`: a and b, what a
    layer exchanges with the next ones, (layer,), zero at the ends.
    """

    blocks: Rows
    above: Any
    below: Any


def solve_layered(
    system: LayeredSystem,
    right: Sequence[Any],
    *,
    mixed: tuple[bool, ...] | None = None,
    pivot: bool = False,
) -> tuple[Any, ...]:
    """Solution of a layered system by block elimination down the column.

    The elimination keeps the blocks without what they exchange, so that layers whose
    rates are tiny beside the exchange lose no digits: E_z = B_z + a_z D M⁻¹ E_{z-1},
    M = E + b D. Derivatives, in both modes, cost one more solve with the same factors.

    **Arguments:** `right`: r, a (layer,) array for each unknown of a block; `mixed`: m,
    which unknowns are exchanged, by default all; `pivot`: choose pivots by size inside
    blocks, which those that are not dominated by their diagonals need.
    **Returns:** x, a (layer,) array for each unknown.
    """
    mixed = (True,) * len(right) if mixed is None else mixed
    layers = jnp.shape(system.above)
    fill = lambda entry: jnp.broadcast_to(jnp.asarray(entry), layers)
    blocks = tuple(tuple(fill(entry) for entry in row) for row in system.blocks)
    filled = LayeredSystem(blocks, system.above, system.below)
    return _solve(mixed, pivot, filled, tuple(fill(r) for r in right))


def apply_layered(
    system: LayeredSystem, x: Sequence[Any], *, mixed: tuple[bool, ...] | None = None
) -> tuple[Any, ...]:
    """The left side of a layered system, bilinear in the system and in `x`."""
    mixed = (True,) * len(x) if mixed is None else mixed
    found = []
    for row, own, exchanged in zip(system.blocks, x, mixed, strict=True):
        left = sum(b * other for b, other in zip(row, x, strict=True))
        if exchanged:
            upper = jnp.concatenate([own[:1], own[:-1]])
            lower = jnp.concatenate([own[1:], own[-1:]])
            left = left + system.above * (own - upper) + system.below * (own - lower)
        found.append(left)
    return tuple(found)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solve(mixed, pivot, system, right):
    return _substitute(mixed, _factor(mixed, pivot, system), right)


@_solve.defjvp
def _(mixed, pivot, primals, tangents):
    system, right = primals
    change, by_right = tangents
    factors = _factor(mixed, pivot, system)
    x = _substitute(mixed, factors, right)
    moved = apply_layered(change, x, mixed=mixed)
    rest = tuple(r - m for r, m in zip(by_right, moved, strict=True))
    return x, _substitute(mixed, factors, rest)


def _factor(mixed, pivot, system):
    """Inverses of the pivot blocks by layer, and the exchanges."""
    size = len(mixed)
    every = range(size)

    def down(carried, layer):
        # carried: M⁻¹ E of the layer above.
        blocks, above, below = layer
        own = lambda i, j: (
            blocks[i][j] + above * carried[i][j] if mixed[i] else blocks[i][j]
        )
        kept = [[own(i, j) for j in every] for i in every]
        whole = [list(row) for row in kept]
        for i in every:
            if mixed[i]:
                whole[i][i] = whole[i][i] + below
        inverse = small_inverse(whole, pivot=pivot)
        after = tuple(
            tuple(sum(inverse[i][k] * kept[k][j] for k in every) for j in every)
            for i in every
        )
        return after, inverse

    zero = jnp.zeros_like(system.above[0])
    start = ((zero,) * size,) * size
    layers = (system.blocks, system.above, system.below)
    _, inverses = lax.scan(down, start, layers, unroll=accelerated())
    return inverses, system.above, system.below


def _substitute(mixed, factors, right):
    every = range(len(mixed))
    zero = (jnp.zeros_like(right[0][0]),) * len(mixed)

    def down(y, layer):
        inverse, above, r = layer
        fed = [r[i] + above * y[i] if mixed[i] else r[i] for i in every]
        y = tuple(sum(inverse[i][j] * fed[j] for j in every) for i in every)
        return y, y

    def up(x, layer):
        inverse, below, y = layer
        sent = {j: below * x[j] for j in every if mixed[j]}
        x = tuple(y[i] + sum(inverse[i][j] * f for j, f in sent.items()) for i in every)
        return x, x

    inverses, above, below = factors
    scan = partial(lax.scan, unroll=accelerated())
    _, y = scan(down, zero, (inverses, above, right))
    return scan(up, zero, (inverses, below, y), reverse=True)[1]


def small_inverse(rows: Sequence[Sequence[Any]], *, pivot: bool = False) -> Rows:
    """Inverse of a small matrix (Gauss-Jordan), entry by entry or by rows with pivots.

    **Arguments:** `rows`: of arrays of one shape; `pivot`: exchange rows so that the
    largest entry of a column is divided by.
    """
    if pivot:
        return _pivoted_inverse(rows)
    size = len(rows)
    one, zero = jnp.ones_like(rows[0][0]), jnp.zeros_like(rows[0][0])
    wide = [
        [*row, *(one if i == j else zero for j in range(size))]
        for i, row in enumerate(rows)
    ]
    for k in range(size):
        inverse = 1 / wide[k][k]
        # Columns of the identity that are still untouched stay so.
        live = [*range(k + 1, size), *range(size, size + k + 1)]
        for c in live:
            wide[k][c] = wide[k][c] * inverse
        for i in range(size):
            if i != k:
                factor = wide[i][k]
                for c in live:
                    wide[i][c] = wide[i][c] - factor * wide[k][c]
    return tuple(tuple(row[size:]) for row in wide)


def _pivoted_inverse(rows):
    """Whole rows at once: exchanges written out would take minutes to compile."""
    size = len(rows)
    wide = jnp.stack([jnp.stack(row) for row in rows])
    extra = (1,) * (wide.ndim - 2)
    eye = jnp.eye(size, dtype=wide.dtype).reshape((size, size) + extra)
    wide = jnp.concatenate([wide, jnp.broadcast_to(eye, wide.shape)], axis=1)
    place = jnp.arange(size).reshape((size,) + extra)
    for k in range(size):
        sizes = jnp.where(place >= k, jnp.abs(wide[:, 0]), -1.0)
        chosen = (place == jnp.argmax(sizes, axis=0, keepdims=True))[:, None]
        pivot = jnp.sum(jnp.where(chosen, wide, 0.0), axis=0)
        pivot = (pivot[1:] / pivot[:1])[None]
        # Row k goes where the chosen one was, and a column that is done is left out.
        wide = jnp.where(chosen, wide[k : k + 1], wide)
        wide = wide[:, 1:] - wide[:, :1] * pivot
        wide = jnp.concatenate([wide[:k], pivot, wide[k + 1 :]])
    every = range(size)
    return tuple(tuple(wide[i, j] for j in every) for i in every)
