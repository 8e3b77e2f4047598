"""A run by one method, from the first save time to the last, as one program."""

import dataclasses
from typing import Any, NamedTuple, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from equinox.internal import nondifferentiable_backward
from jax import lax

from . import reductions
from .blocks import run_between_saves, run_in_blocks, run_together, usual_block
from .loops import Pace
from .methods import Adaptive, Steps
from .pointwise import AbstractPointwise
from .soundness import Watched
from .statistics import AbstractStatistic, Both, Means, Watch
from .steppers import STABLE

_ONE_WAY = (
    "steps that are counted on the way cannot be walked backwards: for reverse-mode "
    "gradients give equal steps, such as Steps(dt=1.0), and times as NumPy arrays"
)

Found = tuple[Any, Watched, Any, Any]


class Given(NamedTuple):
    """What a run is of: a tendency, what is saved, a bound on the rates, the time 0."""

    tendency: Any
    save: Any
    rate: Any
    origin: Any


class _Since(AbstractPointwise):
    """A pointwise tendency whose clock starts at the first save time."""

    inner: Any
    origin: Any

    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        return self.inner(self.origin + t, state, params)


def _shifted(given):
    """The tendency and the rate as functions of time since the first."""
    tendency, _, rate, origin = given
    own = _Since(tendency, origin)
    # Only what couples no cells may be taken for it.
    apart = isinstance(tendency, AbstractPointwise)
    function = own if apart else lambda t, state, params: own(t, state, params)
    bound = None
    if rate is not None:
        bound = lambda t, *others: rate(origin + t, *others)
    return function, bound


def run_steps(
    method: Steps,
    given: Given,
    state: Any,
    params: Any,
    times: Any,
    count: Any,
    factor: int,
    watch: bool,
) -> Found:
    """Saved values, what was watched, final state and number of steps.

    **Arguments:** `times`: since the first; `count`: steps between two of them at
    least; `factor`: 2, or 1 for steps twice as long; `watch`: whether to see that pools
    stay positive and explicit steps stable.
    """
    dtype = jax.tree.leaves(state)[0].dtype
    if isinstance(count, int):
        count, factor = count * factor // 2, 2
    dynamic = lambda value: jnp.asarray(value, dtype)
    courant = None if method.courant is None else dynamic(method.courant)
    # `count` says it all: one compilation then serves every length of step.
    plain = dataclasses.replace(method, dt=None, courant=1.0)
    scale = factor if isinstance(count, int) else dynamic(factor)
    return _steps(plain, given, state, params, times, count, courant, scale, watch)


@eqx.filter_jit
def _steps(method, given, state, params, times, count, courant, factor, watch):
    tendency, rate = _shifted(given)
    rate = rate if courant is not None else None
    step = method.stepper(tendency)
    apart = isinstance(tendency, AbstractPointwise)
    pace = Pace(count, rate, courant, factor)
    measure: Any = _measured(method, given, tendency, pace, times, watch)
    layout = method.layout
    if layout is None:
        merges = isinstance(given.save, AbstractStatistic)
        layout = "blocks" if apart and merges else "whole"
    block = method.block or usual_block(layout, state, counted=rate is not None)
    if layout == "blocks":
        devices = method.devices or jax.device_count()
        values, final, steps = run_in_blocks(
            step, measure, state, params, times, pace, block, devices
        )
        values, watched = values
    else:
        seen = lambda t, state: measure(t, state, params)
        run = run_together
        if apart and rate is not None:
            run = lambda *problem: run_between_saves(*problem, block)
        later, final, steps = run(step, seen, pace, state, params, times)
        values, watched = _prepended(seen(times[0], state), later)
    found = values, _watched(watched), final, steps
    return found if pace.known else nondifferentiable_backward(found, msg=_ONE_WAY)


def _measured(method, given, tendency, pace, times, watch):
    """What is saved and what is watched, as a pair."""
    save, origin = given.save, given.origin
    seen: Any = Means()
    if watch:
        longest = jnp.max(jnp.diff(times))

        def length(t, state, params):
            equal = longest / (pace.count * pace.factor / 2)
            if pace.rate is None:
                return equal
            # A cell at rest has no bound but that.
            own = pace.courant / pace.rate(t, state, params, longest)
            return jnp.minimum(own, equal)

        apart = isinstance(tendency, AbstractPointwise)
        explicit = method.stepper in STABLE
        seen = Both(seen, Watch(tendency if apart else None, length, explicit))
    if isinstance(save, AbstractStatistic):
        return Both(save, seen, origin)
    return lambda t, *now: (save(origin + t, *now), seen(t, *now))


def _watched(found):
    if isinstance(found, tuple):
        means, (lowest, stiffness) = found
        return Watched(means, lowest, stiffness)
    return Watched(found)


def _prepended(first, later):
    prepend = lambda a, b: jnp.concatenate([jnp.asarray(a)[None], b])
    return jax.tree.map(prepend, first, later)


@eqx.filter_jit
def run_adaptive(
    method: Adaptive, given: Given, state: Any, params: Any, times: Any
) -> Found:
    """As `run_steps`, with steps chosen by diffrax."""
    tendency, _ = _shifted(given)
    lowest = lambda y: [reductions.smallest(x) for x in jax.tree.leaves(y)]
    seen = lambda y: (Means()(None, y, None), lowest(y))
    measure = lambda t, y, params: (given.save(given.origin + t, y, params), seen(y))
    if method.per_cell:
        found = _cells(method, tendency, measure, state, params, times)
    else:
        saveat = diffrax.SaveAt(
            subs=(diffrax.SubSaveAt(ts=times, fn=measure), diffrax.SubSaveAt(t1=True))
        )
        solution = controlled(method, tendency, state, params, times, saveat)
        saved, final = cast(Any, solution.ys)
        final = jax.tree.map(lambda leaf: leaf[0], final)
        found = saved, final, solution.stats["num_steps"]
    (values, (means, least)), final, steps = found
    return values, Watched(means, least), final, steps


def _cells(method, tendency, measure, state, params, times):
    shape = jax.tree.leaves(state)[0].shape
    flat = lambda tree: jax.tree.map(lambda x: x.reshape(-1) if x.ndim else x, tree)
    uniform = jax.tree.map(lambda x: x.ndim == 0, params)
    constant, varying = eqx.partition(flat(params), uniform)

    def one_cell(cell):
        state, varying = cell
        params = eqx.combine(varying, constant)
        saveat = diffrax.SaveAt(ts=times)
        solution = controlled(method, tendency, state, params, times, saveat)
        return solution.ys, solution.stats["num_steps"]

    # Blocks of cells bound the work lost on waiting for the stiffest of them.
    start = flat(jax.tree.map(jnp.atleast_1d, state))
    states, steps = lax.map(one_cell, (start, varying), batch_size=256)
    states = jax.tree.map(lambda x: x.T.reshape(times.shape + shape), states)
    saved = lax.map(lambda moment: measure(*moment, params), (times, states))
    return saved, jax.tree.map(lambda x: x[-1], states), jnp.sum(steps)


def controlled(
    method: Adaptive, tendency: Any, state: Any, params: Any, times: Any, saveat: Any
) -> Any:
    """diffrax's solution, with steps by error control."""
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
