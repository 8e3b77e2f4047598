"""Newton's method after implicit time steps that grow until they are its own.

For any unknowns, and for layers of nonlinear reactions that exchange with neighbours.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .layered import LayeredSystem, apply_layered, solve_layered
from .pointwise import slopes

FIRST = 10.0
"""Shift of the first step, per rate of the fastest change."""

# How fast time steps grow at least while they change little, and shrink else.
_GROWTH, _SHRINK = 10.0, 4.0
# Shifts per first one: after a Newton step that went too far, and below which there is
# none and the step is Newton's.
_AGAIN, _NONE = 1e-6, 1e-19
# Largest share of an unknown that a step may take, and how many times it may add it.
_LARGEST_FALL, _LARGEST_RISE = 0.9, 10.0
# Of what counts for nothing: how far an unknown may fall below zero by rounding.
_TRACE = 1e-6
# A Newton step this small, relative, is followed by one at rounding.
_CLOSE = 1e-9
# Steps before giving up.
_STEPS = 300


class _Iterate(NamedTuple):
    x: Any
    shift: Any
    change: Any
    count: Any


def continued(
    correction: Callable, relative: Callable, start: Any, first: Any, begin: Any = None
) -> tuple[Any, Any]:
    """Positive x at which corrections have come to nothing, and whether they have.

    **Arguments:** `correction`: `(x, shift) -> Δx`, Newton's where the shift is
    nothing; `relative`: `(Δx, x) -> (largest change, largest fall)`, of the shape of
    `first`: the first shift, of all unknowns or of each layer; `begin`: the one to
    begin with instead, nothing where the start is near.
    Source: Kelley and Keyes (1998), doi:10.1137/S0036142996304796.
    """

    def step(now):
        shift = jnp.where(now.shift < _NONE * first, 0.0, now.shift)
        moves = correction(now.x, shift)
        change, fall = relative(moves, now.x)
        # A step that takes all of an unknown, or is no number, is tried again, shorter.
        wild = ~((fall <= _LARGEST_FALL) & (change <= _LARGEST_RISE))
        x = jax.tree.map(lambda v, m: jnp.where(wild, v, v + m), now.x, moves)
        # The next step is so long that it would change as much as there is.
        longer = shift * jnp.minimum(change, 1 / _GROWTH)
        following = jnp.where(wild, shift * _SHRINK, longer)
        # A wild Newton step is followed by a time step.
        following = jnp.where(wild & (shift == 0), _AGAIN * first, following)
        return _Iterate(x, following, change, now.count + 1)

    met = lambda now: (now.shift == 0) & (now.change <= _CLOSE)
    goes_on = lambda now: ~jnp.all(met(now)) & (now.count < _STEPS)
    begun = _Iterate(
        start, first if begin is None else begin, jnp.full_like(first, jnp.inf), 0
    )
    end = lax.while_loop(goes_on, step, begun)
    return end.x, met(end)


def newton_layered(
    local: Callable,
    start: tuple[Any, ...],
    given: Any,
    exchange: tuple[Any, Any],
    *,
    mixed: tuple[bool, ...] | None = None,
    floor: Any = None,
) -> tuple[Any, ...]:
    """Positive x at which what layers make and what they exchange add up to nothing.

    f(x) = local(x, given)_z - (V x)_z = 0 by pseudo-transient continuation,
    (σ P - ∂f/∂x) Δx = f(x),  P_i = max_j |∂local_i/∂x_j| x_j / x_i

    These are implicit time steps at first, Newton's as σ falls to nothing. Each layer
    has its own σ, and each unknown its own pace P, since deep layers are slower by
    orders of magnitude, and since all paces alike damp the oscillations of consumers
    and slower food, which real time would follow. The derivatives are implicit: a last
    step in which only f depends on what is given.

    **Arguments:** `local`: `(x, given) -> dx/dt`, elementwise over the layers, x a
    tuple of (layer,) arrays; `start`: positive; `exchange`: `above` and `below`, see
    `LayeredSystem`; `mixed`: which unknowns are exchanged; `floor`: given where the
    start is near, so that the first step is Newton's: how little, by layer, of an
    unknown counts for nothing.
    **Returns:** x; NaN where the method has not converged.
    """
    held, exchange_held, held_floor = lax.stop_gradient((given, exchange, floor))
    places = range(len(start))
    # An unknown may be nothing, as food in layers to which none comes.
    least = lambda v: jnp.maximum(v, jnp.finfo(v.dtype).tiny)
    some = least if floor is None else lambda v: least(v + held_floor)

    def tendency(x, given, exchange):
        zeros = tuple(tuple(jnp.zeros_like(v) for v in x) for _ in x)
        sent = apply_layered(LayeredSystem(zeros, *exchange), x, mixed=mixed)
        return tuple(m - s for m, s in zip(local(x, given), sent, strict=True))

    def correction(x, right, shift):
        _, by_x, _ = slopes(lambda x: (local(x, held), None), x)
        pace = [
            reduce(jnp.maximum, (abs(s) * v for s, v in zip(row, x, strict=True)))
            / some(own)
            for row, own in zip(by_x, x, strict=True)
        ]
        blocks = tuple(
            tuple((shift * pace[i] if i == j else 0.0) - by_x[i][j] for j in places)
            for i in places
        )
        system = LayeredSystem(blocks, *exchange_held)
        return solve_layered(system, right, mixed=mixed, pivot=True)

    def relative(moves, x):
        ratios = jnp.stack([m / some(v) for m, v in zip(moves, x, strict=True)])
        falls = -ratios
        if floor is not None:
            # Where growth is faster than the step, there is a negative root close by.
            ends = [v + m for m, v in zip(moves, x, strict=True)]
            crossed = (reduce(jnp.minimum, ends) < -_TRACE * held_floor)[None]
            falls = jnp.where(crossed, jnp.inf, falls)
        return jnp.max(jnp.abs(ratios), axis=0), jnp.max(falls, axis=0)

    x = lax.stop_gradient(start)
    first = jnp.full_like(x[0], FIRST)
    moves = lambda x, shift: correction(x, tendency(x, held, exchange_held), shift)
    begin = None if floor is None else jnp.zeros_like(first)
    x, met = continued(moves, relative, x, first, begin)
    x = tuple(jnp.where(jnp.all(met), v, jnp.nan) for v in x)
    last = correction(x, tendency(x, given, exchange), jnp.zeros_like(first))
    return tuple(v + m for v, m in zip(x, last, strict=True))
