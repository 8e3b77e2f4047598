"""What each road does between two save times; see `methods` for what they are."""

import math
from functools import singledispatch
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from . import reductions
from .fused import Pace, fused
from .methods import Adaptive, FixedStep, Fused, Substepped
from .statistics import AbstractStatistic, Both, Means

# Pairs of steps that a block may take between two save times.
_MOST_PAIRS = 1e6
# Bytes of a pool in a block: with parameters and stages it fits the first-level cache,
# and arrays that lie a power of two apart would share the same places in it.
_CPU_BLOCK = 1664
# Smaller where each block counts its own steps, by the fastest of its cells: with the
# published Michaelis-Menten fields the last hundredth of the cells takes most of them.
_COUNTED_BLOCK = 768


@singledispatch
def travel(
    method: Any, fine: bool, tendency, save, state, params, times
) -> tuple[Any, Any, Any, Any]:
    """Saved values, mean pools, final state and number of steps along a road.

    `fine=False` takes steps twice as long, for the estimate of the error.
    """
    raise TypeError(
        f"method must be FixedStep, Substepped, Fused or Adaptive, got {method!r}"
    )


@travel.register
def _(method: FixedStep, fine, tendency, save, state, params, times):
    factor = 2 if fine else 1
    if isinstance(times, Tracer):
        # Known in the program alone: forward mode only, in that case.
        pairs = jnp.ceil(jnp.max(jnp.diff(times)) / (2 * method.dt) * (1 - 1e-12))
        count = factor * pairs.astype(int)
        return _fixed_step(method.stepper, tendency, save, state, params, times, count)
    pairs = math.ceil(np.diff(times).max() / (2 * method.dt) * (1 - 1e-12))
    count = pairs * factor
    leaves = jax.tree.leaves((state, params))
    if not any(isinstance(leaf, Tracer) for leaf in leaves):
        # Outside of transformations a loop of any length will do, and one compilation
        # then serves every step; reverse mode needs to know the length beforehand.
        count = jnp.asarray(count)
    return _fixed_step(method.stepper, tendency, save, state, params, times, count)


@travel.register
def _(method: Substepped, fine, tendency, save, state, params, times):
    dtype = jax.tree.leaves(state)[0].dtype
    # As arrays, so that one compilation serves every length of step.
    factor = jnp.asarray(2.0 if fine else 1.0, dtype)
    courant = jnp.asarray(method.courant, dtype)
    method = eqx.tree_at(lambda m: m.courant, method, courant)
    return _substepped(method, tendency, save, state, params, times, factor)


@travel.register
def _(method: Fused, fine, tendency, save, state, params, times):
    if not isinstance(save, AbstractStatistic):
        raise ValueError(
            "the fused road merges what is saved from blocks of cells, which needs an "
            f"AbstractStatistic such as moments.of(fluxes), got save={save!r}; or give "
            "another method"
        )
    factor = 2 if fine else 1
    if isinstance(times, Tracer):
        # Known in the program alone: forward mode only, in that case.
        pairs = jnp.ceil(jnp.max(jnp.diff(times)) / (2 * method.dt) * (1 - 1e-12))
    else:
        pairs = math.ceil(np.diff(times).max() / (2 * method.dt) * (1 - 1e-12))
        leaves = jax.tree.leaves((state, params))
        traced = any(isinstance(leaf, Tracer) for leaf in leaves)
        if method.rate is None and traced:
            # Reverse mode needs to know the number of steps beforehand.
            count = pairs * factor
            return _fused(method, tendency, save, state, params, times, count, None)
    dtype = jax.tree.leaves(state)[0].dtype
    dynamic = lambda value: jnp.asarray(value, dtype)
    # `count` says it all: one compilation then serves every length of step.
    method = eqx.tree_at(
        lambda m: (m.dt, m.courant), method, (0.0, dynamic(method.courant))
    )
    arguments = (dynamic(2 * pairs), dynamic(factor))
    return _fused(method, tendency, save, state, params, times, *arguments)


@travel.register
def _(method: Adaptive, fine, tendency, save, state, params, times):
    if not fine:
        method = method.with_tolerances(10.0)
    return _adaptive(method, tendency, save, state, params, times)


@eqx.filter_jit
def _fixed_step(stepper, tendency, save, state, params, times, count):
    step = stepper(tendency)

    def advance(start, end, state):
        dt = (end - start) / jnp.asarray(count, times.dtype)

        def one(index, state):
            return step(start + index.astype(dt.dtype) * dt, state, params, dt)

        return lax.fori_loop(0, count, one, state)

    steps = count * (times.size - 1)
    return *_march(advance, save, state, params, times), jnp.asarray(steps)


@eqx.filter_jit
def _fused(method, tendency, save, state, params, times, count, factor):
    accelerated = jax.default_backend() != "cpu"
    pool = jax.tree.leaves(state)[0]
    bytes_each = _CPU_BLOCK if method.rate is None else _COUNTED_BLOCK
    usual = pool.size if accelerated else bytes_each // pool.dtype.itemsize
    block = method.block or usual
    devices = method.devices or jax.device_count()
    pace = Pace(count, method.rate, method.courant, factor)
    step = method.stepper(tendency)
    (values, means), final, steps = fused(
        step, Both(save, Means()), state, params, times, pace, block, devices
    )
    return values, means, final, steps


