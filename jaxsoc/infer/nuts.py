"""The No-U-Turn sampler of numpyro, for chains of one posterior."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from numpyro.infer.hmc import hmc

from .chains import COUNT, AbstractSampler, Chains


class NUTS(AbstractSampler):
    """The No-U-Turn sampler, as numpyro has it.

    Trajectories of posteriors that are sampled together take as many steps as the
    longest of them; see `BatchHMC`.

    **Arguments:** `target`: mean acceptance; `depth`: of the tree at most; `dense`:
    whether the metric is a full matrix.
    **Raises:** `ValueError` for counts below 1.
    Source: Hoffman and Gelman (2014), JMLR 15:1593; Phan et al. (2019),
    arXiv:1912.11554.
    """

    warmup: int = eqx.field(static=True, default=400)
    draws: int = eqx.field(static=True, default=500)
    chains: int = eqx.field(static=True, default=4)
    target: float = eqx.field(static=True, default=0.8)
    depth: int = eqx.field(static=True, default=10)
    dense: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        for name in ("warmup", "draws", "chains", "depth"):
            COUNT.check(name, getattr(self, name))

    def __call__(self, log_density: Any, start: Any, key: Any) -> Chains:
        """Draws of one posterior."""
        # numpyro relies on promotions that may be forbidden.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return self._chains(log_density, start, key)

    def _chains(self, log_density, start, key):
        begin, step = hmc(lambda z: -log_density(z), algo="NUTS")

        def chain(z, key):
            state: Any = begin(
                z,
                self.warmup,
                target_accept_prob=self.target,
                max_tree_depth=self.depth,
                dense_mass=self.dense,
                rng_key=key,
            )

            def one(state, _):
                state = step(state)
                kept = state.z, -state.potential_energy, state.accept_prob
                return state, (*kept, state.diverging, state.num_steps)

            state, found = lax.scan(one, state, length=self.warmup + self.draws)
            return state, jax.tree.map(lambda x: x[self.warmup :], found)

        state, (z, values, chance, lost, steps) = jax.vmap(chain)(
            start, jax.random.split(key, self.chains)
        )
        learnt = {
            "step_by_chain": state.adapt_state.step_size,
            "mean_steps": jnp.mean(steps.astype(start.dtype), axis=1),
        }
        accepted, diverged = jnp.mean(chance, axis=1), jnp.sum(lost, axis=1)
        # It calls both diverged.
        return Chains(z, values, accepted, diverged, jnp.zeros_like(diverged), learnt)
