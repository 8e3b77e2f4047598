"""What is kept of a run, year by year: stocks, fluxes and their radiocarbon."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.profiles import stock
from jaxsoc.physics.units import DAYS_PER_YEAR

from .radiocarbon import delta
from .stepping import Content, Span


class Held(NamedTuple):
    """What a column holds at the end of a year.

    `soil_organic_carbon`: by layer, gC m⁻³; `soil_stock`: of it to each depth, gC m⁻²;
    `pool_stock`: by pool, gC m⁻²; and Δ¹⁴C of each, ‰: `soil_delta`, `stock_delta`,
    `pool_delta`, None without radiocarbon.
    """

    soil_organic_carbon: Any
    soil_stock: Any
    pool_stock: Any
    soil_delta: Any = None
    stock_delta: Any = None
    pool_delta: Any = None


class Passed(NamedTuple):
    """What goes through a column in a year.

    `litter`, `respired`: gC m⁻² yr⁻¹; `respired_delta`: Δ¹⁴C of the CO₂, ‰, None
    without radiocarbon.
    """

    litter: Any
    respired: Any
    respired_delta: Any = None


class SiteRuns(NamedTuple):
    """Runs of a model at many sites, arrays leading by site.

    `model`: with the forcing of all sites; `ends`: depths of the stocks, m, the last
    the whole column; `held`: at the start and at the end of each year, (site, 1 +
    years, ...); `passed`: in each year, (site, years); `balance_error`: what came in
    less what left and stayed, per all carbon there ever was; `found`: whether there was
    a steady state, all else is NaN where not; `spun_up`: whether the run starts where
    years of the same months lead back to, else at the steady state of their means, from
    which it drifts where nothing changes, too, or at a start of one's own; `end`: a
    `Content` by pool and layer, from which a run goes on.
    """

    model: Any
    ends: tuple[float, ...]
    held: Held
    passed: Passed
    balance_error: Any
    found: Any
    spun_up: Any
    end: Any = None


def kept_of_year(
    model: AbstractColumnModel, months: Span, *, ends: tuple[float, ...]
) -> tuple[Held, Passed]:
    """What is kept of a year: `save` of `transient`, all but its depths.

    **Arguments:** `months`: leading by month; `ends`: depths of the stocks, m.
    """
    last = jax.tree.map(lambda x: x[-1], months.end)
    over = lambda content: jax.tree.map(
        lambda x: DAYS_PER_YEAR * model.in_column(jnp.mean(x, axis=0)), content
    )
    came, left = over(months.input), over(months.respired)
    passed = Passed(came.carbon, left.carbon)
    if left.radiocarbon is not None:
        passed = passed._replace(respired_delta=delta(left.radiocarbon, left.carbon))
    return held(model, last, ends=ends), passed


def held(
    model: AbstractColumnModel, content: Content, *, ends: tuple[float, ...]
) -> Held:
    """What a column holds, in short.

    **Arguments:** `ends`: depths of the stocks, m.
    """

    def of(pools):
        soil = model.organic_carbon(pools)
        stocks = stock(soil, model.forcing.column, np.array(ends))
        return soil, stocks, jnp.stack([model.in_column(x) for x in pools])

    carbon = of(content.carbon)
    if content.radiocarbon is None:
        return Held(*carbon)
    return Held(*carbon, *delta(of(content.radiocarbon), carbon))
