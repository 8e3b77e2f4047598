"""Thousands of cores by their representative cells: one cell of all cores at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsoc.physics.parameters import Interval
from jaxsoc.solve import map_members, rk4
from jaxsoc.solve.blocks import run_together
from jaxsoc.solve.loops import Pace

from .macroscale import Given, MacroState
from .representative import RepresentativeCells

# Cores that go side by side: a pool of all of them stays in the first-level cache.
_SIDE_BY_SIDE = 250


def respiration_of_many(
    closure: RepresentativeCells,
    core: MacroState,
    given: Given,
    times: Any,
    *,
    courant: float = 0.25,
) -> Any:
    """Mean respiration of many cores by core and time, mgC/g/h.

    R = p Σ wᵢ R(xᵢ(t)) + (1 - p) R(dead)

    Representative cells exchange nothing, so each goes its own way: the first one of
    all cores, then the second, with as many equal steps between two times as its
    fastest core needs. The cores are shared out to all devices. Wrap it in `jit`; for
    gradients in reverse mode use `follow`.

    **Arguments:** `core`, `given`: of `closure.initial`, leaves leading by core;
    `times`: h, increasing, on a grid of equal or unequal steps; `courant`: largest
    rate × step, 0.25 for errors of 1e-6; the model must have `fastest_rate`.
    **Raises:** `ValueError` for a Courant number outside (0, 2].
    """
    Interval(0.0, 2.0, closed_high=True).check("courant", courant)
    times = jnp.asarray(times, core.live.dtype)
    count = core.live.shape[0]
    groups = -(-count // min(count, _SIDE_BY_SIDE))
    size = -(-count // groups)
    # The last core again, to fill the last group.
    fill = lambda x: jnp.concatenate([x, jnp.repeat(x[-1:], groups * size - count, 0)])
    cut = lambda x: fill(x).reshape(groups, size, *x.shape[1:])
    one = lambda part: _group(closure.model, part, times, courant)
    found = map_members(one, jax.tree.map(cut, (core, given)))
    return found.reshape(groups * size, -1)[:count]


def _group(model, part, times, courant):
    core, given = part
    # Cell, pool or parameter, core: the last axis is what vector units run along.
    leading = lambda x: jnp.moveaxis(x, (0, -1), (-1, 0))
    share, rest = given.detail
    cells = lax.map(
        lambda cell: _followed(model, cell, given, times, courant),
        (leading(core.live), leading(rest), leading(share)),
    )
    alive = jnp.sum(cells, axis=0)

    def still(core, given):
        rates = given.quantities.rates(model.fluxes, 0.0, given.params)
        return rates(given.cell(core.dead)).respiration

    p = given.share[None]
    return (p * alive + (1 - p) * jax.vmap(still)(core, given)[None]).T


def _followed(model, cell, given, times, courant):
    """Weighted respiration of one cell of every core, by time and core."""
    pools, fixed, weight = cell
    known, params = given.quantities, given.params
    join = lambda pools: jnp.concatenate([pools, fixed])
    step = rk4(lambda t, pools, _: known.tendencies(model, t, params)(join(pools))[0])
    rate = lambda pools: known.rates(model.fluxes, 0.0, params)(join(pools)).respiration

    def fastest(t, pools, _, interval):
        return model.fastest_rate(t, *known.filled(join(pools), params), interval)

    # One step at least, and as many as the Courant number asks for, even or not.
    pace = Pace(2, fastest, courant / 2, factor=1)
    measure = lambda t, pools: rate(pools)
    rates, _, _ = run_together(step, measure, pace, pools, None, times)
    return weight[None] * rates
