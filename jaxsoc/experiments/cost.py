"""What a design would cost, measured on this machine in a second or two."""

import math
import time
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
    """Cases that differ, cells of each, steps of all cells, seconds and bytes."""

    cases: int
    cells: int
    steps: float
    seconds: float
    bytes: int


def memory_of_run(design: Design, supplied: Supplied | None = None) -> int:
    """Bytes that `run` takes, about, from sizes alone.

    **Raises:** as `run`, for choices that do not fit.
    """
    cases = math.prod(map(len, case_axes(design, supplied).values()))
    kept = _COPIES * len(SERIES) * len(design.times) * cases * design.members
    return 8 * (_cells_alive(design, supplied) + kept)


def memory_of_budgets(
    design: Design, supplied: Supplied | None = None, *, order: int = 2
) -> int:
    """Bytes that `budgets` takes, about, from sizes alone.

    **Raises:** as `budgets`, for choices that do not fit.
    """
    cases = math.prod(map(len, case_axes(design, supplied).values()))
    constants = max(len(design.distributions_of(k)) for k in design.kinetics)
    # Substrate, biomass and constants, up to the power of the order; their derivative,
    # moment and contribution.
    terms = math.comb(2 + constants + order, order)
    kept = 3 * _COPIES * terms * len(design.times) * cases
    return 8 * (_cells_alive(design, supplied) + kept)


def _cells_alive(design, supplied):
    cells = design.grid.cells if supplied is None else supplied.biomass.size
    return _ARRAYS_ALIVE * cells


def estimate_cost(design: Design, supplied: Supplied | None = None) -> Cost:
    """Time and memory that `run` would take, from a short timed piece of it.

    **Raises:** as `run`, for choices that do not fit.
    """
    require_x64("an experiment")
    axes = case_axes(design, supplied)
    cases = list(soils(design, draw_member(design, 0, supplied), axes))
    distinct = {key: soil for _, key, soil in cases}.values()
    largest = max(distinct, key=lambda soil: soil.state.substrate.size)
    speed = _seconds_per_cell_step(largest)
    # The error estimate adds half the steps; one saved time costs about one step.
    work = sum(1.5 * _cell_steps(design, soil) for soil in distinct)
    kinds = len(design.kinetics) * len(design.heterogeneity)
    return Cost(
        len(distinct) * design.members,
        largest.state.substrate.size,
        design.members * work,
        _COMPILE_SECONDS * kinds + design.members * work * speed,
        memory_of_run(design, supplied),
    )


def _seconds_per_cell_step(soil: Soil) -> float:
    model, state, params = soil
    times = np.array([0.0, 1e-3 * _STEPS_TIMED])
    work = lambda: jax.block_until_ready(
        integrate(model, state, params, times, method=Steps(1e-3)).final
    )
    work()
    started = time.perf_counter()
    work()
    elapsed = time.perf_counter() - started
    return elapsed / (_STEPS_TIMED * state.substrate.size)


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
