"""What a run keeps of its cells, in a form that blocks of cells can be merged from."""

from abc import abstractmethod
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

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
    def merge(self, one: Any, other: Any, share: Any) -> Any:
        """Values over two sets of cells, the second of which holds `share` of all."""

    def finish(self, t: Any, values: Any, params: Any) -> Any:
        """What can only be told of all cells together, from the merged values."""
        return values


class MeanAndVariance(NamedTuple):
    """What `integrate` saves unless told otherwise, over cells."""

    mean: Any
    variance: Any


class Statistics(AbstractStatistic):
    """Mean and variance over cells of every pool."""

    def __call__(self, t: Any, state: Any, params: Any) -> MeanAndVariance:
        mean = jax.tree.map(reductions.mean, state)
        square = lambda x, m: reductions.mean((x - m) ** 2)
        return MeanAndVariance(mean, jax.tree.map(square, state, mean))

    def merge(self, one: Any, other: Any, share: Any) -> MeanAndVariance:
        mean = merge_means(one.mean, other.mean, share)
        variance = jax.tree.map(
            lambda a, b, x, y: merge_covariance(a, b, x - y, x - y, share),
            one.variance,
            other.variance,
            one.mean,
            other.mean,
        )
        return MeanAndVariance(mean, variance)


class Means(AbstractStatistic):
    """Mean over cells of every pool, as a list."""

    def __call__(self, t: Any, state: Any, params: Any) -> list:
        return [reductions.mean(leaf) for leaf in jax.tree.leaves(state)]

    def merge(self, one: Any, other: Any, share: Any) -> list:
        return merge_means(one, other, share)


class Both(AbstractStatistic):
    """Two statistics at once, as a pair."""

    first: AbstractStatistic
    second: AbstractStatistic

    def __call__(self, t: Any, state: Any, params: Any) -> tuple:
        return self.first(t, state, params), self.second(t, state, params)

    def merge(self, one: Any, other: Any, share: Any) -> tuple:
        return (
            self.first.merge(one[0], other[0], share),
            self.second.merge(one[1], other[1], share),
        )

    def finish(self, t: Any, values: Any, params: Any) -> tuple:
        return (
            self.first.finish(t, values[0], params),
            self.second.finish(t, values[1], params),
        )


def merge_means(one: Any, other: Any, share: Any) -> Any:
    """Means over two sets of cells, the second of which holds `share` of all."""
    return jax.tree.map(lambda a, b: a + share * (b - a), one, other)


def merge_covariance(one, other, first_gap, second_gap, share):
    """Covariance over two sets of cells by the law of total covariance.

    C = (1 - w) C₁ + w C₂ + w (1 - w) Δx Δy

    **Arguments:** `one`, `other`: C₁, C₂; `first_gap`, `second_gap`: differences Δx,
    Δy of the means; `share`: w, of the second set.
    """
    within = one + share * (other - one)
    return within + share * (1 - share) * first_gap * second_gap


def merge_all(statistic: AbstractStatistic, values: Any, weights: Any) -> Any:
    """Merges values along their leading axis, by weights (cells of each)."""
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    rest = lambda tree: jax.tree.map(lambda x: x[1:], tree)

    def add(carried, part):
        merged, total = carried
        value, weight = part
        total = total + weight
        return (statistic.merge(merged, value, weight / total), total), None

    start = (first(values), weights[0])
    (merged, _), _ = lax.scan(add, start, (rest(values), jnp.asarray(weights)[1:]))
    return merged
