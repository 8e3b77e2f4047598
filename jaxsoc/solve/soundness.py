"""What can go wrong on the way, found out afterwards, and what to say of it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .checks import Problem
from .methods import Steps
from .pointwise import AbstractStocks
from .statistics import Watched
from .steppers import GROWTH, STABLE


class IntegrationError(RuntimeError):
    """A run that failed, with a sentence that says what to try."""


_NOT_FINITE = (
    "the run left the finite numbers, or would have taken more steps than allowed, or "
    "its times do not increase: its steps are too long for the fastest rate, or that "
    "rate has no bound. Give a smaller dt, or leave `method` out and give `rate`"
)
_SHORTER = "give a smaller dt, Steps(courant=0.5), or leave `method` out"


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
            names = [
                jax.tree_util.keystr(path).strip(".") or "the state"
                for path, _ in jax.tree_util.tree_flatten_with_path(state)[0]
            ]
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
            if method.stepper not in STABLE:
                return (
                    f"the steps of {method.stepper.__name__} are too long for what "
                    f"grows: a cell grows by e^{float(self.stiffness[when]):.3g} in "
                    f"one at time {float(self.times[when]):g}, at most "
                    f"e^{self.limit:g} is followed; {_SHORTER}"
                )
            return (
                f"the steps of {method.stepper.__name__} are beyond stability: rate "
                f"times step of the fastest cell is "
                f"{float(self.stiffness[when]):.3g} at time "
                f"{float(self.times[when]):g}, at most {self.limit:g} is stable; "
                f"{_SHORTER}, or stepper=rodas3 where cells are not coupled"
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
        most = lambda state: jnp.max(
            jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(state)])
        )
        scale = jnp.where(most(start) > 0, most(start), most(final))
    stepper = method.stepper if isinstance(method, Steps) else None
    return Soundness(
        *(finite, lowest, scale, watched.stiffness, times),
        limit=STABLE.get(stepper, GROWTH),
        allowed=tolerance,
    )
