"""A year of microbial pools, layer by layer, on litter that comes and goes."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.solve.periodic import Course, LinearYear, move_linear
from jaxsoc.solve.pointwise import Pointwise
from jaxsoc.solve.steppers import rodas4

from .network import Network

# Ends of the steps in a month, as shares of it: short ones where a month begins and
# fast pools find their new place. Dissolved carbon follows the litter at once, so that
# the longest step, of order four, decides how exact it is: 2 days leave 1e-6 of it.
STEPS = (0.005, 0.02, 0.05, 0.1, *(0.1 + 0.075 * i for i in range(1, 12)), 1.0)


class LitterYear(NamedTuple):
    """Linear pools through a year of short steps.

    `first`, `middle`, `last`: values of the parabola that has a step's first, mean and
    last value, (month, step, layer); `lengths`: of the steps, d; `course`: of the year.
    """

    first: Any
    middle: Any
    last: Any
    lengths: Any
    course: Course


def litter_year(
    net: Network, year: LinearYear, start: Any, steps: tuple[float, ...] = STEPS
) -> LitterYear:
    """The year of the linear pools, exact at the ends of steps, and their means."""
    lengths = jnp.asarray(np.diff((0.0, *steps))) * year.month
    add = lambda x, y: jax.tree.map(jnp.add, x, y)

    def month(gone, now):
        numbers, source = now
        solve = partial(net.solve, numbers)

        def step(carried, length):
            gone, total = carried
            x = add(start, gone)
            slope = add(net.apply(numbers, x), source)
            moved = move_linear(solve, slope, length)
            grown = lambda t, x, e: t + length / year.month * (x + e)
            total = jax.tree.map(grown, total, x, moved.excess)
            # mean = (first + 4 middle + last) / 6
            half = lambda x, c, e: x + 1.5 * e - 0.25 * c
            middle = jax.tree.map(half, x, *moved)
            after = add(gone, moved.change)
            return (after, total), (x, middle, add(start, after))

        none = jax.tree.map(jnp.zeros_like, start)
        (gone, mean), steps = lax.scan(step, (gone, none), lengths)
        return gone, (steps, mean)

    none = jax.tree.map(jnp.zeros_like, start)
    change, (steps, means) = lax.scan(month, none, (year.numbers, year.source))
    starts = jax.tree.map(lambda x: x[:, 0], steps[0])
    return LitterYear(*steps, lengths, Course(change, starts, means))


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
    advance = rodas4(Pointwise(tendency))

    def month(gone, now):
        around, *litter = now

        def step(state, now):
            length, *litter = now
            given = around, litter, length
            return advance(jnp.zeros_like(length), state, given, length), None

        (after, total), _ = lax.scan(step, (gone, none), (lengths, *litter))
        first = tuple(x + g for x, g in zip(start, gone, strict=True))
        mean = tuple(x + t / whole for x, t in zip(start, total, strict=True))
        return after, (first, mean)

    whole = jnp.sum(lengths)
    none = tuple(jnp.zeros_like(x) for x in start)
    months = (around, litter.first, litter.middle, litter.last)
    change, monthly = lax.scan(month, none, months)
    return Course(change, *monthly)


def _parabola(share, first, middle, last):
    """Through the values at the start, in the middle and at the end of a step."""
    s = share
    return (
        (1 - s) * (1 - 2 * s) * first
        + 4 * s * (1 - s) * middle
        + s * (2 * s - 1) * last
    )
