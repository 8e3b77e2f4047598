"""A year of microbial pools, layer by layer, on litter that comes and goes."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.physics.forcing import MONTHS
from jaxsoc.solve.exponential import move_linear
from jaxsoc.solve.periodic import Course, LinearYear
from jaxsoc.solve.rodas import rodas4

from .network import Network

# Ends of the steps in a month, as shares of it: short ones where a month begins and
# fast pools find their new place.
STEPS = (0.004, 0.016, 0.05, 0.12, 0.25, 0.45, 0.7, 1.0)


class LitterYear(NamedTuple):
    """Linear pools through a year of short steps.

    `starts`, `middles`, `ends`: values of the parabola that has a step's first, mean
    and last value, (month, step, layer); `change`, `mean`, `monthly`: as `Course`.
    """

    starts: Any
    middles: Any
    ends: Any
    lengths: Any
    change: Any
    mean: Any
    monthly: Any


def litter_year(net: Network, year: LinearYear, start: Any) -> LitterYear:
    """The year of the linear pools, exact at the ends of steps, and their means."""
    lengths = jnp.asarray(np.diff((0.0, *STEPS))) * year.month
    add = lambda x, y: jax.tree.map(jnp.add, x, y)

    def month(carried, now):
        numbers, source = now

        def step(carried, length):
            gone, total = carried
            x = add(start, gone)
            slope = add(net.apply(numbers, x), source)
            moved = move_linear(lambda s, r: net.solve(numbers, s, r), slope, length)
            after = add(gone, moved.change)
            sum_ = jax.tree.map(
                lambda t, g, e: t + length * (g + e), total, gone, moved.excess
            )
            # mean = (first + 4 middle + last) / 6
            middle = jax.tree.map(
                lambda x, c, e: x + 1.5 * e - 0.25 * c, x, moved.change, moved.excess
            )
            return (after, sum_), (x, middle, add(x, moved.change))

        carried, steps = lax.scan(step, carried, lengths)
        return carried, steps

    none = jax.tree.map(jnp.zeros_like, start)
    (change, total), steps = lax.scan(month, (none, none), (year.numbers, year.source))
    length = jnp.sum(lengths) * MONTHS
    mean = jax.tree.map(lambda x, t: x + t / length, start, total)
    monthly = jax.tree.map(lambda x: x[:, 0], steps[0])
    return LitterYear(*steps, lengths, change, mean, monthly)


def microbial_course(
    soil: tuple[str, ...],
    model: Any,
    params: Any,
    around: Any,
    litter: LitterYear,
    start: tuple[Any, ...],
) -> Course:
    """The year of the pools with kinetics of their own, by Rodas4 in every step.

    **Arguments:** `soil`: their names; `around`: surroundings by month; `start`: pools.
    """

    def tendency(t, state, given):
        gone, _ = state
        around, litter, length = given
        upstream = jax.tree.map(partial(_parabola, t / length), *litter)
        x = [first + g for first, g in zip(start, gone, strict=True)]
        pools = model.pools(**upstream, **dict(zip(soil, x, strict=True)))
        change = model.reactions(pools, around, params)
        return tuple(change[name] for name in soil), gone

    lengths = litter.lengths
    advance = rodas4(tendency)

    def month(state, now):
        around, *litter = now

        def step(state, now):
            length, *litter = now
            after = advance(
                jnp.zeros_like(length), state, (around, litter, length), length
            )
            return after, None

        after, _ = lax.scan(step, state, (lengths, *litter))
        return after, state[0]

    none = tuple(jnp.zeros_like(x) for x in start)
    months = (around, litter.starts, litter.middles, litter.ends)
    (gone, total), earlier = lax.scan(month, (none, none), months)
    length = jnp.sum(litter.lengths) * MONTHS
    mean = tuple(x + t / length for x, t in zip(start, total, strict=True))
    monthly = tuple(x[None] + g for x, g in zip(start, earlier, strict=True))
    return Course(gone, mean, monthly)


def _parabola(share, first, middle, last):
    """Through the values at the start, in the middle and at the end of a step."""
    s = share
    return (
        (1 - s) * (1 - 2 * s) * first
        + 4 * s * (1 - s) * middle
        + s * (2 * s - 1) * last
    )
