"""Implicit time steps that grow until they are Newton's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

FIRST = 10.0
"""Shift of the first step, per rate of the fastest change."""

# How fast time steps grow at least while they change little, and shrink else.
_GROWTH, _SHRINK = 10.0, 4.0
# Shifts per first one: after a Newton step that went too far, and below which there is
# none and the step is Newton's.
_AGAIN, _NONE = 1e-6, 1e-19
# Largest share of an unknown that a step may take, and how many times it may add it.
_LARGEST_FALL, _LARGEST_RISE = 0.9, 10.0
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
    correction: Callable, relative: Callable, start: Any, first: Any
) -> tuple[Any, Any]:
    """Positive x at which corrections have come to nothing, and whether they have.

    **Arguments:** `correction`: `(x, shift) -> Δx`, Newton's where the shift is
    nothing; `relative`: `(Δx, x) -> (largest change, largest fall)`, of the shape of
    `first`: the first shift, of all unknowns or of each layer.
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
    begun = _Iterate(start, first, jnp.full_like(first, jnp.inf), 0)
    end = lax.while_loop(goes_on, step, begun)
    return end.x, met(end)
