"""`integrate`: any tendency, any pytree, statistics out.

A state is a pytree of arrays of one shape, the cells; a parameter is a scalar or has
cell axes that broadcast to that shape.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from . import checks
from .blocks import usual_block
from .checks import IntegrationError, Soundness, unknown
from .methods import COURANT, Adaptive, Method, Rate, Steps
from .pointwise import AbstractPointwise, Tendency
from .runs import run_adaptive, run_steps
from .statistics import Statistics
from .steppers import ORDER

Save = Callable[[Any, Any, Any], Any]
_DEFAULT_STATISTICS = Statistics()

# Rates this many times slower than the fastest make it worth while to let groups of
# cells choose their own steps.
_WORTH_COUNTING = 2.0
# A single cell may be this much further off than the means.
_CELL_TOLERANCE = 100.0
# Runs with steps once and twice as long that differ by more do not converge yet.
_TOO_LARGE = 1e-3
_NO_CHOICE = (
    "a method cannot be chosen inside jit, grad or vmap, where values are not known: "
    "give `method`, for example Steps(dt=1.0), which can be found by choose_method "
    "outside"
)


class Solution(eqx.Module):
    """Outcome of `integrate`.

    `values`: what `save` returned, with a leading time axis; `final`: the state at the
    last time; `method`: with which it was found; `steps`: taken in all, cells that step
    together counting once; `error`: estimated error of each leaf of `values`, largest
    over time, in its own unit, or None if not asked for; `relative_error`: the same of
    the mean pools relative to their largest value, the worst pool; `cell_error`: of the
    final pools of the worst cell, relative to what it holds; `soundness`: what can go
    wrong, and whether it did.
    """

    times: Float[Array, " time"]
    values: Any
    final: Any
    method: Method
    steps: Any
    error: Any
    relative_error: Any
    cell_error: Any
    soundness: Soundness

    @property
    def sound(self) -> Any:
        """Whether all is well."""
        return self.soundness.sound


def integrate(
    tendency: Tendency,
    state: Any,
    params: Any,
    times: Any,
    *,
    save: Save = _DEFAULT_STATISTICS,
    method: Method | None = None,
    rate: Rate | None = None,
    tolerance: float = 1e-5,
    estimate_error: bool | None = None,
    throw: bool = True,
) -> Solution:
    """Integrates d(state)/dt = tendency(t, state, params) through the save times.

    Cells are taken to be coupled unless the tendency declares that they are not, as an
    `AbstractPointwise`; its pools may be of any sign unless it is an `AbstractStocks`.

    **Arguments:** `state`: at `times[0]`; `times`: increasing, at least two; inside
    `jit` they may be unknown, in which case `method` must be given; `save`:
    `(t, state, params) -> statistics` kept at each time; `method`: by default chosen
    from the problem and tightened until the estimated error of the mean pools is below
    `tolerance`, and that of the worst cell below a hundred times it; `rate`: bound on
    the rates of change, see `choose_method`, by default that of the tendency, if it
    knows one; `estimate_error`: also run with steps twice as long, or a tenth of
    the tolerances, and compare (always
    done when the method is chosen here, else only if asked for), and watch whether
    explicit steps are stable; `throw`: raise if the run fails, else `sound` tells.

    **Raises:** `ValueError` for times, pools or shapes that do not fit, for a tolerance
    that is not positive, for a method that needs cells apart where they are coupled, or
    for more than 1e8 steps; `IntegrationError` for a run that leaves the finite
    numbers, falls below zero, is not stable, or misses the tolerance. Inside `jit` a
    run that may raise goes on one device; `throw=False` takes them all.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    problem = checks.checked_problem(tendency, save, rate, state, params, times)
    chosen = method is None
    if method is None:
        method = _chosen(problem)
    checks.refuse_misfit(method, problem)
    if throw and isinstance(method, Steps) and problem.unknown:
        # A program for several devices that raises would end the whole process.
        method = dataclasses.replace(method, devices=method.devices or 1)
    estimate = chosen if estimate_error is None else estimate_error
    solution = _run(method, problem, tolerance, estimate)
    if chosen and unknown(solution.soundness):
        raise ValueError(_NO_CHOICE)
    for _ in range(6 if chosen else 0):
        if _misses(solution, tolerance) is None:
            break
        method = method.tightened()
        solution = _run(method, problem, tolerance, estimate)
    return _delivered(solution, tolerance if chosen else None, throw)


def choose_method(
    tendency: Tendency, state: Any, params: Any, times: Any, *, rate: Rate | None = None
) -> Method:
    """Method that suits a problem.

    With a bound on the rates: equal steps if all cells are about equally fast, else
    steps counted by block of cells. Without one: diffrax on the whole state.

    **Arguments:** as `integrate`; `rate`: `(t, state, params, interval) -> rate` per
    cell, the fastest rate over the coming interval.

    **Raises:** `ValueError` inside `jit` or `grad`, where values are not known, and for
    rates that are not finite.
    """
    return _chosen(checks.checked_problem(tendency, None, rate, state, params, times))


