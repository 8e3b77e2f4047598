"""Hamiltonian Monte Carlo whose trajectories are of one length for all posteriors."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .chains import COUNT, AbstractKernel, Moments, no_moments, with_places

# Dual averaging of Hoffman and Gelman (2014): γ, t₀, κ.
_GAMMA, _DELAY, _FORGET = 0.05, 10.0, 0.75
# Before anything is learnt, and how far from there it is looked at first.
_STEP, _BOLD = 0.1, 10.0
# Energy lost at which a trajectory has diverged.
_DIVERGED = 1000.0
# Trajectories after which their lengths repeat, evenly spread.
_PERIOD = 64
# Draws that the unit metric counts for, and its variance.
_PRIOR_DRAWS, _PRIOR_VARIANCE = 5.0, 1e-3
# Shares of the warm-up: a start, and an end for the step alone.
_BEGIN, _END = 0.15, 0.1
# More than ten million iterations have.
_WINDOWS = 24
# Steps are drawn within this share of the learnt one: no trajectory is periodic.
_JITTER = 0.1


class _Learning(NamedTuple):
    log_step: Any
    log_mean: Any
    error: Any
    count: Any
    around: Any
    variance: Any
    moments: Moments


class HMCState(NamedTuple):
    """See `AbstractKernel`; `slope`: of the log density; `learning`."""

    z: Any
    log_density: Any
    slope: Any
    accepted: Any
    diverged: Any
    barred: Any
    learning: _Learning


class BatchHMC(AbstractKernel):
    """Hamiltonian Monte Carlo for thousands of posteriors at once.

    z' = z + ε M p, p' = p + ε ∇log p(z),  accepted with min(1, exp(-ΔH))

    The number of leapfrog steps is the same for all posteriors at an iteration, spread
    evenly from 1 to `steps` over iterations, so that all go in step with each other.
    The step ε, by dual averaging, and the diagonal metric M are each posterior's own,
    learnt by all of its chains together.

    **Arguments:** `steps`: of the longest trajectory; `warmup`, `thin`: see
    `AbstractKernel`; all three are arrays, so that one program serves all lengths;
    `target`: mean acceptance.
    **Raises:** `ValueError` for counts below 1, or a target outside (0, 1).
    Source: Hoffman and Gelman (2014), JMLR 15:1593; Neal (2011),
    doi:10.1201/b10905-6.
    """

    steps: Any = eqx.field(default=16, converter=jnp.asarray)
    target: float = eqx.field(static=True, default=0.8)
    warmup: Any = eqx.field(default=400, converter=jnp.asarray)
    draws: int = eqx.field(static=True, default=500)
    chains: int = eqx.field(static=True, default=4)
    thin: Any = eqx.field(default=1, converter=jnp.asarray)

    def __check_init__(self):
        for name in ("steps", "warmup", "draws", "chains", "thin"):
            COUNT.check(name, getattr(self, name))
        if not 0 < self.target < 1:
            raise ValueError(f"target must lie in (0, 1), got {self.target}")

    def begin(self, start: Any) -> HMCState:
        """State before the first iteration."""
        by_chain, unit = jnp.zeros_like(start[0]), jnp.ones_like(start[:, 0])
        log_step = jnp.asarray(np.log(_STEP), start.dtype)
        learning = _afresh(log_step, unit)
        return HMCState(
            start,
            jnp.full_like(by_chain, -jnp.inf),
            jnp.zeros_like(start),
            by_chain,
            jnp.zeros(by_chain.shape, bool),
            jnp.zeros(by_chain.shape, bool),
            learning,
        )

    def step(self, log_density, state: HMCState, place: Any, key: Any) -> HMCState:
        """A trajectory of each chain."""
        one, two, three = jax.random.split(key, 3)
        learning, dtype = state.learning, state.z.dtype
        log_step = jnp.where(place < self.warmup, learning.log_step, learning.log_mean)
        jitter = 1 + _JITTER * jax.random.uniform(three, (), dtype, -1.0, 1.0)
        # The first trajectory stays where it is, to see what is there.
        step = jnp.where(place == 0, 0.0, jnp.exp(log_step) * jitter)
        variance = learning.variance[:, None]
        deviate = jax.random.normal(one, state.z.shape, dtype)
        begin = (state.z, state.log_density, state.slope), deviate / jnp.sqrt(variance)

        def leap(_, now):
            (z, _, slope), momentum = now
            momentum = momentum + 0.5 * step * slope
            at = _evaluated(log_density, z + step * variance * momentum)
            return at, momentum + 0.5 * step * at[2]

        end = lax.fori_loop(0, self._length(place), leap, begin)
        gained = _energy(begin, variance) - _energy(end, variance)
        gained = jnp.where(jnp.isnan(gained), -jnp.inf, gained)
        chance = jnp.exp(jnp.minimum(gained, 0.0))
        taken = jax.random.uniform(two, chance.shape, dtype) < chance
        at = jax.tree.map(lambda a, b: jnp.where(taken, a, b), end[0], begin[0])
        barred = ~jnp.isfinite(end[0][1])
        diverged = (gained < -_DIVERGED) & ~barred
        learnt = self._learnt(learning, at[0], jnp.mean(chance), place)
        learns = (place > 0) & (place < self.warmup)
        learning = jax.tree.map(lambda a, b: jnp.where(learns, a, b), learnt, learning)
        z, value, slope = at
        return HMCState(z, value, slope, chance, diverged, barred, learning)

    def learnt(self, state: HMCState) -> dict[str, Any]:
        """`step`, and `variance`, the diagonal of the metric."""
        learning = state.learning
        return {"step": jnp.exp(learning.log_mean), "variance": learning.variance}

    def _length(self, place):
        """Leapfrog steps of an iteration."""
        share = jnp.asarray([_radical_inverse(i + 1) for i in range(_PERIOD)])
        most = self.steps.astype(share.dtype)
        count = jnp.maximum(1.0, jnp.ceil(share[place % _PERIOD] * most))
        return jnp.where(place == 0, 1, count.astype(jnp.int32))

    def _learnt(self, now, z, chance, place):
        """After an iteration of the warm-up: the step, and at times the metric."""
        count = now.count + 1
        share = 1 / (count + _DELAY)
        error = (1 - share) * now.error + share * (self.target - chance)
        log_step = now.around - jnp.sqrt(count) / _GAMMA * error
        weight = count**-_FORGET
        log_mean = weight * log_step + (1 - weight) * now.log_mean
        added = with_places(now.moments, z)
        used = place >= _part(_BEGIN, self.warmup)
        moments = jax.tree.map(lambda a, b: jnp.where(used, a, b), added, now.moments)
        stepped = now._replace(
            log_step=log_step,
            log_mean=log_mean,
            error=error,
            count=count,
            moments=moments,
        )
        n, _, squares = moments
        found = squares / jnp.maximum(n - 1, 1.0)
        shrunk = (n * found + _PRIOR_DRAWS * _PRIOR_VARIANCE) / (n + _PRIOR_DRAWS)
        renewed = jnp.any(place == window_ends(self.warmup))
        return jax.tree.map(
            lambda a, b: jnp.where(renewed, a, b), _afresh(log_mean, shrunk), stepped
        )


def window_ends(warmup: Any) -> Any:
    """Iterations of the warm-up after which the metric is renewed, then -1.

    A start of 15 %, windows that double, and an end of 10 % for the step alone.
    """
    at, last = _part(_BEGIN, warmup), warmup - _part(_END, warmup)
    length, ends = jnp.maximum(at // 2, 10), []
    for _ in range(_WINDOWS):
        fits = at + length <= last
        # What would be left is too short for another: it goes with this one.
        end = jnp.where(at + 3 * length > last, last, at + length)
        ends.append(jnp.where(fits, end - 1, -1))
        at, length = jnp.where(fits, end, at), 2 * length
    return jnp.stack(ends)


def _part(share, count):
    count = jnp.asarray(count)
    return (share * count.astype(float)).astype(count.dtype)


def _evaluated(log_density, z):
    """Places with their log density and its slope; none where these are no numbers."""
    value, slope = jax.vmap(jax.value_and_grad(log_density), -1, -1)(z)
    sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope), axis=0)
    return z, jnp.where(sound, value, -jnp.inf), jnp.where(sound, slope, 0.0)


def _energy(now, variance):
    (_, log_density, _), momentum = now
    return 0.5 * jnp.sum(variance * momentum**2, axis=0) - log_density


def _afresh(log_step, variance):
    """Learning that begins at a step with a metric."""
    zero = jnp.zeros_like(log_step)
    bold = log_step + np.log(_BOLD)
    return _Learning(
        log_step, log_step, zero, zero, bold, variance, no_moments(variance)
    )


def _radical_inverse(number):
    """Of van der Corput in base 2: evenly spread in an order without a pattern."""
    found, digit = 0.0, 0.5
    while number:
        found, digit, number = found + digit * (number & 1), digit / 2, number >> 1
    return found
