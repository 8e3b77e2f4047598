"""Adaptive Metropolis: a sampler that needs no slopes."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.solve.dense import cholesky

from .chains import COUNT, AbstractKernel

# Share of proposals that do not know the covariance, and their size.
_PLAIN, _SMALL = 0.05, 0.1
# Best scale for normal posteriors, per √param, and the acceptance it has.
_BEST, _ACCEPTANCE = 2.38, 0.234
# How fast what was learnt first is forgotten.
_FORGET, _BEGIN = 0.7, 0.1
# Of the mean variance, added to each.
_JITTER = 1e-9


class MetropolisState(NamedTuple):
    """See `AbstractKernel`; `mean`, `covariance`: learnt of places, `factor` of the
    covariance; `log_scale` of proposals."""

    z: Any
    log_density: Any
    accepted: Any
    diverged: Any
    barred: Any
    mean: Any
    covariance: Any
    factor: Any
    log_scale: Any


class AdaptiveMetropolis(AbstractKernel):
    """Adaptive Metropolis, exact: what is learnt in the warm-up stays after it.

    z' = z + s (2.38 / √d) L e,  L Lᵀ = covariance of z;  one in twenty z + 0.1 / √d e
    accepted with min(1, p(z') / p(z))

    The covariance is that of all chains, the scale s by their acceptance.

    **Arguments:** `thin`: iterations for each draw.
    **Raises:** `ValueError` for counts below 1.
    Source: Haario et al. (2001), doi:10.2307/3318737; Roberts and Rosenthal (2009),
    doi:10.1198/jcgs.2009.06134.
    """

    warmup: Any = eqx.field(default=10_000, converter=jnp.asarray)
    draws: int = eqx.field(static=True, default=500)
    chains: int = eqx.field(static=True, default=4)
    thin: Any = eqx.field(default=40, converter=jnp.asarray)

    def __check_init__(self):
        for name in ("warmup", "draws", "chains", "thin"):
            COUNT.check(name, getattr(self, name))

    def begin(self, start: Any) -> MetropolisState:
        """State before the first iteration."""
        by_chain = jnp.zeros_like(start[0])
        eye = jnp.eye(start.shape[0], dtype=start.dtype)
        return MetropolisState(
            start,
            jnp.full_like(by_chain, -jnp.inf),
            by_chain,
            jnp.zeros(by_chain.shape, bool),
            jnp.zeros(by_chain.shape, bool),
            jnp.mean(start, axis=1),
            _BEGIN**2 * eye,
            _BEGIN * eye,
            jnp.zeros((), start.dtype),
        )

    def step(self, log_density, state: MetropolisState, place: Any, key: Any):
        """A proposal to each chain."""
        one, two, three = jax.random.split(key, 3)
        (size, chains), dtype = state.z.shape, state.z.dtype
        deviate = jax.random.normal(one, state.z.shape, dtype) / np.sqrt(size)
        plain = jax.random.uniform(two, (chains,), dtype) < _PLAIN
        wide = _BEST * jnp.exp(state.log_scale) * (state.factor @ deviate)
        jump = jnp.where(plain, _SMALL * deviate, wide)
        other = state.z + jnp.where(place == 0, 0.0, jump)
        found = jax.vmap(log_density, -1)(other)
        gained = found - state.log_density
        chance = jnp.where(jnp.isnan(gained), 0.0, jnp.exp(jnp.minimum(gained, 0.0)))
        taken = jax.random.uniform(three, (chains,), dtype) < chance
        pick = lambda a, b: jnp.where(taken, a, b)
        now = state._replace(
            z=pick(other, state.z),
            log_density=pick(found, state.log_density),
            accepted=chance,
            barred=~jnp.isfinite(found),
        )
        return lax.cond(
            (place > 0) & (place < self.warmup),
            lambda now: self._learning(now, place),
            lambda now: now,
            now,
        )

    def learnt(self, state: MetropolisState) -> dict[str, Any]:
        """`covariance` of proposals, but for the factor of all, and `scale`."""
        return {"covariance": state.covariance, "scale": jnp.exp(state.log_scale)}

    def _learning(self, now, place):
        count = jnp.asarray(place, now.z.dtype)
        weight = jnp.minimum(0.5, (count + 1) ** -_FORGET)
        off = now.z - now.mean[:, None]
        size, chains = off.shape
        mean = now.mean + weight * jnp.mean(off, axis=1)
        around = now.z - mean[:, None]
        spread = around @ around.T / chains
        covariance = (1 - weight) * now.covariance + weight * spread
        log_scale = now.log_scale + weight * (jnp.mean(now.accepted) - _ACCEPTANCE)
        # A factor costs as much as a proposal, and changes little.
        factor = lax.cond(
            place % size == 0,
            lambda: _factor(covariance),
            lambda: now.factor,
        )
        return now._replace(
            mean=mean, covariance=covariance, factor=factor, log_scale=log_scale
        )


def _factor(covariance):
    size = covariance.shape[0]
    added = _JITTER * (1e-3 + jnp.trace(covariance) / size)
    return cholesky(covariance + added * jnp.eye(size))
