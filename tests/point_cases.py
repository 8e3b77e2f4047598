"""Soils of many cells, each by itself, and every method that suits them."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import MichaelisMentenConstants, michaelis_menten
from jaxsoc.solve import Adaptive, Steps, rodas3

MODEL = TwoPool(michaelis_menten)
everything = lambda t, state, params: state


def patchy_soil(rng, shape=(30, 20), dead=0.3):
    rate = 10 ** rng.uniform(-3.0, -1.1, shape)
    params = TwoPoolParameters(
        MichaelisMentenConstants(rate, rng.uniform(0.25, 49.75, shape))
    )
    biomass = rng.gamma(1.0, 1.2, shape) * (rng.uniform(size=shape) > dead)
    state = Pools(rng.uniform(0, 250, shape), biomass, np.zeros(shape))
    return jax.tree.map(jnp.asarray, state), params


METHODS = {
    "equal": Steps(0.05),
    "counted": Steps(courant=0.1, block=64),
    "adaptive": Adaptive(rtol=1e-10, atol=1e-12),
    "implicit in a cell": Steps(0.05, stepper=rodas3),
    "implicit": Adaptive(diffrax.Kvaerno5(), 1e-9, 1e-11, per_cell=True),
}
