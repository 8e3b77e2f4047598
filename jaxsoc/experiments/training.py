"""Cores to fit closures on and to judge them by: fields, and how they respired."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxsoc.solve import IntegrationError, map_members, reductions, require_x64
from jaxsoc.solve.statistics import AbstractStatistic, merge_means
from jaxsoc.upscale.training import Examples

from .design import Design
from .soils import Member, Soil, case, follow_member, member_source, model_of

# Cores that are run at a time: their fields and stages fit the memory of a laptop.
_AT_A_TIME = 20


class MeanRespiration(AbstractStatistic):
    """Mean respiration over cells, mgC/g/h."""

    fluxes: Callable

    def __call__(self, t, state, params):
        return reductions.mean(self.fluxes(t, state, params).respiration)

    def merge(self, values, shares):
        return merge_means(values, shares)


def varying_of(kinetics: str, heterogeneity: str, design: Design) -> tuple[str, ...]:
    """Dotted names of the parameters that differ between cells."""
    if heterogeneity not in ("biochemical", "full"):
        return ()
    names = design.distributions_of(kinetics)
    return tuple(f"decomposition.{name}" for name in names)


def draw_members(design: Design, members: Sequence[int]) -> Member:
    """Fields of some members, leaves leading by member, for every case of a design.

    **Raises:** `ValueError` if no field of a member is accepted.
    """
    source, numbers = member_source(design), np.asarray(members, dtype=int)
    return _in_parts(lambda rows: source(numbers[rows]), numbers.size)


def _in_parts(work: Callable[[np.ndarray], Any], count: int) -> Any:
    """Arrays that `work` gives for some rows at a time, joined to those of all rows."""
    found = []
    for first in range(0, count, _AT_A_TIME):
        rows = np.arange(first, min(first + _AT_A_TIME, count))
        # The last part is filled up, so that all of them share one compiled program.
        part = jax.device_get(work(np.resize(rows, min(_AT_A_TIME, count))))
        found.append(jax.tree.map(lambda x, n=rows.size: x[:n], part))
    return jax.tree.map(lambda *xs: np.concatenate(xs), *found)


def examples(
    design: Design,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
    members: Sequence[int],
    *,
    drawn: Member | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Examples:
    """Runs distributed cores of one case, to fit a closure on or to judge it by.

    **Arguments:** `design`: with the times, seed and grid; `members`: numbers of the
    draws, which do not depend on each other; `drawn`: what `draw_members` gave for
    these members, if known; `progress`: called with cores done, cores in all, and the
    case.
    **Raises:** `ValueError` for no members, or choices that are not known;
    `IntegrationError` for a run that fails.
    """
    require_x64("a run")
    if len(members) == 0:
        raise ValueError("no training cores: `members` is empty")
    only = dataclasses.replace(
        design,
        kinetics=(kinetics,),
        heterogeneity=(heterogeneity,),
        correlation=(correlation,),
        members=1,
    )
    if drawn is None:
        drawn = draw_members(only, members)
    model, total = model_of(design, kinetics), len(members)
    starts = lambda one: case(only, one, kinetics, heterogeneity, correlation)[1:]
    in_a_row = lambda x: x.reshape(total, -1) if x.ndim > 1 else x
    soils = jax.device_get(jax.tree.map(in_a_row, jax.vmap(starts)(drawn)))
    times = tuple(map(float, only.times))

    def run(rows):
        progress(int(rows[0]), total, f"{kinetics} {heterogeneity} {correlation}")
        return _run(model, times, jax.tree.map(lambda x: x[rows], soils))

    respiration, finite = _in_parts(run, total)
    progress(total, total, "")
    if not finite.all():
        raise IntegrationError(
            f"the run of member {members[int((~finite).argmax())]} left the finite "
            "numbers"
        )
    state, params = soils
    return Examples(state, params, only.times, respiration)


# Compiled once for all cores of a model, whatever their correlation.
@eqx.filter_jit
def _run(model, times, soils):
    save = MeanRespiration(model.fluxes)
    # Half of the usual Courant number: 1e-6 of peak respiration, measured.
    one = lambda soil: follow_member(Soil(model, *soil), np.asarray(times), save, 0.25)
    return map_members(one, soils)
