"""What a run keeps of its cells, in a form that blocks of cells can be merged from."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from . import reductions
from .pointwise import local_growth, local_rate


class AbstractStatistic(eqx.Module):
    """A saver `(t, state, params) -> values` whose values over parts can be merged.

    Any function of fields will do as `save` where all cells step together. Blocks of
    cells that run on their own, on several devices, need to be put together again.
    """

    @abstractmethod
    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        """Values over the cells of `state`."""

    @abstractmethod
    def merge(self, values: Any, shares: Any) -> Any:
        """Values over all cells from those over parts of them.

        **Arguments:** `values`: leaves lead by part, any axes after it; `shares`: of
        all cells, `(part,)`, which add up to 1.
        """

    def finish(self, t: Any, values: Any, params: Any) -> Any:
        """What can only be computed from all cells together, from the merged values."""
        return values


class MeanAndVariance(NamedTuple):
    """What `integrate` saves by default, over cells."""

    mean: Any
    variance: Any


class Statistics(AbstractStatistic):
    """Mean and variance over cells of every pool."""

    def __call__(self, t: Any, state: Any, params: Any) -> MeanAndVariance:
        mean = jax.tree.map(reductions.mean, state)
        square = lambda x, m: reductions.mean((x - m) ** 2)
        return MeanAndVariance(mean, jax.tree.map(square, state, mean))

    def merge(self, values: MeanAndVariance, shares: Any) -> MeanAndVariance:
        mean = merge_means(values.mean, shares)
        gap = jax.tree.map(lambda parts, all_: parts - all_[None], values.mean, mean)
        merge = lambda parts, gap: merge_covariance(parts, gap, gap, shares)
        return MeanAndVariance(mean, jax.tree.map(merge, values.variance, gap))


class Means(AbstractStatistic):
    """Mean over cells of every pool, as a list."""

    def __call__(self, t: Any, state: Any, params: Any) -> list:
        return [reductions.mean(leaf) for leaf in jax.tree.leaves(state)]

    def merge(self, values: Any, shares: Any) -> list:
        return merge_means(values, shares)


class Watch(AbstractStatistic):
    """What tells whether a run is sound: pools at their least, steps at their longest.

    **Arguments:** `tendency`: pointwise, or None, of which steps are not watched;
    `step`: `(t, state, params) -> Δt` of each cell; `explicit`: whether to see |λ| Δt,
    which must be stable, or by how much cells grow in a step, which implicit steps
    damp.
    """

    tendency: Any
    step: Callable
    explicit: bool

    def __call__(self, t: Any, state: Any, params: Any) -> tuple:
        lowest = [reductions.smallest(leaf) for leaf in jax.tree.leaves(state)]
        if self.tendency is None:
            return lowest, jnp.zeros_like(lowest[0])
        dt = self.step(t, state, params)
        if self.explicit:
            stiffness = local_rate(self.tendency, t, state, params) * dt
        else:
            stiffness = local_growth(self.tendency, t, state, params, dt)
        return lowest, reductions.largest(stiffness)

    def merge(self, values: Any, shares: Any) -> tuple:
        lowest, stiffness = values
        return [jnp.min(x, axis=0) for x in lowest], jnp.max(stiffness, axis=0)


class Both(AbstractStatistic):
    """Two statistics at once, as a pair; `origin`: what t = 0 is to the first."""

    first: AbstractStatistic
    second: AbstractStatistic
    origin: Any = 0.0

    def __call__(self, t: Any, state: Any, params: Any) -> tuple:
        return (
            self.first(self.origin + t, state, params),
            self.second(t, state, params),
        )

    def merge(self, values: Any, shares: Any) -> tuple:
        return self.first.merge(values[0], shares), self.second.merge(values[1], shares)

    def finish(self, t: Any, values: Any, params: Any) -> tuple:
        return (
            self.first.finish(self.origin + t, values[0], params),
            self.second.finish(t, values[1], params),
        )


def merge_means(values: Any, shares: Any) -> Any:
    """Means over all cells from those over parts, leaves leading by part.

    x̄ = x₁ + Σ w (x - x₁), as a sum of differences loses fewer digits
    """
    return jax.tree.map(lambda x: x[0] + weighted(x - x[:1], shares), values)


def merge_covariance(parts: Any, first_gap: Any, second_gap: Any, shares: Any) -> Any:
    """Covariance over all cells by the law of total covariance.

    C = Σ w (C + Δx Δy)

    **Arguments:** `parts`: C of each part; `first_gap`, `second_gap`: Δx, Δy, what the
    means of the parts differ by from those of all.
    """
    return weighted(parts + first_gap * second_gap, shares)


def weighted(parts: Any, shares: Any) -> Any:
    """Σ w x over the leading axis."""
    return jnp.sum(shares.reshape((-1,) + (1,) * (parts.ndim - 1)) * parts, axis=0)
