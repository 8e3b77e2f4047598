"""Climate, vegetation and texture of any place, from grids or from a user's file."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from jaxsoc.physics.forcing import DAYS_PER_MONTH, MONTHS
from jaxsoc.physics.site import CLIMATE, LIMITS, MONTH_NAMES
from jaxsoc.physics.units import DAYS_PER_YEAR, SECONDS_PER_DAY, ZERO_CELSIUS

from .cells import LATITUDE, LONGITUDE, Cells, Climatology
from .forcing import CELSIUS, KELVIN, PERCENT, factor_of
from .reading import lacking, netcdf, numbers_of, read_numpy, read_table, reading

_AIR = dict.fromkeys(CELSIUS, (1.0, 0.0))
_AIR |= dict.fromkeys(KELVIN, (1.0, -ZERO_CELSIUS))
_RAIN = {
    **dict.fromkeys(("mm/month", "mm month-1", "kg m-2 month-1"), (1.0, 0.0)),
    **dict.fromkeys(("mm/day", "mm/d", "mm day-1", "mm d-1"), (DAYS_PER_MONTH, 0.0)),
    **dict.fromkeys(("kg m-2 s-1", "mm s-1"), (SECONDS_PER_DAY * DAYS_PER_MONTH, 0.0)),
}
_CARBON = {
    **dict.fromkeys(("gC m-2 yr-1", "gC/m^2/yr", "g m-2 yr-1"), (1.0, 0.0)),
    **dict.fromkeys(("kgC m-2 yr-1", "kgC/m^2/yr"), (1e3, 0.0)),
    "kg m-2 s-1": (1e3 * SECONDS_PER_DAY * DAYS_PER_YEAR, 0.0),
}
_WATER = {
    **dict.fromkeys(("m3 m-3", "m**3 m**-3", "m3/m3", "1"), (1.0, 0.0)),
    "%": (0.01, 0.0),
}
# What is measured at two levels, `physics.climate.LEVELS`, of which each has a name.
_MEASURED = ("soil_temperature", "soil_water")
_LEVELS = tuple(f"{name}_{level}" for name in _MEASURED for level in (1, 2))
_MONTHLY = (*CLIMATE, *_LEVELS)
# Name in `Site` -> other names, and units with factor and offset to that of `Site`,
# which comes first and is meant where a table says none.
_KNOWN: Mapping[str, tuple[tuple[str, ...], Mapping[Any, Any]]] = {
    "air_temperature": (("tas", "t2m", "tair", "tair_c"), _AIR),
    "precipitation": (("pr", "prec", "precipitation_flux", "precip_mm"), _RAIN),
    "soil_temperature_1": (("stl1", "tsoil_0_7cm_c"), _AIR),
    "soil_temperature_2": (("stl2", "tsoil_7_28cm_c"), _AIR),
    "soil_water_1": (("swvl1", "vwc_0_7cm"), _WATER),
    "soil_water_2": (("swvl2", "vwc_7_28cm"), _WATER),
    "soil_class": (("slt",), {"1": (1.0, 0.0)}),
    "sand": ((), PERCENT),
    "clay": ((), PERCENT),
    "land_cover": (("igbp", "igbp_class"), {"1": (1.0, 0.0)}),
    "npp": ((), _CARBON),
}
_PLACE = {"latitude": ("lat",), "longitude": ("lon",)}
_HEADING = re.compile(r"^\s*(.*?)\s*(?:[\[(]\s*(.*?)\s*[\])]\s*)?$", re.DOTALL)
# Classes of CASA's grid without soil: ice, and water.
_NO_SOIL = (15, 17)


def load_climatology(path: Path | str | None = None) -> Climatology:
    """Climate by place: of the published grids, or of one's own netCDF or .csv file.

    A folder with `climate_1deg_monthly.npz`, and if need be `casa_clm_2deg.csv.gz` and
    `cesm_three_pool_0p94x1p25.npz`. Or a netCDF file, see `climatology_from_dataset`.
    Or a table with a row for each month of each site: `month` (1 to 12), `latitude`,
    `longitude`, `air_temperature` (or `tas`, °C), `precipitation` (or `pr`, mm per
    month), and if need be `sand`, `clay`, `land_cover` and `npp`, and of the soil at 0
    to 7 and 7 to 28 cm `soil_temperature_1`, `soil_temperature_2` (°C), `soil_water_1`,
    `soil_water_2` (m³ m⁻³) and `soil_class`, which then take the place of what the
    climate says; ERA5's names (`stl1`, `swvl1`) are known. Another unit stands in
    brackets behind the name, as in "tas (K)". With a column `year` years are averaged.

    **Arguments:** `path`: by default the folder global_grids in `JAXSOC_DATA`.
    **Raises:** `ValueError` for a file that cannot be read, columns, months or units
    that are missing, naming file, row and column.
    """
    if path is None:
        named = os.environ.get("JAXSOC_DATA")
        if not named:
            raise ValueError(
                "no climatology: set JAXSOC_DATA to the folder that holds global_grids,"
                " or name a file"
            )
        path = Path(named) / "global_grids"
    path = Path(path)
    if path.is_dir():
        inner = path / "global_grids"
        return _grids(inner if inner.is_dir() else path)
    if path.name.removesuffix(".gz").endswith(".csv"):
        return _table(path)
    with reading(path), netcdf(path) as dataset:
        return climatology_from_dataset(dataset, name=path.name)


def climatology_from_dataset(
    dataset: xr.Dataset, *, name: str = "dataset"
) -> Climatology:
    """Climate by place from a dataset with names and units of the CF conventions.

    Needed: `tas` (or `air_temperature`) and `pr` (or `precipitation`), by name or
    standard name, each with units and the dimension `month` (1 to 12) or `time`, whose
    years are averaged; `lat` and `lon`, as dimensions or by site. `sand`, `clay`,
    `land_cover`, `npp` and what was measured in the soil, see `load_climatology`, are
    read where there are any.

    **Arguments:** `name`: what errors call the dataset.
    **Raises:** `ValueError` that names the variable, what was received and expected.
    """
    try:
        return _climatology(dataset, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _climatology(dataset, name):
    place = {ours: _find(dataset, ours, others) for ours, others in _PLACE.items()}
    if missing := [ours for ours, found in place.items() if found is None]:
        held = lacking(missing[0], map(str, dataset.variables))
        raise ValueError(f"no coordinate {missing[0]}: {held}")
    latitude, longitude = (dataset[found] for found in place.values())
    on_grid = latitude.ndim == longitude.ndim == 1 and latitude.dims != longitude.dims
    dims = (*latitude.dims, *longitude.dims) if on_grid else latitude.dims
    at = xr.broadcast(latitude, longitude)
    degrees = [np.ravel(x.transpose(*dims)) for x in at]
    LATITUDE.check("latitude", degrees[0], "degrees north")
    LONGITUDE.check("longitude", degrees[1], "degrees east")
    found: dict[str, np.ndarray] = {}
    for ours, (others, units) in _KNOWN.items():
        theirs = _find(dataset, ours, others)
        if theirs is None:
            if ours in CLIMATE:
                held = lacking(ours, map(str, dataset.data_vars))
                raise ValueError(f"no variable {ours} or {others[0]}: {held}")
            continue
        values = _converted(dataset[theirs], theirs, units)
        found[ours] = _by_cell(values, theirs, dims, ours in _MONTHLY)
    found = _of_two_levels(found)
    known = np.all([np.isfinite(found[n]).all(axis=-1) for n in CLIMATE], axis=0)
    if not known.any():
        raise ValueError("no cell has a climate of all months")
    cells = {n: x[known] for n, x in found.items()}
    return Climatology(
        name, Cells(degrees[0][known], degrees[1][known], cells, "climate_distance")
    )


def _find(dataset, ours, others):
    """Name of a variable by our name, another one, or its standard name."""
    for theirs, variable in dataset.variables.items():
        if str(theirs) in (ours, *others):
            return theirs
        if variable.attrs.get("standard_name") in (ours, *others):
            return theirs
    return None


def _converted(variable, name, units):
    factor, offset = factor_of(name, variable, units)
    return factor * variable.astype(float) + offset


def _by_cell(variable, name, dims, monthly):
    """Values by cell, and by month from January where they are monthly."""
    axis = [dim for dim in variable.dims if dim not in dims]
    lost = [dim for dim in dims if dim not in variable.dims]
    if lost or len(axis) != monthly:
        expected = (("month or time",) if monthly else ()) + tuple(map(str, dims))
        raise ValueError(
            f"{name} has the dimensions {', '.join(map(str, variable.dims)) or 'none'},"
            f" expected {', '.join(expected) or 'none'}"
        )
    values = variable.transpose(*dims, *axis).to_numpy()
    if not monthly:
        return values.reshape(-1)
    months = _month_numbers(variable, axis[0], name)
    missing = [MONTH_NAMES[m - 1] for m in range(1, MONTHS + 1) if m not in months]
    if missing:
        raise ValueError(f"{name} lacks {', '.join(missing)}")
    mean = [values[..., months == m].mean(axis=-1) for m in range(1, MONTHS + 1)]
    return np.stack(mean, axis=-1).reshape(-1, MONTHS)


def _month_numbers(variable, axis, name):
    """The month of each entry, from 1."""
    if axis not in variable.coords:
        if variable.sizes[axis] != MONTHS:
            raise ValueError(
                f"{name} has {variable.sizes[axis]} entries along {axis}, which has no "
                f"values: expected {MONTHS} months from January on"
            )
        return np.arange(1, MONTHS + 1)
    times = variable[axis]
    if times.dtype.kind in "iuf" and " since " in str(times.attrs.get("units", "")):
        times = xr.decode_cf(times.to_dataset(name="times"))[axis]
    if times.dtype.kind in "iuf":
        months = np.asarray(times)
        if not np.isin(months, np.arange(1, MONTHS + 1)).all():
            raise ValueError(
                f"{axis} must be months from 1 to {MONTHS}, or times with units, got "
                f"{months.min():g} to {months.max():g}"
            )
        return months.astype(int)
    return np.asarray(times.dt.month)


def _table(path):
    """A table of one's own, with a row for each month of each site."""
    table = read_table(path)
    headings = {c: _HEADING.findall(c)[0] for c in table.columns}
    numbers = {name: ((), {}) for name in ("year", "month")}
    wanted = {**numbers, **{n: (o, {}) for n, o in _PLACE.items()}, **_KNOWN}
    found: dict[str, np.ndarray] = {}
    for ours, (others, units) in wanted.items():
        column = next((c for c in headings if headings[c][0] in (ours, *others)), None)
        if column is not None:
            values = numbers_of(path, table[column])
            unit = headings[column][1] or next(iter(units), "")
            if units and unit not in units:
                raise ValueError(
                    f"{path.name}: {column!r} is in unknown units, expected one of "
                    f"{', '.join(units)}"
                )
            factor, offset = units.get(unit, (1.0, 0.0))
            found[ours] = factor * values + offset
        elif ours in ("month", *_PLACE, *CLIMATE):
            names = " or ".join((ours, *others))
            held = lacking(ours, headings)
            raise ValueError(f"{path.name} has no column {names}: {held}")
    return _from_rows(path, pd.DataFrame(found))


