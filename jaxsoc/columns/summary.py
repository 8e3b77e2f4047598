"""What is kept of a column: one function of one site, to be lifted to many."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.profiles import stock

from .budgets import layer_budget, whole_column
from .checks import one_site
from .components import Components, known_components

STOCK_DEPTHS = (0.3, 1.0, 2.0)
"""Depths that stocks are given to besides the whole column, m."""


class Summary(NamedTuple):
    """A column at a state.

    `carbon`: (pool, layer), gC m⁻³; `soil_organic_carbon`: by layer, gC m⁻³;
    `respiration`: by layer, gC m⁻³ yr⁻¹; `soil_stock`: of soil organic carbon to each
    depth, gC m⁻²; `pool_stock`: by pool, gC m⁻²; `budget`: (term, pool) as
    `PoolBudget`, gC m⁻² yr⁻¹; `carbon_balance_error`: what comes in less what leaves,
    per what comes in; `components`: see there, those that the model has none of are
    NaN.
    """

    carbon: Any
    soil_organic_carbon: Any
    respiration: Any
    soil_stock: Any
    pool_stock: Any
    budget: Any
    carbon_balance_error: Any
    components: Components


class SiteResults(NamedTuple):
    """Columns at many sites, arrays leading by site.

    `model`: with the forcing of all sites; `params`, and whether they are `by_site`;
    `ends`: depths of the stocks, m, the last the whole column; `options`: of
    `components`; `summary`: at the steady state, NaN where none was `found`; `margin`:
    smallest feasibility of all kinds and layers, above zero where there is a steady
    state, NaN for a model in which that is not known; `year`: see `YearSummary`, None
    where not asked for.
    """

    model: Any
    params: Any
    by_site: bool
    ends: tuple[float, ...]
    options: Mapping[str, Any]
    summary: Summary
    found: Any
    margin: Any
    year: Any


class YearSummary(NamedTuple):
    """The year that a column repeats, all NaN where none was `found`.

    `yearly_mean_carbon`: (pool, layer), gC m⁻³; `monthly_soil_organic_carbon`: means,
    (month, layer), gC m⁻³; `drift`: by pool, of a year more, gC m⁻².
    """

    yearly_mean_carbon: Any
    monthly_soil_organic_carbon: Any
    drift: Any
    found: Any


@one_site("the summary of a soil column")
def summary(
    model: AbstractColumnModel,
    params: Any,
    state: Any,
    *,
    ends: tuple[float, ...],
    **options: Any,
) -> Summary:
    """What is kept of a column at a state.

    **Arguments:** `state`: pools, gC m⁻³; `ends`: depths of the stocks, m; `options`:
    of `components`.
    **Raises:** `ValueError` for a depth that is not positive, or an unknown option.
    """
    around = model.surroundings(params)
    layers = layer_budget(model, around, params, state)
    carbon, soil = jnp.stack(state), model.organic_carbon(state)
    budget = jnp.stack([jnp.stack(term) for term in whole_column(model, layers)])
    came, received, moved, passed_on, respired = budget
    total, none = jnp.sum(came), jnp.sum(came) == 0
    change = jnp.sum(came + received + moved - passed_on - respired)
    known = known_components(model, around, params, state, **options)
    return Summary(
        carbon=carbon,
        soil_organic_carbon=soil,
        respiration=jnp.sum(jnp.stack(layers.respired), axis=0),
        soil_stock=stock(soil, model.forcing.column, np.array(ends)),
        pool_stock=carbon @ jnp.asarray(model.forcing.column.thickness),
        budget=budget,
        carbon_balance_error=jnp.where(none, 0.0, change / jnp.where(none, 1.0, total)),
        components=Components(
            *(jnp.asarray(jnp.nan if x is None else x) for x in known)
        ),
    )


def stock_ends(
    model: AbstractColumnModel, depths: Any = STOCK_DEPTHS
) -> tuple[float, ...]:
    """Depths of the stocks of a column, m, and its end."""
    return (*map(float, depths), model.forcing.column.interfaces[-1])
