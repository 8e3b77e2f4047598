"""Any number of members: chunk by chunk, each drawn from its key and forgotten."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsoc.solve import (
    IntegrationError,
    Steps,
    integrate,
    map_members,
    require_x64,
)
from jaxsoc.solve.methods import COURANT
from jaxsoc.upscale.fields import Fields, Generator

from .design import Design, checked_correlations
from .series import outcome_of, saver
from .soils import Member, case, member_source

# Members of a chunk at most: often enough saved, and long enough to be worth a file.
_LARGEST_CHUNK = 64
_SERIES = 22
_ARRAYS_ALIVE = 40  # of a device: stages of a step, noise and spectra of a draw
_PROGRAMS = 256 * 2**20  # compiled programs, libraries
_NAME = "field"  # of the one substrate field that a program sees

Progress = Callable[[int, int, str], None]


class Chunk(NamedTuple):
    """Results of some members, numbered from `first`.

    `series`: name -> array by kinetics, heterogeneity, correlation, member, time;
    `checks`: name -> array by the first four.
    """

    first: int
    series: dict[str, np.ndarray]
    checks: dict[str, np.ndarray]


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
    correlation = checked_correlations(design, None)[0]
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
    if memory < least:
        raise ValueError(
            f"a memory limit of {memory / 2**30:.3g} GiB is below one chunk: {devices} "
            f"members of {int(np.prod(design.grid.shape))} cells and "
            f"{len(design.times)} times need {least / 2**30:.3g} GiB"
        )
    each = memory_needed(design, 1) - memory_needed(design, 0)
    most = min(_LARGEST_CHUNK, int((memory - memory_needed(design, 0)) // each))
    # Chunks of equal size, so that the last one is not mostly filled up.
    chunks = -(-design.members // most)
    chunk = -(-design.members // chunks)
    return min(-(-chunk // devices) * devices, max(most, 1))


def memory_needed(design: Design, chunk: int) -> int:
    """Bytes that chunks of so many members take, about."""
    names = checked_correlations(design, None)
    cells = 8 * int(np.prod(design.grid.shape))
    cases = len(design.kinetics) * len(design.heterogeneity) * len(names)
    fields = cells * (1 + len(names) + 2 * len(design.kinetics))
    series = 3 * 8 * len(design.times) * _SERIES * cases
    working = _PROGRAMS + jax.device_count() * _ARRAYS_ALIVE * cells
    return working + chunk * (fields + series)


def _courant(design, member, kind: tuple[str, str], correlation):
    """The Courant number that keeps the tolerance for the first member."""
    kinetics, heterogeneity = kind
    model, state, params = case(design, member, kinetics, heterogeneity, correlation)
    method = _method(COURANT)
    for _ in range(6):
        solution = integrate(
            model,
            state,
            params,
            design.times,
            save=saver(model, design.grid.edge),
            method=method,
            estimate_error=True,
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


def _method(courant):
    # One device each: the members are shared out, not the cells.
    return Steps(courant=courant, devices=1)


def run_chunks(
    design: Design,
    plan: Plan,
    *,
    skip: Iterable[int] = (),
    progress: Progress = lambda done, total, case: None,
) -> Iterator[Chunk]:
    """Runs the members of a design chunk by chunk, in order.

    A member's numbers do not depend on the chunk it is in, nor on how many there are.

    **Arguments:** `skip`: numbers of chunks that need not be run; `progress`: called
    with members done, members in all, and the name of the case.
    **Raises:** as `run`.
    """
    require_x64("an ensemble")
    correlations, skipped = checked_correlations(design, None), set(skip)
    axes = (design.kinetics, design.heterogeneity, correlations)
    source, programs = member_source(design), {}
    for number, first in enumerate(range(0, design.members, plan.chunk)):
        if number in skipped:
            continue
        # The last chunk is filled up with members that are thrown away.
        wanted = min(plan.chunk, design.members - first)
        members = source(first + np.arange(plan.chunk))
        series, checks = {}, {}
        finished: dict[Any, tuple] = {}
        for k, h, c in product(*map(lambda axis: range(len(axis)), axes)):
            names = axes[0][k], axes[1][h], axes[2][c]
            progress(first, design.members, " ".join(names))
            same = names[:2] if _same_for_all(design, names[1]) else names
            if same not in finished:
                if names[:2] not in programs:
                    programs[names[:2]] = _program(design, plan, *names[:2])
                finished[same] = _results(design, programs[names[:2]], members, names)
            for store, values in zip((series, checks), finished[same], strict=True):
                for name, value in values.items():
                    shape = (*map(len, axes), wanted, *value.shape[1:])
                    store.setdefault(name, np.zeros(shape))[k, h, c] = value[:wanted]
        yield Chunk(first, series, checks)
    progress(design.members, design.members, "")


def _same_for_all(design, heterogeneity):
    """Whether soils start alike for all correlations: generated totals are equal."""
    uniform = heterogeneity in ("homogeneous", "biochemical")
    return uniform and isinstance(design.generator, Generator)


def _program(design, plan, kinetics, heterogeneity):
    """One compiled program for all correlations and chunks of a kind of soil."""

    def one(member):
        soil = case(design, member, kinetics, heterogeneity, _NAME)
        solution = integrate(
            soil.model,
            soil.state,
            soil.params,
            design.times,
            save=saver(soil.model, design.grid.edge),
            method=_method(plan.courant[kinetics, heterogeneity]),
            throw=False,
        )
        return solution.values, solution.sound

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
