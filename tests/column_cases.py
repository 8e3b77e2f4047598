"""Columns that the tests share: draws from the priors, sites, dense forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.column_rivals import dense
from jaxsoc.columns.network import flows, litter_on, network
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


def unthawed() -> Forcing:
    """A site where nothing is mixed, with litter in all layers."""
    return eqx.tree_at(
        lambda f: f.frozen, idealised(active_layer=0.0), jnp.array(False)
    )


def stocks(model, profile, depths=(0.3, 1.0, 2.0, 8.6)) -> np.ndarray:
    """Metres of soil times a profile, gC m⁻²."""
    return np.asarray(model.forcing.column.share_above(depths) @ profile)


def dense_form(model, params) -> tuple[jax.Array, jax.Array]:
    """The linear pools as one matrix and right side, M X = b, pools leading layers."""
    around, net = model.surroundings(params), network(model, params)
    names = tuple(p for p in model.pools._fields if p in net.pools)
    numbers = flows(net, model, around, params)
    litter = litter_on(net, around)
    return -dense(net, numbers, names), jnp.concatenate([litter[p] for p in names])
