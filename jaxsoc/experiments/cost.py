"""What a design would cost, measured on this machine in a second or two."""

import math
from timeit import timeit
from typing import NamedTuple

import jax
import numpy as np

from jaxsoc.solve import Steps, integrate, require_x64
from jaxsoc.solve.methods import COURANT

from .design import Design, Supplied, case_axes
from .series import SERIES
from .soils import Soil, draw_member, soils

_STEPS_TIMED = 100
_COMPILE_SECONDS = 2.0
_COPIES = 2  # in the run and in the dataset made of it
_ARRAYS_ALIVE = 24  # stages of a step, rates and moments, each as large as a pool


class Cost(NamedTuple):
    """Cases that differ, cells of each, steps of all cells, and seconds."""

    cases: int
    cells: int
    steps: float
    seconds: float


def memory_of_run(design: Design, supplied: Supplied | None = None) -> int:
    """Bytes that `run` takes, about, from sizes alone.

    **Raises:** as `run`, for choices that do not fit.
    """
    return _bytes(design, supplied, len(SERIES) * design.members)


def memory_of_budgets(
    design: Design, supplied: Supplied | None = None, *, order: int = 2
) -> int:
    """Bytes that `budgets` takes, about, from sizes alone.

    **Raises:** as `budgets`, for choices that do not fit.
    """
    constants = max(len(design.distributions_of(k)) for k in design.kinetics)
    # Substrate, biomass and constants, up to the power of the order; their derivative,
    # moment and contribution.
    return _bytes(design, supplied, 3 * math.comb(2 + constants + order, order))


def _bytes(design, supplied, series):
    """Of one soil at work, and of so many series of each case."""
    cases = math.prod(map(len, case_axes(design, supplied).values()))
    cells = design.grid.cells if supplied is None else supplied.biomass.size
    kept = _COPIES * series * len(design.times) * cases
    return 8 * (_ARRAYS_ALIVE * cells + kept)


def estimate_cost(design: Design, supplied: Supplied | None = None) -> Cost:
    """Time that `run` would take, from a short timed piece of it.

    **Raises:** as `run`, for choices that do not fit.
    """
    require_x64("an experiment")
    axes, member = case_axes(design, supplied), draw_member(design, 0, supplied)
    distinct = {key: soil for _, key, soil in soils(design, member, axes)}.values()
    largest = max(distinct, key=lambda soil: soil.state.substrate.size)
    speed = _seconds_per_cell_step(largest)
    # The error estimate adds half the steps; one saved time costs about one step.
    work = design.members * sum(1.5 * _cell_steps(design, soil) for soil in distinct)
    kinds = len(design.kinetics) * len(design.heterogeneity)
    return Cost(
        len(distinct) * design.members,
        largest.state.substrate.size,
        work,
        _COMPILE_SECONDS * kinds + work * speed,
    )


def _seconds_per_cell_step(soil: Soil) -> float:
    model, state, params = soil
    times = np.array([0.0, 1e-3 * _STEPS_TIMED])
    work = lambda: jax.block_until_ready(
        integrate(model, state, params, times, method=Steps(1e-3)).final
    )
    work()  # compiled
    return timeit(work, number=1) / (_STEPS_TIMED * state.substrate.size)


def _cell_steps(design: Design, soil: Soil) -> float:
    """Steps and savings of a run, times cells, at the rates of the start."""
    model, state, params = soil
    times = design.times
    interval = times[1] - times[0]
    rate = np.asarray(model.fastest_rate(times[0], state, params, interval))
    if isinstance(design.method, Steps) and design.method.dt is not None:
        steps = np.full(rate.shape, interval / design.method.dt)
    else:
        steps = np.ceil(interval * rate / COURANT)
    return float((np.maximum(steps, 2.0) + 1).sum()) * (len(times) - 1)
