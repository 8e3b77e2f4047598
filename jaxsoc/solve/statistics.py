"""What a run keeps of its cells, in a form that blocks of cells can be merged from."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from . import reductions


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


class Watched(NamedTuple):
    """Seen at every save time: mean pools; where asked for, least pools and λ Δt."""

    means: list
    lowest: Any = None
    stiffness: Any = None


class Watch(AbstractStatistic):
    """What tells whether a run is sound.

    **Arguments:** `lowest`: whether to see how low pools fall; `stiffness`: of each
    cell, `(t, state, params) -> λ Δt`, None where steps are not watched.
    """

    lowest: bool
    stiffness: Callable | None = None

    def __call__(self, t: Any, state: Any, params: Any) -> Watched:
        leaves = jax.tree.leaves(state)
        means = [reductions.mean(leaf) for leaf in leaves]
        lowest = [reductions.smallest(leaf) for leaf in leaves] if self.lowest else None
        if self.stiffness is None:
            return Watched(means, lowest)
        return Watched(
            means, lowest, reductions.largest(self.stiffness(t, state, params))
        )

    def merge(self, values: Watched, shares: Any) -> Watched:
        lowest, stiffness = values.lowest, values.stiffness
        lowest = jax.tree.map(lambda x: jnp.min(x, axis=0), lowest)
        stiffness = jax.tree.map(lambda x: jnp.max(x, axis=0), stiffness)
        return Watched(merge_means(values.means, shares), lowest, stiffness)


class SavedAndWatched(AbstractStatistic):
    """What is saved and what is watched, as a pair; blocks need a `save` that merges.

    **Arguments:** `origin`: what t = 0 is to `save`.
    """

    save: Any
    watch: Watch
    origin: Any

    def __call__(self, t: Any, state: Any, params: Any) -> tuple:
        saved = self.save(self.origin + t, state, params)
        return saved, self.watch(t, state, params)

    def merge(self, values: Any, shares: Any) -> tuple:
        saved, watched = values
        return self.save.merge(saved, shares), self.watch.merge(watched, shares)

    def finish(self, t: Any, values: Any, params: Any) -> tuple:
        saved, watched = values
        return self.save.finish(self.origin + t, saved, params), watched


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