def _from_rows(path, rows):
    """Cells of a table, each with all months; what is not monthly, of its first row."""
    for name in rows.columns.drop(["month", "year"], errors="ignore"):
        bounds, unit, *hint = LIMITS[name.rstrip("12").rstrip("_")]
        off = ~bounds.contains(rows[name].to_numpy())
        off &= rows[name].notna() | (name in _PLACE)
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(
                f"{path.name}: {name} must lie in {bounds} {unit}, got "
                f"{rows[name][row]:g} in row {row + 1}{''.join(hint)}"
            )
    for name in CLIMATE:
        if (empty := rows[name].isna()).any():
            row = int(np.argmax(empty))
            raise ValueError(f"{path.name}: {name} is empty in row {row + 1}")
    if "year" in rows:
        each = [*_PLACE, "month"]
        rows = rows.groupby(each, sort=False).mean().drop(columns="year").reset_index()
    sites = rows.groupby(["latitude", "longitude"], sort=False)
    values: dict[str, list[Any]] = {n: [] for n in rows if n not in (*_PLACE, "month")}
    for (latitude, longitude), site in sites:
        where = f"{path.name}: the site at {latitude:g}, {longitude:g}"
        months = site["month"].to_list()
        lost = [MONTH_NAMES[m - 1] for m in range(1, MONTHS + 1) if m not in months]
        if lost:
            raise ValueError(f"{where} lacks {', '.join(lost)}")
        if len(months) != MONTHS:
            row = site.index[site["month"].duplicated()][0] if len(set(months)) else 0
            raise ValueError(
                f"{where} must have a row for each of {MONTHS} months, got "
                f"{len(months)}, the month of row {row + 1} once more"
            )
        ordered = site.sort_values("month")
        for name, held in values.items():
            held.append(ordered[name] if name in _MONTHLY else ordered[name].iloc[0])
    latitude, longitude = np.array(list(sites.groups)).T
    made = {n: np.array(held, dtype=float) for n, held in values.items()}
    cells = _of_two_levels(made)
    return Climatology(path.name, Cells(latitude, longitude, cells, "climate_distance"))


