"""Measured soil profiles from files of layers, checked row by row."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from jaxsoc.observe.profiles import GAP, Profiles, fields_by
from jaxsoc.observe.screening import flags
from jaxsoc.physics.options import check_option
from jaxsoc.physics.pedotransfer import carbon_density
from jaxsoc.tables import Table, variable

from .labels import to_dataset
from .profile_columns import (
    BOUNDS,
    CARBON,
    CONTENT_UNITS,
    COVARIATES,
    LAYOUTS,
    OTHER_UNITS,
    Heading,
    holds_numbers,
)
from .reading import lacking, netcdf, parsed, read_table, reading


class Refused(NamedTuple):
    """What is wrong with a file: in which row, counted from the first below the
    headings, and column, and the sentence that says so."""

    file: str
    row: int
    column: str
    sentence: str


class LoadedProfiles(NamedTuple):
    """The `profiles` of a file, and what of it was `refused`."""

    profiles: Profiles
    refused: list[Refused]


def load_profiles(
    path: Path | str,
    *,
    source: str | None = None,
    positions: Path | str | None = None,
    content_unit: str | None = None,
    skip_bad: bool = False,
) -> LoadedProfiles:
    """Profiles from a file of layers, of which the kind is known by its columns.

    A .csv file, gzipped or not, with the columns of "plain" in `LAYOUTS`, depths in cm
    below the surface; tables of WoSIS, between tabs or commas; flat tables of layers
    of ISRaD; or netCDF as `profiles_dataset`. Layers without carbon or radiocarbon are
    left out. Carbon per volume is what the file has, else its stock over the thickness,
    else content times bulk density, which is that of fine earth: coarse fragments are
    not taken off. A bulk density counts as measured unless `bd_measured` says 0.

    **Arguments:** `source`: name of the set, where the file has none, by default that
    of the file; `positions`: another file with latitude and longitude by profile, as
    WoSIS has; `content_unit`: "g/kg", "%" or "kg/kg", where the file has another than
    its kind; `skip_bad`: list what is wrong and leave out the profiles it is in.
    **Raises:** `ValueError` for a file that cannot be read, columns that are missing,
    or in another unit, and, unless they are skipped, rows with text in place of
    numbers, numbers out of bounds, layers that overlap or profiles at two places.
    """
    path = Path(path)
    if path.suffix in (".nc", ".nc4"):
        return LoadedProfiles(_from_netcdf(path), [])
    table = read_table(path, numbers=holds_numbers)
    layout = _layout(path, table)
    if content_unit is not None:
        check_option("content_unit", content_unit, CONTENT_UNITS)
        names = layout.by_layer["content"].names
        said = Heading(names, content_unit, CONTENT_UNITS[content_unit])
        layout = layout._replace(by_layer={**layout.by_layer, "content": said})
    if positions is not None:
        table = _with_positions(path, table, Path(positions), layout)
    table, held, wrong = _numbers(path, table, layout)
    _check_units(path, held, layout, content_unit is None)
    names = _joined(table, layout.join, "/")
    profile, _ = pd.factorize(names)
    order = np.lexsort((held["top"], profile))
    blank = held["row"][names == ""]
    wrong += [_refused(path, n, layout.join[-1], "", "a name") for n in blank]
    wrong += _wrong_layers(path, table, held, layout, profile, order)
    refused = sorted({one.row: one for one in reversed(wrong)}.values(), key=_row)
    if refused and not skip_bad:
        raise ValueError(refused[0].sentence)
    rows = np.array([one.row - 1 for one in refused], int)
    bad = np.isin(profile, profile[np.searchsorted(held["row"], rows)])
    order = order[~bad[order]]
    if not order.size:
        raise ValueError(f"{path.name} has no profile left that can be read")
    name = path.parent.name if path.name.startswith("layers.") else path.name
    texts = {"source": source or name.split(".")[0]}
    return LoadedProfiles(_profiles(table, names, held, layout, order, texts), refused)


_row = lambda one: one.row
# Degrees by which layers of one profile may lie apart.
_SAME_PLACE = 0.1


def _layout(path, table):
    """The kind of a file: that of which it has most of the columns that are needed."""

    def missing(layout):
        headings = {**layout.by_layer, **layout.by_profile}
        needed = [layout.join[-1:], headings["top"].names, headings["bottom"].names]
        carbon = [n for x in CARBON if x in headings for n in headings[x].names]
        return [n for n in (*needed, carbon) if not set(n) & set(table.columns)]

    lacks = {name: missing(layout) for name, layout in LAYOUTS.items()}
    kind = min(lacks, key=lambda name: len(lacks[name]))
    if lacks[kind]:
        wanted = lacks[kind][0]
        raise ValueError(
            f"{path.name} has no column {' or '.join(wanted)}: "
            f"{lacking(wanted[0], filter(None, table.columns))}"
        )
    return LAYOUTS[kind]


def _with_positions(path, table, positions, layout):
    """A table with the columns of another file, by the profile."""
    key = layout.join[-1]
    other = read_table(positions, numbers=holds_numbers)
    wanted = [n for one in layout.by_profile.values() for n in one.names]
    columns = [n for n in wanted if n in other.columns and n not in table.columns]
    if key not in other.columns or not columns:
        raise ValueError(
            f"{positions.name} must have the columns {key} and {wanted[0]}, "
            f"{lacking(wanted[0], other.columns)}"
        )
    twice = other[key].duplicated()
    if twice.any():
        row = int(np.argmax(twice)) + 1
        raise ValueError(
            f"{positions.name}: {key} is {other[key].iloc[row - 1]!r} in row {row}, "
            "which is there already; expected one position for each profile"
        )
    joined = table.merge(other[[key, *columns]], on=key, how="left")
    return joined


def _numbers(path, table, layout):
    """Rows with carbon, their numbers in the units inside, and what is none."""
    headings = {**layout.by_layer, **layout.by_profile}
    extra = [name for name in table.columns if COVARIATES.fullmatch(name)]
    headings |= {name: Heading((name,)) for name in extra}
    held, wrong = {}, []
    for what, heading in headings.items():
        there = [name for name in heading.names if name in table.columns]
        for column in there:
            values, bad = parsed(table[column])
            wrong += [
                _refused(path, row, column, table[column].iloc[row], "a number")
                for row in np.flatnonzero(bad)
            ]
            given = heading.factor * values
            before = held.get(what, given)
            held[what] = np.where(np.isnan(before), given, before)
    held["row"] = np.arange(len(table))
    missing = np.full(len(table), np.nan)
    carbon = [held.get(name, missing) for name in (*CARBON, "radiocarbon")]
    faulty = np.isin(held["row"], [one.row - 1 for one in wrong])
    used = np.any(~np.isnan(carbon), axis=0) | faulty
    if not used.any():
        raise ValueError(f"{path.name} has no layer with carbon")
    return table[used], {name: x[used] for name, x in held.items()}, wrong


def _refused(path, row, column, value, expected):
    """A row, counted from 0, with something wrong, as the sentence that says so."""
    said = f"{value.strip()!r}" if isinstance(value, str) else f"{value:g}"
    words = f"{path.name}: {column} is {said} in row {row + 1}; expected {expected}"
    return Refused(path.name, int(row) + 1, column, words)


def _check_units(path, held, layout, guess):
    """Raises for columns that are in another unit from the first to the last row."""
    for what, limits in OTHER_UNITS.items():
        values = held.get(what, np.array([]))
        values = values[~np.isnan(values)]
        if what == "content" and not guess:
            continue
        for most, fewest, question in limits:
            if values.size >= fewest and 0 < values.max(initial=0) <= most:
                heading = layout.by_layer[what]
                raise ValueError(
                    f"{path.name}: {heading.names[0]} is at most "
                    f"{values.max() / heading.factor:g} in all {values.size} rows, "
                    f"expected {heading.unit}; {question}"
                )
    if not {"density", "content", "bulk_density"} <= set(held):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = held["density"] / (1e3 * held["content"] * held["bulk_density"])
    ratio = ratio[np.isfinite(ratio)]
    if ratio.size and not 0.2 < (middle := np.median(ratio)) < 5:
        raise ValueError(
            f"{path.name}: {layout.by_layer['density'].names[0]} is {middle:.3g} times "
            "content x bulk density x 1000 in half of the rows; are they in g/kg, "
            "g/cm3 and g/m3?"
        )


def _wrong_layers(path, table, held, layout, profile, order):
    """Rows whose numbers no layer can have."""
    headings = {**layout.by_layer, **layout.by_profile}
    wrong = []

    def refuse(rows, what, expected):
        heading = headings[what]
        column = next(n for n in heading.names if n in table.columns)
        wrong.extend(
            _refused(
                path,
                held["row"][i],
                column,
                held[what][i] / heading.factor,
                expected if isinstance(expected, str) else expected(i),
            )
            for i in np.flatnonzero(rows)
        )

    for what, (low, high, said) in BOUNDS.items():
        if what in held:
            unit, factor = headings[what].unit, headings[what].factor
            outside = (held[what] < low) | (held[what] > high)
            ends = f"{said} from {low / factor:g} to {high / factor:g} {unit}"
            refuse(outside, what, ends.strip())
    top, bottom = held["top"], held["bottom"]
    refuse(np.isnan(top), "top", "a depth")
    refuse(np.isnan(bottom), "bottom", "a depth")
    depth = lambda what, z: f"{z / headings[what].factor:g} {headings[what].unit}"
    below = lambda i: f"more than the top of the layer, {depth('top', top[i])}"
    refuse(bottom <= top, "bottom", below)
    # The deepest end of the layers before, of the same profile.
    sorted_, one = pd.Series(bottom[order]), profile[order]
    above = np.empty_like(top)
    above[order] = sorted_.groupby(one).cummax().groupby(one).shift()
    end = lambda i: f"no overlap with a layer above, to {depth('bottom', above[i])}"
    refuse(above - top > GAP + 1e-9, "top", end)
    first = np.unique(profile, return_index=True)[1][profile]
    for what in {"latitude", "longitude"} & set(held):
        other = np.abs(held[what] - held[what][first]) > _SAME_PLACE
        refuse(other, what, "one position for the whole profile")
    return wrong


def _joined(table, columns, between=" "):
    """Texts of columns that are there, those that are empty or repeated left out."""
    there = [name for name in columns if name in table.columns]
    known = [table[name].fillna("").str.strip() for name in there]
    if len(known) < 2:
        return known[0].to_numpy(str) if known else np.full(len(table), "")
    rows = zip(*known, strict=True)
    return np.array([between.join(dict.fromkeys(filter(None, r))) for r in rows])


def _profiles(table, names, held, layout, order, default):
    """Profiles of the rows in this order."""
    names = names[order]
    first = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    profile = np.cumsum(np.append(0, names[1:] != names[:-1]))
    of = lambda name: held.get(name, np.full(len(table), np.nan))[order]
    once = lambda name: of(name)[first]
    said = table.iloc[order[first]]
    texts = {name: _joined(said, columns) for name, columns in layout.texts.items()}
    blank = np.full(first.size, "")
    source = texts.get("source", blank)
    content, weighed, density = of("content"), of("bulk_density"), of("density")
    known = ~np.isnan(weighed)
    # Of files that do not say, all are measured.
    measured = of("measured") if "measured" in held else np.ones(len(order))
    came_from = np.select(
        [known & (measured == 1), known & (measured == 0)], ["measured", "filled"], ""
    )
    stock = of("stock") / (of("bottom") - of("top"))
    product = np.asarray(carbon_density(content, weighed))
    for other in (stock, product):
        density = np.where(np.isnan(density), other, density)
    year = once("year")
    if "date" in texts:
        dated = pd.Series(texts["date"]).str.extract(r"(1[89]\d\d|20\d\d)")[0]
        year = np.where(np.isnan(year), dated.astype(float), year)
    no = np.zeros(first.size, bool)
    found = Profiles(
        profile=profile,
        top=of("top"),
        bottom=of("bottom"),
        content=content,
        bulk_density=weighed,
        bulk_density_from=came_from,
        coarse_fragments=of("coarse_fragments"),
        density=density,
        radiocarbon=of("radiocarbon"),
        name=names[first],
        site=texts.get("site", blank),
        source=np.where(source == "", default["source"], source),
        latitude=once("latitude"),
        longitude=once("longitude"),
        year=year,
        land_cover=texts.get("land_cover", blank),
        soil=texts.get("soil", blank),
        temperature=once("temperature"),
        precipitation=once("precipitation"),
        urban=no,
        peat=no,
        wet=no,
        covariates={n: once(n) for n in held if COVARIATES.fullmatch(n)},
    )
    return replace(found, **flags(found))


# name -> unit and long name of what `Profiles` hold; texts have no unit.
_ABOUT = {
    "profile": ("1", "place of the profile, from 0"),
    "top": ("m", "upper end of the layer below the surface"),
    "bottom": ("m", "lower end of the layer below the surface"),
    "content": ("g kg-1", "organic carbon per mass of fine earth"),
    "bulk_density": ("g cm-3", "bulk density"),
    "coarse_fragments": ("1", "share of coarse fragments"),
    "density": ("gC m-3", "organic carbon per volume"),
    "radiocarbon": ("permil", "Delta-14C"),
    "latitude": ("degrees_north", "latitude"),
    "longitude": ("degrees_east", "longitude"),
    "year": ("1", "year of sampling"),
    "temperature": ("degC", "mean annual temperature of the site"),
    "precipitation": ("mm yr-1", "annual precipitation of the site"),
}


def profiles_dataset(profiles: Profiles) -> xr.Dataset:
    """Profiles as a dataset over profile and layer, as `load_profiles` reads it."""
    held = {}
    for by in ("layer", "profile"):
        for name in fields_by(by):
            values = getattr(profiles, name)
            plain = values.astype("int8") if values.dtype == bool else values
            plain = plain.astype(object) if values.dtype.kind == "U" else plain
            held[name] = variable(by, plain, *_ABOUT.get(name, ()))
    # A coordinate of that name would be the labels of the profiles.
    held["profile_index"] = held.pop("profile")
    held |= {
        f"covariate_{name}": variable("profile", values)
        for name, values in profiles.covariates.items()
    }
    return to_dataset(Table(held, {}, {"title": "Measured soil profiles"}))


def _from_netcdf(path):
    """Profiles from `profiles_dataset`."""
    names = {name: name for by in ("layer", "profile") for name in fields_by(by)}
    names["profile"] = "profile_index"
    with reading(path), netcdf(path) as file:
        for name, inside in names.items():
            if inside not in file:
                raise ValueError(
                    f"it has no variable {inside}: {lacking(name, map(str, file))}"
                )
            unit, said = _ABOUT.get(name, (None,))[0], file[inside].attrs.get("units")
            if said != unit:
                raise ValueError(f"{inside} is in {said!r}, expected {unit!r}")
        held = {name: file[inside].values for name, inside in names.items()}
        more = [n for n in file.data_vars if str(n).startswith("covariate_")]
        covariates = {str(n).removeprefix("covariate_"): file[n].values for n in more}
        return Profiles(**held, covariates=covariates)
