"""Loops through time as transforms: a step becomes an interval, an interval a run."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from . import devices
from .steppers import Step

# Pairs of steps that cells may take between two save times.
_MOST_PAIRS = 1e6

Advance = Callable[[Any, Any, Any, Any], Any]


class Pace(NamedTuple):
    """How the steps between two save times are counted.

    `count`: at least as many, a plain number where reverse-mode gradients are wanted;
    `rate`, `courant`: as many that no cell exceeds the Courant number, or None;
    `factor`: 1, or 2 for the finer of two runs that are compared.
    """

    count: Any
    rate: Any = None
    courant: Any = None
    factor: Any = 1

    @property
    def known(self) -> bool:
        """Whether the number of steps is, so that a run can be walked backwards."""
        return isinstance(self.count, int) and self.rate is None


def together() -> int:
    """Steps written out one after the other in the body of a loop.

    Eight on an accelerator, where a pass costs a launch; one on a processor, where two
    of them gained nothing.
    """
    return devices.UNROLL if devices.accelerated() else 1


def equal_steps(step: Step, count: int, length: int) -> Advance:
    """Advances a state between two times by `count` steps, in segments of `length`.

    In reverse mode a segment is repeated, and what a step computes is not kept.
    """

    def advance(state, params, start, end):
        dt = (end - start) / jnp.asarray(count, start.dtype)
        once = lambda state, t: step(t, state, params, dt)
        one = jax.checkpoint(once, prevent_cse=False)
        several = lambda s, t: (one(s, t), None)
        scan = lambda state, t: lax.scan(several, state, t, unroll=together())
        clock = start + dt * jnp.arange(count, dtype=start.dtype)
        if length >= count:
            return scan(state, clock)[0]
        segment = jax.checkpoint(scan, prevent_cse=False)
        whole = count // length
        state, _ = lax.scan(segment, state, clock[: whole * length].reshape(whole, -1))
        if whole * length < count:
            state, _ = segment(state, clock[whole * length :])
        return state

    return advance


def counted_steps(step: Step, pace: Pace) -> Advance:
    """Advances (state, steps taken) between two times, as many as the pace asks for.

    Any number of steps, with gradients in forward mode. A rate that is not a number, or
    out of all bounds, makes the state not finite instead of stopping the clock or
    running for ever.
    """

    def advance(carried, params, start, end):
        state, taken = carried
        pairs = jnp.asarray(pace.count / 2, start.dtype)
        if pace.rate is not None:
            fastest = jnp.max(pace.rate(start, state, params, end - start))
            wanted = jnp.ceil((end - start) * fastest / (2 * pace.courant))
            pairs = jnp.where(
                wanted <= _MOST_PAIRS, jnp.maximum(wanted, pairs), jnp.nan
            )
        sound = jnp.isfinite(pairs)
        count = 2 * jnp.where(sound, jnp.maximum(jnp.ceil(pairs), 1), 1)
        count = count * pace.factor / 2
        dt = jnp.where(sound, (end - start) / count, jnp.nan)
        one = lambda i, state: step(start + i.astype(dt.dtype) * dt, state, params, dt)
        return _repeated(one, count.astype(int), state), taken + count

    return advance


def _repeated(one, count, state):
    """A number of steps that the program learns; several a pass on an accelerator."""
    if not devices.accelerated():
        return lax.fori_loop(0, count, one, state)
    several = together()

    def pass_(n, state):
        # The last pass may hold more than are wanted.
        for place in range(several):
            index = several * n + place
            keep = lambda new, old, on=index < count: jnp.where(on, new, old)
            state = jax.tree.map(keep, one(index, state), state)
        return state

    return lax.fori_loop(0, -(-count // several), pass_, state)


def march(advance: Advance, measure: Callable, state: Any, params: Any, times: Any):
    """Carries a state from time to time: what is measured at each of them, the end.

    **Arguments:** `advance`: `(state, params, start, end) -> state`; `measure`:
    `(t, state) -> values`.
    """
    later, final = _onward(advance, measure, state, params, times)
    return _joined(measure(times[0], state), later), final


def _joined(first, later):
    one = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])
    return jax.tree.map(one, first, later)


def _onward(advance, measure, state, params, times):
    """As `march`, without what is measured at the first time."""

    def interval(state, window):
        state = advance(state, params, *window)
        return state, measure(window[1], state)

    final, values = lax.scan(interval, state, (times[:-1], times[1:]))
    return values, final


def march_in_segments(
    step: Step, count: int, measure: Callable, state: Any, params: Any, times: Any
):
    """As `march` by a known number of equal steps, in segments of about √steps.

    Reverse mode stores the state at their ends, and repeats one at a time: memory in
    proportion to √steps, for the price of one more forward run.
    """
    intervals, first = times.size - 1, measure(times[0], state)
    length = max(1, round(math.sqrt(count * intervals)))
    whole = max(1, round(length / count))  # intervals in a segment
    advance = equal_steps(step, count, length if whole == 1 else count)
    # Its fields by cell are cheaper to compute again than to keep for the way back.
    measure = jax.checkpoint(measure, prevent_cse=False)
    one = partial(_onward, advance, measure)
    if whole == 1:
        later, state = one(state, params, times)
        return _joined(first, later), state
    segment = jax.checkpoint(one, prevent_cse=False)
    segments = intervals // whole
    ends = whole * jnp.arange(segments)[:, None] + jnp.arange(whole + 1)[None]
    join = lambda a, b: jnp.concatenate([a, b])
    carry = lambda state, window: segment(state, params, window)[::-1]
    state, values = lax.scan(carry, state, times[ends])
    values = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), values)
    if segments * whole < intervals:
        more, state = segment(state, params, times[segments * whole :])
        values = jax.tree.map(join, values, more)
    return _joined(first, values), state
