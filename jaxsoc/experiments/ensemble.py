"""Any number of members: chunk by chunk, each drawn from its key and forgotten."""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsoc.solve import IntegrationError, Steps, integrate, map_members, require_x64
from jaxsoc.solve.methods import COURANT
from jaxsoc.upscale.fields import Fields, Generator

from .design import Design, case_axes
from .run import gathered
from .series import SERIES, Saver, outcome_of
from .soils import Member, case, follow_member, member_source

# Members of a chunk at most: often enough saved, and long enough to be worth a file.
_LARGEST_CHUNK = 64
_ARRAYS_ALIVE = 40  # of a device: stages of a step, noise and spectra of a draw
_PROGRAMS = 256 * 2**20  # compiled programs, libraries
_NAME = "field"  # of the one substrate field that a program sees

Progress = Callable[[int, int, str], None]


class Plan(NamedTuple):
    """How an ensemble is cut: `chunk` members at a time; steps of each case.

    `courant`: by `(kinetics, heterogeneity)`, found with the first member; `error`:
    estimated relative error of its respiration, likewise.
    """

    chunk: int
    courant: dict[tuple[str, str], float]
    error: dict[tuple[str, str], float]


def plan_ensemble(
    design: Design, *, memory: float = 2.0 * 2**30, progress: Progress | None = None
) -> Plan:
    """Chunk that fits the memory, and steps that keep the tolerance.

    **Arguments:** `memory`: bytes for all that is computed at a time.
    **Raises:** `ValueError` for a limit below one chunk, or for a method other than
    the automatic one; as `run` for choices that do not fit.
    """
    chunk = chunk_size(design, memory)
    first = jax.tree.map(lambda x: x[0], member_source(design)(np.arange(chunk)))
    correlation = case_axes(design)["correlation"][0]
    courant, error = {}, {}
    kinds = list(product(design.kinetics, design.heterogeneity))
    for done, kind in enumerate(kinds):
        if progress is not None:
            progress(done, len(kinds), f"steps of {' '.join(kind)}")
        courant[kind], error[kind] = _courant(design, first, kind, correlation)
    return Plan(chunk, courant, error)


def chunk_size(design: Design, memory: float) -> int:
    """Members of a chunk that fits the memory (bytes).

    **Raises:** as `plan_ensemble`.
    """
    require_x64("an ensemble")
    if design.method is not None:
        raise ValueError(
            "an ensemble chooses its steps by the rates of each member: leave the "
            f"method automatic, got {design.method.name}"
        )
    devices = jax.device_count()
    least = memory_needed(design, devices)
    if not memory >= least:
        raise ValueError(
            f"a memory limit of {memory / 2**30:.3g} GiB is below one chunk: {devices} "
            f"members of {design.grid.cells} cells and "
            f"{len(design.times)} times need {least / 2**30:.3g} GiB"
        )
    each = memory_needed(design, 1) - memory_needed(design, 0)
    most = int(min(_LARGEST_CHUNK, (memory - memory_needed(design, 0)) / each))
    # Chunks of equal size, so that the last one is not mostly filled up.
    chunks = -(-design.members // most)
    chunk = -(-design.members // chunks)
    return min(-(-chunk // devices) * devices, max(most, 1))


def memory_needed(design: Design, chunk: int) -> int:
    """Bytes that chunks of so many members take, about."""
    names = case_axes(design)["correlation"]
    cells = 8 * design.grid.cells
    cases = len(design.kinetics) * len(design.heterogeneity) * len(names)
    fields = cells * (1 + len(names) + 2 * len(design.kinetics))
    series = 3 * 8 * len(design.times) * (len(SERIES) + 1) * cases
    working = _PROGRAMS + jax.device_count() * _ARRAYS_ALIVE * cells
    return working + chunk * (fields + series)


def _courant(design, member, kind: tuple[str, str], correlation):
    """The Courant number that keeps the tolerance for the first member."""
    soil = case(design, member, *kind, correlation)
    save = Saver(soil.model.fluxes, design.grid.edge)
    method = Steps(courant=COURANT, devices=1)
    for _ in range(6):
        solution = integrate(
            *soil, design.times, save=save, method=method, estimate_error=True
        )
        respiration = np.asarray(solution.values.moments.flux.respiration)
        error = np.asarray(solution.error.moments.flux.respiration)
        relative = float(error / max(respiration.max(), 1e-300))
        if max(float(solution.relative_error), relative) <= design.tolerance:
            return method.courant, relative
        method = method.tightened()
    raise IntegrationError(
        f"the estimated error of {' '.join(kind)} stays above the tolerance "
        f"{design.tolerance:g}: use a larger tolerance"
    )


def chunk_runner(
    design: Design, plan: Plan, *, progress: Progress = lambda done, total, case: None
) -> Callable[[int], dict[str, np.ndarray]]:
    """Runs the members of a design chunk by chunk.

    A member's numbers do not depend on the chunk it is in, nor on how many there are.

    **Arguments:** `progress`: called with members done, members in all, and the name of
    the case.
    **Returns:** number of a chunk -> series and checks by name, over kinetics,
    heterogeneity, correlation, member and, if a series, time.
    **Raises:** as `run`.
    """
    require_x64("an ensemble")
    axes, source = case_axes(design), member_source(design)
    program = cache(lambda *kind: _program(design, plan, *kind))

    def run_chunk(number):
        first = number * plan.chunk
        members = source(first + np.arange(plan.chunk))
        by_key: dict[Any, Any] = {}
        found = []
        for names in product(*axes.values()):
            progress(first, design.members, " ".join(names))
            key = names[:2] if _same_for_all(design, names[1]) else names
            if key not in by_key:
                by_key[key] = _results(design, program(*names[:2]), members, names)
            found.append(by_key[key])
        values = gathered(found, tuple(map(len, axes.values())))
        # The last chunk is filled up with members that are thrown away.
        wanted = chunk_members(design, plan, number)
        return {name: array[:, :, :, :wanted] for name, array in values.items()}

    return run_chunk


def chunk_members(design: Design, plan: Plan, number: int) -> int:
    """Members of a chunk: the last one may have fewer."""
    return min(plan.chunk, design.members - number * plan.chunk)


def _same_for_all(design, heterogeneity):
    """Whether soils start alike for all correlations: generated totals are equal."""
    uniform = heterogeneity in ("homogeneous", "biochemical")
    return uniform and isinstance(design.generator, Generator)


def _program(design, plan, kinetics, heterogeneity):
    """One compiled program for all correlations and chunks of a kind of soil."""

    def one(member):
        soil = case(design, member, kinetics, heterogeneity, _NAME)
        save, courant = Saver(soil.model.fluxes, design.grid.edge), plan.courant
        return follow_member(soil, design.times, save, courant[kinetics, heterogeneity])

    return jax.jit(lambda members: map_members(one, members))


def _results(design, program, members, names):
    kinetics, _, correlation = names
    fields = Fields(
        members.fields.biomass, {_NAME: members.fields.substrate[correlation]}
    )
    saved, finite = jax.device_get(
        program(Member(fields, {kinetics: members.constants[kinetics]}))
    )
    if not finite.all():
        raise IntegrationError(
            f"{' '.join(names)}: the run of member {int((~finite).argmax())} of the "
            "chunk left the finite numbers"
        )
    return outcome_of(design, saved)
