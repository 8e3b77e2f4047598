"""Radiocarbon of a soil column: carried with the carbon, and decaying."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.units import DAYS_PER_YEAR

from .checks import one_site
from .network import litter_on, network, tracer_flows

MEAN_LIFE = 8267.0
"""Mean life of radiocarbon, yr, of the half-life of 5730 yr."""

DECAY = 1 / (MEAN_LIFE * DAYS_PER_YEAR)
"""Rate of its decay, 1/d."""


@one_site("the radiocarbon of a soil column")
def steady_radiocarbon(
    model: AbstractColumnModel, params: Any, carbon: Any, *, delta: Any = 0.0
) -> Any:
    """Radiocarbon of a column at rest under an atmosphere that does not change.

    (M - λ) Y + F b = 0,  F = Δ / 1000 + 1

    Y is carbon times its absolute ratio, decaying at λ = 1/8267 per year, and M the
    rates at which processes and mixing move the carbon at rest, whatever its kinetics.

    **Arguments:** `carbon`: pools at rest, gC m⁻³, see `steady_state`; `delta`: Δ of
    the atmosphere, ‰.
    **Returns:** Y by pool and layer, gC m⁻³ times a ratio; its Δ: `delta`.
    **Raises:** as `steady_state` for numbers of several sites.
    Source: Stuiver and Polach (1977), doi:10.1017/S0033822200003672, for Δ.
    """
    net, around = network(model, params, tracer=True), model.surroundings(params)
    numbers = tracer_flows(net, model, around, params, carbon)
    source = litter_on(net, around)
    fed = {pool: absolute_ratio(delta) * b for pool, b in source.items()}
    return model.pools(**net.solve(numbers, jnp.asarray(DECAY), fed))


def absolute_ratio(delta: Any) -> Any:
    """F = Δ / 1000 + 1.

    **Arguments:** `delta`: Δ¹⁴C, ‰.
    """
    return delta / 1000.0 + 1.0


def delta(radiocarbon: Any, carbon: Any) -> Any:
    """Δ¹⁴C of pools, layers or CO₂, ‰, NaN where there is no carbon.

    Δ = 1000 (Y / C - 1)

    **Arguments:** `radiocarbon`: Y, carbon times its absolute ratio; `carbon`: C, of
    the same structure.
    Source: Stuiver and Polach (1977), doi:10.1017/S0033822200003672.
    """
    one = lambda y, c: jnp.where(c > 0, 1000.0 * (ratio(y, c) - 1.0), jnp.nan)
    return jax.tree.map(one, radiocarbon, carbon)
