"""The soil of each case: initial pools and parameters, uniform or by cell."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.grids import warn_above_largest
from jaxsoc.physics.mortality import linear_mortality, power_mortality
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import Solution, Steps, integrate, map_members, steady_state
from jaxsoc.upscale.distributions import sample_constants
from jaxsoc.upscale.fields import Fields, Generator
from jaxsoc.upscale.spectral import check_shape

from .design import Design, Supplied, case_axes
from .scenarios import SCENARIOS

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

    Warns, as `SubstrateAboveLargestWarning`, of drawn fields with cells above Cmax.
    """
    fields_key, constants_key = _keys(design, member)
    if supplied is None:
        wanted, means = _wanted(design)
        fields, given = design.generator(fields_key, *wanted, **means), {}
        warn_above_largest(fields.substrate, design.grid)
    else:
        substrate = {k: jnp.asarray(v) for k, v in supplied.substrate.items()}
        fields = Fields(jnp.asarray(supplied.biomass), substrate)
        given = supplied.constants
    return Member(fields, _constants(design, constants_key, fields, given))


def member_source(design: Design) -> Callable[[Any], Member]:
    """Draws many members at once from their numbers, on all devices.

    **Returns:** `numbers -> Member`, leaves leading by member; compiled once for each
    length of `numbers`. It raises `ValueError` if no field of a member is accepted.
    """
    generator = design.generator
    if not isinstance(generator, Generator):
        one_by_one = lambda numbers: [draw_member(design, int(n)) for n in numbers]
        stack = lambda *leaves: jnp.stack(leaves)
        return lambda numbers: jax.tree.map(stack, *one_by_one(numbers))
    (recipe, shape, names), means = _wanted(design)
    shape = check_shape(shape)

    def one(number):
        fields_key, constants_key = _keys(design, number)
        fields, found = generator.draw(fields_key, recipe, shape, names, **means)
        return Member(fields, _constants(design, constants_key, fields, {})), found

    draw = jax.jit(lambda numbers: map_members(one, numbers))

    def source(numbers):
        members, found = draw(jnp.asarray(numbers))
        generator.check(found, names, shape)
        warn_above_largest(members.fields.substrate, design.grid)
        return members

    return source


def _wanted(design):
    """What a generator gets besides a key: recipe, shape and names; the two means."""
    recipe = SCENARIOS[design.scenario].recipe
    recipe = recipe._replace(largest_substrate=design.grid.largest_substrate)
    substrate, biomass = initial_means(design)
    names = tuple(case_axes(design)["correlation"])
    means = {"mean_substrate": substrate, "mean_biomass": biomass}
    return (recipe, design.grid.shape, names), means


def _keys(design, member):
    key = jax.random.fold_in(jax.random.key(design.seed), member)
    return jax.random.split(key)


def _constants(design, key, fields, given):
    """Constants by kinetics and cell: given ones, else drawn; None if not known."""
    found = {}
    for kinetics in design.kinetics:
        drawn = sample_constants(
            key,
            design.distributions_of(kinetics),
            fields.biomass.shape,
            coupled=design.coupled and kinetics in _COUPLED,
        )
        own = given.get(kinetics, {})
        drawn |= {name: jnp.asarray(field) for name, field in own.items()}
        nominal = design.nominal(kinetics)
        found[kinetics] = dataclasses.replace(nominal, **drawn) if drawn else None
    return found


def initial_means(design: Design) -> tuple[float, float]:
    """Mean substrate and biomass (mgC/g) that generated fields start with.

    **Raises:** `ValueError` if the soil of scenario 1 has no steady state.
    """
    scenario = SCENARIOS[design.scenario]
    if scenario.means is not None:
        return scenario.means
    kinetics = scenario.kinetics[0]
    star = steady_state(
        model_of(design, kinetics), design.parameters(design.nominal(kinetics))
    )
    return float(star.substrate), float(star.biomass)


def model_of(design: Design, kinetics: str) -> TwoPool:
    """The model at a point of a kinetics, with the design's mortality."""
    mortality = power_mortality if design.nonlinear_mortality else linear_mortality
    return TwoPool(design.laws[kinetics].law, mortality)


def case(
    design: Design, member: Member, kinetics: str, heterogeneity: str, correlation: str
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
    state = Pools(S, B, jnp.zeros_like(S))
    return Soil(model_of(design, kinetics), state, design.parameters(constants))


def units_of(soil: Soil) -> dict[str, str]:
    """Unit of every pool and parameter, by dotted name; "?" where none is declared."""
    declared = leaves_by_name(soil.params).items()
    units = {name: leaf.unit or "?" for name, leaf in declared}
    return dict.fromkeys(soil.state._fields, "mgC/g") | units


def soils(
    design: Design, member: Member, axes: Mapping[str, Sequence[str]]
) -> Iterator[tuple[tuple[str, ...], Any, Soil]]:
    """Every case of a design: its names, a key that equal soils share, its soil.

    Soils that start uniform are equal for all correlations of the same totals, which
    the key writes with 12 digits, since fields meet their totals to rounding alone.
    """
    for names in product(*axes.values()):
        soil = case(design, member, *names)
        start: Any = names[2]
        if not any(bool(jnp.any(pool != pool.reshape(-1)[0])) for pool in soil.state):
            start = tuple(f"{float(pool.reshape(-1)[0]):.12g}" for pool in soil.state)
        yield names, (*names[:2], start), soil


def over_cases(
    design: Design,
    supplied: Supplied | None,
    work: Callable[[Soil], Any],
    progress: Callable[[int, int, str], None],
) -> dict[tuple[str, ...], list]:
    """Results of `work` for every case of a design, by member; equal soils once.

    **Arguments:** `progress`: called with cases done, cases in all, and the name of the
    next.
    **Raises:** `ValueError` for choices that do not fit.
    """
    axes = case_axes(design, supplied)
    found: dict[Any, list] = {names: [] for names in product(*axes.values())}
    total = len(found) * design.members
    for m in range(design.members):
        by_key: dict[Any, Any] = {}
        member = draw_member(design, m, supplied)
        for done, (names, key, soil) in enumerate(soils(design, member, axes)):
            progress(m * len(found) + done, total, " ".join(names))
            if key not in by_key:
                by_key[key] = work(soil)
            found[names].append(by_key[key])
    progress(total, total, "")
    return found


def follow_soil(design: Design, soil: Soil, save: Any, **options: Any) -> Solution:
    """A soil through the times of a design, by its method and to its tolerance.

    **Arguments:** `save`, `options`: see `integrate`.
    """
    return integrate(
        *soil,
        design.times,
        save=save,
        method=design.method,
        tolerance=design.tolerance,
        **options,
    )


def follow_member(soil: Soil, times: Any, save: Any, courant: float) -> tuple[Any, Any]:
    """What `save` gives for one of many soils at once, and whether its run is sound."""
    # One device each: the members are shared out, not the cells.
    method = Steps(courant=courant, devices=1)
    run = integrate(*soil, times, save=save, method=method, throw=False)
    return run.values, run.sound
