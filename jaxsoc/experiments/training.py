"""Cores to fit closures on and to judge them by: fields, and how they respired."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.solve import (
    AbstractStatistic,
    Fused,
    integrate,
    map_members,
    reductions,
    require_x64,
)
from jaxsoc.solve.statistics import merge_means
from jaxsoc.upscale.fields import Generator
from jaxsoc.upscale.training import Examples

from .design import Design
from .soils import case, member_source

# Cores that are run at a time: their fields and stages fit the memory of a laptop.
_AT_A_TIME = 20


class MeanRespiration(AbstractStatistic):
    """Mean respiration over cells, mgC/g/h."""

    fluxes: Callable

    def __call__(self, t, state, params):
        return reductions.mean(self.fluxes(t, state, params).respiration)

    def merge(self, values, shares):
        return merge_means(values, shares)


class Shift(NamedTuple):
    """How soils differ from those that a closure was fitted on.

    `substrate`, `input`: factors of the initial substrate and of the input; `dead`:
    added to the share of dead cells.
    """

    substrate: float = 1.0
    input: float = 1.0
    dead: float = 0.0


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        "substrate x 0.5": Shift(substrate=0.5),
        "substrate x 2": Shift(substrate=2.0),
        "input x 0": Shift(input=0.0),
        "input x 3": Shift(input=3.0),
        "dead - 15 points": Shift(dead=-0.15),
        "dead + 15 points": Shift(dead=0.15),
    }
)
_NONE = Shift()


def varying_of(kinetics: str, heterogeneity: str, design: Design) -> tuple[str, ...]:
    """Dotted names of the parameters that differ between cells."""
    if heterogeneity not in ("biochemical", "full"):
        return ()
    names = design.distributions_of(kinetics)
    return tuple(f"decomposition.{name}" for name in names)


def examples(
    design: Design,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
    members: Sequence[int],
    *,
    shift: Shift = _NONE,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Examples:
    """Runs distributed cores of one case, to fit a closure on or to judge it by.

    **Arguments:** `design`: with the times, seed and grid; `members`: numbers of the
    draws, which do not depend on each other; `shift`: see `Shift`; `progress`: called
    with cores done, cores in all, and the case.
    **Raises:** `ValueError` for no members, or choices that are not known;
    `IntegrationError` for a run that fails.
    """
    require_x64("a run")
    members = np.asarray(members, dtype=int)
    if members.size == 0:
        raise ValueError("no training cores: `members` is empty")
    if shift.dead:
        generator = design.generator
        if not isinstance(generator, Generator):
            raise ValueError("a shift of dead cells needs jaxsoc's own generator")
        share = generator.dead_shift + shift.dead
        moved = dataclasses.replace(generator, dead_shift=share)
        design = dataclasses.replace(design, generator=moved)
    only = Design(
        kinetics=(kinetics,),
        heterogeneity=(heterogeneity,),
        correlation=(correlation,),
        **{name: getattr(design, name) for name in _KEPT},
    )
    source, found = member_source(only), []
    one = _core(only, kinetics, heterogeneity, correlation, shift)
    run = jax.jit(lambda drawn: map_members(one, drawn))
    for first in range(0, members.size, _AT_A_TIME):
        progress(first, members.size, f"{kinetics} {heterogeneity} {correlation}")
        numbers = members[first : first + _AT_A_TIME]
        padded = np.resize(numbers, min(_AT_A_TIME, members.size))
        part = jax.device_get(run(source(padded)))
        found.append(jax.tree.map(lambda x, n=numbers.size: x[:n], part))
    progress(members.size, members.size, "")
    join = lambda *xs: np.concatenate(xs)
    state, params, respiration, finite = jax.tree.map(join, *found)
    if not finite.all():
        raise ValueError(
            f"the run of member {members[int((~finite).argmax())]} left the finite "
            "numbers"
        )
    return Examples(state, params, only.times, respiration)


# What a design of one case takes over from the one it is asked for.
_KEPT = tuple(
    field.name
    for field in dataclasses.fields(Design)
    if field.name not in ("kinetics", "heterogeneity", "correlation", "members")
)


def _core(design, kinetics, heterogeneity, correlation, shift):
    def one(member):
        model, state, params = case(
            design, member, kinetics, heterogeneity, correlation
        )
        state = state._replace(substrate=shift.substrate * state.substrate)
        params = eqx.tree_at(lambda p: p.input, params, shift.input * params.input)
        state, params = jax.tree.map(jnp.asarray, (state, params))
        longest = float(np.diff(design.times).max())
        # A quarter of the bound on the rates: 1e-6 of peak respiration, measured.
        road = Fused(longest, model.fastest_rate, 0.25, devices=1)
        run = integrate(
            model,
            state,
            params,
            design.times,
            save=MeanRespiration(model.fluxes),
            method=road,
            throw=False,
        )
        row = lambda x: x.reshape(-1) if x.ndim else x
        state, params = jax.tree.map(row, (state, params))
        return state, params, run.values, run.finite

    return one
