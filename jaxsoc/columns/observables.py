"""What can be measured of a soil column, and how a column at rest is asked for it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxsoc.models.column import AbstractColumnModel, Surroundings
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.units import DAYS_PER_YEAR

from .network import litter_on, network, tracer_flows
from .radiocarbon import DECAY, absolute_ratio


class AtRest(NamedTuple):
    """A column at its steady state: `model`, `params`; `around`, its surroundings;
    `pools`, gC m⁻³."""

    model: AbstractColumnModel
    params: Any
    around: Surroundings
    pools: Any

    def summed(self, names: tuple[str, ...]) -> Float[Array, " layer"]:
        """Pools of these names together."""
        none = jnp.zeros_like(self.pools[0])
        return sum((getattr(self.pools, name) for name in names), none)


class Observable(NamedTuple):
    """Something that is measured.

    `unit`; `long_name`; `by_layer`: whether it has a profile, or is one number of the
    column; `of`: `AtRest -> its profile or number`, of shares and isotopes two, what is
    above and what is below the fraction bar, so that means over depth are right;
    `needs`: pools, as the model declares them.
    """

    unit: str
    long_name: str
    by_layer: bool
    of: Callable[[AtRest], Any]
    needs: tuple[str, ...] = ()


def growth_efficiency(rest: AtRest) -> Float[Array, ""]:
    """Carbon use efficiency of the microbes of a column: G / (G + R).

    G is what they receive of what decomposes, R all CO₂ of the column.
    """
    model, params = rest.model, rest.params
    fluxes = model.fluxes(rest.pools, rest.around.environment, params)
    none = jnp.zeros_like(rest.pools[0])
    grown = [
        share * fluxes[process]
        for (receiver, process), share in model.transfers(params).items()
        if receiver in model.microbes
    ]
    growth = model.in_column(sum(grown, none))
    lost = model.in_column(model.respiration(rest.pools, rest.around, params))
    return ratio(growth, growth + lost)


def _respiration(rest):
    found = rest.model.respiration(rest.pools, rest.around, rest.params)
    return DAYS_PER_YEAR * rest.model.in_column(found)


def _share(names):
    def of(rest):
        model = rest.model
        whole = rest.summed((*model.mineral, *model.particulate))
        return rest.summed(getattr(model, names)), whole

    return of


_FRACTIONS = ("mineral", "particulate")
OBSERVABLES: Mapping[str, Observable] = MappingProxyType(
    {
        "carbon": Observable(
            "g m-3",
            "organic carbon per volume",
            True,
            lambda rest: rest.model.organic_carbon(rest.pools),
        ),
        "microbial_biomass": Observable(
            "g m-3",
            "microbial carbon per volume",
            True,
            lambda rest: rest.summed(rest.model.microbes),
            ("microbes",),
        ),
        "maom_share": Observable(
            "1",
            "share of carbon bound to minerals, of that and particulate",
            True,
            _share("mineral"),
            _FRACTIONS,
        ),
        "pom_share": Observable(
            "1",
            "share of particulate carbon, of that and what minerals bind",
            True,
            _share("particulate"),
            _FRACTIONS,
        ),
        "heterotrophic_respiration": Observable(
            "g m-2 yr-1", "CO2 of decomposition, as carbon", False, _respiration
        ),
        "cue": Observable(
            "1",
            "carbon use efficiency of microbes, growth per growth and CO2",
            False,
            growth_efficiency,
            ("microbes",),
        ),
    }
)
"""What columns at rest are asked for, by name."""


def check_observable(model: type[AbstractColumnModel], name: str) -> None:
    """Refuses what a model does not tell: `ValueError`."""
    missing = [kind for kind in OBSERVABLES[name].needs if not getattr(model, kind)]
    if missing:
        raise ValueError(
            f"{model.__name__} has no pools that are {missing[0]}, which {name} needs: "
            "leave it out, or take another model"
        )


def radiocarbon_in_year(
    rest: AtRest, atmosphere: Float[Array, " year"], place: Any
) -> tuple[Float[Array, " layer"], Float[Array, " layer"]]:
    """Radiocarbon and carbon of the soil at the end of a year, the carbon at rest.

    (Y' - Y) / h = (M - λ) Y' + F b, two halves of a year, extrapolated to second order

    Before the first year the atmosphere was that of the first.

    **Arguments:** `atmosphere`: Δ¹⁴C by year, ‰; `place`: the year's, from 0.
    **Returns:** Y and C of soil organic carbon by layer; Δ by `radiocarbon.delta`.
    """
    model, params, around, carbon = rest
    net = network(model, params, tracer=True)
    numbers = tracer_flows(net, model, around, params, carbon)
    source = litter_on(net, around)
    ratios = absolute_ratio(atmosphere)

    def moved(Y, rate, ratio):
        right = {p: rate * getattr(Y, p) + ratio * b for p, b in source.items()}
        return model.pools(**net.solve(numbers, rate + DECAY, right))

    def year(Y, now):
        ratio, lived = now
        # Two halves and the whole, compiled once.
        rates = jnp.asarray([2.0, 2.0, 1.0]) / DAYS_PER_YEAR

        def one(state, kind):
            rate, again = kind
            begin = jax.tree.map(lambda a, b: jnp.where(again, a, b), Y, state)
            found = moved(begin, rate, ratio)
            return found, found

        again = jnp.asarray([True, False, True])
        _, found = lax.scan(one, Y, (rates, again))
        after = jax.tree.map(lambda x: 2 * x[1] - x[2], found)
        return jax.tree.map(lambda a, b: jnp.where(lived, a, b), after, Y), None

    at_first = {pool: ratios[0] * b for pool, b in source.items()}
    start = model.pools(**net.solve(numbers, jnp.asarray(DECAY), at_first))
    lived = jnp.arange(ratios.size) <= place
    Y, _ = lax.scan(year, start, (ratios, lived))
    return model.organic_carbon(Y), model.organic_carbon(carbon)
