"""Where the carbon of each pool comes from and where it goes."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel, Surroundings
from jaxsoc.physics.units import DAYS_PER_YEAR

from .checks import one_site


class PoolBudget(NamedTuple):
    """Terms of the budget of each pool, each a named tuple of the pools.

    change = input + received + mixing - passed_on - respired

    `input`: litter; `received`: from other pools; `mixing`: from other layers, nothing
    in the whole column, but for what the bedrock "proda" loses; `passed_on`: to other
    pools; `respired`: as CO₂.
    """

    input: Any
    received: Any
    mixing: Any
    passed_on: Any
    respired: Any


@eqx.filter_jit
def layer_budget(
    model: AbstractColumnModel, around: Surroundings, params: Any, state: Any
) -> PoolBudget:
    """Budget of each pool in each layer, gC m⁻³ yr⁻¹.

    **Arguments:** `around`: `model.surroundings(params)`; `state`: pools, gC m⁻³.
    """
    fluxes = model.fluxes(state, around.environment, params)
    kept, none = model.kept(params), jnp.zeros_like(state[0])
    passed_on = model.by_donor({p: kept[p] * flux for p, flux in fluxes.items()})
    respired = model.by_donor({p: (1 - kept[p]) * flux for p, flux in fluxes.items()})
    received: dict[str, Any] = {}
    for (receiver, process), share in model.transfers(params).items():
        received[receiver] = received.get(receiver, none) + share * fluxes[process]
    mixed = {pool: around.exchange(getattr(state, pool)) for pool in model.mixed}
    terms = (around.source, received, mixed, passed_on, respired)
    yearly = lambda term, pool: DAYS_PER_YEAR * term.get(pool, none)
    by_pool = lambda term: (yearly(term, pool) for pool in model.pools._fields)
    return PoolBudget(*(model.pools(*by_pool(term)) for term in terms))


@one_site("the budget of a soil column")
def column_budget(model: AbstractColumnModel, params: Any, state: Any) -> PoolBudget:
    """Budget of each pool in the whole column, gC m⁻² yr⁻¹.

    **Arguments:** `state`: pools, gC m⁻³.
    **Raises:** as `steady_state` for numbers of several sites.
    """
    layers = layer_budget(model, model.surroundings(params), params, state)
    return whole_column(model, layers)


def whole_column(model: AbstractColumnModel, layers: PoolBudget) -> PoolBudget:
    """A budget by layer, gC m⁻³ yr⁻¹, summed over the column, gC m⁻² yr⁻¹."""
    return jax.tree.map(model.in_column, layers)
