"""Chains of one posterior: what samplers return, and how their iterations follow."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from jaxsoc.physics.parameters import Interval

LogDensity = Callable[[Any], Any]
"""Logarithm of a posterior density, but for a constant, of places (param,) on lines."""

# Starts that are tried for each chain, uniform within so much of the origin.
_TRIES, _SPREAD = 16, 2.0


class Chains(NamedTuple):
    """Draws of a posterior.

    `z`: places on the lines, (chain, draw, param); `log_density`: (chain, draw); by
    chain `accepted`, mean chance of acceptance, and how many iterations were
    `diverged`, their energy lost, or `barred`, having ended where there is no density;
    `learnt`: by name, what was learnt before the draws.
    """

    z: Any
    log_density: Any
    accepted: Any
    diverged: Any
    barred: Any
    learnt: dict[str, Any]


class AbstractSampler(eqx.Module):
    """Draws from a posterior: `(log_density, start, key) -> Chains`, a pure function.

    Lift it over sites by `vmap` or `map_sites`.
    """

    chains: eqx.AbstractVar[int]
    draws: eqx.AbstractVar[int]

    @abstractmethod
    def __call__(self, log_density: LogDensity, start: Any, key: Any) -> Chains:
        """Draws of one posterior.

        **Arguments:** `start`: (chain, param), see `starts`.
        """


class Moments(NamedTuple):
    """Of places that chains have been at, together: `count`, `mean`, `squares`."""

    count: Any
    mean: Any
    squares: Any


class AbstractKernel(AbstractSampler):
    """A sampler by iterations that depend on the last one alone.

    Chains of a posterior learn together in the first `warmup` iterations, and go alone
    after them with what was learnt, so that their draws, each the last of `thin`
    iterations, are those of a Markov chain. States are named
    tuples that hold `z`, (param, chain), and by chain `log_density`, and of the last
    iteration `accepted`, its chance, `diverged` and `barred`, see `Chains`.
    """

    warmup: eqx.AbstractVar[Any]
    thin: eqx.AbstractVar[Any]

    @abstractmethod
    def begin(self, start: Any) -> Any:
        """State before the first iteration, which evaluates it and moves nowhere.

        **Arguments:** `start`: (param, chain).
        """

    @abstractmethod
    def step(self, log_density: LogDensity, state: Any, place: Any, key: Any) -> Any:
        """The next state.

        **Arguments:** `place`: number of the iteration, from 0.
        """

    @abstractmethod
    def learnt(self, state: Any) -> dict[str, Any]:
        """What is known after the warm-up, by name."""

    def __call__(self, log_density: LogDensity, start: Any, key: Any) -> Chains:
        """Draws of one posterior: each the last of `thin` iterations.

        **Arguments:** `start`: (chain, param).
        """
        state = self.begin(start.T)
        none = jnp.zeros_like(state.accepted)
        whole = lambda x: jnp.zeros((self.draws, *x.shape), x.dtype)
        held = whole(state.z), whole(state.log_density)

        def one(place, going):
            state, held, (chance, lost, barred) = going
            state = self.step(log_density, state, place, jax.random.fold_in(key, place))
            # The warm-up is written over.
            slot = jnp.maximum(place - self.warmup, 0) // self.thin
            put = lambda all, x: lax.dynamic_update_index_in_dim(all, x, slot, 0)
            held = put(held[0], state.z), put(held[1], state.log_density)
            drawn = place >= self.warmup
            chance = chance + jnp.where(drawn, state.accepted, 0.0)
            one = lambda flag: (drawn & flag).astype(lost.dtype)
            sums = chance, lost + one(state.diverged), barred + one(state.barred)
            return state, held, sums

        count = self.draws * jnp.asarray(self.thin)
        nothing = jnp.zeros(none.shape, int)
        going = state, held, (none, nothing, nothing)
        going = lax.fori_loop(0, self.warmup + count, one, going)
        state, (z, values), (chance, lost, barred) = going
        return Chains(
            jnp.transpose(z, (2, 0, 1)),
            values.T,
            chance / count.astype(chance.dtype),
            lost,
            barred,
            self.learnt(state),
        )


COUNT = Interval(1, 10_000_000, closed_low=True, closed_high=True)
"""Of chains, draws, iterations."""


def no_moments(like: Any) -> Moments:
    """Of no places yet, (param,)."""
    return Moments(
        jnp.zeros((), like.dtype), jnp.zeros_like(like), jnp.zeros_like(like)
    )


def with_places(moments: Moments, z: Any) -> Moments:
    """Moments with the places of all chains, (param, chain), added.

    Source: Chan et al. (1983), doi:10.1080/00031305.1983.10483115.
    """
    n, mean, squares = moments
    m = z.shape[1]
    own = jnp.mean(z, axis=1)
    spread = jnp.sum((z - own[:, None]) ** 2, axis=1)
    total, off = n + m, own - mean
    return Moments(
        total, mean + off * m / total, squares + spread + off**2 * (n * m / total)
    )


def starts(log_density: LogDensity, key: Any, chains: int, size: int) -> Any:
    """Where chains start: the likeliest of 16 places that are drawn for each.

    **Returns:** (chain, param), uniform between -2 and 2 before the choice; where no
    place that was tried has a density, one of them.
    """
    shape = _TRIES, chains, size
    tries = jax.random.uniform(key, shape, float, -_SPREAD, _SPREAD)
    # One after the other: all at once would take a column's memory for each.
    value = lax.map(lambda z: jax.vmap(log_density)(z), tries)
    best = jnp.argmax(jnp.where(jnp.isnan(value), -jnp.inf, value), axis=0)
    return jnp.take_along_axis(tries, best[None, :, None], axis=0)[0]
