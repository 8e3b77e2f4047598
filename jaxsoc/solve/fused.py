"""Blocks of cells that stay in the cache, time loop inside, every device at work.

A step over a large grid reads and writes all of it: the processor waits for memory.
Cells that do not exchange carbon can instead be taken a block at a time through all of
time; what is asked of them is gathered on the way, block by block.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from .reductions import LANES
from .statistics import AbstractStatistic

_AXIS = "device"
# Pairs of steps that a block may take between two save times.
_MOST_PAIRS = 1e6


class Layout(NamedTuple):
    """Cells as `devices` x `blocks` blocks of `size` cells, and a `rest`."""

    devices: int
    blocks: int
    size: int
    rest: int


def layout(cells: int, target: int, devices: int) -> Layout:
    """Blocks of about `target` cells that leave the least to do twice.

    The rest is a block of its own, run by every device, since it is small.
    """
    best, least = Layout(devices, 0, 0, cells), math.inf
    low, high = max(1, target // (2 * LANES)), max(1, 3 * target // (2 * LANES))
    for size in range(LANES * low, LANES * high + 1, LANES):
        blocks = cells // (size * devices)
        rest = cells - blocks * size * devices
        # Every device runs the rest, and the fewest cells cost a quarter of a block.
        alone = rest + target / 4 if rest else 0
        work = (blocks * size + alone) * (1 + 0.1 * abs(size / target - 1))
        if blocks and work < least:
            best, least = Layout(devices, blocks, size, rest), work
    return best


class Pace(NamedTuple):
    """How the steps between two save times are counted.

    `count`: at least as many, a plain number where reverse-mode gradients are wanted;
    `rate`, `courant`: as many that no cell of the block exceeds the Courant number, or
    None; `factor`: 1, or 2 for the finer of two runs that are compared.
    """

    count: Any
    rate: Any = None
    courant: Any = None
    factor: Any = 1


def fused(
    step: Any,
    statistic: AbstractStatistic,
    state: Any,
    params: Any,
    times: Any,
    pace: Pace,
    block: int,
    devices: int,
) -> tuple[Any, Any, Any]:
    """Merged values of all blocks, final state and number of steps.

    **Arguments:** `state`, `params`: leaves of one shape, parameters also scalars;
    `block`: cells wanted in one; `devices`: to share them out to.
    """
    leaf = jax.tree.leaves(state)[0]
    shape, cells = leaf.shape, leaf.size
    flat = lambda x: x.reshape(-1) if x.ndim else x
    state = jax.tree.map(lambda x: x.reshape(-1), state)
    params = jax.tree.map(flat, params)
    back = None
    if pace.rate is not None:
        rate = pace.rate(times[0], state, params, times[1] - times[0])
        order = jnp.argsort(jnp.broadcast_to(rate, (cells,)))
        back = jnp.zeros(cells, order.dtype).at[order].set(jnp.arange(cells))
        arrange = lambda x: x[order] if x.ndim else x
        state, params = jax.tree.map(arrange, (state, params))
    plan = layout(cells, block, devices)
    pack = _Packing(jax.eval_shape(statistic, times[0], state, params))
    run = partial(_run_block, step, statistic, pack, pace)
    rows, final, steps = _run_all(run, statistic, pack, state, params, times, plan)
    if back is not None:
        final = jax.tree.map(lambda x: x[back], final)
    finish = jax.vmap(statistic.finish, in_axes=(0, 0, None))
    values = finish(times, pack.unpack(rows), params)
    return values, jax.tree.map(lambda x: x.reshape(shape), final), steps


class _Packing(NamedTuple):
    """Values of a save time in a few vectors, one for each branch of their tree.

    Fewer arrays to write and send than there are values; and what a gradient does not
    ask for, such as covariances, stays apart from what it does, and costs it nothing.
    """

    shapes: Any

    @property
    def branches(self) -> list[list[int]]:
        """Places of the leaves of each branch."""
        paths = jax.tree_util.tree_flatten_with_path(self.shapes)[0]
        found: dict[Any, list[int]] = {}
        for place, (path, _) in enumerate(paths):
            found.setdefault(path[:-1], []).append(place)
        return list(found.values())

    def pack(self, values: Any) -> list:
        """The values of one save time."""
        leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(values)]
        # The barrier keeps XLA from computing each value in the loop that writes it.
        row = lambda places: lax.optimization_barrier([leaves[i] for i in places])
        return [jnp.concatenate(row(places)) for places in self.branches]

    def unpack(self, rows: list) -> Any:
        """Values from rows `(..., value, time)`, as `(..., time, *shape)`."""
        known, structure = jax.tree.flatten(self.shapes)
        leaves = list(known)
        for places, row in zip(self.branches, rows, strict=True):
            ends = np.cumsum([known[i].size for i in places])
            parts = jnp.split(row, ends[:-1], axis=-2)
            for i, part in zip(places, parts, strict=True):
                last = jnp.moveaxis(part, -2, -1)
                leaf = last.reshape(last.shape[:-1] + known[i].shape)
                leaves[i] = leaf.astype(known[i].dtype)
        return jax.tree.unflatten(structure, leaves)

    def repack(self, values: Any) -> list:
        """Rows `(..., value, time)` from values `(..., time, *shape)`."""
        known, leaves = jax.tree.leaves(self.shapes), jax.tree.leaves(values)
        flat = [
            jnp.moveaxis(
                leaf.reshape(leaf.shape[: leaf.ndim - one.ndim] + (-1,)), -1, -2
            )
            for leaf, one in zip(leaves, known, strict=True)
        ]
        return [
            jnp.concatenate([flat[i] for i in places], axis=-2)
            for places in self.branches
        ]


def _run_all(run, statistic, pack, state, params, times, plan):
    devices, blocks, size, rest = plan
    uniform = jax.tree.map(lambda x: x.ndim == 0, params)
    constant, varying = eqx.partition(params, uniform)
    cells, cut = (state, varying), devices * blocks * size
    if not blocks:
        return run(state, varying, constant, times)
    # Everything has a device axis, so that gradients need no special treatment.
    # Block after block to one device after the other: cells may be sorted by their
    # rates, and every device should get its part of the fast ones.
    fold = lambda x: x[:cut].reshape(blocks, devices, size).swapaxes(0, 1)
    each = lambda x: jnp.broadcast_to(x, (devices, *jnp.shape(x)))
    tail = jax.tree.map(lambda x: each(x[cut:]), cells) if rest else None
    on_device = partial(_run_device, run, statistic, pack, plan)
    whole = lambda x: x
    if devices > 1:
        mesh = jax.make_mesh((devices,), (_AXIS,), axis_types=(AxisType.Auto,))
        spec = PartitionSpec(_AXIS)
        on_device = jax.shard_map(
            on_device, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        )
        # To every device a few arrays, rather than a small one after the other.
        everywhere = NamedSharding(mesh, PartitionSpec())
        whole = lambda x: lax.with_sharding_constraint(x, everywhere)
    shared = jax.tree.map(each, (constant, times))
    rows, final, steps = on_device(jax.tree.map(fold, cells), tail, shared)
    shares = jnp.full(devices, 1 / devices, times.dtype)
    rows = _merged(statistic, pack, jax.tree.map(whole, rows), shares)
    unfold = lambda x: x.swapaxes(0, 1).reshape(-1)
    final, end = jax.tree.map(unfold, final[0]), final[1]
    if rest:
        join = lambda x, last: jnp.concatenate([x, last[0]])
        final = jax.tree.map(join, final, end)
    return rows, final, jnp.sum(steps)


def _run_device(run, statistic, pack, plan, cells, tail, shared):
    """All blocks of one device, merged.

    The rest is too small to share out: every device runs it, and counts its part.
    """
    cells, tail, (constant, times) = jax.tree.map(lambda x: x[0], (cells, tail, shared))
    one = lambda block: run(*block, constant, times)
    rows, finals, steps = lax.map(one, cells)
    sizes, steps, end = [plan.size] * plan.blocks, jnp.sum(steps), None
    if plan.rest:
        last, end, more = run(*tail, constant, times)
        rows = jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), rows, last)
        sizes, steps = [*sizes, plan.rest / plan.devices], steps + more / plan.devices
    shares = jnp.asarray(np.asarray(sizes) / np.sum(sizes), times.dtype)
    rows = _merged(statistic, pack, rows, shares)
    return jax.tree.map(lambda x: x[None], (rows, (finals, end), steps))


def _merged(statistic, pack, rows, shares):
    if shares.size == 1:
        return jax.tree.map(lambda x: x[0], rows)
    return pack.repack(statistic.merge(pack.unpack(rows), shares))


def _run_block(step, statistic, pack, pace, state, varying, constant, times):
    """One block through all of time: its values, its end, the steps it took."""
    params = eqx.combine(varying, constant)
    packed = lambda t, state, params: pack.pack(statistic(t, state, params))
    if isinstance(pace.count, int) and pace.rate is None:
        values, final = _in_segments(step, packed, pace.count, state, params, times)
        steps = jnp.asarray(pace.count * (times.size - 1), times.dtype)
    else:
        (final, steps), values = _counted(step, packed, pace, state, params, times)
    first = packed(times[0], state, params)
    # Time last: merging blocks then runs along it, which a processor can do in lanes.
    rows = [jnp.concatenate([a[None], b]).T for a, b in zip(first, values, strict=True)]
    return rows, final, steps


def _counted(step, statistic, pace, state, params, times):
    """Steps counted on the way: any rate, forward-mode gradients."""

    def interval(carried, window):
        state, taken = carried
        start, end = window
        pairs = jnp.asarray(pace.count / 2, times.dtype)
        if pace.rate is not None:
            fastest = jnp.max(pace.rate(start, state, params, end - start))
            wanted = jnp.ceil((end - start) * fastest / (2 * pace.courant))
            # A rate that is not a number, or out of all bounds, ends the run as not
            # finite instead of stopping the clock or running for ever.
            pairs = jnp.where(
                wanted <= _MOST_PAIRS, jnp.maximum(wanted, pairs), jnp.nan
            )
        sound = jnp.isfinite(pairs)
        count = 2 * jnp.where(sound, jnp.maximum(jnp.ceil(pairs), 1), 1)
        count = count * pace.factor / 2
        dt = jnp.where(sound, (end - start) / count, jnp.nan)
        one = lambda i, state: step(start + i.astype(dt.dtype) * dt, state, params, dt)
        state = lax.fori_loop(0, count.astype(int), one, state)
        return (state, taken + count), statistic(end, state, params)

    windows = (times[:-1], times[1:])
    return lax.scan(interval, (state, jnp.zeros((), times.dtype)), windows)


def _in_segments(step, statistic, count, state, params, times):
    """A known number of steps, in segments of about √steps.

    Reverse mode stores the state at their ends, and repeats one at a time: memory in
    proportion to √steps, for the price of one more forward run.
    """
    length = max(1, round(math.sqrt(count * (times.size - 1))))
    together = max(1, round(length / count))  # intervals in a segment
    advance = _interval(step, count, length if together == 1 else count)

    # Its fields by cell are cheaper to compute again than to keep for the way back.
    measure = jax.checkpoint(statistic, prevent_cse=False)

    def interval(state, window):
        state = advance(state, params, *window)
        return state, measure(window[1], state, params)

    windows = (times[:-1], times[1:])
    if together == 1:
        final, values = lax.scan(interval, state, windows)
        return values, final
    segment = jax.checkpoint(partial(lax.scan, interval), prevent_cse=False)
    whole = (times.size - 1) // together
    fold = lambda x: x[: whole * together].reshape(whole, together)
    state, values = lax.scan(segment, state, jax.tree.map(fold, windows))
    values = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), values)
    if whole * together < times.size - 1:
        rest = jax.tree.map(lambda x: x[whole * together :], windows)
        state, more = segment(state, rest)
        join = lambda a, b: jnp.concatenate([a, b])
        values = jax.tree.map(join, values, more)
    return values, state


def _interval(step, count, length):
    """Advances a state between two save times by `count` steps, in segments."""

    def advance(state, params, start, end):
        dt = (end - start) / jnp.asarray(count, start.dtype)
        once = lambda state, t: step(t, state, params, dt)
        one = jax.checkpoint(once, prevent_cse=False)
        # Two at a time: XLA copies what a pass of a loop reads after writing it.
        several = lambda s, t: (one(s, t), None)
        scan = lambda state, t: lax.scan(several, state, t, unroll=2)
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
