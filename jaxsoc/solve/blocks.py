"""Blocks of cells that stay in the cache, time loop inside, every device at work.

A step over a large grid reads and writes all of it: the processor waits for memory.
Cells that do not exchange carbon can instead be taken a block at a time through all of
time; what is asked of them is gathered on the way, block by block.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from .devices import accelerated
from .ensembles import device_mesh, over_devices
from .loops import Pace, counted_steps, march, march_in_segments
from .reductions import LANES
from .statistics import AbstractStatistic
from .steppers import Step

# Bytes of a pool in a block: with parameters and stages it fits the first-level cache,
# and arrays that lie a power of two apart would share the same places in it.
_BYTES = 1664
# Smaller where each block counts its own steps, by the fastest of its cells: with the
# published Michaelis-Menten fields the last hundredth of the cells takes most of them.
_COUNTED_BYTES = 768
# Cells of a block that meets the others at every save time.
_MEETING = 512
# The fewest cells that count their own steps on an accelerator.
_LEAST_PART = 16


def usual_block(layout: str, state: Any, *, counted: bool) -> int:
    """Cells of a block where nobody says how many."""
    pool = jax.tree.leaves(state)[0]
    if layout == "whole":
        return _MEETING
    if accelerated():
        return pool.size
    return (_COUNTED_BYTES if counted else _BYTES) // pool.dtype.itemsize


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


def run_in_blocks(
    step: Step,
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
        order, back = _by_rate(pace.rate, state, params, times)
        arrange = lambda x: x[order] if x.ndim else x
        state, params = jax.tree.map(arrange, (state, params))
    pack = _Packing(jax.eval_shape(statistic, times[0], state, params))
    run = partial(_run_block, step, statistic, pack, pace)
    if accelerated() and pace.rate is not None:
        found = _run_parts(step, statistic, pack, pace, state, params, times)
    else:
        plan = layout(cells, block, devices)
        found = _run_all(run, statistic, pack, state, params, times, plan)
    rows, final, steps = found
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
        return [jnp.concatenate([leaves[i] for i in at]) for at in self.branches]

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
        """Rows `(value, time)` from values `(time, *shape)`."""
        return [row.T for row in jax.vmap(self.pack)(values)]


def _run_all(run, statistic, pack, state, params, times, plan):
    devices, blocks, size, rest = plan
    constant, varying = split_params(params)
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
        on_device = over_devices(on_device, devices)
        # To every device a few arrays, rather than a small one after the other.
        everywhere = NamedSharding(device_mesh(devices), PartitionSpec())
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


def _run_parts(step, statistic, pack, pace, state, params, times):
    """Parts of the sorted cells at their own pace, measured together at save times.

    Each part is three quarters of what the slower ones leave. For members that go side
    by side on an accelerator: the same part of all of them steps together, so that few
    wait for the fastest cells of another one, and what is saved is one reduction.
    """
    cells = jax.tree.leaves(state)[0].size
    ends = [0]
    while cells - ends[-1] >= 4 * _LEAST_PART:
        ends.append(cells - (cells - ends[-1]) // 4)
    ends.append(cells)
    spans = [slice(*pair) for pair in itertools.pairwise(ends)]
    cut = lambda tree: [
        jax.tree.map(lambda x, at=at: x[at] if x.ndim else x, tree) for at in spans
    ]
    join = lambda parts: jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    own, advance = cut(params), counted_steps(step, pace)

    def all_parts(carried, params, start, end):
        parts, taken = carried
        parts = list(parts)
        for place, part in enumerate(parts):
            parts[place], taken = advance((part, taken), own[place], start, end)
        return parts, taken

    packed = lambda t, carried: pack.pack(statistic(t, join(carried[0]), params))
    start = cut(state), jnp.zeros((), times.dtype)
    values, (parts, steps) = march(all_parts, packed, start, params, times)
    return _by_value(values), join(parts), steps


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
    packed = lambda t, state: pack.pack(statistic(t, state, params))
    values, final, steps = run_together(step, packed, pace, state, params, times)
    return _by_value(values), final, steps


def _by_value(values):
    """Packed values with time last: what merges blocks runs along it, in lanes."""
    return [x.T for x in values]


def run_together(
    step: Step, measure: Callable, pace: Pace, state: Any, params: Any, times: Any
) -> tuple[Any, Any, Any]:
    """Cells that take their steps together: what is measured, end, steps taken.

    **Arguments:** `measure`: `(t, state) -> values`.
    """
    if pace.known:
        found = march_in_segments(step, pace.count, measure, state, params, times)
        return *found, jnp.asarray(pace.count * (times.size - 1), times.dtype)
    carried = state, jnp.zeros((), times.dtype)
    seen = lambda t, carried: measure(t, carried[0])
    advance = counted_steps(step, pace)
    values, (final, steps) = march(advance, seen, carried, params, times)
    return values, final, steps


def run_between_saves(
    step: Step,
    measure: Callable,
    pace: Pace,
    state: Any,
    params: Any,
    times: Any,
    block: int,
) -> tuple[Any, Any, Any]:
    """Blocks of cells, each at its own pace, that meet at every save time.

    For whatever is saved of all cells at once; as `run_together`.
    """
    order, back = _by_rate(pace.rate, state, params, times)
    cells = back.size
    blocks = max(1, round(cells / block))
    size = -(-cells // blocks)
    # Filled up with copies of the last cell, cut into blocks.
    order = jnp.pad(order, (0, blocks * size - cells), mode="edge")
    cut = lambda x: x.reshape(-1)[order].reshape(blocks, size)
    whole = lambda x: x.reshape(-1)[back]
    constant, varying = split_params(params)
    varying = jax.tree.map(cut, varying)
    advance = counted_steps(step, pace)

    def all_blocks(carried, params, start, end):
        state, steps = carried

        def one_block(block):
            state, varying = block
            params = eqx.combine(varying, constant)
            return advance((state, jnp.zeros_like(steps)), params, start, end)

        state, more = lax.map(one_block, (state, varying))
        return state, steps + jnp.sum(more)

    seen = lambda t, carried: measure(t, jax.tree.map(whole, carried[0]))
    start = jax.tree.map(cut, state), jnp.zeros((), times.dtype)
    values, (final, steps) = march(all_blocks, seen, start, params, times)
    return values, jax.tree.map(whole, final), steps


def _by_rate(rate, state, params, times):
    """The cells in the order of their rates, and the place of each cell in it."""
    leaf = jax.tree.leaves(state)[0]
    rates = rate(times[0], state, params, times[1] - times[0])
    order = jnp.argsort(jnp.broadcast_to(rates, leaf.shape).reshape(-1))
    back = jnp.zeros(leaf.size, order.dtype).at[order].set(jnp.arange(leaf.size))
    return order, back.reshape(leaf.shape)


def split_params(params: Any) -> tuple[Any, Any]:
    """Parameters that are one number, and those that differ between cells."""
    return eqx.partition(params, jax.tree.map(lambda x: x.ndim == 0, params))