def _chosen(problem):
    if problem.unknown:
        raise ValueError(_NO_CHOICE)
    if problem.rate is None:
        return Adaptive()
    intervals = np.diff(problem.times)
    rates = problem.rates_at_start()
    if not np.isfinite(rates).all():
        bad = int((~np.isfinite(rates)).sum())
        raise ValueError(
            f"the bound on the rates is not finite in {bad} of {rates.size} cells: "
            "look for NaN or extreme values in the pools and parameters, or give "
            "`method`"
        )
    fastest = typical = rates.max()
    apart = isinstance(problem.tendency, AbstractPointwise)
    if apart and rates.size > usual_block("whole", problem.state, counted=True):
        typical = rates.mean()
    steps = lambda rate: np.ceil(intervals * rate / COURANT).mean()
    if steps(fastest) >= _WORTH_COUNTING * steps(typical):
        return Steps(courant=COURANT)
    # Rounded to a power of two, so that similar problems share one compilation.
    longest = float(intervals.max())
    pairs = max(longest * float(fastest) / (2 * COURANT), 1.0)
    return Steps(float(longest / 2.0 ** (1 + np.ceil(np.log2(pairs)))))


def _run(method, problem, tolerance, estimate):
    times, dtype = problem.times, problem.dtype
    # Times since the first: 32 bits cannot tell hours apart after a hundred millennia.
    since = problem._replace(
        times=(times - times[0]).astype(dtype), origin=jnp.asarray(times[0], dtype)
    )
    if isinstance(method, Steps):
        count = _count(method, problem)
        solve = lambda factor: run_steps(method, since, count, factor, bool(estimate))
    else:
        solve = lambda factor: run_adaptive(
            method if factor == 2 else method.tightened(), since
        )
    (values, watched), final, steps = solve(2)
    error = relative_error = cell_error = None
    if estimate:
        (coarse_values, coarse), coarse_final, _ = solve(1)
        shrink = _error_per_difference(method)
        largest = lambda a, b: shrink * jnp.max(jnp.abs(a - b), axis=0)
        error = jax.tree.map(largest, values, coarse_values)
        pairs = zip(watched.means, coarse.means, strict=True)
        relative = [shrink * _relative_difference(a, b) for a, b in pairs]
        relative_error = jnp.max(jnp.nan_to_num(jnp.stack(relative), nan=jnp.inf))
        cell_error = _cell_difference(problem.state, final, coarse_final)
    sound = checks.judge(method, problem, watched, final, tolerance)
    return Solution(
        *(jnp.asarray(times), values, final, method, steps),
        *(error, relative_error, cell_error, sound),
    )


def _count(method, problem):
    """Equal steps between two save times: even; a plain number where it must be known.

    Outside of transformations a loop of any length will do, and one compilation then
    serves every step; reverse mode needs to know the length beforehand.
    """
    if method.dt is None:
        return jnp.asarray(2)
    times = problem.times
    pairs = lambda xp: xp.ceil(xp.max(xp.diff(times)) / (2 * method.dt) * (1 - 1e-12))
    if isinstance(times, Tracer):
        return (2 * pairs(jnp)).astype(int)
    count = 2 * int(pairs(np))
    known = method.courant is None and problem.unknown
    return count if known else jnp.asarray(count)


def _relative_difference(series, other):
    largest = jnp.max(jnp.abs(series))
    return jnp.max(jnp.abs(series - other)) / jnp.where(largest == 0, 1.0, largest)


def _cell_difference(start, final, other):
    """Worst difference of a cell's pools, relative to what the cell holds.

    Without Richardson's factor, which holds for small differences alone; ten times as
    much where it is so large that the steps are too long to tell.
    """
    total = lambda state: sum(jnp.abs(x) for x in jax.tree.leaves(state))
    held = jnp.maximum(total(start), total(final))
    gap = total(jax.tree.map(jnp.subtract, final, other))
    share = jnp.where(gap == 0, 0.0, gap / jnp.where(held == 0, 1.0, held))
    share = jnp.where(share > _TOO_LARGE, 10 * share, share)
    return jnp.max(jnp.nan_to_num(share, nan=jnp.inf))


def _error_per_difference(method):
    # Richardson: the difference to the run with double steps is 2^p - 1 errors of the
    # finer one. Error-controlled steps are compared with tighter ones: loose ones may
    # take the same few steps.
    if isinstance(method, Adaptive):
        return 1.0
    return 1.0 / (2.0 ** ORDER.get(method.stepper, 1) - 1.0)


def _misses(solution, tolerance):
    """What the estimated errors miss, in words, or None."""
    of_means, of_cell = float(solution.relative_error), float(solution.cell_error)
    most = f"the tolerance {tolerance:g}"
    if not of_means <= tolerance:
        missed = f"{of_means:.2g} of the mean pools stays above {most}"
    elif not of_cell <= _CELL_TOLERANCE * tolerance:
        missed = f"{of_cell:.2g} of the worst cell stays above a hundred times {most}"
    else:
        return None
    return f"the estimated error {missed}: give `method` by hand or a larger tolerance"


def _delivered(solution, tolerance, throw):
    if not throw:
        return solution
    if unknown(solution.soundness):
        delivered = solution.soundness.enforce((solution.values, solution.final))
        return eqx.tree_at(lambda s: (s.values, s.final), solution, delivered)
    sentence = solution.soundness.sentence(solution.method, solution.final)
    if sentence is None and tolerance is not None:
        sentence = _misses(solution, tolerance)
    if sentence:
        raise IntegrationError(sentence)
    return solution
