"""What a column does as a whole: the components of its soil carbon, one number each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.models.column import AbstractColumnModel, annual_litter
from jaxsoc.physics.allocation import CM_PER_M
from jaxsoc.physics.environment import Environment, averages, depth_scalar
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
    scalar: Callable | None = None,
) -> Components:
    """Components of a column at a state, mostly its steady state.

    **Arguments:** `cte`, `cte_with_cwd`: see `transfer_efficiency`; `k_pools`: see
    `decomposition_rate`; `beta_depth`: see `input_shape`; `scalar`: ξ that stands for
    the column, `(model, params) -> (layer,)`, by default `climate_scalar`.
    **Raises:** `ValueError` for an option that is not known, or a model such as MIMICS,
    whose processes share no scalar.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eqs 10-14, and its released
    programs.
    """
    ξ = (climate_scalar if scalar is None else scalar)(model, params)
    carbon = model.organic_carbon(state)
    thickness = model.forcing.column.thickness
    column = lambda values: jnp.sum(values * thickness)
    β = input_shape(model, params, depth=beta_depth)
    return Components(
        CTE=transfer_efficiency(
            model, params, state, definition=cte, scalar=ξ, with_cwd=cte_with_cwd
        ),
        K=decomposition_rate(model, params, state, pools=k_pools),
        xi=ratio(column(ξ * carbon), column(carbon)),
        B=β,
        below_5cm=β**_SHALLOW,
        V=mixing_rate(model, params, state),
        residence_time=ratio(column(carbon), jnp.sum(annual_litter(model.forcing))),
        litter_to_soil=litter_to_soil(model, params, state),
    )


def climate_scalar(model: AbstractColumnModel, params: Any) -> Float[Array, " layer"]:
    """ξ by layer of temperature, water and depth, as in the published components.

    mean(ξT) mean(ξW) ξD; oxygen and nitrogen are not counted

    Source: see `components`.
    """
    _scalars(model, params)
    forcing = model.forcing
    T, W = averages(forcing, params.q10, params.water_scaling)(
        lambda T, W, O, N: T, lambda T, W, O, N: W
    )
    return T * W * depth_scalar(forcing.column.nodes, model.efolding(params))


def transfer_efficiency(
    model: AbstractColumnModel,
    params: Any,
    state: Any,
    *,
    definition: str = "printed",
    scalar: Any = None,
    with_cwd: bool | None = None,
) -> Float[Array, ""]:
    """CTE: share of the decomposed carbon that other pools receive.

    Σ_ij a_ij F_j / Σ_j F_j,  F_j = Σ_z k_j ξ_z X_jz Δz

    **Arguments:** `definition`: "printed", as Eq. 10 says: all pools, and F_j the
    decomposition that happens, with oxygen and nitrogen; "released", as the released
    program of CLM5: without coarse wood, and with one ξ for all, `scalar`, by default
    `climate_scalar`, where all processes are of first order; `with_cwd`: whether coarse
    wood counts, by default as the definition has it.
    **Raises:** `ValueError` for another definition.
    Source: see `components`.
    """
    check_option("cte", definition, ("printed", "released"))
    if definition == "released" and set(model.processes) == set(model.linear):
        ξ = climate_scalar(model, params) if scalar is None else scalar
        fluxes = {p: ξ * flux for p, flux in _unscaled(model, params, state).items()}
    else:
        fluxes = model.fluxes(state, model.environment(params), params)
    counted = definition == "printed" if with_cwd is None else with_cwd
    return _stays(model, params, fluxes, () if counted else coarse_wood(model))


def decomposition_rate(
    model: AbstractColumnModel, params: Any, state: Any, *, pools: str = "all"
) -> Float[Array, ""]:
    """K: decomposition before the scalars, per stock, yr⁻¹.

    Σ_i k_i x_i / Σ_i x_i over pools and layers, k_i the rate of a first-order process,
    else F_i / (ξ X_i)

    **Arguments:** `pools`: counted, "all" or those of the "soil".
    Source: see `components`.
    """
    check_option("k_pools", pools, ("all", "soil"))
    thickness = model.forcing.column.thickness
    names = model.pools._fields if pools == "all" else model.soil
    decays = sum(
        jnp.sum(flux * thickness)
        for process, flux in _unscaled(model, params, state).items()
        if model.processes[process] in names
    )
    held = sum(jnp.sum(getattr(state, pool) * thickness) for pool in names)
    return DAYS_PER_YEAR * ratio(decays, held)


def mixing_rate(model: AbstractColumnModel, params: Any, state: Any) -> Any:
    """V: what mixing takes out of a layer per its stock, yr⁻¹.

    Σ_z T_zz x_z / Σ_z x_z, x the soil organic carbon, or, where that does not move, all
    pools that do

    Source: see `components`.
    """
    moving = sorted(model.mixed)
    if set(moving) & set(model.soil):
        carbon = model.organic_carbon(state)
    else:
        zero = jnp.zeros_like(state[0])
        carbon = sum((getattr(state, pool) for pool in moving), zero)
    held = carbon * model.forcing.column.thickness
    leaving = model.surroundings(params).exchange.diagonal
    return DAYS_PER_YEAR * ratio(jnp.sum(leaving * held), jnp.sum(held))


def input_shape(
    model: AbstractColumnModel, params: Any, *, depth: str = "interface"
) -> Float[Array, ""]:
    """B: the β that stands for the distribution of the litter input, per cm.

    mean_z (Σ_{k>z} v_k)^(1 / d_z), over the layers that have input below them

    **Arguments:** `depth`: d, "interface": lower end of the layer, which gives β back
    for an input with that shape; "node": its middle, as published.
    Source: see `components`, without the dependence on rounding there.
    """
    check_option("beta_depth", depth, ("interface", "node"))
    column, annual = model.forcing.column, annual_litter(model.forcing)
    by_layer = jnp.sum(annual[:, None] * model.input_profile(params), axis=0)
    # Sums from below keep the digits that 1 less a sum from above would lose.
    tail = jnp.cumsum(by_layer[::-1])[::-1]
    below = ratio(tail[1:], tail[0])
    some = below > 0
    d = CM_PER_M * (column.bottom if depth == "interface" else column.nodes)[:-1]
    shapes = jnp.where(some, jnp.exp(jnp.log(jnp.where(some, below, 1.0)) / d), 0.0)
    return ratio(jnp.sum(shapes), jnp.sum(some.astype(shapes.dtype)))


def litter_to_soil(model: AbstractColumnModel, params: Any, state: Any) -> Any:
    """Share of the decomposed litter that is not respired, coarse wood apart."""
    fluxes = model.fluxes(state, model.environment(params), params)
    return _stays(model, params, fluxes, {*coarse_wood(model), *model.soil})


def _stays(model, params, fluxes, apart):
    """Share of the decomposed carbon that is not respired, but of the pools `apart`."""
    kept, thickness = model.kept(params), model.forcing.column.thickness
    donors = [p for p, donor in model.processes.items() if donor not in apart]
    # A share may differ by layer: weighted by what decomposes there.
    column = lambda values: jnp.sum(values * thickness)
    stays = sum((column(kept[p] * fluxes[p]) for p in donors), jnp.zeros(()))
    return ratio(stays, sum((column(fluxes[p]) for p in donors), jnp.zeros(())))


def coarse_wood(model: AbstractColumnModel) -> frozenset[str]:
    """The pool of coarse wood, where it has one of its own."""
    return frozenset(model.litter[:1]) - {*model.litter[1:], *model.soil}


def _scalars(model, params):
    environment = model.environment(params)
    if not isinstance(environment, Environment):
        raise ValueError(
            f"{type(model).__name__} has no one scalar ξ that its processes share, "
            "which the components of a column are made of: expected a model such as "
            "CLM5 or COMPAS"
        )
    return environment


def _unscaled(model, params, state):
    """Decomposition by process without the scalars, k X, gC m⁻³ d⁻¹.

    What is not of first order is taken to feel the scalar of soil pools.
    """
    environment = _scalars(model, params)
    rates = model.rates(jax.tree.map(jnp.ones_like, environment), params)
    fluxes = model.fluxes(state, environment, params)
    carbon = lambda process: getattr(state, model.processes[process])
    return {
        process: rates[process] * carbon(process)
        if process in rates
        else ratio(fluxes[process], environment.soil)
        for process in model.processes
    }
