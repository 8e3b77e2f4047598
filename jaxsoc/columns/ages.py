"""How old carbon is, and how long it stays: exact means of linear columns."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import expm

from jaxsoc.models.column import AbstractColumnModel, annual_litter
from jaxsoc.physics.units import DAYS_PER_YEAR
from jaxsoc.solve import dense

from .checks import one_site
from .network import flows, litter_on, network
from .radiocarbon import DECAY, absolute_ratio


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
    _linear(model)
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


@one_site("the ages of soil carbon")
def age_density(model: AbstractColumnModel, params: Any, ages: Any) -> Any:
    """How much carbon there is of each age in a linear column at rest.

    m(a) = exp(M a) b,  ∫ m(a) da = X

    **Arguments:** `ages`: since it fell, rising from 0 on, yr.
    **Returns:** by pool, (age, layer), gC m⁻³ yr⁻¹.
    **Raises:** as `mean_ages`.
    Source: Metzler and Sierra (2018), doi:10.1007/s11004-017-9690-1.
    """
    _linear(model)
    M, b, pools = _dense(model, params)
    since = jnp.diff(jnp.asarray(ages, float), prepend=0.0)

    def older(m, years):
        m = expm(M * (DAYS_PER_YEAR * years)) @ m
        return m, m

    _, found = lax.scan(older, DAYS_PER_YEAR * b, since)
    return jax.vmap(pools)(found)


@one_site("the radiocarbon of soil carbon by age")
def radiocarbon_by_age(model: AbstractColumnModel, params: Any, atmosphere: Any) -> Any:
    """Radiocarbon of a linear column at rest, from how much carbon it has of each age.

    Y(t) = ∫ F(t - a) exp(-λ a) m(a) da,  F = Δ / 1000 + 1

    F is that of the year in which the carbon fell; before the first year it is that of
    the first. The column is at rest in the mean of its months, as in `steady_state`;
    `transient` follows the months.

    **Arguments:** `atmosphere`: Δ¹⁴C of the atmosphere by year, ‰, the last year the
    one that ends at t.
    **Returns:** Y by pool and layer, gC m⁻³ times a ratio, see `delta`.
    **Raises:** as `mean_ages`.
    Source: Sierra et al. (2018), doi:10.1029/2018GB005950.
    """
    _linear(model)
    M, b, pools = _dense(model, params)
    M = M - DECAY * jnp.eye(b.size)
    year = expm(M * DAYS_PER_YEAR)
    # What fell at one rate over a year, at its end; and for ever before.
    fell = dense.solve(M, year @ b - b)
    ratios = absolute_ratio(jnp.asarray(atmosphere, float))
    before = -ratios[0] * dense.solve(M, b)
    lived, _ = lax.scan(lambda y, F: (year @ y + F * fell, None), before, ratios)
    return pools(lived)


def _dense(model, params):
    """M and b of all pools and layers in one row, and pools of such a row."""
    net, around = network(model, params), model.surroundings(params)
    numbers = flows(net, model, around, params)
    b, pools = ravel_pytree(model.pools(**litter_on(net, around)))
    rate = lambda x: model.pools(**net.apply(numbers, pools(x)._asdict()))
    M = jax.jacfwd(lambda x: ravel_pytree(rate(x))[0])(jnp.zeros_like(b))
    return M, b, pools


def _linear(model):
    if others := [p for p in model.processes if p not in model.linear]:
        raise ValueError(
            f"{type(model).__name__} is not linear ({', '.join(others)} are not of "
            "first order): ages are for linear models"
        )


def _age(aged, carbon):
    """Years, and NaN, without a gradient, where there is no carbon."""
    some = carbon > 0
    age = aged / jnp.where(some, carbon, 1.0) / DAYS_PER_YEAR
    return jnp.where(some, age, jnp.nan)
