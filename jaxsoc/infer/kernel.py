"""Our samplers as kernels of numpyro's `MCMC`."""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from .chains import AbstractKernel, starts
from .posterior import Posterior


class KernelState(NamedTuple):
    """`z`: places on the line by latent site, leading by chain if there are several;
    `inner`: of the sampler; `place`: number of the iteration; `rng_key`."""

    z: Any
    inner: Any
    place: Any
    rng_key: Any


class Kernel(MCMCKernel):
    """A sampler of ours for a model, as `numpyro.infer.MCMC` takes it.

    Chains learn together where they are run together, with
    `chain_method="vectorized"`; of the sampler's counts those of `MCMC` hold.

    **Arguments:** `model`: any numpyro model; `sampler`: a `BatchHMC` or an
    `AdaptiveMetropolis`.
    """

    def __init__(self, model: Any, sampler: AbstractKernel):
        self.model, self.sampler = model, sampler
        self._posterior: Posterior | None = None

    @property
    def sample_field(self) -> str:
        """What of the state are draws."""
        return "z"

    def _log_density(self, args, kwargs):
        model = lambda *args: self.model(*args, **kwargs)
        posterior = Posterior(model, *args)
        return posterior, lambda z: posterior(z, *args)

    def init(self, rng_key, num_warmup, init_params, model_args, model_kwargs):
        """The state before the first iteration."""
        self.sampler = replace(self.sampler, warmup=max(num_warmup, 1))
        posterior, log_density = self._log_density(model_args, model_kwargs)
        several = not is_prng_key(rng_key)
        key = rng_key[0] if several else rng_key
        chains = len(rng_key) if several else 1
        use = jax.random.split(key)[1]
        if init_params is None:
            z = starts(log_density, use, chains, posterior.size)
        elif several:
            z = jax.vmap(posterior.packed)(init_params)
        else:
            z = posterior.packed(init_params)[None]
        inner = self.sampler.begin(z.T)
        z = self._unpacked(posterior, inner, several)
        # numpyro gives each chain a key of its own, also where it goes on.
        return KernelState(z, inner, jnp.asarray(0), rng_key)

    def sample(self, state, model_args, model_kwargs):
        """The next state."""
        posterior, log_density = self._log_density(model_args, model_kwargs)
        several = not is_prng_key(state.rng_key)
        key = state.rng_key[0] if several else state.rng_key
        use = jax.random.fold_in(key, state.place)
        inner = self.sampler.step(log_density, state.inner, state.place, use)
        z = self._unpacked(posterior, inner, several)
        return KernelState(z, inner, state.place + 1, state.rng_key)

    def postprocess_fn(self, model_args, model_kwargs):
        """From places on the line to values by site."""
        posterior, _ = self._log_density(model_args, model_kwargs)
        return lambda x: posterior.natural(posterior.packed(x), *model_args)

    def _unpacked(self, posterior, inner, several):
        if several:
            return jax.vmap(posterior.unpacked)(inner.z.T)
        return posterior.unpacked(inner.z[:, 0])
