"""States that come back after a period, of small systems that do not touch others."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .layered import small_inverse
from .pointwise import slopes

# Largest share of an unknown that a step may take, and how many times it may add it.
_LARGEST_FALL, _LARGEST_RISE = 0.9, 10.0
# A step this small, relative, is followed by one at rounding.
_CLOSE = 1e-7
# Steps before giving up.
_MOST = 30


class _Iterate(NamedTuple):
    """`values`: where `found`, `inverse` were taken; `next`: where to go from there.

    `moved`: largest relative move that led to `values`, and from them to `next`.
    """

    values: tuple[Any, ...]
    found: Any
    inverse: Any
    next: tuple[Any, ...]
    moved: Any
    count: Any


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def shoot(
    course: Callable, start: tuple[Any, ...], given: Any
) -> tuple[tuple[Any, ...], Any]:
    """Positive x that a period leaves as they are, cell by cell.

    change(x) = 0 by Newton's method; steps that would take more than nine tenths
    of an unknown are shortened. The derivatives are implicit: dx = -(∂change/∂x)⁻¹
    ∂change/∂given dgiven.

    **Arguments:** `course`: `(x, given) -> (change, more)`, elementwise over cells: x
    after the period less x, a tuple of arrays, and anything else; `start`: positive, or
    zero where nothing ever happens.
    **Returns:** x, NaN where the method has not converged, and the course from there.
    """
    (x, found), _ = _shot(course, start, given)
    return x, found


@shoot.defjvp
def _(course, primals, tangents):
    (start, given), (_, by_given) = primals, tangents
    (x, found), inverse = _shot(course, start, given)

    def follow(moves, _):
        _, by = jax.jvp(course, (x, given), (moves, by_given))
        left = jax.tree.map(jnp.add, moves, _newton(inverse, by[0]))
        return left, (moves, by)

    # Once for the derivatives of x, once for the course with them: compiled once.
    still = jax.tree.map(jnp.zeros_like, x)
    _, both = lax.scan(follow, still, length=2)
    return (x, found), jax.tree.map(lambda x: x[1], both)


def _shot(course, start, given):
    """x, the course from there, and the inverse of the slopes of the change by x."""

    def step(now):
        x = now.next
        gap, by_x, more = slopes(lambda x: course(x, given), x)
        inverse = _inverse(gap, by_x)
        moves = _newton(inverse, gap)
        ratios = jnp.stack([_ratio(m, v) for m, v in zip(moves, x, strict=True)])
        fall, rise = jnp.max(-ratios, axis=0), jnp.max(ratios, axis=0)
        most = jnp.maximum(fall / _LARGEST_FALL, rise / _LARGEST_RISE)
        share = 1 / jnp.maximum(1.0, most)
        further = tuple(v + share * m for v, m in zip(x, moves, strict=True))
        moved = now.moved[1], jnp.max(jnp.abs(ratios), axis=0)
        return _Iterate(x, (gap, more), inverse, further, moved, now.count + 1)

    goes_on = lambda now: jnp.any(now.moved[0] > _CLOSE) & (now.count <= _MOST)
    none = jnp.zeros_like(start[0])
    rows = ((none,) * len(start),) * len(start)
    found = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(course, start, given)
    )
    endless = jnp.full_like(none, jnp.inf)
    first = _Iterate(start, found, rows, start, (endless, endless), 0)
    end = lax.while_loop(goes_on, step, first)
    met = end.moved[0] <= _CLOSE
    keep = lambda v: jnp.where(jnp.broadcast_to(met, v.shape), v, jnp.nan)
    return jax.tree.map(keep, (end.values, end.found)), end.inverse


def _ratio(move, value):
    empty = value == 0
    return jnp.where(empty, 0.0, move) / jnp.where(empty, 1.0, value)


def _newton(inverse, gap):
    return tuple(-sum(i * g for i, g in zip(row, gap, strict=True)) for row in inverse)


def _inverse(gap, by_x):
    """Inverse of the slopes; none where nothing happens."""
    still = jnp.all(jnp.stack([g == 0 for g in gap]), axis=0)
    places = range(len(gap))
    rows = [
        [jnp.where(still, 1.0 if i == j else 0.0, by_x[i][j]) for j in places]
        for i in places
    ]
    return small_inverse(rows, pivot=True)
