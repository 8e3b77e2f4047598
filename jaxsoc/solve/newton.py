"""Newton's method for layers of nonlinear reactions that exchange with neighbours."""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from .layered import LayeredSystem, apply_layered, solve_layered

# How fast the implicit time steps grow at least while they change little, and shrink
# else.
_GROWTH, _SHRINK = 10.0, 4.0
# Shifts, per pace of an unknown: the first one, that after a Newton step that went too
# far, and below which there is none and the step is Newton's.
_FIRST, _AGAIN, _NONE = 10.0, 1e-5, 1e-18
# Largest share of an unknown that a step may take, and how many times it may add it.
_LARGEST_FALL, _LARGEST_RISE = 0.9, 10.0
# A Newton step this small, relative, is followed by one at rounding.
_CLOSE = 1e-9


class _Iterate(NamedTuple):
    values: tuple[Any, ...]
    shift: Any
    change: Any
    count: Any


def newton_layered(
    local: Callable,
    start: tuple[Any, ...],
    given: Any,
    exchange: tuple[Any, Any],
    *,
    mixed: tuple[bool, ...] | None = None,
    steps: int = 300,
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
    `LayeredSystem`; `mixed`: which unknowns are exchanged; `steps`: before giving up.
    **Returns:** x; NaN where the method has not converged.
    """
    held, exchange_held = lax.stop_gradient((given, exchange))
    places = range(len(start))
    # An unknown may be nothing, as food in layers to which none comes.
    some = lambda v: jnp.maximum(v, jnp.finfo(v.dtype).tiny)

    def tendency(x, given, exchange):
        zeros = tuple(tuple(jnp.zeros_like(v) for v in x) for _ in x)
        sent = apply_layered(LayeredSystem(zeros, *exchange), x, mixed=mixed)
        return tuple(m - s for m, s in zip(local(x, given), sent, strict=True))

    def correction(x, right, shift):
        slopes = _jacobian(lambda x: local(x, held), x)
        pace = [
            reduce(jnp.maximum, (abs(s) * v for s, v in zip(row, x, strict=True)))
            / some(own)
            for row, own in zip(slopes, x, strict=True)
        ]
        blocks = tuple(
            tuple((shift * pace[i] if i == j else 0.0) - slopes[i][j] for j in places)
            for i in places
        )
        system = LayeredSystem(blocks, *exchange_held)
        return solve_layered(system, right, mixed=mixed, pivot=True)

    def relative(moves, x):
        ratios = jnp.stack([m / some(v) for m, v in zip(moves, x, strict=True)])
        return jnp.max(jnp.abs(ratios), axis=0), jnp.max(-ratios, axis=0)

    def step(now):
        x, shift = now.values, now.shift
        shift = jnp.where(shift < _NONE, 0.0, shift)
        moves = correction(x, tendency(x, held, exchange_held), shift)
        change, fall = relative(moves, x)
        # A step that takes all of an unknown, or is no number, is tried again, shorter.
        wild = ~((fall <= _LARGEST_FALL) & (change <= _LARGEST_RISE))
        after = tuple(jnp.where(wild, v, v + m) for v, m in zip(x, moves, strict=True))
        # The next step is so long that it would change as much as there is.
        longer = shift * jnp.minimum(change, 1 / _GROWTH)
        following = jnp.where(wild, shift * _SHRINK, longer)
        # A wild Newton step is followed by a time step.
        following = jnp.where(wild & (shift == 0), _AGAIN, following)
        return _Iterate(after, following, change, now.count + 1)

    met = lambda now: (now.shift == 0) & (now.change <= _CLOSE)

    def goes_on(now):
        return ~jnp.all(met(now)) & (now.count < steps)

    x = lax.stop_gradient(start)
    first = jnp.full_like(x[0], _FIRST)
    start = _Iterate(x, first, jnp.full_like(first, jnp.inf), 0)
    end = lax.while_loop(goes_on, step, start)
    x = tuple(jnp.where(jnp.all(met(end)), v, jnp.nan) for v in end.values)
    last = correction(x, tendency(x, given, exchange), jnp.zeros_like(first))
    return tuple(v + m for v, m in zip(x, last, strict=True))


def _jacobian(function, x):
    """Slopes of each result, elementwise over layers, by each of x: rows of results."""
    columns = []
    for place in range(len(x)):
        seeds = tuple(
            jnp.ones_like(v) if i == place else jnp.zeros_like(v)
            for i, v in enumerate(x)
        )
        columns.append(jax.jvp(function, (x,), (seeds,))[1])
    return list(zip(*columns, strict=True))
