"""Columns that the tests share: draws from the priors, sites, dense forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models.equilibrium import linear_block
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.parameters import declarations, from_unit

ACTIVE_LAYERS, BEDROCKS = (0.0, 1.0, 3.5), (8, 12, 20)


def draws(cls, count, seed=0, published=False):
    """Parameters drawn from their priors, leading by draw."""
    rng = np.random.default_rng(seed)
    unit = rng.uniform(size=(count, len(declarations(cls))))
    return jax.vmap(lambda u: from_unit(cls, u, published=published))(jnp.asarray(unit))


def sites(count, seed=0) -> Forcing:
    """Idealised sites that differ in warmth, thaw and bedrock, leading by site."""
    rng = np.random.default_rng(seed)
    repeat = lambda x: jnp.repeat(jnp.asarray(x)[None], count, axis=0)
    base = jax.tree.map(repeat, idealised())
    months = np.ones(12)
    # The input profile keeps following β where nothing thaws, so that all layers count.
    return eqx.tree_at(
        lambda f: (f.temperature, f.active_layer, f.bedrock),
        base,
        (
            base.temperature + rng.normal(0.0, 4.0, (count, 1, 1)),
            jnp.asarray(rng.choice(ACTIVE_LAYERS, count)[:, None] * months),
            jnp.asarray(rng.choice(np.array(BEDROCKS, float), count)[:, None] * months),
        ),
    )


def stocks(model, profile, depths=(0.3, 1.0, 2.0, 8.6)) -> np.ndarray:
    """Metres of soil times a profile, gC m⁻²."""
    return np.asarray(model.forcing.column.share_above(depths) @ profile)


def assembled(model, params):
    """Exchange, source by pool, and -A K ξ of the linear pools, by layer."""
    around = model.surroundings(params)
    rates = model.rates(around.environment, params)
    pools = linear_pools_of(model)
    layers = (model.forcing.column.layers,)
    none = jnp.zeros(layers)
    source = jnp.stack([around.source.get(pool, none) for pool in pools])
    rows = linear_block(pools, model, model.transfers(params), rates)
    fill = lambda entry: jnp.broadcast_to(jnp.asarray(entry, float), layers)
    block = jnp.stack([jnp.stack([fill(entry) for entry in row]) for row in rows])
    moves = jnp.array([float(pool in model.mixed) for pool in pools])
    return tuple(around.exchange), source, block, moves


def linear_pools_of(model) -> tuple[str, ...]:
    return tuple(p for p in model.pools._fields if p in model.linear)


def dense_form(parts) -> tuple[np.ndarray, np.ndarray]:
    """The linear pools as one matrix and right side, M X = b, pools leading layers."""
    (above, below), source, block, moves = jax.tree.map(np.asarray, parts)
    pools, layers = source.shape
    V = np.diag(above + below) - np.diag(above[1:], -1) - np.diag(below[:-1], 1)
    M, z = np.zeros((pools, layers, pools, layers)), np.arange(layers)
    for i in range(pools):
        for j in range(pools):
            M[i, z, j, z] = block[i, j]
        M[i, :, i, :] += moves[i] * V
    size = pools * layers
    return M.reshape(size, size), source.ravel()
