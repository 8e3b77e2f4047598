"""Columns of the known kinds of files of soil layers."""

import re
from collections.abc import Mapping
from typing import NamedTuple


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

CONTENT_UNITS = {"g/kg": 1.0, "%": 10.0, "kg/kg": 1000.0}
"""Factors of units of carbon content to gC/kg."""
BOUNDS = {
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
"""What a number may be, ends included, in the unit inside, and what to call it."""
OTHER_UNITS = {
    "bottom": [(5.0 * 0.01, 1, "are they in m?")],
    "content": [(1.0, 1, "is it kg/kg?"), (6.0, 30, "is it %?")],
    "density": [(300.0, 1, "is it kg/m3?")],
}
"""Numbers of a whole file that are in another unit: no larger than this, of so many
layers at least."""
COVARIATES = re.compile(r"grid_\w+|elevation_m|(thaw_depth|depth_to_rock)_cm")
"""Names of columns with more numbers by profile."""
CARBON = ("content", "density", "stock")
"""What tells how much carbon a layer holds."""


def holds_numbers(name: str) -> bool:
    """Whether a column of this name is one of numbers in any kind of file."""
    return name in _NUMBERS or bool(COVARIATES.fullmatch(name))


_NUMBERS = {
    name
    for layout in LAYOUTS.values()
    for heading in (*layout.by_layer.values(), *layout.by_profile.values())
    for name in heading.names
}
