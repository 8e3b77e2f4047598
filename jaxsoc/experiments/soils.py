"""The soil of each case: initial pools and parameters, uniform or by cell."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.mortality import linear_mortality, power_mortality
from jaxsoc.upscale.distributions import LogUniform, Uniform, sample_constants
from jaxsoc.upscale.fields import Fields, check_shape, generate_fields

from .design import Design, Supplied
from .scenarios import DISTRIBUTIONS, SCENARIOS

# Laws whose published constants all follow from one variate.
_COUPLED = ("inverse_michaelis_menten",)


class Soil(NamedTuple):
    """A case ready to run."""

    model: TwoPool
    state: Pools
    params: TwoPoolParameters


class Member(NamedTuple):
    """One draw: initial fields, and the constants of each kinetics by cell."""

    fields: Fields
    constants: dict[str, Any]


def draw_member(
    design: Design, member: int = 0, supplied: Supplied | None = None
) -> Member:
    """Fields of a member: supplied ones where there are, else drawn from its key.

    The key is `fold_in(key(seed), member)`, so a member does not depend on how many
    there are. All kinetics of a member share one pattern of substrate quality.
    """
    key = jax.random.fold_in(jax.random.key(design.seed), member)
    fields_key, constants_key = jax.random.split(key)
    if supplied is None:
        scenario = SCENARIOS[design.scenario]
        fields = generate_fields(
            fields_key,
            scenario.recipe,
            check_shape(design.grid.shape),
            mean_substrate=scenario.mean_substrate,
            mean_biomass=scenario.mean_biomass,
            acceptance=design.acceptance,
        )
    else:
        substrate = {k: jnp.asarray(v) for k, v in supplied.substrate.items()}
        fields = Fields(jnp.asarray(supplied.biomass), substrate)
    given = {} if supplied is None else supplied.constants
    shape = fields.biomass.shape
    constants = {
        kinetics: _constants(
            design, kinetics, given.get(kinetics), constants_key, shape
        )
        for kinetics in design.kinetics
    }
    return Member(fields, constants)


def case(
    design: Design,
    member: Member,
    *,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
) -> Soil:
    """Initial pools and parameters of one case.

    homogeneous: one cell at the means of the fields; biophysical: pools by cell,
    constants uniform; biochemical: pools uniform, constants by cell; full: both.
    """
    S, B = member.fields.substrate[correlation], member.fields.biomass
    by_cell = member.constants[kinetics]
    field_mean = heterogeneity == "homogeneous" and design.control == "field-mean"
    needs_field = heterogeneity in ("biochemical", "full") or field_mean
    if needs_field and by_cell is None:
        raise ValueError(
            f"no distribution is known for the constants of {kinetics}: give their "
            "fields, or leave out biochemical and full heterogeneity"
        )
    constants = by_cell if needs_field else design.nominal(kinetics)
    if field_mean:
        constants = jax.tree.map(jnp.mean, by_cell)
    if heterogeneity == "homogeneous":
        S, B = jnp.mean(S)[None], jnp.mean(B)[None]
    elif heterogeneity == "biochemical":
        S, B = jnp.full_like(S, jnp.mean(S)), jnp.full_like(B, jnp.mean(B))
    model = TwoPool(
        design.laws[kinetics].law,
        power_mortality if design.nonlinear_mortality else linear_mortality,
    )
    state = Pools(S, B, jnp.zeros_like(S))
    return Soil(model, state, design.parameters(constants))


def _constants(design, kinetics, given, key, shape):
    """Constants by cell: given ones, else drawn around the nominal ones; None if no
    distribution is known."""
    distributions = DISTRIBUTIONS[design.degree].get(kinetics)
    cls, nominal = design.laws[kinetics].constants, design.nominal(kinetics)
    given = given or {}
    distributions = {
        name: _rescaled(distribution, getattr(nominal, name) / getattr(cls(), name))
        for name, distribution in (distributions or {}).items()
    }
    if not distributions and not given:
        return None
    coupled = design.coupled and kinetics in _COUPLED
    drawn = sample_constants(key, distributions, shape, coupled=coupled)
    drawn |= {name: jnp.asarray(field) for name, field in given.items()}
    return dataclasses.replace(nominal, **drawn)


def _rescaled(distribution, factor):
    match distribution:
        case LogUniform(low=low, high=high, scale=scale):
            return LogUniform(low, high, scale * factor)
        case Uniform(low=low, high=high):
            return Uniform(low * factor, high * factor)
    return distribution
