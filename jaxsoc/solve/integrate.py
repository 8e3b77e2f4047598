"""`integrate`: any tendency, any pytree, statistics out.

A state is a pytree of arrays of one shape, the cells; a parameter is a scalar or has
cell axes that broadcast to that shape.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .methods import Adaptive, FixedStep, Fused, Method, Rate, Substepped
from .roads import travel
from .statistics import AbstractStatistic, Statistics
from .steppers import ORDER, Tendency

Save = Callable[[Any, Any, Any], Any]
_DEFAULT_STATISTICS = Statistics()

# Rates this many times slower than the fastest make it worth while to let groups of
# cells choose their own steps.
_WORTH_SUBSTEPPING = 2.0


class IntegrationError(RuntimeError):
    """A run that failed, with a sentence that says what to try."""


class Solution(eqx.Module):
    """Outcome of `integrate`.

    `values`: what `save` returned, with a leading time axis; `final`: the state at the
    last time; `method`: the road taken; `steps`: taken in all, cells that step
    together counting once; `error`: estimated error of each leaf of `values`, largest
    over time, in its own unit, or None if not asked for; `relative_error`: the same of
    the mean pools relative to their largest value, the worst pool; `finite`: whether
    all is well.
    """

    times: Float[Array, " time"]
    values: Any
    final: Any
    method: Method
    steps: Any
    error: Any
    relative_error: Any
    finite: Any


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

    **Arguments:** `state`: at `times[0]`; `times`: increasing, at least two; inside
    `jit` they may be unknown, in which case `method` must be given; `save`:
    `(t, state, params) -> statistics` kept at each time; `method`: the road, by default
    chosen from the problem and tightened until the estimated error of the mean pools is
    below `tolerance`; `rate`: bound on the rates of change, see `choose_method`;
    `estimate_error`: also run with steps twice as long and compare (always done when
    the method is chosen here, else only if asked for); `throw`: raise if the run fails.

    **Raises:** `ValueError` for times or shapes that do not fit; `IntegrationError` for
    a run that leaves the finite numbers or misses the tolerance.
    """
    times = _checked_times(times)
    state, params = _checked_leaves(state, params)
    chosen = method is None
    if method is None:
        method = choose_method(tendency, state, params, times, rate=rate)
        if isinstance(save, AbstractStatistic):
            method = _fused(method, times)
    method = _with_rate(method, rate)
    if estimate_error is None:
        estimate_error = chosen
    solution = _run(method, tendency, save, state, params, times, estimate_error)
    for _ in range(6 if chosen else 0):
        if float(solution.relative_error) <= tolerance:
            break
        method = method.tightened()
        solution = _run(method, tendency, save, state, params, times, estimate_error)
    return _delivered(solution, tolerance if chosen else None, throw)


def choose_method(
    tendency: Tendency,
    state: Any,
    params: Any,
    times: Any,
    *,
    rate: Rate | None = None,
) -> Method:
    """Road that suits a problem.

    With a bound on the rates: equal steps if all cells are about equally fast, else
    steps per block of cells. Without one: diffrax on the whole state.

    **Arguments:** as `integrate`; `rate`: `(t, state, params, interval) -> rate` per
    cell, the fastest rate over the coming interval.

    **Raises:** `ValueError` inside `jit` or `grad`, where values are not known.
    """
    times = _checked_times(times)
    state, params = _checked_leaves(state, params)
    leaves = jax.tree.leaves((state, params))
    if any(isinstance(leaf, Tracer) for leaf in (times, *leaves)):
        raise ValueError(
            "the road cannot be chosen inside jit or grad: give `method`, for example "
            "FixedStep(dt=1.0)"
        )
    if rate is None:
        return Adaptive()
    intervals = np.diff(times)
    rates = np.asarray(rate(times[0], state, params, intervals[0]))
    if not np.isfinite(rates).all():
        bad = int((~np.isfinite(rates)).sum())
        raise ValueError(
            f"the bound on the rates is not finite in {bad} of {rates.size} cells: "
            "look for NaN or extreme values in the pools and parameters, or give "
            "`method`"
        )
    substepped = Substepped(rate)
    if rates.size <= substepped.block:
        fastest, typical = rates.max(), rates.max()
    else:
        fastest, typical = rates.max(), np.sort(rates.reshape(-1)).mean()
    steps = lambda rate: np.ceil(intervals * rate / substepped.courant).mean()
    if steps(fastest) >= _WORTH_SUBSTEPPING * steps(typical):
        return substepped
    # Rounded to a power of two, so that similar problems share one compilation.
    longest = float(intervals.max())
    pairs = max(longest * float(fastest) / (2 * substepped.courant), 1.0)
    return FixedStep(dt=longest / 2.0 ** (1 + np.ceil(np.log2(pairs))))


