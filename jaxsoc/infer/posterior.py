"""Posteriors of numpyro models on the whole line, as functions of their arguments."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions import Unit, biject_to
from numpyro.handlers import seed, substitute, trace
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from .chains import AbstractSampler, Chains, starts


class Posterior(eqx.Module):
    """The posterior of a numpyro model: `posterior(z, *args)` is its log density.

    log p(z | data) = log p(data | θ) + log p(θ) + log |dθ/dz|,  θ = T(z)

    z are the latent sites one after the other, each on the whole line; the arguments of
    the model hold its data, so that one compilation serves all that are shaped alike.

    **Arguments:** `model`: any numpyro model with continuous latent sites; `args`: of
    one call, of which the shapes alone matter.
    **Raises:** `ValueError` for a model with discrete latent sites, or without any, or
    one that observes nothing.
    """

    model: Callable = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(self, model: Callable[..., None], *args: Any):
        self.model = model
        latent = _latent_sites(model, args)
        self.names, self.shapes = tuple(latent), tuple(latent.values())

    @property
    def size(self) -> int:
        """Numbers in z."""
        return sum(self._sizes)

    @property
    def _sizes(self):
        return [int(np.prod(shape, dtype=int)) for shape in self.shapes]

    def __call__(self, z: Any, *args: Any) -> Any:
        """Logarithm of the posterior density of z, but for a constant."""
        return -potential_energy(self.model, args, {}, self.unpacked(z))

    def unpacked(self, z: Any) -> dict[str, Any]:
        """Places on their lines by site."""
        cut = jnp.split(z, np.cumsum(self._sizes)[:-1])
        every = zip(self.names, cut, self.shapes, strict=True)
        return {name: part.reshape(shape) for name, part, shape in every}

    def packed(self, places: Any) -> Any:
        """z of places on their lines by site."""
        return jnp.concatenate([jnp.ravel(places[name]) for name in self.names])

    def natural(self, z: Any, *args: Any) -> dict[str, Any]:
        """Values by site, with those that the model calls deterministic."""
        places = self.unpacked(z)
        return constrain_fn(self.model, args, {}, places, return_deterministic=True)

    def latent(self, z: Any, *args: Any) -> dict[str, Any]:
        """Values by latent site alone."""
        return constrain_fn(self.model, args, {}, self.unpacked(z))

    def on_lines(self, values: Any, *args: Any) -> Any:
        """z of values by latent site."""
        places = unconstrain_fn(self.model, args, {}, values)
        return self.packed(places)

    def log_likelihood(self, values: Any, *args: Any) -> dict[str, Any]:
        """Logarithm of the density of what is observed, by site, summed.

        Without factors, which are no data.

        **Arguments:** `values`: of the latent sites by name.
        """
        of = substitute(self.model, data={name: values[name] for name in self.names})
        sites = trace(of).get_trace(*args)
        return {
            name: jnp.sum(site["fn"].log_prob(site["value"]))
            for name, site in sites.items()
            if is_data(site)
        }

    def sample(
        self, sampler: AbstractSampler, key: Any, *args: Any, start: Any = None
    ) -> Chains:
        """Draws of the posterior, a pure function of key and arguments.

        **Arguments:** `start`: (chain, param), by default see `starts`.
        """
        first, second = jax.random.split(key)
        log_density = lambda z: self(z, *args)
        if start is None:
            start = starts(log_density, first, sampler.chains, self.size)
        return sampler(log_density, start, second)


def is_data(site: Any) -> bool:
    """Whether a site of a trace is observed, and no factor."""
    sampled = site["type"] == "sample" and site["is_observed"]
    return sampled and not isinstance(_base(site["fn"]), Unit)


def is_factor(site: Any) -> bool:
    """Whether a site of a trace is a factor."""
    return site["type"] == "sample" and isinstance(_base(site["fn"]), Unit)


def _base(law):
    """A distribution without masks and shapes around it."""
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return law


def _latent_sites(model, args):
    """Shapes of the latent sites on the line, in the order of the model."""
    latent: dict[str, tuple[int, ...]] = {}
    observed = []

    def look(key, args):
        with numpyro.handlers.block():
            sites = trace(seed(model, key)).get_trace(*args)
        for name, site in sites.items():
            if site["type"] != "sample":
                continue
            if site["is_observed"]:
                observed.append(name)
            elif site["fn"].support.is_discrete:
                raise ValueError(
                    f"the latent site {name!r} is discrete, and samplers here need "
                    "continuous ones: sum it out in the model"
                )
            else:
                to_line = biject_to(site["fn"].support)
                latent[name] = to_line.inverse_shape(jnp.shape(site["value"]))
        return jnp.zeros(())

    jax.eval_shape(look, jax.random.PRNGKey(0), args)
    if not latent:
        raise ValueError("the model has no latent site: there is nothing to sample")
    if not observed:
        raise ValueError(
            f"the model observes nothing, its sites {', '.join(latent)} are all "
            "latent: give one of them obs="
        )
    return latent
