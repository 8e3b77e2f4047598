"""The seasons of a soil column: the state that a year of months brings back.

Twelve months of 365/12 days, each with its own scalars, mixing and litter, constant
within it; the months of the forcing taken one by one.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxsoc.models.column import AbstractColumnModel, Surroundings
from jaxsoc.physics.forcing import DAYS_PER_MONTH, MONTHS
from jaxsoc.physics.units import DAYS_PER_YEAR
from jaxsoc.solve.periodic import Course, LinearYear, linear_course, linear_orbit, shoot
from jaxsoc.solve.pointwise import AbstractStocks

from .checks import one_site
from .microbial_year import STEPS, litter_year, microbial_course
from .network import flows, litter_on, network
from .steady import CLOSURE, steady_pools

# Where the mean year has no steady state, gC m⁻³.
_FIRST_GUESS = 100.0

MONTH = DAYS_PER_MONTH
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


class Year(NamedTuple):
    """What a `Seasonal` tendency is given: `params`, and `around`, leading by month."""

    params: Any
    around: Surroundings


class Seasonal(AbstractStocks):
    """The tendency `(t, state, year) -> d(state)/dt` of a column with seasons.

    Its month is that of t, in days from the start of the year.

    **Arguments:** `model`: with its forcing.
    """

    model: AbstractColumnModel

    def year(self, params: Any) -> Year:
        """What these parameters make of the surroundings in every month."""
        return Year(params, _by_month(self.model, params))

    def __call__(self, t: Any, state: Any, year: Year) -> Any:
        """Tendency of the pools in the month of t, gC m⁻³ d⁻¹."""
        month = jnp.floor(jnp.asarray(t) % DAYS_PER_YEAR / MONTH).astype(int)
        month = jnp.minimum(month, MONTHS - 1)
        around = jax.tree.map(lambda x: x[month], year.around)
        return self.model.tendency(state, around, year.params)


def periodic_state(model: AbstractColumnModel, params: Any) -> Periodic:
    """Pools that a year of months brings back to where they were.

    X(1 yr) = X(0)

    Linear pools are carried through each month exactly, by a rational approximation of
    the exponential, and found by a few corrections with the steady state's solver; the
    microbial pools of each layer follow by Newton's method on the year.

    **Arguments:** `model`: with its forcing, of one site; `params`: its numbers.
    **Returns:** the year, differentiable, all NaN inside `jit` where there is none.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for microbial
    pools that are mixed, numbers of several sites, and, outside `jit`, where there is
    no such year.
    """
    year, found = _periodic(model, params)
    if not isinstance(found, Tracer) and not found:
        raise ValueError(
            f"no year of {type(model).__name__} ends as it began: with these "
            "parameters some pools grow without end or die out; see `steady_state` and "
            "`feasibility` for the mean year"
        )
    return year


@one_site("the periodic state of a soil column")
def _periodic(model, params, *, steps=STEPS):
    refuse_months(model, params)
    around, net, year = _months(model, params)
    linear = linear_orbit(net, year)
    guess = None
    if len(net.pools) < len(model.pools._fields):
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), around)
        or_some = lambda pool: jnp.where(pool >= 0, pool, _FIRST_GUESS)
        guess = jax.tree.map(or_some, steady_pools(model, mean, params))
    found = _year(model, params, around, net, year, linear, guess, steps, closed=True)
    thickness = model.forcing.column.thickness
    drift = jax.tree.map(lambda x: jnp.abs(jnp.sum(x * thickness)), found.change)
    start = jax.tree.map(lambda x: x[0], found.starts)
    whole = Periodic(start, _mean(found), found.starts, found.means, drift)
    sound = _closes(net, year, found.means, thickness)
    sound &= jnp.all(jnp.stack([jnp.min(pool) >= 0 for pool in found.starts]))
    return jax.tree.map(lambda x: jnp.where(sound, x, jnp.nan), whole), sound


@one_site("a year of a soil column")
def step_year(model: AbstractColumnModel, params: Any, pools: Any) -> tuple[Any, Any]:
    """Pools a year later, and their mean over the year, gC m⁻³.

    The map whose fixed point `periodic_state` is.

    **Raises:** as `periodic_state`, but for years that do not end as they began.
    """
    refuse_months(model, params)
    around, net, year = _months(model, params)
    linear = {name: getattr(pools, name) for name in net.pools}
    found = _year(model, params, around, net, year, linear, pools, STEPS)
    end = jax.tree.map(lambda x, change: x + change, pools, found.change)
    return end, _mean(found)


def refuse_months(model: AbstractColumnModel, params: Any) -> None:
    """Refuses, by a `ValueError`, what has no `periodic_state`, before it is sought."""
    if model.forcing.temperature.shape[-1] != MONTHS:
        raise ValueError(
            f"a year of a soil column needs a forcing of {MONTHS} months, got "
            f"{model.forcing.temperature.shape[-1]}"
        )
    if mixes_microbes(model, params):
        raise ValueError(
            f"{type(model).__name__} with mixed microbial pools has no periodic state "
            "here: its layers depend on each other; use mixes_soil=False, or spin_up, "
            "whose state is that of steps"
        )


def mixes_microbes(model: AbstractColumnModel, params: Any) -> bool:
    """Whether pools that are not linear move between layers: no year is exact."""
    others = set(model.pools._fields) - {*network(model, params).pools}
    return bool(others & model.mixed)


def _closes(net, year, means, thickness):
    """Whether what the linear pools receive leaves them over the year."""
    column = lambda x: jnp.sum(x @ thickness)
    pools = {name: getattr(means, name) for name in net.pools}
    leaving = dict(year.numbers.loss)
    for (receiver, donor), rate in year.numbers.feeds.items():
        if receiver in leaving:
            leaving[donor] = leaving[donor] - rate
    left = sum(column(leaving[name] * x) for name, x in pools.items())
    moved = jax.vmap(lambda exchange, x: exchange(x))
    for name in net.mixed:
        left = left - column(moved(year.numbers.exchange, pools[name]))
    came = sum(column(b) for b in year.source.values())
    return jnp.abs(came - left) <= CLOSURE * came


def _mean(course):
    return jax.tree.map(lambda x: jnp.mean(x, axis=0), course.means)


def _by_month(model, params):
    """Surroundings, leading by month."""
    in_month = lambda month: eqx.tree_at(
        lambda m: m.forcing, model, model.forcing.month(month)
    )
    return jax.vmap(lambda m: in_month(m).surroundings(params))(jnp.arange(MONTHS))


def _months(model, params):
    """Surroundings by month, the network of the linear pools, and its year."""
    net, around = network(model, params), _by_month(model, params)
    numbers = jax.vmap(lambda around: flows(net, model, around, params))(around)
    source = jax.vmap(lambda around: litter_on(net, around))(around)
    return around, net, LinearYear(numbers, source, jnp.asarray(MONTH))


def _year(model, params, around, net, year, linear, pools, steps, closed=False):
    """The year from given pools, or for microbial ones the one that closes."""
    soil = tuple(name for name in model.pools._fields if name not in net.pools)
    if not soil:
        courses = [linear_course(net, year, linear)]
    else:
        litter = litter_year(net, year, linear, steps)
        given = (model, params, around, litter)
        start = tuple(getattr(pools, name) for name in soil)
        if closed:
            _, (_, course) = shoot(partial(_closing, soil), start, given)
        else:
            course = microbial_course(soil, *given, start)
        named = (dict(zip(soil, values, strict=True)) for values in course)
        courses = [litter.course, Course(*named)]

    def pack(*parts):
        return model.pools(**{k: x for part in parts for k, x in part.items()})

    return Course(*map(pack, *courses))


def _closing(soil, x, given):
    model, params, around, litter = given
    course = microbial_course(soil, model, params, around, litter, x)
    return course.change, course
