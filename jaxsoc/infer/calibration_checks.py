"""Simulation-based calibration: whether a sampler finds what was put in."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.handlers import seed, trace, uncondition
from scipy.stats import chi2

from .chains import AbstractSampler
from .diagnostics import rank_rhat
from .posterior import Posterior, is_data, is_factor

# Draws of the prior for each truth that is wanted, at a time, and how often.
_TRIES, _ROUNDS = 4, 200

WithData = Callable[[Any, Mapping[str, Any]], Any]
"""`(args, simulated data by site) -> args` of the model with those data."""


class Simulated(NamedTuple):
    """Truths of the prior and data made of them, leading by replicate: `truth`, latent
    sites by name; `data`, observed ones; `tried`: draws of the prior for each truth,
    more than one where factors bar some."""

    truth: dict[str, Any]
    data: dict[str, Any]
    tried: float


class Ranks(NamedTuple):
    """How many of the draws are below the truth, by quantity and replicate.

    `ranks`: 0 to `draws`; `rhat`: the largest of each replicate's latent sites.
    """

    ranks: dict[str, np.ndarray]
    draws: int
    rhat: np.ndarray

    def p_values(self, bins: int = 10) -> dict[str, float]:
        """Of even ranks, by χ² over bins, for each quantity.

        **Raises:** `ValueError` for bins that do not hold equally many ranks.
        """
        if (self.draws + 1) % bins:
            raise ValueError(
                f"{bins} bins cannot hold {self.draws + 1} ranks evenly: take another "
                "number of draws"
            )
        found = {}
        for name, ranks in self.ranks.items():
            counts = np.bincount(ranks * bins // (self.draws + 1), minlength=bins)
            even = ranks.size / bins
            found[name] = float(chi2.sf(np.sum((counts - even) ** 2) / even, bins - 1))
        return found

    def failed(self, level: float = 0.01, bins: int = 10) -> list[str]:
        """Quantities whose ranks are not even, at a level over all of them."""
        values = self.p_values(bins)
        return [name for name, p in values.items() if p < level / len(values)]


def simulated(
    model: Callable[..., None], key: Any, args: Any, replicates: int
) -> Simulated:
    """Truths of a numpyro model's prior, with factors as chances, and data of them.

    A draw is kept with the chance exp(Σ factors), so that a barrier is part of the
    prior.

    **Arguments:** `args`: of the model, the same for all replicates.
    **Raises:** `ValueError` for factors above zero, which are no chances, or where
    hardly any draw is kept.
    """

    def one(key):
        first, second = jax.random.split(key)
        sites = trace(seed(uncondition(model), first)).get_trace(*args)
        sampled = {n: s for n, s in sites.items() if s["type"] == "sample"}
        factors = [
            jnp.sum(s["fn"].log_prob(s["value"]))
            for s in sampled.values()
            if is_factor(s)
        ]
        chance = sum(factors, jnp.zeros(()))
        kept = jnp.log(jax.random.uniform(second, (), chance.dtype)) < chance
        plain = {n: s["value"] for n, s in sampled.items() if not is_factor(s)}
        seen = {n: x for n, x in plain.items() if n in observed}
        latent = {n: x for n, x in plain.items() if n not in observed}
        return latent, seen, kept, chance

    observed = _observed(model, args)
    many = jax.jit(lambda keys: jax.lax.map(one, keys))
    parts, count, tried = [], 0, 0
    for _ in range(_ROUNDS):
        key, use = jax.random.split(key)
        keys = jax.random.split(use, _TRIES * replicates)
        latent, seen, kept, chance = jax.device_get(many(keys))
        if (chance > 0).any():
            raise ValueError(
                f"a factor of the model is {float(np.max(chance)):g}, above 0: it is "
                "no chance by which draws of the prior could be kept"
            )
        parts.append(jax.tree.map(lambda x, k=kept: x[k], (latent, seen)))
        count, tried = count + int(kept.sum()), tried + len(kept)
        if count >= replicates:
            join = lambda *x: np.concatenate(x)[:replicates]
            truth, data = jax.tree.map(join, *parts)
            return Simulated(truth, data, tried / count)
    raise ValueError(
        f"{count} of {tried} draws of the prior were kept, {replicates} are wanted: "
        "factors bar nearly all of it"
    )


def simulation_based_calibration(
    model: Callable[..., None],
    args: Any,
    with_data: WithData,
    sampler: AbstractSampler,
    key: Any,
    *,
    replicates: int = 200,
    draws: int = 99,
    quantities: Callable[[dict[str, Any], Any], dict[str, Any]] | None = None,
    run: Callable[..., Any] = lambda one, *batch: jax.lax.map(lambda x: one(*x), batch),
    source: Callable[..., None] | None = None,
    afterwards: Callable[..., dict[str, Any]] | None = None,
) -> Ranks:
    """Ranks of truths among draws of the posteriors that their data have.

    θ̃ ~ prior, y ~ p(y | θ̃), θ ~ posterior of y: the rank of θ̃ among the θ is even.

    **Arguments:** `model`, `args`: any numpyro model; `with_data`: puts simulated data
    into the arguments; `draws`: of each posterior, evenly taken from its chains;
    `quantities`: more numbers of latent sites and
    arguments, by name, beside latent sites and "log_likelihood"; `run`: maps a function
    over replicates, as `map_sites` does; `source`: the model that makes truths and
    data, by default the same, and another one to see whether a fault would be found;
    `afterwards`: `(key, values, *args) -> values by name` of latent sites of `source`
    that the model integrates out, a draw of them for each of its own, as
    `SiteModel.errors` makes them.
    **Raises:** `ValueError` for more draws than the sampler makes, or latent sites that
    the source alone has, or the posterior with what is drawn afterwards alone; as
    `simulated`.
    Source: Talts et al. (2018), arXiv:1804.06788.
    """
    if draws > sampler.chains * sampler.draws:
        raise ValueError(
            f"{sampler.chains} chains of {sampler.draws} draws cannot give {draws} "
            "different ones"
        )
    first, second = jax.random.split(key)
    made = simulated(source or model, first, args, replicates)
    posterior = Posterior(model, *args)
    more = quantities or (lambda values, args: {})
    after = afterwards or (lambda key, values, *args: {})

    def of(values, args):
        found = dict(values)
        likelihood = posterior.log_likelihood(values, *args)
        found["log_likelihood"] = sum(likelihood.values(), jnp.zeros(()))
        return found | more(values, args)

    def one(truth, data, key):
        now = with_data(args, data)
        chains = posterior.sample(sampler, key, *now)
        flat = chains.z.reshape(-1, posterior.size)
        place = np.linspace(0, len(flat) - 1, draws).astype(int)

        def drawn(at):
            z, key = at
            values = posterior.latent(z, *now)
            return of(values | after(key, values, *now), now)

        # Not 0 or 1: what `Posterior.sample` makes of the key by splitting it.
        keys = jax.random.split(jax.random.fold_in(key, 2), draws)
        some, there = jax.lax.map(drawn, (flat[place], keys)), of(truth, now)
        if odd := sorted(some.keys() ^ there.keys()):
            raise ValueError(
                f"{', '.join(odd)}: latent in only one of the source of truths and the "
                "posterior; what that integrates out has to be drawn afterwards"
            )
        below = jax.tree.map(lambda x, t: jnp.sum(x < t[None], axis=0), some, there)
        return below, chains.z

    keys = jax.random.split(second, replicates)
    below, z = jax.device_get(eqx.filter_jit(run)(one, made.truth, made.data, keys))
    rhat = np.array([np.max(rank_rhat(x)) for x in z])
    ranks = {}
    for name, found in below.items():
        flat = np.asarray(found).reshape(replicates, -1)
        for i in range(flat.shape[1]):
            ranks[name if flat.shape[1] == 1 else f"{name}[{i}]"] = flat[:, i]
    return Ranks(ranks, draws, rhat)


def _observed(model, args):
    """Names of the observed sites."""
    names = []

    def look(key, args):
        sites = trace(seed(model, key)).get_trace(*args)
        names.extend(n for n, s in sites.items() if is_data(s))
        return jnp.zeros(())

    jax.eval_shape(look, jax.random.PRNGKey(0), args)
    return set(names)
