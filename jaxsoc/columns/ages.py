"""How old carbon is, and how long it stays: exact means of linear columns."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel, annual_litter
from jaxsoc.physics.units import DAYS_PER_YEAR

from .checks import one_site
from .network import flows, litter_on, network


class Ages(NamedTuple):
    """Mean ages of the carbon in a column at its steady state, since it fell, yr.

    `layers`: by pool and layer, NaN where there is none; `pools`: by pool, whole
    column; `soil`: of soil organic carbon by layer; `soil_mean`: of all of it;
    `system`: of all carbon; `transit_time`: mean time from litter to CO₂.
    """

    layers: Any
    pools: Any
    soil: Any
    soil_mean: Any
    system: Any
    transit_time: Any


@one_site("the age of soil carbon")
def mean_ages(model: AbstractColumnModel, params: Any) -> Ages:
    """Exact mean ages and transit time of a linear column at its steady state.

    M X + b = 0,  M Y + X = 0,  age = Y / X,  transit time = Σ X Δz / input

    M is the generator A K ξ - V; Y is the carbon times its age, which grows by a year
    in a year and leaves with the carbon. It is solved for as the pools are. Each age
    is that of carbon since it entered as litter, through all pools and layers.

    **Arguments:** `model`: with its forcing, of one site.
    **Raises:** `ValueError` for a model with processes that are not of first order;
    `RuntimeError` where JAX is set to 32 bits.
    Source: Rasmussen et al. (2016), doi:10.1007/s00285-016-0990-8; Metzler and Sierra
    (2018), doi:10.1007/s11004-017-9690-1.
    """
    if others := [p for p in model.processes if p not in model.linear]:
        raise ValueError(
            f"{type(model).__name__} is not linear ({', '.join(others)} are not of "
            "first order): ages are for linear models"
        )
    net, around = network(model, params), model.surroundings(params)
    rest = partial(net.solve, flows(net, model, around, params), 0.0)
    X = model.pools(**rest(litter_on(net, around)))
    Y = model.pools(**rest(X._asdict()))
    column = model.in_column
    total = lambda state: sum(map(column, state), jnp.zeros(()))
    carbon, aged = model.organic_carbon(X), model.organic_carbon(Y)
    return Ages(
        layers=jax.tree.map(_age, Y, X),
        pools=jax.tree.map(lambda y, x: _age(column(y), column(x)), Y, X),
        soil=_age(aged, carbon),
        soil_mean=_age(column(aged), column(carbon)),
        system=_age(total(Y), total(X)),
        transit_time=total(X) / jnp.sum(annual_litter(model.forcing)),
    )


def _age(aged, carbon):
    """Years, and NaN, without a gradient, where there is no carbon."""
    some = carbon > 0
    age = aged / jnp.where(some, carbon, 1.0) / DAYS_PER_YEAR
    return jnp.where(some, age, jnp.nan)
