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

    @property
    def decomposition(self) -> Any:
        """What leaves each pool by decomposition, passed on and respired."""
        return jax.tree.map(jnp.add, self.passed_on, self.respired)

    @property
    def change(self) -> Any:
        """How fast each pool grows: nothing at a steady state."""
        terms = (self.input, self.received, self.mixing, self.passed_on, self.respired)
        return jax.tree.map(lambda i, r, m, p, c: i + r + m - p - c, *terms)

    def total(self) -> "PoolBudget":
        """The terms summed over pools; what one passes on, another receives."""
        return PoolBudget(*(sum(term[1:], term[0]) for term in self))


@eqx.filter_jit
def layer_budget(
    model: AbstractColumnModel, around: Surroundings, params: Any, state: Any
) -> PoolBudget:
    """Budget of each pool in each layer, gC m⁻³ yr⁻¹.

    **Arguments:** `around`: `model.surroundings(params)`; `state`: pools, gC m⁻³.
    """
    fluxes = model.fluxes(state, around.environment, params)
    zero, names = jnp.zeros_like(state[0]), model.pools._fields
    received, passed_on = dict.fromkeys(names, zero), dict.fromkeys(names, zero)
    respired = dict.fromkeys(names, zero)
    kept = model.kept(params)
    for process, flux in fluxes.items():
        donor = model.processes[process]
        passed_on[donor] = passed_on[donor] + kept[process] * flux
        respired[donor] = respired[donor] + (1 - kept[process]) * flux
    for (receiver, process), share in model.transfers(params).items():
        received[receiver] = received[receiver] + share * fluxes[process]
    mixed = {pool: around.exchange(getattr(state, pool)) for pool in model.mixed}
    yearly = lambda term: model.pools(
        **{pool: DAYS_PER_YEAR * term.get(pool, zero) for pool in names}
    )
    return PoolBudget(
        *map(yearly, (dict(around.source), received, mixed, passed_on, respired))
    )


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
    thickness = model.forcing.column.thickness
    return jax.tree.map(lambda values: jnp.sum(values * thickness), layers)