@eqx.filter_jit
def _substepped(method, tendency, save, state, params, times, factor):
    step = method.stepper(tendency)
    leaf = jax.tree.leaves(state)[0]
    shape, cells = leaf.shape, leaf.size
    blocks = max(1, round(cells / method.block))
    size = -(-cells // blocks)

    # Sorted by rate, filled up with copies of the last cell, cut into blocks.
    start_rate = method.rate(times[0], state, params, times[1] - times[0])
    order = jnp.argsort(jnp.broadcast_to(start_rate, shape).reshape(-1))
    order = jnp.pad(order, (0, blocks * size - cells), mode="edge")
    place = jnp.zeros(cells, order.dtype).at[order].set(jnp.arange(order.size))
    into = lambda x: x if x.ndim == 0 else x.reshape(-1)[order].reshape(blocks, size)
    back = lambda x: x.reshape(-1)[place].reshape(shape)
    sorted_params = jax.tree.map(into, params)
    uniform = jax.tree.map(lambda x: x.ndim == 0, params)

    def advance_block(start, end, state, params):
        interval = end - start
        fastest = jnp.max(method.rate(start, state, params, interval))
        pairs = jnp.ceil(interval * fastest / (2 * method.courant))
        # A rate that is not a number, or out of all bounds, ends the run as not finite
        # instead of stopping the clock or running for ever.
        sound = pairs <= _MOST_PAIRS
        pairs = jnp.clip(jnp.where(sound, pairs, 1.0), 1.0)
        count = factor * pairs
        dt = jnp.where(sound, interval / count, jnp.nan)

        def one(index, state):
            return step(start + index.astype(dt.dtype) * dt, state, params, dt)

        return lax.fori_loop(0, count.astype(int), one, state), count

    def advance(start, end, carried):
        state, steps = carried

        def one_block(block):
            state, varying = block
            params = eqx.combine(varying, constant)
            return advance_block(start, end, state, params)

        constant, varying = eqx.partition(sorted_params, uniform)
        state, counts = lax.map(one_block, (state, varying))
        return state, steps + jnp.sum(counts)

    unsorted_save = lambda t, carried, params: save(
        t, jax.tree.map(back, carried[0]), params
    )
    start = (jax.tree.map(into, jax.tree.map(jnp.atleast_1d, state)), 0.0 * factor)
    values, means, (final, steps) = _march(
        advance, unsorted_save, start, params, times, pools=lambda carried: carried[0]
    )
    return values, means, jax.tree.map(back, final), steps


@eqx.filter_jit
def _adaptive(method, tendency, save, state, params, times):
    if method.per_cell:
        return _adaptive_cells(method, tendency, save, state, params, times)
    measure = lambda t, y, params: (save(t, y, params), _means(y))
    saveat = diffrax.SaveAt(
        subs=(
            diffrax.SubSaveAt(ts=times, fn=measure),
            diffrax.SubSaveAt(t1=True),
        )
    )
    solution = _diffrax(method, tendency, state, params, times, saveat)
    (values, means), final = cast(Any, solution.ys)
    final = jax.tree.map(lambda leaf: leaf[0], final)
    return values, means, final, solution.stats["num_steps"]


def _adaptive_cells(method, tendency, save, state, params, times):
    shape = jax.tree.leaves(state)[0].shape
    flat = lambda tree: jax.tree.map(lambda x: x.reshape(-1) if x.ndim else x, tree)
    uniform = jax.tree.map(lambda x: x.ndim == 0, params)
    constant, varying = eqx.partition(flat(params), uniform)

    def one_cell(cell):
        state, varying = cell
        solution = _diffrax(
            method,
            tendency,
            state,
            eqx.combine(varying, constant),
            times,
            diffrax.SaveAt(ts=times),
        )
        return solution.ys, solution.stats["num_steps"]

    # Blocks of cells bound the work lost on waiting for the stiffest of them.
    start = flat(jax.tree.map(jnp.atleast_1d, state))
    states, steps = lax.map(one_cell, (start, varying), batch_size=256)
    states = jax.tree.map(lambda x: x.T.reshape(times.shape + shape), states)

    def measure(moment):
        t, state = moment
        return save(t, state, params), _means(state)

    values, means = lax.map(measure, (times, states))
    final = jax.tree.map(lambda x: x[-1], states)
    return values, means, final, jnp.sum(steps)


def _diffrax(method, tendency, state, params, times, saveat):
    return diffrax.diffeqsolve(
        diffrax.ODETerm(tendency),
        method.solver,
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=state,
        args=params,
        saveat=saveat,
        stepsize_controller=diffrax.PIDController(rtol=method.rtol, atol=method.atol),
        adjoint=method.adjoint,
        max_steps=method.max_steps,
        # A failed solve leaves its later results infinite, which `integrate` reports.
        throw=False,
    )


def _means(state):
    return [reductions.mean(leaf) for leaf in jax.tree.leaves(state)]


def _march(advance, save, state, params, times, pools=lambda state: state):
    """Carries a state from save time to save time; times lead the saved leaves."""

    def measure(t, state):
        return save(t, state, params), _means(pools(state))

    def interval(state, window):
        start, end = window
        state = advance(start, end, state)
        return state, measure(end, state)

    times = jnp.asarray(times)
    first = measure(times[0], state)
    final, rest = lax.scan(interval, state, (times[:-1], times[1:]))
    prepend = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])
    values, means = jax.tree.map(prepend, first, rest)
    return values, means, final
