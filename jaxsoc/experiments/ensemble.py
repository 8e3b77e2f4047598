"""Any number of members: chunk by chunk into a store, each drawn from its key.

Run, continued, summed up; memory does not grow with their number.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsoc.solve import IntegrationError, Steps, integrate, map_members, require_x64
from jaxsoc.solve.methods import COURANT
from jaxsoc.solve.progress import Progress, silent
from jaxsoc.tables import Table, time_axis
from jaxsoc.upscale.fields import Fields, Generator

from .design import Design, case_axes, described
from .run import gathered
from .series import SERIES, Saver, labelled, outcome_of, warn_of_large_cells
from .soils import Member, case, follow_member, member_source
from .statistics import MemberStatistics

# Members of a chunk at most: often enough saved, and long enough to be worth a file.
_LARGEST_CHUNK = 64
_ARRAYS_ALIVE = 40  # of a device: stages of a step, noise and spectra of a draw
_PROGRAMS = 256 * 2**20  # compiled programs, libraries
_NAME = "field"  # of the one substrate field that a program sees
# Checks that an ensemble makes for every member.
_CHECKED = (
    "carbon_balance_error",
    "largest_damkohler",
    "share_not_well_mixed",
    "smallest_pool",
)


class Plan(NamedTuple):
    """How an ensemble is cut: `chunk` members at a time; steps of each case.

    `courant`: by kinetics and heterogeneity, a blank between them, found with the first
    member; `error`: estimated relative error of its respiration, likewise.
    """

    chunk: int
    courant: dict[str, float]
    error: dict[str, float]


def plan_ensemble(
    design: Design, *, memory: float = 2.0 * 2**30, progress: Progress = silent
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
        name = " ".join(kind)
        progress(done, len(kinds), f"steps of {name}")
        courant[name], error[name] = _courant(design, first, kind, correlation)
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
    design: Design, plan: Plan, *, progress: Progress = silent
) -> Callable[[int], dict[str, np.ndarray]]:
    """Runs the members of a design chunk by chunk.

    A member's numbers do not depend on the chunk it is in, nor on how many there are.

    **Arguments:** `progress`: called with members done, members in all, and the name of
    the case.
    **Returns:** number of a chunk -> series and checks by name, over kinetics,
    heterogeneity, correlation, member and, if a series, time.
    **Raises:** as `run`.
    """
    axes, source = case_axes(design), member_source(design)
    generated = isinstance(design.generator, Generator)

    @cache
    def program(kinetics, heterogeneity):
        """One for all correlations and chunks of a kind of soil."""
        courant = plan.courant[f"{kinetics} {heterogeneity}"]

        def one(member):
            soil = case(design, member, kinetics, heterogeneity, _NAME)
            save = Saver(soil.model.fluxes, design.grid.edge)
            return follow_member(soil, design.times, save, courant)

        return jax.jit(lambda members: map_members(one, members))

    def run_chunk(number):
        first = number * plan.chunk
        members = source(first + np.arange(plan.chunk))

        @cache
        def outcome(kinetics, heterogeneity, correlation):
            substrate = {_NAME: members.fields.substrate[correlation]}
            fields = Fields(members.fields.biomass, substrate)
            alone = Member(fields, {kinetics: members.constants[kinetics]})
            saved, finite = jax.device_get(program(kinetics, heterogeneity)(alone))
            if not finite.all():
                raise IntegrationError(
                    f"{kinetics} {heterogeneity} {correlation}: the run of member "
                    f"{int((~finite).argmax())} of the chunk left the finite numbers"
                )
            return outcome_of(design, saved)

        found = []
        for names in product(*axes.values()):
            progress(first, design.members, " ".join(names))
            # Generated totals are equal, so soils that start uniform are alike.
            if generated and names[1] in ("homogeneous", "biochemical"):
                names = (*names[:2], axes["correlation"][0])
            found.append(outcome(*names))
        values = gathered(found, tuple(map(len, axes.values())))
        # The last chunk is filled up with members that are thrown away.
        wanted = chunk_members(design, plan, number)
        return {name: array[:, :, :, :wanted] for name, array in values.items()}

    return run_chunk


def chunk_members(design: Design, plan: Plan, number: int) -> int:
    """Members of a chunk: the last one may have fewer."""
    return min(plan.chunk, design.members - number * plan.chunk)


def stream(
    design: Design,
    store: Any,
    *,
    memory: float = 2.0 * 2**30,
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
    progress: Progress = silent,
) -> Table:
    """Runs an ensemble into a store, or what is missing of it, and sums it up.

    Members are drawn from their keys when their turn comes; memory does not grow with
    their number. A store of the same experiment is continued, also with more members,
    or with fewer, which are the first ones of the store.

    **Arguments:** `store`: a `jaxsoc.io.MemberStore`; `memory`: bytes, see
    `plan_ensemble`; `quantiles`: over members, see `MemberStatistics`.
    **Returns:** mean, standard deviation and quantiles over members of every series.
    **Raises:** `ValueError` for a limit below one chunk, or a store of something else,
    damaged, or taken by another run.
    """
    chunk_size(design, memory)  # speaks of a limit that is too small
    if not store.path.exists():
        plan = plan_ensemble(design, memory=memory, progress=progress)
        store.create(_empty(design, plan))
    statistics = MemberStatistics(design, quantiles)
    with store.locked():
        plan = continued(store, design, memory)
        if store.about()["members"] < design.members:
            store.grow(design.members)
        run_chunk = chunk_runner(design, plan, progress=progress)
        chunks = -(-design.members // plan.chunk)
        for number, held in enumerate(store.marks()[:chunks]):
            wanted = chunk_members(design, plan, number)
            if held < wanted:
                values = run_chunk(number)
                store.write(number, values)
            else:
                values = store.read(number, wanted)
            statistics.add(values)
    progress(design.members, design.members, "")
    warn_of_large_cells(design, case_axes(design), statistics.worst)
    results = statistics.table()
    kinds = product(design.kinetics, design.heterogeneity)
    error = [plan.error[" ".join(kind)] for kind in kinds]
    by_kind = np.reshape(error, (len(design.kinetics), -1))
    found = labelled({"respiration_error_estimate": by_kind})
    found["respiration_error_estimate"][2]["long_name"] += ", first member"
    results.variables.update(found)
    results.about["courant_numbers"] = plan.courant
    return results


def _empty(design: Design, plan: Plan) -> Table:
    """What a store of an ensemble holds, without values, and says of itself."""
    axes = case_axes(design)
    shape = (*map(len, axes.values()), design.members)
    whole = dict.fromkeys(SERIES, (*shape, len(design.times)))
    whole |= dict.fromkeys(_CHECKED, shape)
    values = {name: np.broadcast_to(np.nan, sizes) for name, sizes in whole.items()}
    about = {"experiment": _experiment(design), "members": design.members}
    about |= plan._asdict() | axes
    return Table(labelled(values), {"time": time_axis(design.times)}, about)


def continued(store: Any, design: Design, memory: float) -> Plan:
    """The plan that a store of this experiment was begun with; nothing is written.

    **Arguments:** see `stream`.
    **Raises:** `ValueError` for a store of something else, damaged, or with chunks
    that are too large for the memory.
    """
    known, path = store.about(), repr(str(store.path))
    chunk, found, wanted = known["chunk"], known["experiment"], _experiment(design)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{path} holds another experiment ({name} {found.get(name)}, asked for "
                f"{wanted.get(name)}): name another folder, or remove it"
            )
    if memory < (needed := memory_needed(design, chunk)):
        raise ValueError(
            f"{path} has chunks of {chunk} members, which need "
            f"{needed / 2**30:.3g} GiB, more than the memory limit of "
            f"{memory / 2**30:.3g} GiB: raise the limit, or name another folder"
        )
    return Plan(chunk, known["courant"], known["error"])


def _experiment(design: Design) -> dict[str, str]:
    """What makes two ensembles the same, up to their number of members."""
    known = described(design)
    known.pop("members")
    # Another release of either may draw other numbers from the same keys.
    return known | {name: version(name) for name in ("jaxsoc", "jax")}
