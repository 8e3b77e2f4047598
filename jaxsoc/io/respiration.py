"""Measured respiration: the Soil Incubation Database, or a table of one's own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from jaxsoc.observe import Respiration
from jaxsoc.physics.options import check_option
from jaxsoc.physics.units import TIMES, respiration_unit

from .reading import numbers_of, read_table, with_columns

# Columns by which the long form of the Soil Incubation Database is told from others,
# those of them that are numbers, and what a series that is read must be.
_SIDB = ("series_id", "entry", "time_d", "value_std", "units_std", "unit_check")
_SIDB_NUMBERS = ("time_d", "value_std", "soil_c_mg_g")
_WANTED = {
    "gas": ("CO2",),
    "statistic": ("mean", "none"),
    "unit_check": ("ok",),
    "quantity": ("rate", "cumulative"),
}
# Our name of a column, that of the database where it has one, and what may head it in
# a table of one's own, the first that is there being read.
_HEADINGS = {
    "time": ("time", "time_d", "time_h"),
    "value_std": ("value", "respiration", "rate", "co2", "cumulative"),
    "deviation": ("sd", "deviation"),
    "soil_c_mg_g": ("soil_c_mg_g",),
    "series_id": ("series_id",),
}
_HEADING = re.compile(r"^\s*(.*?)\s*(?:[\[(]\s*(.*?)\s*[\])]\s*)?$", re.DOTALL)


@dataclass(frozen=True)
class Collection:
    """Series that can be fitted, in the order of the file, and why others cannot."""

    series: tuple[Respiration, ...]
    left_out: dict[str, str]

    def __getitem__(self, name: str) -> Respiration:
        """A series by its name.

        **Raises:** `ValueError` for one that is not there, or left out, with the why.
        """
        if name in self.left_out:
            raise ValueError(f"series {name!r} cannot be fitted: {self.left_out[name]}")
        known = {one.name: one for one in self.series}
        if name not in known:
            some = ", ".join(list(known)[:3])
            raise ValueError(f"no series {name!r}: there are {some}, ...")
        return known[name]


def load_respiration(
    path: Path | str,
    *,
    unit: str | None = None,
    time_unit: str | None = None,
    soil_carbon: float | None = None,
    mean_rates: bool = False,
) -> Collection:
    """Series of respired CO2 from a .csv or .csv.gz file, in mgC/g and h.

    Either the long form of the Soil Incubation Database, of which the series are taken
    that are CO2, a mean or a single replicate, in units that were converted and found
    plausible, and rates or cumulative; or a table with a time and a value column, each
    with its unit in brackets behind its name ("time (d)", "respiration (ugC/g/d)"),
    and if need be `sd`, one standard deviation in the unit of the value, `series_id`
    and `soil_c_mg_g`. Whether a value is a rate or cumulative follows from its unit.

    **Arguments:** `unit`, `time_unit`: where the headings do not say; `soil_carbon`:
    mgC/g, where the file does not say; `mean_rates`: rates are means since the point
    before, instead of rates at that moment.

    **Raises:** `ValueError` for a file that cannot be read, a missing column, unknown
    units, and as `Respiration`.
    """
    path = Path(path)
    table = read_table(path)
    of_database = set(_SIDB) <= set(table.columns)
    if of_database:
        table = with_columns(path, table, _WANTED, _SIDB_NUMBERS)
        table = table.assign(hours=TIMES["d"] * table.time_d)
    else:
        table = _own(path, table, unit, time_unit)
    series, left_out = [], {}
    for name, rows in table.groupby("series_id", sort=False):
        try:
            if of_database:
                check_texts(rows.iloc[0], _WANTED)
            series.append(_series(str(name), rows, soil_carbon, mean_rates))
        except ValueError as error:
            if not of_database:
                raise
            left_out[str(name)] = str(error)
    return Collection(tuple(series), left_out)


def check_texts(row: Any, known: Mapping[str, tuple[str, ...]]) -> None:
    """Raises `ValueError` for a text of a row that is none of those known."""
    for column, texts in known.items():
        check_option(column, row[column], texts)


def _own(path, table, unit, time_unit):
    """A table of one's own by the names of the database."""
    headings: dict[str, tuple[str, str]] = {}
    for column in table.columns:
        [(name, inner)] = _HEADING.findall(column)
        if name and name.lower() in headings:
            both = headings[name.lower()][0], column
            raise ValueError(f"{path.name} has two columns for {name}: {both}")
        headings[name.lower()] = (column, inner)
    read: dict[str, str] = {}
    units = {"time_d": "d", "time_h": "h"}
    for meaning, names in _HEADINGS.items():
        known = next((name for name in names if name in headings), None)
        if known is not None:
            read[meaning], inner = headings[known]
            units[meaning] = units.get(known, inner)
        elif meaning in ("time", "value_std"):
            found = ", ".join(column for column, _ in headings.values()) or "nothing"
            expected = " or ".join(names)
            raise ValueError(f"{path.name} has no column {expected}: found {found}")
    time_unit, unit = time_unit or units["time"], unit or units["value_std"]
    for meaning, given in (("time", time_unit), ("value_std", unit)):
        if not given:
            raise ValueError(
                f"{path.name}: the unit of {read[meaning]!r} is not given; write it "
                "behind the name, as in 'time (d)' or 'respiration (ugC/g/d)'"
            )
    check_option("units of time", time_unit, TIMES)
    respiration_unit(unit)
    named = "series_id" in read
    name = table[read.pop("series_id")] if named else path.name.split(".")[0]
    numbers = {what: numbers_of(path, table[column]) for what, column in read.items()}
    hours = TIMES[time_unit] * numbers.pop("time")
    said = {"series_id": name, "entry": "", "units_std": unit}
    return pd.DataFrame({"hours": hours, **numbers, **said})


def _series(name, rows, soil_carbon, mean_rates):
    first, unit = rows.iloc[0], rows.units_std.iloc[0]
    carbon = first.get("soil_c_mg_g", np.nan)
    carbon = soil_carbon if np.isnan(carbon) else carbon
    meant = respiration_unit(unit)
    factor = meant.factor
    if meant.per_carbon:
        if carbon is None:
            raise ValueError(
                f"{name}: {unit!r} is per soil carbon: give the carbon of the soil"
            )
        factor = factor * carbon * 1e-3
    if mean_rates and not meant.rate:
        raise ValueError(f"{name}: mean rates are asked for, but {unit!r} is no rate")
    rate = "mean_rate" if mean_rates else "respiration"
    return Respiration(
        rows.hours,
        factor * rows.value_std,
        rate if meant.rate else "co2",
        factor * rows.deviation if "deviation" in rows else None,
        None if carbon is None else float(carbon),
        name,
        first.entry,
        unit,
    )
