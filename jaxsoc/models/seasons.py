"""The seasons of a soil column: the state that a year of months brings back.

Twelve months of 365/12 days, each with its own scalars, mixing and litter, constant
within it; the months of the forcing taken one by one.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsoc.physics.forcing import MONTHS
from jaxsoc.physics.units import DAYS_PER_YEAR
from jaxsoc.solve.periodic import Course, LinearYear, linear_course, linear_orbit
from jaxsoc.solve.precision import require_x64
from jaxsoc.solve.shooting import shoot

from .column import AbstractColumnModel
from .equilibrium import steady_pools
from .microbial_year import litter_year, microbial_course
from .network import flows, network

MONTH = DAYS_PER_YEAR / MONTHS
"""Length of a month, d."""


class Periodic(NamedTuple):
    """A year that ends as it began, gC m⁻³ by layer.

    `start`: pools at its start; `mean`: over the year; `monthly`, `monthly_mean`: at
    the start of each month and over it, leading by month; `drift`: how far the stock of
    each pool in the column is off after one more year, gC m⁻².
    """

    start: Any
    mean: Any
    monthly: Any
    monthly_mean: Any
    drift: Any


class Seasonal(eqx.Module):
    """The tendency `(t, state, params) -> d(state)/dt` of a column with seasons.

    **Arguments:** `model`: with its forcing; its month is that of t, in days from the
    start of the year.
    """

    model: AbstractColumnModel

    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        """Tendency of the pools in the month of t, gC m⁻³ d⁻¹."""
        month = jnp.floor(jnp.asarray(t) % DAYS_PER_YEAR / MONTH).astype(int)
        model = _in_month(self.model, jnp.minimum(month, MONTHS - 1))
        return model.tendency(state, model.surroundings(params), params)


def periodic_state(model: AbstractColumnModel, params: Any) -> Periodic:
    """Pools that a year of months brings back to where they were.

    X(1 yr) = X(0)

    Linear pools are carried through each month exactly, by a rational approximation of
    the exponential, and found by a few corrections with the steady state's solver; the
    microbial pools of each layer follow by Newton's method on the year.

    **Arguments:** `model`: with its forcing, of one site; `params`: its numbers.
    **Returns:** the year, differentiable; NaN where the microbial pools have none.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for microbial
    pools that are mixed.
    """
    require_x64("the periodic state of a soil column")
    around, net, year = _months(model, params)
    linear = linear_orbit(net, year)
    guess = None
    if len(net.pools) < len(model.pools._fields):
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), around)
        guess = steady_pools(model, mean, params)
    found = _year(model, params, around, net, year, linear, guess, closed=True)
    thickness = model.forcing.column.thickness
    drift = jax.tree.map(lambda x: jnp.abs(jnp.sum(x * thickness)), found.change)
    start = jax.tree.map(lambda x: x[0], found.starts)
    return Periodic(start, _mean(found), found.starts, found.means, drift)


def step_year(model: AbstractColumnModel, params: Any, pools: Any) -> tuple[Any, Any]:
    """Pools a year later, and their mean over the year, gC m⁻³.

    The map whose fixed point `periodic_state` is.
    """
    require_x64("a year of a soil column")
    around, net, year = _months(model, params)
    linear = {name: getattr(pools, name) for name in net.pools}
    found = _year(model, params, around, net, year, linear, pools)
    end = jax.tree.map(lambda x, change: x + change, pools, found.change)
    return end, _mean(found)


def _mean(course):
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), course.means)


def _in_month(model, month):
    return eqx.tree_at(lambda m: m.forcing, model, model.forcing.month(month))


def _months(model, params):
    """Surroundings by month, the network of the linear pools, and its year."""
    net = network(model, params)
    if (set(model.pools._fields) - {*net.pools}) & model.mixed:
        raise ValueError(
            f"{type(model).__name__} with mixed microbial pools has no periodic state "
            "here: its layers depend on each other; use mixes_soil=False, or step it "
            "with jaxsoc.solve.integrate and Seasonal"
        )
    around = jax.vmap(lambda m: _in_month(model, m).surroundings(params))(
        jnp.arange(MONTHS)
    )
    numbers = jax.vmap(lambda around: flows(model, around, params))(around)
    none = jnp.zeros_like(around.exchange.above)
    source = {name: around.source.get(name, none) for name in net.pools}
    return around, net, LinearYear(numbers, source, jnp.asarray(MONTH))


def _year(model, params, around, net, year, linear, pools, closed=False):
    """The year from given pools, or for microbial ones the one that closes."""
    soil = tuple(name for name in model.pools._fields if name not in net.pools)
    if not soil:
        courses = [linear_course(net, year, linear)]
    else:
        litter = litter_year(net, year, linear)
        given = (model, params, around, litter)
        start = tuple(getattr(pools, name) for name in soil)
        if closed:
            _, (_, course) = shoot(partial(_closing, soil), start, given)
        else:
            course = microbial_course(soil, *given, start)
        change, starts, means = (
            dict(zip(soil, values, strict=True)) for values in course
        )
        courses = [litter.course, Course(change, starts, means)]

    def pack(*parts):
        return model.pools(**{k: x for part in parts for k, x in part.items()})

    return Course(
        pack(*(course.change for course in courses)),
        pack(*(course.starts for course in courses)),
        pack(*(course.means for course in courses)),
    )


def _closing(soil, x, given):
    model, params, around, litter = given
    course = microbial_course(soil, model, params, around, litter, x)
    return course.change, course
