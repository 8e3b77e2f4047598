"""A place, and what is known of it."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .climate import LEVELS
from .forcing import MONTHS
from .land_cover import LAND_COVER, UNKNOWN
from .parameters import NON_NEGATIVE, PERCENT, POSITIVE, SHARE, Interval, numbers

CLIMATE = ("air_temperature", "precipitation")
"""What every site has, by month."""
MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)

_AIR = Interval(-90.0, 60.0, closed_low=True, closed_high=True)
_KELVIN_HINT = "; kelvin need 273.15 subtracted"
# What is monthly, and what one number, with where it may lie.
_MONTHLY: Mapping[str, tuple] = {
    "air_temperature": (_AIR, "°C", _KELVIN_HINT),
    "precipitation": (NON_NEGATIVE, "mm per month"),
    "soil_temperature": (_AIR, "°C", _KELVIN_HINT),
    "soil_water": (SHARE, "m³ m⁻³"),
}
_NUMBERS: Mapping[str, tuple] = {
    "latitude": (Interval(-90.0, 90.0, True, True), "degrees north"),
    "longitude": (Interval(-180.0, 360.0, True, True), "degrees east"),
    "sand": (PERCENT, "%"),
    "clay": (PERCENT, "%"),
    "land_cover": (Interval(0.0, max(LAND_COVER), True, True), "1", ", IGBP's number"),
    "soil_class": (Interval(0.0, 7.0, True, True), "1", ", ERA5's number"),
    "mean_annual_temperature": (_AIR, "°C", _KELVIN_HINT),
    "depth_to_bedrock": (POSITIVE, "m"),
    **dict.fromkeys(("npp", "npp_casa", "npp_cesm"), (POSITIVE, "gC m⁻² yr⁻¹")),
    **dict.fromkeys(
        ("climate_distance", "vegetation_distance", "npp_distance"),
        (NON_NEGATIVE, "km"),
    ),
    "npp_hidden": (SHARE, "1"),
}
_WHOLE = ("land_cover", "soil_class")
LIMITS = {**_MONTHLY, **_NUMBERS}
"""Where each thing known of a place may lie, its unit, and perhaps a hint."""


class Site(eqx.Module):
    """What is known of a place; NaN or None for what is not.

    `air_temperature` (°C) and `precipitation` (mm per month) by month; `latitude`,
    `longitude`: degrees; `sand`, `clay`: %; `land_cover`: class of IGBP, see
    `LAND_COVER`; `npp`: production that was measured, `npp_casa`, `npp_cesm`: those of
    models, gC m⁻² yr⁻¹; `mean_annual_temperature`: of the air at the place itself, °C;
    `depth_to_bedrock`: m; `soil_temperature` (°C) and `soil_water` (m³ m⁻³): measured,
    at the two depths `climate.LEVELS` by month; `soil_class`: of ERA5, 0 if the water
    is not ERA5's; `climate_distance`, `vegetation_distance`, `npp_distance`: km to
    the cells of a grid that climate, texture and land cover, and CASA's production were
    taken from; `npp_hidden`: 1 where the nearest cell has no production, so that
    a neighbour's was taken.

    Many sites are one `Site` whose leaves lead by site; one number serves them all.

    **Raises:** `ValueError` that names what was received and what was expected, and a
    month that is missing.
    """

    air_temperature: Any
    precipitation: Any
    latitude: Any
    longitude: Any = None
    sand: Any = None
    clay: Any = None
    land_cover: Any = None
    npp: Any = None
    npp_casa: Any = None
    npp_cesm: Any = None
    mean_annual_temperature: Any = None
    depth_to_bedrock: Any = None
    soil_temperature: Any = None
    soil_water: Any = None
    soil_class: Any = None
    climate_distance: Any = None
    vegetation_distance: Any = None
    npp_distance: Any = None
    npp_hidden: Any = None
    label: str = eqx.field(static=True, default="")

    def __post_init__(self):
        sites = np.shape(self.air_temperature)[:-1]
        for name in _MONTHLY:
            if (value := getattr(self, name)) is not None:
                setattr(self, name, _monthly(name, value, sites))
        for name in _NUMBERS:
            setattr(self, name, _number(name, getattr(self, name), sites))
        both = [numbers("texture", getattr(self, name)) for name in ("sand", "clay")]
        match tuple(both):
            case np.ndarray() as sand, np.ndarray() as clay:
                # Texture is often rounded, each part by itself.
                sums = np.where(np.isnan(sand + clay), 0.0, sand + clay)
                Interval(0.0, 100.5, True, True).check("sand + clay", sums, "%")


def _monthly(name, value, sites):
    given = numbers(name, value)
    value = value if given is None else given
    axes = () if name in CLIMATE else (len(LEVELS),)
    if jnp.shape(value) != (*sites, *axes, MONTHS):
        levels = f"{axes[0]} levels x " if axes else ""
        raise ValueError(
            f"{name} must be {levels}{MONTHS} months of each site, got an array of "
            f"shape {jnp.shape(value)}"
        )
    if given is not None:
        missing = np.isnan(given)
        # Where a soil was not measured all is NaN, which is no gap.
        whole = missing.all(axis=(-1, -2), keepdims=True) if axes else False
        gaps = missing & ~np.asarray(whole)
        if gaps.any():
            where = np.argwhere(gaps)[0]
            of = f" of site {where[0] + 1}" if sites else ""
            found = np.nonzero(gaps[tuple(where[:-1])])[0]
            months = ", ".join(MONTH_NAMES[m] for m in found)
            raise ValueError(f"{name}{of} has no value in {months}")
        bounds, *said = _MONTHLY[name]
        bounds.check(name, given[~missing] if missing.any() else given, *said)
    return jnp.asarray(value, float)


def _number(name, value, sites):
    if value is None:
        value = UNKNOWN if name in _WHOLE else np.nan
    dtype = int if name in _WHOLE else float
    if (given := numbers(name, value)) is None:
        return jnp.broadcast_to(jnp.asarray(value).astype(dtype), sites)
    bounds, *said = _NUMBERS[name]
    if name in _WHOLE:
        given = np.where(np.isnan(given), UNKNOWN, given)
        if (part := given != np.round(given)).any():
            raise ValueError(
                f"{name} must be a whole number, got {given[part].flat[0]:g}"
            )
    # All that may be unknown may also be one.
    known = given if name == "latitude" else np.where(np.isnan(given), 1.0, given)
    bounds.check(name, known, *said)
    return jnp.asarray(np.broadcast_to(given, sites).astype(dtype))


# Means of all cells of the 1 degree climatology that are mostly land: degrees from
# the equator; mean and half of the range of the air, °C; precipitation, mm per month.
_BY_LATITUDE = np.array(
    [
        (0, 24.7, 0.7, 168),
        (10, 24.7, 1.6, 116),
        (20, 23.8, 5.4, 56),
        (30, 17.3, 8.9, 44),
        (40, 8.8, 12.8, 46),
        (50, 2.4, 16.1, 49),
        (60, -4.3, 18.7, 44),
        (70, -11.6, 20.0, 28),
        (80, -19.2, 18.5, 7),
    ]
).T


def idealised_site(latitude: float, **known: Any) -> Site:
    """A site with an idealised climate by latitude, for where there are no data.

    T = T̄ + A cos(2π (m - 7) / 12), half a year later in the south, and even
    precipitation; T̄, A and it are means of all land as far from the equator.

    **Arguments:** `known`: of the site, in the words of `Site`; by default grassland on
    a soil of 45 % sand and 20 % clay.
    Source: climatology of Kaplan et al. (2003), doi:10.1029/2002JD002559.
    """
    _number("latitude", latitude, ())
    away, *by_latitude = _BY_LATITUDE
    mean, range_, rain = (np.interp(abs(latitude), away, x) for x in by_latitude)
    peak = 7 if latitude >= 0 else 1
    wave = np.cos(2 * np.pi * (np.arange(1, MONTHS + 1) - peak) / MONTHS)
    default = {"sand": 45.0, "clay": 20.0, "land_cover": 10}
    label = "idealised climate by latitude"
    return Site(
        mean + range_ * wave,
        np.full(MONTHS, rain),
        latitude,
        **{**default, "label": label, **known},
    )
