"""Runs every case of a design and gathers labelled arrays."""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.safe import ratio
from jaxsoc.solve import require_x64
from jaxsoc.tables import Table, time_axis

from .design import Design, Supplied, case_axes, design_provenance
from .series import Saver, labelled, outcome_of, warn_of_large_cells
from .soils import Soil, follow_soil, over_cases


def run(
    design: Design,
    supplied: Supplied | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Table:
    """Runs every combination that a design names.

    Soils that start uniform are equal for all correlations of the same totals, and run
    once. Warns, as `NotWellMixedWarning`, where a cell is too large for its reactions.

    **Arguments:** `supplied`: fields that take the place of generated ones, for one
    member; `progress`: called with cases done, cases in all, and the name of the next.

    **Returns:** the series of `SERIES` over kinetics, heterogeneity, correlation,
    member and time, checks and `method` over the first four: time in days, carbon in
    mgC per g soil, rates per hour. Moments of the rate constant are in the unit of that
    constant ("rate"), which `rate_units` names for each kinetics.

    **Raises:** `ValueError` for choices that do not fit; `RuntimeError` without 64-bit
    floats; `IntegrationError` for a run that fails, loses carbon or turns negative.
    """
    require_x64("an experiment")
    axes = case_axes(design, supplied)
    found = over_cases(design, supplied, lambda soil: _run_case(design, soil), progress)
    outcomes = [one for members in found.values() for one in members]
    values = gathered(outcomes, (*map(len, axes.values()), design.members))
    warn_of_large_cells(design, axes, values)
    coordinates = axes | {
        "member": np.arange(design.members),
        "time": time_axis(design.times),
    }
    return Table(labelled(values), coordinates, design_provenance(design))


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
    save = Saver(soil.model.fluxes, design.grid.edge)
    solution = follow_soil(design, soil, save, estimate_error=True)
    saved = solution.values
    respiration = saved.moments.flux.respiration
    return outcome_of(design, saved) | {
        "error_estimate": np.asarray(solution.relative_error),
        "respiration_error_estimate": np.asarray(
            ratio(solution.error.moments.flux.respiration, jnp.max(respiration))
        ),
        "method": np.asarray(solution.method.name),
    }
