"""Calibration of soil columns as it was published: an annealed adaptive Metropolis.

For parity: what it leaves is no sample of a posterior, since its acceptance falls
through the run, and counts each state once, however long it was stayed at.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.physics.parameters import NON_NEGATIVE, POSITIVE
from jaxsoc.solve.dense import cholesky

from .chains import COUNT, Moments

Cost = Callable[[Any], Any]
# Cost added where there is no solution.
_FAILED = 100.0
# Acceptance at the end, outside which a run is repeated, by scales times these.
LOW, HIGH, SMALLER, LARGER = 0.1, 0.5, 0.7, 2.0
# Repetitions, of a run and of a trial that moves too little; factor of its width.
_RERUNS, _RETRIES, _FEWEST, _NARROWER = 5, 3, 50, 1 / 1.1


class PublishedMetropolis(eqx.Module):
    """One chain of the published scheme in the unit cube of the priors.

    A trial moves uniformly within ± `width` / 2; the formal run by a normal of the
    covariance of all trial's states, from `renewed_after` on of its own, times
    `scale` / d; both redraw what lies outside the cube, and accept with
    min(1, exp(-ΔJ ln(n + 2))), n the iteration of the phase from 1 on, or without the
    logarithm where not `annealed`. The formal run starts where the trial ended, with
    the cost of the first start.

    **Raises:** `ValueError` for counts below 1, or sizes that are not positive.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, and its released programs.
    """

    trial: int = eqx.field(static=True, default=20_000)
    formal: int = eqx.field(static=True, default=50_000)
    renewed_after: int = eqx.field(static=True, default=4_000)
    annealed: bool = eqx.field(static=True, default=True)
    width: float = 0.2
    scale: float = 2.4

    def __check_init__(self):
        COUNT.check("trial", self.trial)
        COUNT.check("formal", self.formal)
        NON_NEGATIVE.check("renewed_after", self.renewed_after)
        POSITIVE.check("width", self.width)
        POSITIVE.check("scale", self.scale)

    def __call__(self, cost: Cost, start: Any, key: Any) -> "PublishedChain":
        """The chain from a start, (param,), for a cost J of places in the cube."""
        size, dtype = start.size, start.dtype
        eye, first_cost = jnp.eye(size, dtype=dtype), cost(start)
        # Where the start has no solution anything is better.
        first_cost = jnp.where(jnp.isfinite(first_cost), first_cost, _FAILED)
        near = lambda u, _, k: u + self.width * (jax.random.uniform(k, u.shape) - 0.5)
        normal = lambda u, L, k: u + L @ jax.random.normal(k, u.shape, dtype)
        root = lambda moments: cholesky(
            self.scale / size * moments.squares / jnp.maximum(moments.count - 1, 1.0)
            + 1e-14 * eye
        )

        def phase(propose, renewed):
            def step(now, given):
                u, J, moments, factor = now
                n, key = given
                one, two = jax.random.split(key)
                other = _redrawn(lambda k: propose(u, factor, k), one)
                found = cost(other)
                found = jnp.where(jnp.isfinite(found), found, J + _FAILED)
                power = jnp.log(n + 2.0) if self.annealed else 1.0
                # What is better is always taken.
                chance = jnp.exp(-jnp.maximum(found - J, 0.0) * power)
                taken = jax.random.uniform(two, (), dtype) < chance
                u, J = jnp.where(taken, other, u), jnp.where(taken, found, J)
                moments = _with_place(moments, u)
                factor = renewed(n, moments, factor)
                return (u, J, moments, factor), (u, J, taken)

            return step

        later = lambda n, moments, L: lax.cond(
            n > self.renewed_after, root, lambda _: L, moments
        )
        none = Moments(jnp.zeros((), dtype), jnp.zeros_like(start), 0.0 * eye)
        first, second = jax.random.split(key)
        given = lambda key, n: (
            jnp.arange(1, n + 1).astype(dtype),
            jax.random.split(key, n),
        )
        begin = start, first_cost, none, eye
        stays = lambda n, moments, L: L
        trial, (_, _, tried) = lax.scan(
            phase(near, stays), begin, given(first, self.trial)
        )
        begin = trial[0], first_cost, none, root(trial[2])
        _, (states, costs, taken) = lax.scan(
            phase(normal, later), begin, given(second, self.formal)
        )
        return PublishedChain(states, costs, taken, jnp.sum(tried))


class PublishedChain(NamedTuple):
    """Of the formal run: `states` in the unit cube, (iteration, param); `cost`;
    `accepted`, whether each is new; `tried`: accepted of the trial."""

    states: Any
    cost: Any
    accepted: Any
    tried: Any

    @property
    def ratio(self) -> float:
        """Share of accepted iterations."""
        return float(np.mean(np.asarray(self.accepted)))

    def kept(self) -> np.ndarray:
        """Accepted states without their first half, each once, (state, param)."""
        accepted = np.asarray(self.states)[np.asarray(self.accepted)]
        return accepted[len(accepted) // 2 :]


def published_chain(
    scheme: PublishedMetropolis, cost: Cost, start: Any, key: Any
) -> PublishedChain | None:
    """A chain with the published repetitions, None where these do not help.

    A trial with fewer than 50 accepted iterations is repeated with its width over 1.1,
    at most 3 times; a run whose acceptance leaves [0.1, 0.5] with its scale times 0.7
    (too low) or 2 (too high), at most 5 times.
    """
    run = eqx.filter_jit(lambda scheme, start, key: scheme(cost, start, key))
    reruns = retries = 0
    for attempt in range(_RERUNS + _RETRIES + 1):
        chain = run(scheme, start, jax.random.fold_in(key, attempt))
        if int(chain.tried) < _FEWEST and retries < _RETRIES:
            retries += 1
            scheme = eqx.tree_at(lambda s: s.width, scheme, scheme.width * _NARROWER)
        elif LOW <= chain.ratio <= HIGH:
            return chain
        elif reruns == _RERUNS:
            break
        else:
            reruns += 1
            factor = SMALLER if chain.ratio < LOW else LARGER
            scheme = eqx.tree_at(lambda s: s.scale, scheme, scheme.scale * factor)
    return None


def published_gelman_rubin(chains: Sequence[np.ndarray]) -> np.ndarray:
    """R by parameter of what chains kept, as published.

    R = √(((n - 1) W / n + B / n) / W),  B = n / (m - 1) Σ_c (θ̄_c - θ̄)²

    W is the mean variance of the m chains, n the number of states of the last one.

    **Arguments:** `chains`: of each, (state, param), see `PublishedChain.kept`.
    """
    n, m = len(chains[-1]), len(chains)
    means = np.stack([chain.mean(axis=0) for chain in chains])
    within = np.mean([chain.var(axis=0, ddof=1) for chain in chains], axis=0)
    between = n / (m - 1) * np.sum((means - means.mean(axis=0)) ** 2, axis=0)
    return np.sqrt(((n - 1) * within / n + between / n) / within)


def _redrawn(propose, key):
    """A proposal inside the open cube."""
    outside = lambda now: ~jnp.all((now[0] > 0) & (now[0] < 1))

    def again(now):
        key, use = jax.random.split(now[1])
        return propose(use), key

    key, use = jax.random.split(key)
    return lax.while_loop(outside, again, (propose(use), key))[0]


def _with_place(moments, u):
    n, mean, squares = moments
    off = u - mean
    mean = mean + off / (n + 1)
    return Moments(n + 1, mean, squares + jnp.outer(off, u - mean))
