"""Runs every case of a design and gathers plain, named arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.grids import warn_unless_well_mixed
from jaxsoc.physics.safe import ratio
from jaxsoc.solve import integrate, require_x64

from .design import Design, Supplied, checked_correlations
from .series import outcome_of, saver
from .soils import Member, Soil, draw_member, over_cases

DIMENSIONS = ("kinetics", "heterogeneity", "correlation", "member")


class Run(NamedTuple):
    """Results of a design.

    `series`: name -> array by kinetics, heterogeneity, correlation, member, time;
    `checks`: name -> array by the first four; `methods`: road taken, likewise;
    `times`: h; `member`: the first member's fields, for figures. Soils that start
    uniform are equal for all correlations of the same totals, and run once.
    """

    design: Design
    correlation: tuple[str, ...]
    times: np.ndarray
    series: dict[str, np.ndarray]
    checks: dict[str, np.ndarray]
    methods: np.ndarray
    member: Member


def run(
    design: Design,
    supplied: Supplied | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Run:
    """Runs every combination that a design names.

    Warns, as `NotWellMixedWarning`, where a cell is too large for its reactions.

    **Arguments:** `supplied`: fields that take the place of generated ones, for one
    member; `progress`: called with cases done, cases in all, and the name of the next.

    **Raises:** `ValueError` for choices that do not fit; `RuntimeError` without 64-bit
    floats; `IntegrationError` for a run that fails, loses carbon or turns negative.
    """
    require_x64("an experiment")
    correlations = checked_correlations(design, supplied)
    axes = (design.kinetics, design.heterogeneity, correlations)
    shape = (*map(len, axes), design.members)
    found = over_cases(design, supplied, lambda soil: _run_case(design, soil), progress)
    outcomes = [one for members in found.values() for one in members]
    series = gathered([one for one, _, _ in outcomes], shape)
    checks = gathered([one for _, one, _ in outcomes], shape)
    methods = np.asarray([one for *_, one in outcomes], object).reshape(shape)
    first = draw_member(design, 0, supplied)
    damkohler = checks["largest_damkohler"]
    k, h, c, _ = worst = np.unravel_index(damkohler.argmax(), shape)
    warn_unless_well_mixed(
        float(damkohler[worst]),
        float(checks["share_not_well_mixed"][worst]),
        edge=design.grid.edge,
        case=f"{design.kinetics[k]} {design.heterogeneity[h]} {correlations[c]}",
    )
    return Run(design, correlations, design.times, series, checks, methods, first)


def gathered(
    outcomes: Sequence[Mapping[str, np.ndarray]], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Arrays by name from outcomes in the order of these axes, which come to lead."""
    stack = lambda name: np.stack([one[name] for one in outcomes])
    return {
        name: stack(name).reshape(shape + np.shape(value))
        for name, value in outcomes[0].items()
    }


def _run_case(design: Design, soil: Soil):
    model, state, params = soil
    solution = integrate(
        model,
        state,
        params,
        design.times,
        save=saver(model, design.grid.edge),
        method=design.method,
        rate=model.fastest_rate,
        tolerance=design.tolerance,
        estimate_error=True,
    )
    saved = solution.values
    series, checks = outcome_of(design, saved)
    respiration = saved.moments.flux.respiration
    checks["error_estimate"] = np.asarray(solution.relative_error)
    checks["respiration_error_estimate"] = np.asarray(
        ratio(solution.error.moments.flux.respiration, jnp.max(respiration))
    )
    return series, checks, solution.method.name
