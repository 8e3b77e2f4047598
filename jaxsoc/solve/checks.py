"""What can go wrong: in what `integrate` is given, and, seen afterwards, on the way."""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from .methods import Adaptive, Steps
from .pointwise import AbstractBounded, AbstractPointwise, AbstractStocks, check_apart
from .statistics import AbstractStatistic, Watched
from .steppers import GROWTH, STABLE

# Steps of a cell in all that nobody waits for.
_MOST_STEPS = 1e8
_NOT_FINITE = (
    "the run left the finite numbers, or would have taken more steps than allowed, or "
    "its times do not increase: its steps are too long for the fastest rate, or that "
    "rate has no bound. Give a smaller dt, or leave `method` out and give `rate`"
)
_SHORTER = "give a smaller dt, Steps(courant=0.5), or leave `method` out"


class IntegrationError(RuntimeError):
    """A run that failed, with a sentence that says what to try."""


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
    known = not unknown(times)
    array = (np if known else jnp).asarray(times, dtype=float)
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


def _named(state):
    """Pools with their names."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        yield jax.tree_util.keystr(path).strip(".") or "the state", leaf


def _refuse_negative(state):
    for name, leaf in _named(state):
        if isinstance(leaf, Tracer):
            continue
        values = np.asarray(leaf)
        off = ~((values >= 0) & np.isfinite(values))
        if off.any():
            raise ValueError(
                f"{name} must be finite and not negative, got "
                f"{values[off].flat[0]:g} ({off.sum()} of {values.size} cells)"
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
    if isinstance(method, Adaptive):
        if method.per_cell:
            check_apart("Adaptive(per_cell=True)", problem.tendency)
        return
    if not isinstance(method, Steps):
        raise TypeError(f"method must be Steps or Adaptive, got {method!r}")
    if method.courant is not None and problem.rate is None:
        raise ValueError(
            "steps by Courant number need a bound on the rates: give `rate`, for "
            "example rate=model.fastest_rate"
        )
    if method.layout == "blocks" or method.block is not None:
        check_apart("steps in blocks of cells", problem.tendency)
    method.stepper(problem.tendency)
    if method.layout == "blocks" and not isinstance(problem.save, AbstractStatistic):
        raise ValueError(
            "what is saved is merged from blocks of cells, which needs an "
            f"AbstractStatistic such as moments.of(fluxes), got save={problem.save!r}; "
            "or give layout='whole'"
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


class Soundness(eqx.Module):
    """Whether a run left the finite numbers, fell below zero, or was not stable.

    `lowest`: of each pool at every time, relative to `scale`, the most that a pool held
    at the start, None where pools may have any sign; `stiffness`: largest |λ| Δt of
    explicit steps, or growth in implicit ones, None where not watched; `limit`: of it;
    `allowed`: how far below zero is rounding.
    """

    finite: Bool[Array, ""]
    lowest: Any
    scale: Any
    stiffness: Any
    times: Float[Array, " time"]
    limit: float = eqx.field(static=True)
    allowed: float = eqx.field(static=True)

    @property
    def negative(self) -> Any:
        """Whether a stock fell below zero by more than is allowed."""
        if self.lowest is None:
            return jnp.asarray(False)
        lowest = jnp.min(jnp.stack([jnp.min(x) for x in self.lowest]))
        return lowest < -self.allowed * self.scale

    @property
    def unstable(self) -> Any:
        """Whether steps were beyond stability, or too long for what grows."""
        if self.stiffness is None:
            return jnp.asarray(False)
        return jnp.max(self.stiffness) > self.limit

    @property
    def sound(self) -> Any:
        """Whether none of it happened."""
        return self.finite & ~self.negative & ~self.unstable

    def enforce(self, values: Any) -> Any:
        """The values, which raise when the program finds that they are not sound."""
        sentences = [
            _NOT_FINITE,
            f"a pool fell below zero: steps are too long; {_SHORTER}",
            f"steps were beyond stability, or too long for what grows; {_SHORTER}",
        ]
        index = jnp.argmax(jnp.stack([~self.finite, self.negative, self.unstable]))
        return eqx.branched_error_if(values, ~self.sound, index, sentences)

    def sentence(self, method: Any, state: Any) -> str | None:
        """What went wrong and what to try, or None."""
        if not bool(self.finite):
            return _NOT_FINITE
        if bool(self.negative):
            names = [name for name, _ in _named(state)]
            table = np.stack([np.atleast_1d(x) for x in self.lowest])
            pool, when = np.unravel_index(table.argmin(), table.shape)
            at = float(self.times[when] if table.shape[1] > 1 else self.times[-1])
            return (
                f"{names[pool]} of a cell is {table.min():.3g} at time {at:g}, below "
                f"zero by {-table.min() / float(self.scale):.2g} of the largest stock: "
                f"steps are too long for it; {_SHORTER}"
            )
        if bool(self.unstable):
            when = int(np.argmax(self.stiffness))
            most, at = float(self.stiffness[when]), float(self.times[when])
            steps = f"the steps of {method.stepper.__name__} are"
            if method.stepper in STABLE:
                return (
                    f"{steps} beyond stability: rate times step of the fastest cell is "
                    f"{most:.3g} at time {at:g}, at most {self.limit:g} is stable; "
                    f"{_SHORTER}, or stepper=rodas3 where cells are not coupled"
                )
            return (
                f"{steps} too long for what grows: a cell grows by e^{most:.3g} in one "
                f"at time {at:g}, at most e^{self.limit:g} is followed; {_SHORTER}"
            )
        return None


def judge(
    method: Any, problem: Problem, watched: Watched, final: Any, tolerance: float
) -> Soundness:
    """What a run was, from what was watched and how it ended."""
    times = jnp.asarray(problem.times)
    series = [*watched.means, *jax.tree.leaves(final)]
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in series]))
    finite &= jnp.all(jnp.diff(times) > 0)
    lowest = scale = None
    if isinstance(problem.tendency, AbstractStocks):
        start = problem.state
        least = lambda *pools: jnp.minimum(*map(jnp.min, pools))[None]
        ends = jax.tree.leaves(jax.tree.map(least, start, final))
        lowest = watched.lowest or ends
        largest = lambda state: [jnp.max(jnp.abs(x)) for x in jax.tree.leaves(state)]
        most = lambda state: jnp.max(jnp.stack(largest(state)))
        scale = jnp.where(most(start) > 0, most(start), most(final))
    stepper = method.stepper if isinstance(method, Steps) else None
    return Soundness(
        *(finite, lowest, scale, watched.stiffness, times),
        limit=STABLE.get(stepper, GROWTH),
        allowed=tolerance,
    )
