"""Runs of columns through time as tables, and the changes that a file says."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxsoc.columns.transient import Change
from jaxsoc.columns.yearly import SiteRuns
from jaxsoc.physics.parameters import NON_NEGATIVE, Interval
from jaxsoc.tables import Table, about, variable

from .columns import column_coordinates
from .places import Places
from .reading import numbers_of, read_table

# A warming beyond which a number is taken for a temperature.
WARMING = Interval(-50.0, 50.0, closed_low=True, closed_high=True)
# Fields of `Held` and `Passed` -> dimensions, unit, long name; all mass is of carbon.
_DELTA = "radiocarbon (Delta 14C)"
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "soil_organic_carbon": ("layer", "g m-3", "soil organic carbon"),
    "soil_stock": ("stock_depth", "g m-2", "soil organic carbon down to the depth"),
    "pool_stock": ("pool", "g m-2", "carbon of a pool in the whole column"),
    "soil_delta": ("layer", "1e-3", f"{_DELTA} of soil organic carbon"),
    "stock_delta": (
        "stock_depth",
        "1e-3",
        f"{_DELTA} of soil carbon down to the depth",
    ),
    "pool_delta": ("pool", "1e-3", f"{_DELTA} of a pool in the whole column"),
    "litter": ("", "g m-2 yr-1", "carbon in litter over the year"),
    "respired": ("", "g m-2 yr-1", "carbon respired over the year"),
    "respired_delta": ("", "1e-3", f"{_DELTA} of the carbon respired over the year"),
}
"""What is written of a run, with the dimensions that it has besides place and year."""


def runs_table(
    runs: Mapping[str, SiteRuns], places: Places, first: int | None = None
) -> Table:
    """Runs of several models at many places, over model, places and year.

    Variables `run_...`: states at the end of each `year`, before the first of which
    stands the start, and fluxes over it, NaN of the start. `run_balance_error` says of
    each place how well carbon closes over the whole run.

    **Arguments:** `runs`: of `experiments.runs_at_sites`, by label of the model;
    `places`: of the sites; `first`: calendar year that the runs begin in, by default
    they are counted, the start being 0.
    """
    one = next(iter(runs.values()))
    pools = [*dict.fromkeys(p for r in runs.values() for p in r.model.pools._fields)]
    over = ("model", *places.dims)
    count = np.shape(one.held.soil_stock)[1]
    variables = {}
    for name, (dims, unit, said) in VARIABLES.items():
        known = [_values(run, name, pools, count) for run in runs.values()]
        if known[0] is None:
            continue
        every = np.stack([places.spread(x) for x in known])
        wide = (*over, "year", *dims.split())
        variables[f"run_{name}"] = variable(wide, every, unit, said)
    errors = np.stack([places.spread(run.balance_error) for run in runs.values()])
    off = "carbon that came in less what left and stayed, per all there ever was"
    variables["run_balance_error"] = variable(over, errors, "1", off)
    flags = [places.spread(x.spun_up.astype(np.int8), 0) for x in runs.values()]
    said = "whether the run starts where years of the same months lead back to"
    more = {"flag_values": np.array([0, 1], np.int8)}
    more |= {"flag_meanings": "steady_state_of_means own_year"}
    variables["run_spun_up"] = over, np.stack(flags), about(long_name=said) | more
    start = 0 if first is None else first - 1
    said = "calendar year AD" if first is not None else "year of the run"
    year = variable("year", start + np.arange(count), "1", f"{said}, at its end")
    coordinates = {
        "model": variable("model", [*runs], long_name="soil carbon model"),
        **column_coordinates(one.model, pools, one.ends),
        **places.coordinates,
        "year": year,
    }
    return Table(variables, coordinates, {"title": "Soil columns through time"})


def _values(run, name, pools, count):
    """By site, year from the start, and the pools of all models; None if not known."""
    held = {**run.held._asdict(), **run.passed._asdict()}
    if held[name] is None:
        return None
    values = np.asarray(held[name])
    if name in run.passed._fields:
        return np.concatenate([np.full_like(values[:, :1], np.nan), values], axis=1)
    if VARIABLES[name][0] != "pool":
        return values
    wide = np.full((len(values), count, len(pools)), np.nan)
    wide[..., [pools.index(pool) for pool in run.model.pools._fields]] = values
    return wide


def load_changes(path: Path | str) -> tuple[np.ndarray, Change]:
    """Years of a table and how each differs from the climate.

    Columns: `year`, one row for each in order; `warming_k`, of all layers and months,
    and `litter_factor`, of all litter; one of both may be left out.

    **Returns:** years, and a `Change` that leads by year.
    **Raises:** `ValueError` that names file, row and column.
    """
    path = Path(path)
    table = read_table(path)
    known = {"warming_k": (0.0, WARMING), "litter_factor": (1.0, NON_NEGATIVE)}
    if "year" not in table.columns or not set(known) & set(table.columns):
        held = ", ".join(map(str, table.columns))
        raise ValueError(
            f"{path.name}: expected a column year, and warming_k or litter_factor, "
            f"found {held}"
        )
    if not len(table):
        raise ValueError(f"{path.name} has no rows: expected one for each year")
    years = numbers_of(path, table["year"])
    wrong = ~(np.diff(years, prepend=years[0] - 1) == 1) | (years % 1 != 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{path.name}: expected a row for each year in order, got year "
            f"{years[row]:g} in row {row + 1}"
        )
    found = []
    for name, (usual, bounds) in known.items():
        values = np.full(len(years), usual)
        if name in table.columns:
            values = numbers_of(path, table[name])
        outside = ~bounds.contains(values)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"{path.name}: {name} must lie in {bounds}, got {values[row]:g} in "
                f"row {row + 1}"
            )
        found.append(values)
    return years.astype(int), Change(*found)
