"""Measured soil profiles from files of layers, checked row by row."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from jaxsoc.observe.profiles import GAP, Profiles, fields_by
from jaxsoc.observe.screening import flags
from jaxsoc.physics.options import check_option
from jaxsoc.physics.pedotransfer import carbon_density
from jaxsoc.tables import Table, variable

from .labels import to_dataset
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


class Heading(NamedTuple):
    """Columns of a file, of which each row has the first that is not empty, their unit
    and its factor to the unit inside."""

    names: tuple[str, ...]
    unit: str = ""
    factor: float = 1.0


class Layout(NamedTuple):
    """Columns of one kind of files: numbers by layer and by profile, and texts, all by
    the names of `Profiles`; `join`: columns that name a profile together."""

    join: tuple[str, ...]
    by_layer: Mapping[str, Heading]
    by_profile: Mapping[str, Heading]
    texts: Mapping[str, tuple[str, ...]]


_cm = lambda *names: Heading(names, "cm", 0.01)
_percent = lambda *names: Heading(names, "%", 0.01)
_bdfi = [f"bd{kind}_value_avg" for kind in ("fi33", "fiod", "fiad", "fifm", "fi33l")]
_bdws = [f"bd{kind}_value_avg" for kind in ("ws33", "wsod", "wsad", "wsfm")]

LAYOUTS: Mapping[str, Layout] = {
    "plain": Layout(
        ("profile_id",),
        {
            "top": _cm("depth_top_cm"),
            "bottom": _cm("depth_bottom_cm"),
            "content": Heading(("soc_g_kg",), "g/kg"),
            "bulk_density": Heading(("bulk_density_g_cm3",), "g/cm3"),
            "measured": Heading(("bd_measured",)),
            "coarse_fragments": _percent("coarse_frac_pct"),
            "density": Heading(("soc_density_g_m3",), "g/m3"),
            "radiocarbon": Heading(("d14c_permil",), "permil"),
        },
        {
            "latitude": Heading(("lat", "latitude"), "degrees"),
            "longitude": Heading(("lon", "longitude"), "degrees"),
            "year": Heading(("year",)),
            "temperature": Heading(("site_mat_c",), "°C"),
            "precipitation": Heading(("site_map_mm",), "mm"),
        },
        {
            "site": ("site_id",),
            "source": ("source",),
            "date": ("sample_date",),
            "land_cover": ("land_cover", "land_use", "veg_class"),
            "soil": ("soil_class", "soil_order", "suborder", "great_group"),
        },
    ),
    "wosis": Layout(
        ("profile_id",),
        {
            "top": _cm("upper_depth", "top"),
            "bottom": _cm("lower_depth", "bottom"),
            "content": Heading(("orgc_value_avg",), "g/kg"),
            "bulk_density": Heading((*_bdfi, *_bdws), "g/cm3"),
            "coarse_fragments": _percent("cfvo_value_avg"),
        },
        {
            "latitude": Heading(("latitude", "Y"), "degrees"),
            "longitude": Heading(("longitude", "X"), "degrees"),
        },
        {
            "source": ("dataset_code", "dataset_id"),
            "date": ("orgc_date", "date"),
            "soil": ("cwrb_reference_soil_group", "cstx_order_name"),
        },
    ),
    "israd": Layout(
        ("entry_name", "site_name", "pro_name"),
        {
            "top": _cm("lyr_top"),
            "bottom": _cm("lyr_bot"),
            "content": Heading(("lyr_c_org", "lyr_c_tot"), "%", 10.0),
            "bulk_density": Heading(("lyr_bd_samp", "lyr_bd_tot"), "g/cm3"),
            "coarse_fragments": _percent("lyr_coarse_tot"),
            "stock": Heading(("lyr_soc",), "g/cm2", 1e4),
            "radiocarbon": Heading(("lyr_14c",), "permil"),
        },
        {
            "latitude": Heading(("pro_lat", "site_lat"), "degrees"),
            "longitude": Heading(("pro_long", "site_long"), "degrees"),
            "year": Heading(("lyr_obs_date_y",)),
            "temperature": Heading(("pro_MAT",), "°C"),
            "precipitation": Heading(("pro_MAP",), "mm"),
        },
        {
            "site": ("site_name",),
            "source": ("entry_name",),
            "land_cover": ("pro_land_cover",),
            "soil": ("pro_usda_soil_order", "pro_soil_order", "pro_soil_taxon"),
        },
    ),
}
"""The kinds of files that are known, by what their columns are called."""

_CONTENT = {"g/kg": 1.0, "%": 10.0, "kg/kg": 1000.0}
# What a number may be, ends included, in the unit inside, and what to call it.
_BOUNDS = {
    "top": (0.0, 30.0, "depths from the surface down"),
    "bottom": (0.0, 30.0, "depths from the surface down"),
    "content": (0.0, 600.0, "carbon content"),
    "bulk_density": (0.005, 3.0, "bulk density"),
    "coarse_fragments": (0.0, 1.0, "coarse fragments"),
    "density": (0.0, 300e3, "carbon per volume"),
    "stock": (0.0, 3e6, "carbon per area"),
    "radiocarbon": (-1000.0, 5000.0, "radiocarbon"),
    "latitude": (-90.0, 90.0, "latitude"),
    "longitude": (-180.0, 360.0, "longitude"),
    "temperature": (-40.0, 40.0, "mean annual temperature"),
    "precipitation": (0.0, 15000.0, "annual precipitation"),
    "year": (1800.0, 2100.0, "year"),
}
# Numbers of a whole file that are in another unit: no larger than this, of so many
# layers at least.
_OTHER_UNITS = {
    "bottom": [(5.0 * 0.01, 1, "are they in m?")],
    "content": [(1.0, 1, "is it kg/kg?"), (6.0, 30, "is it %?")],
    "density": [(300.0, 1, "is it kg/m3?")],
}
_COVARIATES = re.compile(r"grid_\w+|elevation_m|(thaw_depth|depth_to_rock)_cm")
_CARBON = ("content", "density", "stock")


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
    table = read_table(path, comment=None)
    layout = _layout(path, table)
    if content_unit is not None:
        check_option("content_unit", content_unit, _CONTENT)
        names = layout.by_layer["content"].names
        said = Heading(names, content_unit, _CONTENT[content_unit])
        layout = layout._replace(by_layer={**layout.by_layer, "content": said})
    if positions is not None:
        table = _with_positions(path, table, Path(positions), layout)
    table, held, wrong = _numbers(path, table, layout)
    _check_units(path, held, layout, content_unit is None)
    profile, _ = pd.factorize(_joined(table, layout.join, "/"))
    order = np.lexsort((held["top"], profile))
    wrong += _wrong_layers(path, held, layout, profile, order)
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
    return LoadedProfiles(_profiles(table, held, layout, order, texts), refused)


_row = lambda one: one.row


def _layout(path, table):
    """The kind of a file: that of which it has most of the columns that are needed."""

    def missing(layout):
        headings = {**layout.by_layer, **layout.by_profile}
        needed = [layout.join[-1:], headings["top"].names, headings["bottom"].names]
        carbon = [n for x in _CARBON if x in headings for n in headings[x].names]
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
    other = read_table(positions, comment=None)
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
    return joined.fillna("")


def _numbers(path, table, layout):
    """Rows with carbon, their numbers in the units inside, and what is none."""
    headings = {**layout.by_layer, **layout.by_profile}
    extra = [name for name in table.columns if _COVARIATES.fullmatch(name)]
    headings |= {name: Heading((name,)) for name in extra}
    held, wrong = {}, []
    for what, heading in headings.items():
        held[what] = np.full(len(table), np.nan)
        for column in heading.names:
            if column not in table.columns:
                continue
            values, bad = parsed(table[column])
            wrong += [
                _refused(path, row, column, table[column].iloc[row], "a number")
                for row in np.flatnonzero(bad)
            ]
            given = heading.factor * values
            held[what] = np.where(np.isnan(held[what]), given, held[what])
    held["row"] = np.arange(len(table))
    missing = np.full(len(table), np.nan)
    carbon = [held.get(name, missing) for name in (*_CARBON, "radiocarbon")]
    faulty = np.isin(held["row"], [one.row - 1 for one in wrong])
    there = np.any(~np.isnan(carbon), axis=0) | faulty
    if not there.any():
        raise ValueError(f"{path.name} has no layer with carbon")
    return table[there], {name: x[there] for name, x in held.items()}, wrong


def _refused(path, row, column, value, expected):
    """A row, counted from 0, with something wrong, as the sentence that says so."""
    said = f"{value.strip()!r}" if isinstance(value, str) else f"{value:g}"
    words = f"{path.name}: {column} is {said} in row {row + 1}; expected {expected}"
    return Refused(path.name, int(row) + 1, column, words)


def _check_units(path, held, layout, guess):
    """Raises for columns that are in another unit from the first to the last row."""
    for what, limits in _OTHER_UNITS.items():
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
    if "density" not in held:
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


def _wrong_layers(path, held, layout, profile, order):
    """Rows whose numbers no layer can have."""
    headings = {**layout.by_layer, **layout.by_profile}
    wrong = []

    def refuse(rows, what, expected, values=None):
        heading = headings[what]
        values = held[what] / heading.factor if values is None else values
        wrong.extend(
            _refused(path, held["row"][i], heading.names[0], values[i], expected)
            for i in np.flatnonzero(rows)
        )

    for what, (low, high, said) in _BOUNDS.items():
        if what in held:
            unit, factor = headings[what].unit, headings[what].factor
            outside = (held[what] < low) | (held[what] > high)
            ends = f"{said} from {low / factor:g} to {high / factor:g} {unit}"
            refuse(outside, what, ends.strip())
    top, bottom = held["top"], held["bottom"]
    refuse(np.isnan(top), "top", "a depth")
    refuse(np.isnan(bottom), "bottom", "a depth")
    upper = top / headings["top"].factor
    for i in np.flatnonzero(bottom <= top):
        expected = f"more than {headings['top'].names[0]}, {upper[i]:g}"
        refuse(np.arange(top.size) == i, "bottom", expected)
    one, above = profile[order], pd.Series(bottom[order])
    # The deepest end of the layers before, of the same profile.
    above = above.groupby(one).cummax().groupby(one).shift().to_numpy()
    deep = np.full(top.size, np.nan)
    deep[order] = above
    for i in np.flatnonzero(deep - top > GAP + 1e-9):
        end = deep[i] / headings["bottom"].factor
        expected = f"no overlap with the layer above, which ends at {end:g}"
        refuse(np.arange(top.size) == i, "top", expected)
    first = np.unique(profile, return_index=True)[1][profile]
    for what in ("latitude", "longitude"):
        other = np.abs(held[what] - held[what][first]) > 1e-6
        refuse(other, what, "one position for the whole profile")
    return wrong


def _joined(table, columns, between=" "):
    """Texts of columns that are there, those that are empty or repeated left out."""
    known = [table[name].str.strip() for name in columns if name in table.columns]
    if len(known) < 2:
        return known[0].to_numpy(str) if known else np.full(len(table), "")
    rows = zip(*known, strict=True)
    return np.array([between.join(dict.fromkeys(filter(None, r))) for r in rows])


def _profiles(table, held, layout, order, default):
    """Profiles of the rows in this order."""
    names = _joined(table, layout.join, "/")[order]
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
    if not set(layout.by_layer.get("measured", Heading(())).names) & set(table.columns):
        measured = np.ones(len(order))
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
        covariates={n: once(n) for n in held if _COVARIATES.fullmatch(n)},
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
                raise ValueError(f"it has no variable {inside}: {lacking(name, file)}")
            unit, said = _ABOUT.get(name, (None,))[0], file[inside].attrs.get("units")
            if said != unit:
                raise ValueError(f"{inside} is in {said!r}, expected {unit!r}")
        held = {name: file[inside].values for name, inside in names.items()}
        more = [n for n in file.data_vars if str(n).startswith("covariate_")]
        covariates = {str(n).removeprefix("covariate_"): file[n].values for n in more}
        return Profiles(**held, covariates=covariates)
