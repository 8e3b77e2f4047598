"""Random soils by every method, beside a tight implicit solver: which ended wrong."""

from typing import NamedTuple
from zlib import crc32

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.mortality import LinearMortalityConstants
from jaxsoc.solve import Adaptive, Steps, heun, integrate, rk4, rodas3, rodas4

TIMES = np.linspace(0.0, 1440.0, 7)  # h
CELLS = 3
_NUMBERED = ("eca", "inverse_michaelis_menten", "linear", "michaelis_menten")
_NUMBERED += ("multiplicative", "quadratic")
METHODS = {
    **{
        f"{stepper.__name__}, {dt:g} h": Steps(dt, stepper=stepper)
        for stepper in (heun, rk4, rodas3, rodas4)
        for dt in (1.0, 8.0, 48.0)
    },
    "whole": Steps(8.0, layout="whole"),
    "counted": Steps(courant=0.5),
    "counted, loose": Steps(courant=2.0),
    "counted, whole": Steps(courant=1.0, layout="whole"),
    "counted, heun": Steps(courant=1.0, stepper=heun),
    "counted, rodas3": Steps(courant=2.0, stepper=rodas3),
    "adaptive": Adaptive(max_steps=20_000),
    "adaptive, loose": Adaptive(rtol=1e-2, atol=1e-2, max_steps=2_000),
    "adaptive by cell": Adaptive(diffrax.Kvaerno5(), 1e-4, 1e-6, per_cell=True),
}
TIGHT = Adaptive(diffrax.Kvaerno5(), rtol=1e-9, atol=1e-11, per_cell=True)


class Outcome(NamedTuple):
    """By soil: error of the worst cell by S₀ and by what it holds; what was said."""

    error: np.ndarray
    share: np.ndarray
    sound: np.ndarray
    stated: np.ndarray

    @property
    def silently_wrong(self) -> np.ndarray:
        """More than 1 % of S₀ off, without a word or an estimate of a third of it."""
        said = ~self.sound | (self.stated >= self.share / 3)
        return ~((self.error <= 0.01) | said)


def soils(law: str, count: int, seed: int):
    """Soils of a few cells whose rates span four orders of magnitude."""
    # A law more leaves the soils of the others as they are.
    number = _NUMBERED.index(law) if law in _NUMBERED else crc32(law.encode())
    rng = np.random.default_rng([seed, number])
    spread = lambda low, high: 10 ** rng.uniform(low, high, (count, CELLS))
    nominal = KINETICS[law].constants()
    constants = jax.tree.map(lambda c: jnp.asarray(c * spread(-2, 2)), nominal)
    mortality = LinearMortalityConstants(jnp.asarray(0.00028 * spread(-1, 2)))
    biomass = spread(-2, 1.5) * (rng.uniform(size=(count, CELLS)) > 0.1)
    state = Pools(spread(0, 2.5), biomass, np.zeros((count, CELLS)))
    params = TwoPoolParameters(constants, mortality)
    return TwoPool(KINETICS[law].law), jax.tree.map(jnp.asarray, (state, params))


def ends(model, method, problem):
    """Final pools, soundness and stated errors of every soil."""

    def one(problem):
        state, params = problem
        run = integrate(
            *(model, state, params, TIMES),
            method=method,
            estimate_error=True,
            throw=False,
        )
        stated = jnp.maximum(run.relative_error, run.cell_error)
        return run.final, run.sound, stated

    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) > 1 else None, problem)
    return jax.jit(jax.vmap(one, in_axes=(axes,)))(problem)


def outcome(model, method, problem, exact) -> Outcome:
    """How one method did on all soils."""
    final, sound, stated = ends(model, method, problem)
    gaps = jnp.stack([jnp.abs(a - b) for a, b in zip(final, exact, strict=True)])
    held = jnp.maximum(sum(problem[0]), sum(exact))
    by = (problem[0].substrate, held)
    shares = (jnp.max(gaps / stock[None], axis=(0, 2)) for stock in by)
    error, share = (jnp.nan_to_num(x, nan=jnp.inf) for x in shares)
    return Outcome(*map(np.asarray, (error, share, sound, stated)))
