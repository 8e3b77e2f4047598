"""Ensembles of any size into a store: run, continue, sum up."""

import json
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np

from jaxsoc.tables import Table, time_axis, variable

from .design import Design, case_axes, described
from .ensemble import (
    Plan,
    chunk_members,
    chunk_runner,
    chunk_size,
    memory_needed,
    plan_ensemble,
)
from .series import CHECKS, DIMENSIONS, SERIES, labelled, warn_of_large_cells
from .statistics import MemberStatistics

# Checks that an ensemble makes for every member.
_CHECKED = (
    "carbon_balance_error",
    "largest_damkohler",
    "share_not_well_mixed",
    "smallest_pool",
)


def stream(
    design: Design,
    store: Any,
    *,
    memory: float = 2.0 * 2**30,
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
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
    plan = None
    if not store.path.exists():
        plan = plan_ensemble(design, memory=memory, progress=progress)
        store.create(_empty(design, plan))
    statistics = MemberStatistics(design, quantiles)
    with store.locked():
        plan = plan or _continued(store, design, memory)
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
    unit, long_name = CHECKS["respiration_error_estimate"]
    error = [[plan.error[k, h] for h in design.heterogeneity] for k in design.kinetics]
    results.variables["respiration_error_estimate"] = variable(
        DIMENSIONS[:2], error, unit, f"{long_name}, first member"
    )
    results.about["courant_numbers"] = _by_text(plan.courant)
    return results


def _by_text(table):
    return {" ".join(kind): value for kind, value in table.items()}


def _empty(design: Design, plan: Plan) -> Table:
    """What a store of an ensemble holds, without values, and says of itself."""
    axes = case_axes(design)
    shape = (*map(len, axes.values()), design.members)
    whole = dict.fromkeys(SERIES, (*shape, len(design.times)))
    whole |= dict.fromkeys(_CHECKED, shape)
    values = {name: np.broadcast_to(np.nan, sizes) for name, sizes in whole.items()}
    about = {
        "experiment": _experiment(design),
        "members": design.members,
        "chunk": plan.chunk,
        "courant": _by_text(plan.courant),
        "error": _by_text(plan.error),
    }
    return Table(labelled(values), {"time": time_axis(design.times)}, about | axes)


def _continued(store, design, memory) -> Plan:
    """The plan that a store of this experiment was begun with."""
    known = store.about()
    chunk, held, path = known["chunk"], known["members"], repr(str(store.path))
    found, experiment = known["experiment"], _experiment(design)
    if found != experiment:
        raise ValueError(
            f"{path} holds another experiment ({_difference(found, experiment)}): name "
            "another folder, or remove it"
        )
    if memory < (needed := memory_needed(design, chunk)):
        raise ValueError(
            f"{path} has chunks of {chunk} members, which need "
            f"{needed / 2**30:.3g} GiB, more than the memory limit of "
            f"{memory / 2**30:.3g} GiB: raise the limit, or name another folder"
        )
    if held < design.members:
        store.grow(design.members)
    kinds = list(product(design.kinetics, design.heterogeneity))
    of_kinds = lambda table: {kind: float(table[" ".join(kind)]) for kind in kinds}
    return Plan(chunk, of_kinds(known["courant"]), of_kinds(known["error"]))


def _experiment(design: Design) -> str:
    """What makes two ensembles the same, up to their number of members."""
    known = described(design)
    known.pop("members")
    # Another release of either may draw other numbers from the same keys.
    known |= {name: version(name) for name in ("jaxsoc", "jax")}
    return json.dumps(known, sort_keys=True)


def _difference(found, wanted):
    one, other = json.loads(found), json.loads(wanted)
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            return f"{name} {one.get(name)}, asked for {other.get(name)}"
    return "described differently"
