"""What a column does as a whole: the components of its soil carbon, one number each."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel, Surroundings, annual_litter
from jaxsoc.physics.allocation import CM_PER_M
from jaxsoc.physics.environment import (
    Environment,
    depth_scalar,
    temperature_scalar,
    water_scalar,
)
from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.units import DAYS_PER_YEAR

from .checks import one_site

# Depth below which the share of the input is given, cm.
_SHALLOW = 5.0


class Components(NamedTuple):
    """Components of a column at a state.

    `CTE`: carbon transfer efficiency, share of the decomposed carbon that stays in the
    soil; `K`: decomposition rate before the scalars, yr⁻¹; `xi`: environmental scalar;
    `B`: shape β of the litter input with depth, per cm; `below_5cm`: share of the input
    below 5 cm, β⁵; `V`: rate at which mixing takes carbon out of a layer, yr⁻¹;
    `residence_time`: of carbon as soil, per litter that enters, yr; `litter_to_soil`:
    share of the decomposed litter that becomes soil carbon, coarse wood apart.
    """

    CTE: Any
    K: Any
    xi: Any
    B: Any
    below_5cm: Any
    V: Any
    residence_time: Any
    litter_to_soil: Any


@one_site("the components of a soil column")
def components(
    model: AbstractColumnModel,
    params: Any,
    state: Any,
    *,
    cte: str = "printed",
    cte_with_cwd: bool | None = None,
    k_pools: str = "all",
    beta_depth: str = "interface",
) -> Components:
    """Components of a column at a state, mostly its steady state.

    CTE = Σ_ij a_ij F_j / Σ_j F_j,  F_j = Σ_z k_j ξ_z X_jz Δz
    K = Σ_i k_i x_i / Σ_i x_i over pools and layers, k_i the rate of a first-order
    process, else F_i / (ξ X_i)
    xi = Σ_z ξ_z x_z / Σ_z x_z,  ξ_z = mean(ξT) mean(ξW) ξD, without oxygen and nitrogen
    B = mean_z (Σ_{k>z} v_k)^(1 / d_z), over the layers that have input below them
    V = Σ_z T_zz x_z / Σ_z x_z, x the soil organic carbon, or, where that does not move,
    all pools that do

    **Arguments:** `cte`: "printed", as Eq. 10 says: all pools, and F_j the
    decomposition that happens, with oxygen and nitrogen; "released", as the released
    program of CLM5: without coarse wood, and with ξ_z as above for all, where all
    processes are of first order; `cte_with_cwd`: whether coarse wood counts, by default
    as `cte` has it; `k_pools`: counted in K, "all" or those of the "soil";
    `beta_depth`: d, "interface": lower end of the layer, which gives β back for an
    input with that shape; "node": its middle, as published.
    **Raises:** `ValueError` for an option that is not known, or a model such as MIMICS,
    whose processes share no scalar.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eqs 10-14, and its released
    programs, without the dependence of B on rounding there.
    """
    around = model.surroundings(params)
    options: dict[str, Any] = {"k_pools": k_pools, "beta_depth": beta_depth}
    options |= {"cte": cte, "cte_with_cwd": cte_with_cwd}
    found = known_components(model, around, params, state, **options)
    if found.xi is None:
        raise ValueError(
            f"{type(model).__name__} has no one scalar ξ that its processes share, "
            "which the components of a column are made of: expected a model such as "
            "CLM5 or COMPAS"
        )
    return found


def known_components(
    model: AbstractColumnModel,
    around: Surroundings,
    params: Any,
    state: Any,
    *,
    cte: str = "printed",
    cte_with_cwd: bool | None = None,
    k_pools: str = "all",
    beta_depth: str = "interface",
) -> Components:
    """`components`, with None as K and ξ of a model whose processes share no scalar."""
    check_option("cte", cte, ("printed", "released"))
    check_option("k_pools", k_pools, ("all", "soil"))
    check_option("beta_depth", beta_depth, ("interface", "node"))
    environment, column = around.environment, model.in_column
    soil = column(model.organic_carbon(state))
    fluxes = model.fluxes(state, environment, params)
    ξ: Any = None
    unscaled: dict[str, Any] = {}
    if isinstance(environment, Environment):
        ξ = _climate_scalar(model, params)
        unscaled = _unscaled(model, params, state, environment, fluxes)
    # Where coarse wood has a pool of its own.
    wood, decomposed = {model.litter[0]} - {*model.litter[1:], *model.soil}, fluxes
    if unscaled and cte == "released" and set(model.processes) == set(model.linear):
        decomposed = {process: ξ * flux for process, flux in unscaled.items()}
    with_cwd = cte == "printed" if cte_with_cwd is None else cte_with_cwd
    counted = model.pools._fields if k_pools == "all" else model.soil
    held = sum(column(getattr(state, pool)) for pool in counted)
    rate = mean_scalar = None
    if unscaled:
        decays = (
            column(x) for p, x in unscaled.items() if model.processes[p] in counted
        )
        rate = DAYS_PER_YEAR * ratio(sum(decays), held)
        mean_scalar = ratio(column(ξ * model.organic_carbon(state)), soil)
    β = _input_shape(model, params, beta_depth)
    return Components(
        CTE=_stays(model, params, decomposed, () if with_cwd else wood),
        K=rate,
        xi=mean_scalar,
        B=β,
        below_5cm=β**_SHALLOW,
        V=_mixing_rate(model, around, state),
        residence_time=ratio(soil, jnp.sum(annual_litter(model.forcing))),
        litter_to_soil=_stays(model, params, fluxes, {*wood, *model.soil}),
    )


def _climate_scalar(model, params):
    """ξ by layer of temperature, water and depth."""
    forcing = model.forcing
    T = jnp.mean(temperature_scalar(forcing.temperature, params.q10), axis=-1)
    W = jnp.mean(water_scalar(forcing.water, params.water_scaling), axis=-1)
    return T * W * depth_scalar(forcing.column.nodes, model.efolding(params))


def _unscaled(model, params, state, environment, fluxes):
    """Decomposition by process without the scalars, k X, gC m⁻³ d⁻¹.

    What is not of first order is taken to feel the scalar of soil pools.
    """
    rates = model.rates(jax.tree.map(jnp.ones_like, environment), params)
    return {
        process: rates[process] * getattr(state, donor)
        if process in rates
        else ratio(fluxes[process], environment.soil)
        for process, donor in model.processes.items()
    }


def _mixing_rate(model, around, state):
    moving = sorted(model.mixed)
    if set(moving) & set(model.soil):
        carbon = model.organic_carbon(state)
    else:
        zero = jnp.zeros_like(state[0])
        carbon = sum((getattr(state, pool) for pool in moving), zero)
    held = carbon * model.forcing.column.thickness
    leaving = around.exchange.diagonal
    return DAYS_PER_YEAR * ratio(jnp.sum(leaving * held), jnp.sum(held))


def _input_shape(model, params, depth):
    column, annual = model.forcing.column, annual_litter(model.forcing)
    by_layer = jnp.sum(annual[:, None] * model.input_profile(params), axis=0)
    # Sums from below keep the digits that 1 less a sum from above would lose.
    tail = jnp.cumsum(by_layer[::-1])[::-1]
    below = ratio(tail[1:], tail[0])
    some = below > 0
    d = CM_PER_M * (column.bottom if depth == "interface" else column.nodes)[:-1]
    shapes = jnp.where(some, jnp.exp(jnp.log(jnp.where(some, below, 1.0)) / d), 0.0)
    return ratio(jnp.sum(shapes), jnp.sum(some.astype(shapes.dtype)))


def _stays(model, params, fluxes, apart):
    """Share of the decomposed carbon that is not respired, but of the pools `apart`."""
    kept, column = model.kept(params), model.in_column
    donors = [p for p, donor in model.processes.items() if donor not in apart]
    # A share may differ by layer: weighted by what decomposes there.
    stays = sum((column(kept[p] * fluxes[p]) for p in donors), jnp.zeros(()))
    return ratio(stays, sum((column(fluxes[p]) for p in donors), jnp.zeros(())))