def _of_two_levels(found):
    """Values by cell, those of the two levels of a soil as one array of both."""
    found = dict(found)
    for name in _MEASURED:
        both = [found.pop(f"{name}_{level}", None) for level in (1, 2)]
        if all(x is None for x in both):
            continue
        for level, x in enumerate(both, 1):
            if x is None:
                raise ValueError(
                    f"{name} is given at one level, {name}_{level} is missing: "
                    "expected both, at 0 to 7 and 7 to 28 cm"
                )
        found[name] = np.stack(both, axis=1)
    return found


def _grids(folder):
    """The published grids: climate, vegetation and production."""
    path = folder / "climate_1deg_monthly.npz"
    with reading(path):
        grid = read_numpy(path)
        scaled = lambda name, scale: np.where(
            grid[name] == -32768, np.nan, grid[name] / scale
        )
        found = {
            "air_temperature": scaled("temp_c", 100.0),
            "precipitation": scaled("prec_mm", 10.0),
        }
        known = np.all([np.isfinite(x).all(axis=0) for x in found.values()], axis=0)
        latitude, longitude = np.meshgrid(grid["lat"], grid["lon"], indexing="ij")
        values = {n: x[:, known].T for n, x in found.items()}
        climate = Cells(latitude[known], longitude[known], values, "climate_distance")
    others = ()
    if (path := folder / "casa_clm_2deg.csv.gz").exists():
        others += _casa(path)
    if (path := folder / "cesm_three_pool_0p94x1p25.npz").exists():
        with reading(path):
            grid = read_numpy(path)
            inputs = 1e3 * grid["c_input_kgC_m2_yr"].astype(float)
            known = grid["land"] & (inputs > 0)
            place = np.meshgrid(grid["lat"], grid["lon"], indexing="ij")
            values = {"npp_cesm": inputs[known]}
            others += (Cells(place[0][known], place[1][known], values),)
    return Climatology("the 1 degree climatology", climate, others)


def _casa(path):
    """Cells with soil; cells with production; and which of all have none."""
    table = read_table(path)
    column = lambda name: numbers_of(path, table[name])
    with reading(path):
        latitude, longitude, npp = map(column, ("lat", "lon", "npp_gC_m2_yr"))
        cover = column("igbp_class")
        soil = {
            "land_cover": cover,
            "sand": 100 * column("sand_frac"),
            "clay": 100 * column("clay_frac"),
        }
    part = lambda here, values, distance=None: Cells(
        latitude[here],
        longitude[here],
        {n: x[here] for n, x in values.items()},
        distance,
    )
    return (
        part(~np.isin(cover, _NO_SOIL), soil, "vegetation_distance"),
        part(npp > 0, {"npp_casa": npp}, "npp_distance"),
        part(npp < np.inf, {"npp_hidden": (npp <= 0).astype(float)}),
    )
