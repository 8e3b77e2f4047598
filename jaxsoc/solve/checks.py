"""What `integrate` is given, checked before anything is computed."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .methods import Adaptive, Steps
from .pointwise import AbstractBounded, AbstractPointwise, AbstractStocks
from .statistics import AbstractStatistic

# Steps of a cell in all that nobody waits for.
_MOST_STEPS = 1e8


class Problem(NamedTuple):
    """What a run is of; `times` are since `origin`."""

    tendency: Any
    save: Any
    rate: Any
    state: Any
    params: Any
    times: Any
    origin: Any = 0.0

    @property
    def unknown(self) -> bool:
        """Whether values of it are not known here, only in the program."""
        return unknown(self.tendency, self.state, self.params, self.times)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pools."""
        return jax.tree.leaves(self.state)[0].dtype

    def rates_at_start(self) -> np.ndarray:
        """The bound at the start, by cell."""
        start, next_ = self.times[:2]
        start, interval = jnp.asarray([start, next_ - start], self.dtype)
        bound = self.rate(start, self.state, self.params, interval)
        return np.asarray(bound, dtype=float)


def checked_problem(
    tendency: Any, save: Any, rate: Any, state: Any, params: Any, times: Any
) -> Problem:
    """The problem, with the bound on the rates that the tendency itself may know.

    **Raises:** `ValueError` for times, pools or parameters that do not fit.
    """
    if rate is None and isinstance(tendency, AbstractBounded):
        rate = tendency.fastest_rate
    times = checked_times(times)
    return Problem(
        tendency, save, rate, *_checked_leaves(tendency, state, params), times
    )


def unknown(*trees: Any) -> bool:
    """Whether values are not known here, only in the program."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def checked_times(times: Any) -> Any:
    """Times that increase.

    **Raises:** `ValueError` for others.
    """
    if known := not unknown(times):
        array = np.asarray(times, dtype=float)
    else:
        array = jnp.asarray(times, dtype=float)
    if array.ndim != 1 or array.size < 2:
        raise ValueError(
            f"times must be a list of at least two numbers, got shape {array.shape}"
        )
    if not known:
        # Their order is not known here, only in the program: see `judge`.
        return array
    steps = np.diff(array)
    bad = ~(np.isfinite(steps) & (steps > 0))
    if bad.any():
        where = int(np.argmax(bad)) + 1
        raise ValueError(
            "times must increase, got "
            f"{array[where - 1]:g} followed by {array[where]:g} at position {where}"
        )
    return array


def _checked_leaves(tendency, state, params):
    """Pools of one shape and type, and parameters that fit them."""
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
    # Cells that are coupled may have parameters of any shape, such as a matrix.
    apart = isinstance(tendency, AbstractPointwise)
    fit = _checked_parameter if apart else lambda leaf, *_: jnp.asarray(leaf, dtype)
    params = jax.tree.map(lambda leaf: fit(leaf, shape, dtype), params)
    if isinstance(tendency, AbstractStocks):
        _refuse_negative(state)
    return state, params


def _refuse_negative(state):
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if isinstance(leaf, Tracer):
            continue
        values = np.asarray(leaf)
        off = ~((values >= 0) & np.isfinite(values))
        if off.any():
            raise ValueError(
                f"{jax.tree_util.keystr(path).strip('.')} must be finite and not "
                f"negative, got {values[off].flat[0]:g} ({off.sum()} of {values.size} "
                "cells)"
            )


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


def refuse_misfit(method: Any, problem: Problem) -> None:
    """Refuses a method that does not fit the problem.

    **Raises:** `ValueError` that says why; `TypeError` for what is no method.
    """
    tendency, save = problem.tendency, problem.save
    if isinstance(method, Adaptive):
        needs = "Adaptive(per_cell=True)" if method.per_cell else None
    elif isinstance(method, Steps):
        needs = None
        if method.layout == "blocks" or method.block is not None:
            needs = "steps in blocks of cells"
        if method.courant is not None and problem.rate is None:
            raise ValueError(
                "steps by Courant number need a bound on the rates: give `rate`, for "
                "example rate=model.fastest_rate"
            )
    else:
        raise TypeError(f"method must be Steps or Adaptive, got {method!r}")
    if needs and not isinstance(tendency, AbstractPointwise):
        raise ValueError(
            f"{needs} need a tendency that couples no cells, and {tendency!r} does not "
            "declare it: leave that out, or, if it does couple none, give "
            "solve.Pointwise(tendency)"
        )
    if isinstance(method, Steps):
        method.stepper(tendency)
        if method.layout == "blocks" and not isinstance(save, AbstractStatistic):
            raise ValueError(
                "what is saved is merged from blocks of cells, which needs an "
                f"AbstractStatistic such as moments.of(fluxes), got save={save!r}; or "
                "give layout='whole'"
            )
        if not unknown(problem.times):
            _refuse_running_away(method, problem)


def _refuse_running_away(method, problem):
    intervals = np.diff(problem.times)
    pace = 1 / method.dt if method.dt else 0.0
    if method.courant is not None and not problem.unknown:
        rates = problem.rates_at_start()
        pace = max(pace, np.nan_to_num(rates, posinf=0).max() / method.courant)
    foreseen = np.maximum(np.ceil(intervals * pace), 2.0).sum()
    if foreseen > _MOST_STEPS:
        raise ValueError(
            f"the fastest cell would take {foreseen:.3g} steps, more than "
            f"{_MOST_STEPS:g}: it changes at {pace * (method.courant or 1):.3g} per "
            "unit of time; look for extreme constants, shorten the times, or take "
            "Steps(dt, stepper=rodas3) or steady_state"
        )
