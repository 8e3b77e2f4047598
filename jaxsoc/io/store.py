"""Ensembles of any size: a zarr store filled chunk by chunk, statistics as they come.

A chunk counts as finished once its mark is written, after everything else of it; a run
that was killed goes on behind the last mark, and ends with the same bytes.
"""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from jaxsoc.experiments import (
    Chunk,
    Design,
    Plan,
    checked_correlations,
    chunk_size,
    memory_needed,
    plan_ensemble,
    run_chunks,
)
from jaxsoc.experiments.design import described, design_provenance
from jaxsoc.experiments.run import DIMENSIONS
from jaxsoc.physics.grids import warn_unless_well_mixed
from jaxsoc.tables import about, time_axis, variable

from .labels import provenance
from .results import CHECKS, SERIES
from .summary import MemberStatistics

_DONE = "chunk_finished"
# Checks that an ensemble makes for every member.
_CHECKED = (
    "carbon_balance_error",
    "largest_damkohler",
    "share_not_well_mixed",
    "smallest_pool",
)


def stream(
    design: Design,
    path: Path | str,
    *,
    memory: float = 2.0 * 2**30,
    quantiles: tuple[float, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> xr.Dataset:
    """Runs an ensemble into a zarr store, or what is missing of it, and sums it up.

    Members are drawn from their keys when their turn comes; memory does not grow with
    their number. A store of the same experiment is continued, also with more members.

    **Arguments:** `path`: of the store; `memory`: bytes, see `plan_ensemble`;
    `quantiles`: over members, see `MemberStatistics`.
    **Returns:** mean, standard deviation and quantiles over members of every series.
    **Raises:** `ValueError` for a limit below one chunk, or a store of something else.
    """
    chunk_size(design, memory)  # speaks of a limit that is too small
    path = Path(path)
    if path.exists():
        group, plan = _continued(path, design, memory)
    else:
        plan = plan_ensemble(design, memory=memory, progress=progress)
        group = _created(path, design, plan)
    total = -(-design.members // plan.chunk)
    marks = np.asarray(group[_DONE])
    size = lambda number: _size(design, plan, number)
    done = {number for number in range(total) if marks[number] >= size(number)}
    statistics = MemberStatistics(design, quantiles)
    coming = run_chunks(design, plan, skip=done, progress=progress)
    for number in range(total):
        if number in done:
            chunk = _read(group, number * plan.chunk, size(number))
        else:
            chunk = next(coming)
            _write(group, chunk)
            group[_DONE][number] = size(number)
        statistics.add(chunk)
    next(coming, None)  # the last word of the progress
    _warn_unless_well_mixed(design, statistics.worst)
    attributes = {
        "courant_numbers": {" ".join(kind): c for kind, c in plan.courant.items()}
    }
    results = statistics.dataset(provenance(**design_provenance(design)) | attributes)
    unit, long_name = CHECKS["respiration_error_estimate"]
    error = [[plan.error[k, h] for h in design.heterogeneity] for k in design.kinetics]
    results["respiration_error_estimate"] = variable(
        DIMENSIONS[:2], error, unit, f"{long_name}, first member"
    )
    return results


def _warn_unless_well_mixed(design, worst):
    damkohler = worst["largest_damkohler"]
    k, h, c = place = np.unravel_index(damkohler.argmax(), damkohler.shape)
    correlations = checked_correlations(design, None)
    warn_unless_well_mixed(
        float(damkohler[place]),
        float(worst["share_not_well_mixed"][place]),
        edge=design.grid.edge,
        case=f"{design.kinetics[k]} {design.heterogeneity[h]} {correlations[c]}",
    )


def _group(path: Path, mode: Any) -> Any:
    # Typed loosely: what a name in a group stands for is known to its writer alone.
    return zarr.open_group(path, mode=mode)


def _size(design, plan, number):
    return min(plan.chunk, design.members - number * plan.chunk)


def _continued(path, design, memory):
    """A store of this experiment, and the plan that it was begun with."""
    try:
        group = _group(path, "r+")
        found = group.attrs["experiment"]
        chunk, held = int(group.attrs["chunk"]), int(group.attrs["members"])
        courant, error = group.attrs["courant"], group.attrs["error"]
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"{str(path)!r} is not a store of an ensemble: name another, or remove it"
        ) from None
    experiment = _experiment(design)
    if found != experiment:
        raise ValueError(
            f"{str(path)!r} holds another experiment "
            f"({_difference(found, experiment)}): name another folder, or remove it"
        )
    if memory < (needed := memory_needed(design, chunk)):
        raise ValueError(
            f"{str(path)!r} has chunks of {chunk} members, which need "
            f"{needed / 2**30:.3g} GiB, more than the memory limit of "
            f"{memory / 2**30:.3g} GiB: raise the limit, or name another folder"
        )
    if held > design.members:
        raise ValueError(
            f"{str(path)!r} holds {held} members, asked for {design.members}: ask for "
            "as many or more, or name another folder"
        )
    if held < design.members:
        _grow(group, design.members, chunk)
    kinds = list(product(design.kinetics, design.heterogeneity))
    of_kinds = lambda table: {kind: float(table[" ".join(kind)]) for kind in kinds}
    return group, Plan(chunk, of_kinds(courant), of_kinds(error))


def _created(path, design, plan):
    # Whole or absent: a store without its description could not be continued.
    temporary = path.with_name(f".{path.name}-new")
    group = _group(temporary, "w")
    axes = [len(design.kinetics), len(design.heterogeneity)]
    axes += [len(checked_correlations(design, None)), design.members]
    times = len(design.times)
    over_time = (*DIMENSIONS, "time")
    for name, said in SERIES.items():
        _array(group, name, (*axes, times), plan.chunk, over_time, *said)
    for name in _CHECKED:
        _array(group, name, tuple(axes), plan.chunk, DIMENSIONS, *CHECKS[name])
    coordinates = {
        "kinetics": np.asarray(design.kinetics),
        "heterogeneity": np.asarray(design.heterogeneity),
        "correlation": np.asarray(checked_correlations(design, None)),
    }
    dim, days, said = time_axis(design.times)
    time = group.create_array("time", data=days, dimension_names=(dim,))
    time.attrs.update(said)
    chunks = -(-design.members // plan.chunk)
    group.create_array(
        _DONE, shape=(chunks,), chunks=(1,), dtype="int64", dimension_names=("chunk",)
    )
    group.attrs.update(
        {
            "experiment": _experiment(design),
            "members": design.members,
            "chunk": plan.chunk,
            "courant": {" ".join(kind): c for kind, c in plan.courant.items()},
            "error": {" ".join(kind): e for kind, e in plan.error.items()},
            **{name: list(map(str, values)) for name, values in coordinates.items()},
        }
    )
    temporary.rename(path)
    return _group(path, "r+")


def _array(group, name, shape, chunk, dims, unit, long_name):
    member = dims.index("member")
    chunks = tuple(chunk if axis == member else n for axis, n in enumerate(shape))
    array = group.create_array(
        name, shape=shape, chunks=chunks, dtype="float64", dimension_names=dims
    )
    array.attrs.update(about(unit, long_name))


def _grow(group, members, chunk):
    for name in (*SERIES, *_CHECKED):
        array = group[name]
        place = array.metadata.dimension_names.index("member")
        shape = list(array.shape)
        shape[place] = members
        array.resize(tuple(shape))
    group[_DONE].resize((-(-members // chunk),))
    group.attrs["members"] = members


def _write(group, chunk: Chunk):
    size = next(iter(chunk.checks.values())).shape[3]
    members = slice(chunk.first, chunk.first + size)
    for name in SERIES:
        group[name][:, :, :, members, :] = chunk.series[name]
    for name in _CHECKED:
        group[name][:, :, :, members] = chunk.checks[name]


def _read(group, first, size):
    members = slice(first, first + size)
    series = {name: group[name][:, :, :, members, :] for name in SERIES}
    checks = {name: group[name][:, :, :, members] for name in _CHECKED}
    return Chunk(first, series, checks)


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


def load_members(path: Path | str) -> Iterator[Chunk]:
    """The finished chunks of a store, in order."""
    group = _group(Path(path), "r")
    chunk = int(group.attrs["chunk"])
    for number, size in enumerate(np.asarray(group[_DONE])):
        if size:
            yield _read(group, number * chunk, int(size))