def _fused(method, times):
    """The same steps, by blocks that stay in the cache."""
    match method:
        case FixedStep():
            return Fused(method.dt, stepper=method.stepper)
        case Substepped():
            longest = float(np.diff(times).max())
            return Fused(longest, method.rate, method.courant, method.stepper)
    return method


def _with_rate(method, rate):
    if not isinstance(method, Substepped) or method.rate is not None:
        return method
    if rate is None:
        raise ValueError(
            "the substepped road needs a bound on the rates: give `rate`, for example "
            "rate=model.fastest_rate"
        )
    return Substepped(rate, method.courant, method.block, method.stepper)


def _checked_times(times):
    if isinstance(times, Tracer):
        # Their order is not known here, only in the program.
        return times
    array = np.asarray(times, dtype=float)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(
            f"times must be a list of at least two numbers, got shape {array.shape}"
        )
    steps = np.diff(array)
    if not (np.isfinite(array).all() and (steps > 0).all()):
        where = int(np.argmin(steps)) + 1
        raise ValueError(
            "times must increase, got "
            f"{array[where - 1]:g} followed by {array[where]:g} at position {where}"
        )
    return array


def _checked_leaves(state, params):
    state = jax.tree.map(jnp.asarray, state)
    leaves = jax.tree.leaves(state)
    if not leaves:
        raise ValueError("state holds no arrays")
    shapes = {leaf.shape for leaf in leaves}
    if len(shapes) > 1:
        raise ValueError(f"pools must have one shape, got {sorted(shapes)}")
    (shape,) = shapes
    dtype = np.result_type(*(leaf.dtype for leaf in leaves))
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"pools must be floating-point numbers, got {dtype}")
    if not math.prod(shape):
        raise ValueError(f"pools have no cells: shape {shape}")
    state = jax.tree.map(lambda leaf: leaf.astype(dtype), state)
    params = jax.tree.map(lambda leaf: _checked_parameter(leaf, shape, dtype), params)
    return state, params


def _checked_parameter(leaf, shape, dtype):
    leaf = jnp.asarray(leaf)
    if leaf.ndim == 0:
        return leaf.astype(dtype)
    try:
        return jnp.broadcast_to(leaf, shape).astype(dtype)
    except ValueError:
        raise ValueError(
            f"a parameter of shape {leaf.shape} does not fit cells of shape {shape}"
        ) from None


def _run(method, tendency, save, state, params, times, estimate_error):
    times = times.astype(jax.tree.leaves(state)[0].dtype)
    solve = lambda fine: travel(method, fine, tendency, save, state, params, times)
    values, means, final, steps = solve(True)
    error = relative_error = None
    if estimate_error:
        coarse_values, coarse_means, _, _ = solve(False)
        shrink = _error_per_difference(method)
        largest = lambda a, b: shrink * jnp.max(jnp.abs(a - b), axis=0)
        error = jax.tree.map(largest, values, coarse_values)
        relative = [
            shrink * _relative_difference(a, b)
            for a, b in zip(means, coarse_means, strict=True)
        ]
        relative_error = jnp.max(jnp.nan_to_num(jnp.stack(relative), nan=jnp.inf))
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(mean)) for mean in means]))
    return Solution(
        jnp.asarray(times), values, final, method, steps, error, relative_error, finite
    )


def _relative_difference(series, other):
    largest = jnp.max(jnp.abs(series))
    return jnp.max(jnp.abs(series - other)) / jnp.where(largest == 0, 1.0, largest)


def _error_per_difference(method):
    # Richardson: the difference to the run with double steps is 2^p - 1 errors of the
    # finer one. For error-controlled steps the difference itself is the safe estimate.
    if isinstance(method, Adaptive):
        return 1.0
    return 1.0 / (2.0 ** ORDER.get(method.stepper, 1) - 1.0)


def _delivered(solution, tolerance, throw):
    if not throw:
        return solution
    failure = (
        "the run left the finite numbers, or would have taken more steps than "
        "allowed: its steps are too long for the fastest rate, or that rate has no "
        "bound. Give a smaller dt, or leave `method` out and give `rate`"
    )
    if isinstance(solution.finite, Tracer):
        results = eqx.error_if(
            (solution.values, solution.final), ~solution.finite, failure
        )
        return eqx.tree_at(lambda s: (s.values, s.final), solution, results)
    if not bool(solution.finite):
        raise IntegrationError(failure)
    if tolerance is not None and float(solution.relative_error) > tolerance:
        raise IntegrationError(
            f"the estimated error {float(solution.relative_error):.2g} of the mean "
            f"pools stays above the tolerance {tolerance:g}: give `method` by hand or "
            "a larger tolerance"
        )
    return solution
