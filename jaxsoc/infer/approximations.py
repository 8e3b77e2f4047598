"""Normal approximations of a posterior: for starts, previews and comparison."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.solve.dense import cholesky, eigh

from .chains import COUNT, AbstractSampler, Chains, LogDensity

# Of sufficient increase, and steps of a line search, each half of the one before.
_ENOUGH, _HALVINGS = 1e-4, 20
# Of curvature along a step, below which it teaches nothing.
_FLAT = 1e-10


class Climb(NamedTuple):
    """Places on the way to a mode, leading by iteration: `z`; `log_density`; `slope`;
    `covariance`, the inverse of the curvature as far as it is known."""

    z: Any
    log_density: Any
    slope: Any
    covariance: Any


def climb(log_density: LogDensity, start: Any, iterations: int) -> Climb:
    """BFGS up to a mode of a density, and what it learns of its curvature.

    z' = z + s H ∇log p,  H' = (1 - ρ d yᵀ) H (1 - ρ y dᵀ) + ρ d dᵀ

    d is the step, y the fall of the slope along it, ρ = 1 / (d y); the length s is
    halved until log p grows enough.

    **Arguments:** `start`: (param,).
    Source: Nocedal and Wright (2006), doi:10.1007/978-0-387-40065-5, Eq. 6.17.
    """
    both = jax.value_and_grad(log_density)
    eye = jnp.eye(start.size, dtype=start.dtype)

    def known(z):
        value, slope = both(z)
        sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
        return jnp.where(sound, value, -jnp.inf), jnp.where(sound, slope, 0.0)

    def one(now, first):
        z, value, slope, H = now
        # The first step is of a tenth: nothing is known of the curvature.
        size = jnp.sqrt(jnp.sum(slope**2))
        H = jnp.where(first, 0.1 / jnp.maximum(size, 0.1) * eye, H)
        way = H @ slope
        gain = _ENOUGH * (slope @ way)

        def shorter(now):
            length, tries, _ = now
            found = log_density(z + length * way)
            enough = found >= value + length * gain
            length = jnp.where(enough, length, 0.5 * length)
            return length, tries + 1, enough

        going = lambda now: ~now[2] & (now[1] < _HALVINGS)
        begin = jnp.ones((), z.dtype), 0, jnp.asarray(False)
        length, _, moved = lax.while_loop(going, shorter, begin)
        d = jnp.where(moved, length, 0.0) * way
        other, new = known(z + d)
        y = slope - new
        curved = d @ y
        learns = curved > _FLAT * jnp.sqrt((d @ d) * (y @ y))
        ρ = 1 / jnp.where(learns, curved, 1.0)
        left = eye - ρ * jnp.outer(d, y)
        better = left @ H @ left.T + ρ * jnp.outer(d, d)
        H = jnp.where(learns, better, H)
        now = z + d, other, new, H
        return now, Climb(*now)

    begin = start, *known(start), eye
    return lax.scan(one, begin, jnp.arange(iterations) == 0)[1]


class Pathfinder(AbstractSampler):
    """Draws of the best normal approximation on the way to a mode.

    q_k = N(z_k + H_k ∇log p(z_k), H_k),  k with the largest E_q[log p - log q]

    One way for each chain, from its own start; H by BFGS, a full matrix.

    **Arguments:** `iterations`: of the climb; `tries`: draws of which each expectation
    is the mean.
    **Raises:** `ValueError` for counts below 1.
    Source: Zhang et al. (2022), JMLR 23:306, there with L-BFGS.
    """

    draws: int = eqx.field(static=True, default=500)
    chains: int = eqx.field(static=True, default=4)
    iterations: int = eqx.field(static=True, default=60)
    tries: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        for name in ("draws", "chains", "iterations", "tries"):
            COUNT.check(name, getattr(self, name))

    def __call__(self, log_density: LogDensity, start: Any, key: Any) -> Chains:
        """Draws of one posterior, each chain by its own way."""

        def one(start, key):
            way = climb(log_density, start, self.iterations)
            first, second = jax.random.split(key)
            deviate = jax.random.normal(first, (self.tries, start.size), start.dtype)

            def gain(now):
                z, logq = _drawn(now.z + now.covariance @ now.slope, now, deviate)
                found = lax.map(log_density, z) - logq
                return jnp.mean(jnp.where(jnp.isnan(found), -jnp.inf, found))

            best = jnp.argmax(lax.map(gain, way))
            now = jax.tree.map(lambda x: x[best], way)
            return *_approximated(log_density, now, second, self.draws), best

        keys = jax.random.split(key, self.chains)
        z, values, best = lax.map(lambda now: one(*now), (start, keys))
        return _chains(z, values, {"iteration": best})


class Laplace(AbstractSampler):
    """Draws of the normal approximation at the mode: N(mode, (-∇∇ log p)⁻¹).

    The best of the modes that the chains' starts lead to; directions in which the
    density has no peak there get the variance that BFGS knows of.

    **Arguments:** `iterations`: of the climb.
    **Raises:** `ValueError` for counts below 1.
    """

    draws: int = eqx.field(static=True, default=500)
    chains: int = eqx.field(static=True, default=4)
    iterations: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        for name in ("draws", "chains", "iterations"):
            COUNT.check(name, getattr(self, name))

    def __call__(self, log_density: LogDensity, start: Any, key: Any) -> Chains:
        """Draws of one posterior."""
        ends = lax.map(
            lambda z: jax.tree.map(
                lambda x: x[-1], climb(log_density, z, self.iterations)
            ),
            start,
        )
        best = jnp.argmax(ends.log_density)
        mode = jax.tree.map(lambda x: x[best], ends)
        curvature = -jax.jacfwd(jax.grad(log_density))(mode.z)
        values, axes = eigh(0.5 * (curvature + curvature.T))
        known = jnp.sum(axes * (mode.covariance @ axes), axis=0)
        peaked = values > 0
        variance = jnp.where(peaked, 1 / jnp.where(peaked, values, 1.0), known)
        mode = mode._replace(
            slope=jnp.zeros_like(mode.slope),
            covariance=(axes * variance[None]) @ axes.T,
        )
        keys = jax.random.split(key, self.chains)
        z, found = lax.map(
            lambda k: _approximated(log_density, mode, k, self.draws), keys
        )
        return _chains(z, found, {"mode": mode.z, "covariance": mode.covariance})


def _drawn(mean, now, deviate):
    """Draws of a normal approximation, and the logarithms of their densities."""
    size = mean.size
    added = 1e-12 * jnp.trace(now.covariance) / size
    factor = cholesky(now.covariance + added * jnp.eye(size))
    logdet = jnp.sum(jnp.log(jnp.diagonal(factor)))
    whole = 0.5 * jnp.sum(deviate**2, axis=1) + logdet + 0.5 * size * np.log(2 * np.pi)
    return mean[None] + deviate @ factor.T, -whole


def _approximated(log_density, now, key, draws):
    deviate = jax.random.normal(key, (draws, now.z.size), now.z.dtype)
    z, _ = _drawn(now.z + now.covariance @ now.slope, now, deviate)
    return z, lax.map(log_density, z)


def _chains(z, values, learnt):
    all, barred = jnp.ones_like(values[:, 0]), jnp.sum(~jnp.isfinite(values), axis=1)
    return Chains(z, values, all, jnp.zeros_like(barred), barred, learnt)
