"""A run by one method, from the first save time to the last, as one program.

Of cells, for `integrate`; of small systems of any shape, by `follow`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from equinox.internal import nondifferentiable_backward
from jax import lax
from jax.tree_util import Partial

from . import blocks
from .checks import Problem
from .devices import free_devices
from .loops import Pace, equal_steps, march
from .methods import Adaptive, Steps
from .pointwise import AbstractPointwise, Pointwise, local_growth, local_rate
from .statistics import AbstractStatistic, SavedAndWatched, Watch
from .steppers import STABLE, rk4

_ONE_WAY = (
    "steps that are counted on the way cannot be walked backwards: for reverse-mode "
    "gradients give equal steps, such as Steps(dt=1.0), and times as NumPy arrays"
)


def _since(function, origin, t, *others):
    return function(origin + t, *others)


def _shifted(problem):
    """The tendency and the rate as functions of time since the first."""
    since = lambda function: Partial(_since, function, problem.origin)
    tendency, rate = since(problem.tendency), problem.rate
    # Only what couples no cells may be taken for it.
    if isinstance(problem.tendency, AbstractPointwise):
        tendency = Pointwise(tendency)
    return tendency, None if rate is None else since(rate)


def run_steps(
    method: Steps, problem: Problem, count: Any, factor: int, watch: bool
) -> tuple[Any, Any, Any]:
    """Saved values and what was watched, as a pair; final state; number of steps.

    **Arguments:** `count`: steps between two save times at least; `factor`: 2, or 1 for
    steps twice as long; `watch`: whether to see that pools stay positive and explicit
    steps stable.
    """
    if isinstance(count, int):
        count, factor = count * factor // 2, 2
    dynamic = lambda value: jnp.asarray(value, problem.dtype)
    courant = None if method.courant is None else dynamic(method.courant)
    # `count` says it all: one compilation then serves every length of step.
    plain = dataclasses.replace(method, dt=None, courant=1.0)
    scale = factor if isinstance(count, int) else dynamic(factor)
    return _steps(plain, problem, count, courant, scale, watch)


@eqx.filter_jit
def _steps(method, problem, count, courant, factor, watch):
    state, params, times = problem.state, problem.params, problem.times
    tendency, rate = _shifted(problem)
    rate = rate if courant is not None else None
    step = method.stepper(tendency)
    apart = isinstance(tendency, AbstractPointwise)
    pace = Pace(count, rate, courant, factor)
    watched = _watch(method, tendency, pace, times) if watch else Watch(lowest=False)
    measure = SavedAndWatched(problem.save, watched, problem.origin)
    layout = method.layout
    if layout is None:
        merges = isinstance(problem.save, AbstractStatistic)
        layout = "blocks" if apart and merges else "whole"
    block = method.block or blocks.usual_block(layout, state, counted=rate is not None)
    seen = lambda t, state: measure(t, state, params)
    course = state, params, times
    if layout == "blocks":
        devices = method.devices or free_devices()
        found = blocks.run_in_blocks(step, measure, *course, pace, block, devices)
    elif apart and rate is not None:
        found = blocks.run_between_saves(step, seen, pace, *course, block)
    else:
        found = blocks.run_together(step, seen, pace, *course)
    return found if pace.known else nondifferentiable_backward(found, msg=_ONE_WAY)


def _watch(method, tendency, pace, times):
    """How low pools fall; of cells apart, too, how stiff they are to the steps.

    |λ| Δt of explicit steps, which must be stable; by how much cells grow in one of
    implicit steps, which damp.
    """
    longest = jnp.max(jnp.diff(times))

    def stiffness(t, state, params):
        dt = longest / (pace.count * pace.factor / 2)
        if pace.rate is not None:
            # A cell at rest has no bound but that.
            own = pace.courant / pace.rate(t, state, params, longest)
            dt = jnp.minimum(own, dt)
        if method.stepper in STABLE:
            return local_rate(tendency, t, state, params) * dt
        return local_growth(tendency, t, state, params, dt)

    apart = isinstance(tendency, AbstractPointwise)
    return Watch(lowest=True, stiffness=stiffness if apart else None)


@eqx.filter_jit
def run_adaptive(method: Adaptive, problem: Problem) -> tuple[Any, Any, Any]:
    """As `run_steps`, with steps chosen by diffrax."""
    state, params, times = problem.state, problem.params, problem.times
    tendency, _ = _shifted(problem)
    measure = SavedAndWatched(problem.save, Watch(lowest=True), problem.origin)
    if method.per_cell:
        return _cells(method, tendency, measure, state, params, times)
    if method.max_steps * sum(x.size for x in jax.tree.leaves(state)) <= 4 * times.size:
        return _all_at_once(method, tendency, measure, state, params, times)
    saveat = diffrax.SaveAt(
        subs=(diffrax.SubSaveAt(ts=times, fn=measure), diffrax.SubSaveAt(t1=True))
    )
    solution = _controlled(method, tendency, state, params, times, saveat)
    saved, final = cast(Any, solution.ys)
    final = jax.tree.map(lambda leaf: leaf[0], final)
    return saved, final, solution.stats["num_steps"]


def _all_at_once(method, tendency, measure, state, params, times):
    """The same by the record of all steps, where it is no larger than what is saved.

    A loop over the times of a step costs more than the steps where they are many.
    """
    saveat = diffrax.SaveAt(dense=True, t1=True)
    solution = _controlled(method, tendency, state, params, times, saveat)
    whole = solution.result == diffrax.RESULTS.successful

    def moment(t):
        state = jax.tree.map(
            lambda x: jnp.where(whole, x, jnp.inf), solution.evaluate(t)
        )
        return measure(t, state, params)

    final = jax.tree.map(lambda leaf: leaf[0], solution.ys)
    return jax.vmap(moment)(times), final, solution.stats["num_steps"]


def _cells(method, tendency, measure, state, params, times):
    shape = jax.tree.leaves(state)[0].shape
    flat = lambda tree: jax.tree.map(lambda x: x.reshape(-1) if x.ndim else x, tree)
    constant, varying = blocks.split_params(flat(params))

    def one_cell(cell):
        state, varying = cell
        params = eqx.combine(varying, constant)
        saveat = diffrax.SaveAt(ts=times)
        solution = _controlled(method, tendency, state, params, times, saveat)
        return solution.ys, solution.stats["num_steps"]

    # Blocks of cells bound the work lost on waiting for the stiffest of them.
    start = flat(jax.tree.map(jnp.atleast_1d, state))
    states, steps = lax.map(one_cell, (start, varying), batch_size=256)
    states = jax.tree.map(lambda x: x.T.reshape(times.shape + shape), states)
    saved = lax.map(lambda moment: measure(*moment, params), (times, states))
    return saved, jax.tree.map(lambda x: x[-1], states), jnp.sum(steps)


def _controlled(
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


def follow(
    tendency: Callable,
    state: Any,
    params: Any,
    times: Any,
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    steps: int | None = None,
) -> tuple[Any, Any]:
    """The state at every time, and whether the run got there.

    **Arguments:** `tendency`: `(t, state, params) -> d(state)/dt`, any pytree;
    `times`: increasing, the state is that at the first; `rtol`, `atol`, `max_steps`:
    of error-controlled steps; `steps`: that many equal ones between two times in their
    place, for batches and gradients. Batch it with `vmap`.
    **Returns:** states leading by time, infinite after a run that left the finite
    numbers; whether all are finite.
    **Raises:** `ValueError` for fewer than one step.
    """
    times = jnp.asarray(times, jax.tree.leaves(state)[0].dtype)
    if steps is None:
        method = Adaptive(rtol=rtol, atol=atol, max_steps=max_steps)
        at_times = diffrax.SaveAt(ts=times)
        states = _controlled(method, tendency, state, params, times, at_times).ys
    elif steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    else:
        advance = equal_steps(rk4(tendency), steps, steps)
        states, _ = march(advance, lambda t, state: state, state, params, times)
    finite = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(states)]
    return states, jnp.all(jnp.stack(finite))
