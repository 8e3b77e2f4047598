"""States that a period brings back: of linear systems, and of small ones cell by cell.

Linear systems go through a year of months, constant in each, without steps: the
exponential of such a time is a sum over poles.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .layered import small_inverse
from .pointwise import slopes

# Poles z_k and weights a_k of e^z - 1 ≈ 2 Re Σ a_k z / (z - z_k) on z <= 0, of degree
# 14: poles by the Carathéodory-Fejér method, weights fitted again so that the slope at
# zero is one to rounding, which keeps the mass. The error is below 2e-13 everywhere.
# Trefethen, Weideman & Schmelzer (2006), doi:10.1007/s10543-006-0077-9.
_POLES = np.array(
    [
        5.62317153475742 + 1.1940664287021552j,
        5.089374564875054 + 3.5888160956028452j,
        3.993400429650635 + 6.0048180601390158j,
        2.2698165258521406 + 8.4617178068772034j,
        -0.20872377764902525 + 10.991232026333313j,
        -3.703239160176677 + 13.656333463712498j,
        -8.897735413180298 + 16.630935208424461j,
    ]
)
_WEIGHTS = np.array(
    [
        -8.434532904762856 - 16.374854327111944j,
        10.383324425216827 + 1.646705609436252j,
        -2.4751065358380053 + 2.267327308716653j,
        -0.0034831444962703465 - 0.56904990270495881j,
        0.03113648528259817 + 0.03365086673950192j,
        -0.0013468285559981464 - 0.00032593502928439524j,
        8.503153710322907e-06 - 2.4780423292486546e-07j,
    ]
)
# What a year leaves undone is divided by 1 - e^-a, a mode's rate times the year, as
# nearly as 1 + 1/a - c / (a + γ) is its inverse: to 1.7 % at any rate.
_WEIGHT, _RATE = 1.436722, 2.41630876
# A correction this small is the last one: the next would be 1.7 % of it.
_LAST = 1e-12
_MOST = 20
# Largest share of an unknown that a step may take, and how many times it may add it.
_LARGEST_FALL, _LARGEST_RISE = 0.9, 10.0
# A step this small, relative, is followed by one at rounding.
_CLOSE = 1e-7
# Steps before giving up.
_MOST_STEPS = 30


class Moved(NamedTuple):
    """What a time brings: `change`: x(h) - x(0); `excess`: mean of x(s) - x(0)."""

    change: Any
    excess: Any


def move_linear(solve: Callable, slope: Any, time: Any) -> Moved:
    """Exact course of dx/ds = M x + b, all of M's eigenvalues real and not positive.

    x(h) - x = 2 Re Σ a_k (M - z_k/h)⁻¹ (M x + b)
    mean of x(s) - x = 2 Re Σ (a_k / z_k) (M - z_k/h)⁻¹ (M x + b)

    What changes slowly is computed from what it changes, so that no digits are lost.

    **Arguments:** `solve`: `(shift, right) -> (shift - M)⁻¹ right`, complex; `slope`:
    M x + b at the start, a pytree of real arrays; `time`: h.
    Source: Trefethen, Weideman & Schmelzer (2006), doi:10.1007/s10543-006-0077-9, for
    rational approximations of the exponential.
    """

    def add(sums, term):
        pole, weight = term
        found = solve(pole / time, slope)
        twice = lambda factor, y: 2 * (factor * y).real
        return tuple(
            jax.tree.map(lambda x, y, w=w: x - twice(w, y), total, found)
            for total, w in zip(sums, (weight, weight / pole), strict=True)
        ), None

    none = jax.tree.map(jnp.zeros_like, slope)
    terms = jnp.asarray(_POLES), jnp.asarray(_WEIGHTS)
    time = lax.convert_element_type(time, terms[0].dtype)
    (change, excess), _ = lax.scan(add, (none, none), terms)
    return Moved(change, excess)


@runtime_checkable
class LinearOperator(Protocol):
    """M of dx/dt = M x + b: hashable, its numbers are handed in."""

    def apply(self, numbers: Any, x: Any) -> Any:
        """M x."""

    def solve(self, numbers: Any, shift: Any, right: Any) -> Any:
        """(shift - M)⁻¹ right."""


class LinearYear(NamedTuple):
    """Months that a linear system goes through: leaves lead by month.

    `numbers`: of M; `source`: b; `month`: its length.
    """

    numbers: Any
    source: Any
    month: Any


class Course(NamedTuple):
    """A year: `change` over it; by month, what it starts from and its mean."""

    change: Any
    starts: Any
    means: Any


def _add(x, y):
    return jax.tree.map(jnp.add, x, y)


def linear_course(operator: LinearOperator, year: LinearYear, start: Any) -> Course:
    """The year of a linear system from a given state, exact in every month."""

    def month(gone, now):
        numbers, source = now
        x = _add(start, gone)
        slope = _add(operator.apply(numbers, x), source)
        moved = move_linear(partial(operator.solve, numbers), slope, year.month)
        return _add(gone, moved.change), (x, _add(x, moved.excess))

    none = jax.tree.map(jnp.zeros_like, start)
    change, monthly = lax.scan(month, none, (year.numbers, year.source))
    return Course(change, *monthly)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def linear_orbit(operator: LinearOperator, year: LinearYear) -> Any:
    """The state of a linear system that a year brings back.

    Φ(x) = x, from the steady state of the mean year, by corrections with the inverse
    of the mean year that shrink the error at least fiftyfold each. Derivatives are
    implicit, in both modes: (1 - Φ') dx = dΦ.

    **Returns:** x at the start of the first month.
    """
    mean = _mean_year(year)
    correct = partial(_correction, operator, mean)
    start = operator.solve(mean.numbers, 0.0 * mean.month, mean.source)
    gap = lambda x: linear_course(operator, year, x).change
    return _refined(gap, correct, start)


@linear_orbit.defjvp
def _(operator, primals, tangents):
    (year,), (by_year,) = primals, tangents
    x = linear_orbit(operator, year)
    gap = lambda year: linear_course(operator, year, x).change
    _, moved = jax.jvp(gap, (year,), (by_year,))
    return x, _linear_inverse(operator, year, moved)


def _linear_inverse(operator, year, right):
    """(1 - Φ')⁻¹ right, by the same corrections; transposed where asked."""
    bare = year._replace(source=jax.tree.map(jnp.zeros_like, year.source))
    less = lambda tree: jax.tree.map(jnp.negative, tree)
    matvec = lambda x: less(linear_course(operator, bare, x).change)
    correct = partial(_correction, operator, _mean_year(year))

    def solver(correct):
        def solve(matvec, right):
            gap = lambda x: jax.tree.map(jnp.subtract, right, matvec(x))
            return _refined(gap, correct, jax.tree.map(jnp.zeros_like, right))

        return solve

    back = lambda r: jax.linear_transpose(correct, r)(r)[0]
    return lax.custom_linear_solve(
        matvec, right, solver(correct), transpose_solve=solver(back)
    )


def _mean_year(year):
    """The mean month, as long as all of them."""
    count = jax.tree.leaves(year.source)[0].shape[0]
    mean = lambda tree: jax.tree.map(lambda x: jnp.mean(x, axis=0), tree)
    return LinearYear(mean(year.numbers), mean(year.source), count * year.month)


def _correction(operator, mean, gap):
    """(1 - Φ')⁻¹ of what a year leaves undone, as if it were a mean one.

    r + (1/Y) [(-M)⁻¹ - c (γ/Y - M)⁻¹] r
    """
    slow = operator.solve(mean.numbers, 0.0 * mean.month, gap)
    fast = operator.solve(mean.numbers, _RATE / mean.month, gap)
    return jax.tree.map(
        lambda r, s, f: r + (s - _WEIGHT * f) / mean.month, gap, slow, fast
    )


def _refined(gap, correct, start):
    """Corrected until corrections are small, relative to the largest of each array."""

    def step(now):
        x, _, count = now
        moved = correct(gap(x))
        after = _add(x, moved)
        most = lambda tree: jnp.stack([jnp.max(jnp.abs(v)) for v in tree])
        sizes = most(jax.tree.leaves(after))
        shares = most(jax.tree.leaves(moved)) / jnp.where(sizes > 0, sizes, 1.0)
        return after, jnp.max(shares), count + 1

    goes_on = lambda now: (now[1] > _LAST) & (now[2] < _MOST)
    never = jnp.full((), jnp.inf)
    return lax.while_loop(goes_on, step, (start, never, 0))[0]


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

    goes_on = lambda now: jnp.any(now.moved[0] > _CLOSE) & (now.count <= _MOST_STEPS)
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
