"""States that come back after a period, of small systems that do not touch others."""

from collections.abc import Callable
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


class _Iterate(NamedTuple):
    values: tuple[Any, ...]
    inverse: Any
    moved: Any
    count: Any


def shoot(
    course: Callable, start: tuple[Any, ...], given: Any, *, steps: int = 30
) -> tuple[tuple[Any, ...], Any]:
    """Positive x that a period leaves as they are, cell by cell.

    change(x) = 0 by Newton's method; steps that would take more than nine tenths
    of an unknown are shortened. The derivatives are implicit: a last step in which only
    the change depends on what is given.

    **Arguments:** `course`: `(x, given) -> (change, more)`, elementwise over cells: x
    after the period less x, a tuple of arrays, and anything else; `start`: positive, or
    zero where nothing ever happens; `steps`: before giving up.
    **Returns:** x, NaN where the method has not converged, and the course from there.
    """
    held = lax.stop_gradient(given)

    def step(now):
        x = now.values
        gap, by_x = slopes(lambda x: course(x, held)[0], x)
        inverse = _inverse(gap, by_x)
        moves = _newton(inverse, gap)
        ratios = jnp.stack([_ratio(m, v) for m, v in zip(moves, x, strict=True)])
        fall, rise = jnp.max(-ratios, axis=0), jnp.max(ratios, axis=0)
        most = jnp.maximum(fall / _LARGEST_FALL, rise / _LARGEST_RISE)
        share = 1 / jnp.maximum(1.0, most)
        x = tuple(v + share * m for v, m in zip(x, moves, strict=True))
        return _Iterate(x, inverse, jnp.max(jnp.abs(ratios), axis=0), now.count + 1)

    goes_on = lambda now: jnp.any(now.moved > _CLOSE) & (now.count < steps)
    x = lax.stop_gradient(start)
    none = jnp.zeros_like(x[0])
    rows = ((none,) * len(x),) * len(x)
    first = _Iterate(x, rows, jnp.full_like(none, jnp.inf), 0)
    end = lax.while_loop(goes_on, step, first)
    met = end.moved <= _CLOSE
    x = tuple(jnp.where(met, v, jnp.nan) for v in end.values)

    def last(x, _):
        found = course(x, given)
        moves = _newton(end.inverse, found[0])
        return tuple(v + m for v, m in zip(x, moves, strict=True)), (x, found)

    # Once for the derivatives of x, once for the course from there: compiled once.
    _, both = lax.scan(last, x, length=2)
    return jax.tree.map(lambda x: x[1], both)


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
