"""Measured respiration: the Soil Incubation Database, or a table of one's own."""

import re
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jaxsoc.observe import Respiration
from jaxsoc.physics.units import TIMES, respiration_unit

from .reading import read_text, reading

# Columns of the long form of the Soil Incubation Database that are read.
_SIDB = ("series_id", "entry", "time_d", "value_std", "units_std", "unit_check")
_WANTED = {
    "gas": ("CO2",),
    "statistic": ("mean", "none"),
    "unit_check": ("ok",),
    "quantity": ("rate", "cumulative"),
}
_SIDB_ALSO = ("gas", "statistic", "quantity", "basis", "soil_c_mg_g")
# What a value may be called in a table of one's own.
_VALUES = ("value", "respiration", "rate", "co2", "cumulative")
_HEADING = re.compile(r"^\s*(.*?)\s*(?:[\[(]\s*(.*?)\s*[\])]\s*)?$", re.DOTALL)


class Collection(NamedTuple):
    """Series that can be fitted, in the order of the file, and why others cannot."""

    series: tuple[Respiration, ...]
    left_out: dict[str, str]

    def __getitem__(self, name: Any) -> Any:
        """A series by its name.

        **Raises:** `ValueError` for one that is not there, or left out, with the why.
        """
        if not isinstance(name, str):
            return tuple.__getitem__(self, name)
        for one in self.series:
            if one.name == name:
                return one
        if name in self.left_out:
            raise ValueError(f"series {name!r} cannot be fitted: {self.left_out[name]}")
        some = ", ".join(one.name for one in self.series[:3])
        raise ValueError(f"no series {name!r}: there are {some}, ...")


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
    if set(_SIDB) <= set(table.columns):
        return _database(path, table, soil_carbon, mean_rates)
    return _own(path, table, unit, time_unit, soil_carbon, mean_rates)


def read_table(path: Path) -> pd.DataFrame:
    """A .csv file as text.

    **Raises:** `ValueError` for a file that is not there or cannot be read.
    """
    with reading(path):
        # Headings as a row of data, for pandas would rename those that are there twice
        # and take a column without one for labels of the rows.
        rows = pd.read_csv(
            BytesIO(read_text(path)),
            header=None,
            dtype=str,
            keep_default_na=False,
            comment="#",
        )
    names = [name.strip() for name in rows.iloc[0]]
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise ValueError(f"{path.name} has two columns {twice[0]!r}: expected one")
    return rows.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)


def check_columns(path: Path, table: pd.DataFrame, names: Iterable[str]) -> None:
    """Raises `ValueError` for columns that a table lacks."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}")


def numbers_of(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """A column as numbers, NaN where nothing is given.

    **Raises:** `ValueError` for text that is no number, with its row.
    """
    text = table[column].str.strip()
    parsed = pd.to_numeric(text.replace("", "nan"), errors="coerce")
    numbers = np.asarray(parsed, dtype=float)
    bad = np.isnan(numbers) & ~text.str.lower().isin(("", "nan", "na")).to_numpy()
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{path.name}: {column} is {text.iloc[first]!r} in row {first + 1}; "
            "expected a number"
        )
    return numbers


def _database(path, table, soil_carbon, mean_rates):
    check_columns(path, table, _SIDB_ALSO)
    columns = ("time_d", "value_std", "soil_c_mg_g")
    table = table.assign(**{n: numbers_of(path, table, n) for n in columns})
    series, left_out = [], {}
    for name, rows in table.groupby("series_id", sort=False):
        first = rows.iloc[0]
        carbon = first.soil_c_mg_g if first.soil_c_mg_g > 0 else soil_carbon
        hours, values = TIMES["d"] * rows.time_d.to_numpy(), rows.value_std.to_numpy()
        try:
            _check_wanted(first)
            given = (hours, values, first.units_std, carbon, mean_rates)
            series.append(_series(str(name), *given, study=first.entry))
        except ValueError as error:
            left_out[str(name)] = str(error)
    return Collection(tuple(series), left_out)


def _check_wanted(first):
    for column, wanted in _WANTED.items():
        if first[column] not in wanted:
            raise ValueError(f"its {column} is {first[column] or 'not given'!r}")


def _series(
    name, times, values, unit, soil_carbon, mean_rates, *, study="", deviation=None
):
    meant = respiration_unit(unit)
    factor = meant.factor
    if meant.per_carbon:
        if soil_carbon is None:
            raise ValueError(
                f"{name}: {unit!r} is per soil carbon: give the carbon of the soil"
            )
        factor = factor * soil_carbon * 1e-3
    if mean_rates and not meant.rate:
        raise ValueError(f"{name}: mean rates are asked for, but {unit!r} is no rate")
    rate = "mean_rate" if mean_rates else "respiration"
    return Respiration(
        times,
        factor * values,
        rate if meant.rate else "co2",
        None if deviation is None else factor * deviation,
        None if soil_carbon is None else float(soil_carbon),
        name,
        study,
        unit,
    )


def _own(path, table, unit, time_unit, soil_carbon, mean_rates):
    headings = {}
    for column in table.columns:
        [(name, inner)] = _HEADING.findall(column)
        if name and name.lower() in headings:
            both = headings[name.lower()][0], column
            raise ValueError(f"{path.name} has two columns for {name}: {both}")
        headings[name.lower()] = (column, inner)
    for short, long in (("time_d", "d"), ("time_h", "h")):
        if short in headings:
            headings.setdefault("time", (headings[short][0], long))
    time, time_unit_found = _column(path, headings, ("time",))
    value, unit_found = _column(path, headings, _VALUES)
    hours = _hours(path, time_unit or time_unit_found)
    unit = unit or unit_found
    if not unit:
        raise ValueError(
            f"{path.name}: the unit of {value!r} is not given; write it behind the "
            "name, as in 'respiration (ugC/g/d)'"
        )
    respiration_unit(unit)

    def numbers(*names):
        columns = [headings[name][0] for name in names if name in headings]
        return numbers_of(path, table, columns[0]) if columns else None

    times = hours * numbers_of(path, table, time)
    values = numbers_of(path, table, value)
    deviations, carbons = numbers("sd", "deviation"), numbers("soil_c_mg_g")
    identity = headings.get("series_id")
    names = table[identity[0]] if identity else path.name.split(".")[0]
    groups = table.assign(name=names).groupby("name", sort=False).indices
    series = tuple(
        _series(
            str(name),
            times[rows],
            values[rows],
            unit,
            soil_carbon if carbons is None else carbons[rows[0]],
            mean_rates,
            deviation=None if deviations is None else deviations[rows],
        )
        for name, rows in groups.items()
    )
    return Collection(series, {})


def _column(path, headings, names):
    for name in names:
        if name in headings:
            return headings[name]
    found = ", ".join(column for column, _ in headings.values()) or "nothing"
    raise ValueError(f"{path.name} has no column {' or '.join(names)}: found {found}")


def _hours(path, unit):
    if not unit:
        raise ValueError(
            f"{path.name}: the unit of time is not given; write it behind the name, as "
            "in 'time (d)'"
        )
    if unit not in TIMES:
        raise ValueError(
            f"unknown units of time {unit!r}: expected one of {', '.join(TIMES)}"
        )
    return TIMES[unit]
