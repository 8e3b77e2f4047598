"""From the climate of a site to what drives its soil: one function by field.

Each is of one site, months last and layers before them, and is lifted to many by
`jax.vmap`. Temperatures are in °C here; `Forcing` takes kelvin.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .columns import SoilColumn
from .forcing import DAYS_PER_MONTH, MONTHS, NO_PERMAFROST
from .shapes import Number
from .soil_water import Texture, clapp_hornberger_water
from .units import DAYS_PER_YEAR

LEVELS = (0.035, 0.175)
"""Mid-depths of the levels of ERA5-Land that soils are known at, m."""
SNOW_MOST = 1000.0
"""Water of the snow, mm, above which it becomes ice and leaves."""
# Middles of months as days of the year.
_DAYS = DAYS_PER_MONTH * (np.arange(MONTHS) + 0.5)


class Insulation(NamedTuple):
    """How snow keeps soil warm: `least` of the frost that passes the deepest snow;
    `scale`: snow water, mm, that leaves 1/e; `frost`: that passes where snow is not
    asked for; `offset`: of soil above the air of the 1 degree grid, `site_offset` above
    air with the mean of the site, K: the grid is colder than its sites; `melt`: of
    snow, mm per month and K.

    All but `melt` fitted to ERA5-Land at 848 sites, see `benchmarks.places`.
    """

    least: float = 0.29
    scale: float = 6.56
    frost: float = 0.326
    offset: float = 1.055
    site_offset: float = 0.48
    melt: float = 60.0


class Bucket(NamedTuple):
    """How soil holds water: `evaporation`: multiplier of Hamon's; `depth`: m that
    plants draw from; `wettest`: water potential of a full bucket, MPa.

    Fitted to W of ERA5-Land at 559 sites, see `benchmarks.places`.
    """

    evaporation: float = 1.61
    depth: float = 0.57
    wettest: float = -0.0072


_BUCKET, _SNOW = Bucket(), Insulation()


def damped_wave(
    monthly: Float[Any, " month"],
    below: Float[Any, " layer"],
    damping: Float[Number, ""] = 2.1,
) -> Float[Array, "layer month"]:
    """An annual cycle below the depth where it is known, as heat is conducted.

    T̂_k(z) = T̂_k(0) exp(-(1 + i) √k z / d), T̂_k the k-th Fourier coefficient of the
    12 months; the mean stays

    **Arguments:** `below`: z, m below that depth; `damping`: d, m.
    Source: Campbell & Norman (1998), Environmental Biophysics, ch. 2.
    """
    waves = jnp.fft.rfft(jnp.asarray(monthly))[None, :]
    order = np.sqrt(np.arange(MONTHS // 2 + 1))[None, :]
    decay = order * jnp.asarray(below)[:, None] / damping
    return jnp.fft.irfft(waves * jnp.exp(lax.complex(-decay, -decay)), MONTHS)


def damped_anomaly(
    monthly: Float[Any, " month"],
    below: Float[Number, " layer"],
    damping: Float[Number, ""],
) -> Float[Array, "layer month"]:
    """An annual cycle whose distance from its mean falls with depth, without delay.

    **Arguments:** `below`: z, m; `damping`: e-folding depth, m.
    """
    mean = jnp.mean(monthly)
    left = jnp.exp(-jnp.asarray(below) / damping)[:, None]
    return mean + (monthly - mean)[None, :] * left


def from_levels(
    levels: Float[Any, "level month"], nodes: Float[Number, " layer"], deeper: Any
) -> Float[Array, "layer month"]:
    """A profile from two shallow levels: linear between them, `deeper` below.

    **Arguments:** `levels`: at the depths `LEVELS`; `nodes`: m; `deeper`: of the lower
    level's months and metres below it, as `damped_wave`.
    """
    upper, lower = LEVELS
    weight = jnp.clip((jnp.asarray(nodes) - upper) / (lower - upper), 0.0, 1.0)[:, None]
    between = (1 - weight) * levels[:1] + weight * levels[1:]
    below = deeper(levels[1], jnp.maximum(jnp.asarray(nodes) - lower, 0.0))
    return jnp.where(weight < 1, between, below)


def shifted(
    air: Float[Any, " month"], mean: Float[Number, ""]
) -> Float[Array, " month"]:
    """The annual cycle about another annual mean, the same where that is NaN."""
    there = jnp.mean(air)
    return air + jnp.where(jnp.isnan(mean), there, mean) - there


def periodic_store(
    kept: Float[Any, " month"],
    gained: Float[Any, " month"],
    capacity: Float[Number, ""],
) -> Float[Array, " month"]:
    """What a store holds at the ends of the months of a year that repeats.

    S_m = clip(k_m S_{m-1} + g_m, 0, c), S_0 = S_12

    A year of such steps is itself S_12 = clip(A S_0 + B, L, H), so the start of the
    year is known without going through many: clip(B / (1 - A), L, H), and where all is
    kept L or H by the sign of B.

    **Arguments:** `kept`: k, at most 1; `gained`: g, may be negative; `capacity`: c.
    """
    step = lambda S, k, g: jnp.clip(k * S + g, 0.0, capacity)

    def compose(year, month):
        (A, B, low, high), (k, g) = year, month
        return (k * A, k * B + g, step(low, k, g), step(high, k, g)), None

    def follow(S, month):
        S = step(S, *month)
        return S, S

    kept, gained = jnp.asarray(kept), jnp.asarray(gained)
    one, none = jnp.ones_like(kept[0]), jnp.zeros_like(kept[0])
    begin = one, none, none, none + capacity
    (A, B, low, high), _ = lax.scan(compose, begin, (kept, gained))
    lost = 1 - A
    rest = B / jnp.where(lost > 0, lost, 1.0)
    start = jnp.where(lost > 0, rest, jnp.where(B > 0, high, low))
    return lax.scan(follow, jnp.clip(start, low, high), (kept, gained))[1]


def _mean_of_month(ends):
    """Half-way between the ends of the month before and of the month."""
    return 0.5 * (ends + jnp.roll(ends, 1))


class Snow(NamedTuple):
    """Water of the snow, mean of the month, mm; rain and what melts, mm per month."""

    water: Any
    liquid: Any


def snow(
    air: Float[Any, " month"],
    precipitation: Float[Any, " month"],
    melt: Float[Number, ""] = _SNOW.melt,
) -> Snow:
    """Snow that falls in months of frost and melts in others, in a year that repeats.

    S' = S + P - a T⁺, clipped to 0 and `SNOW_MOST`; rain falls where T > 0

    **Arguments:** `air`: T, °C; `precipitation`: P, mm per month; `melt`: a.
    """
    rain = jnp.where(air > 0, precipitation, 0.0)
    fall = precipitation - rain
    gained = fall - melt * jnp.maximum(air, 0.0)
    ends = periodic_store(jnp.ones_like(gained), gained, SNOW_MOST)
    # What falls on the most that there can be leaves as ice, and wets no soil.
    melted = jnp.maximum(jnp.roll(ends, 1) + fall - ends, 0.0)
    return Snow(_mean_of_month(ends), rain + jnp.where(air > 0, melted, 0.0))


def surface_temperature(
    air: Float[Any, " month"],
    passes: Float[Number, "*#month"],
    offset: Float[Number, ""] = _SNOW.offset,
) -> Float[Array, " month"]:
    """Temperature of the soil's surface, of which snow keeps away frost.

    T_s = n T + T_0 in months of frost, T + T_0 in others

    **Arguments:** `air`: T, °C; `passes`: n, see `frost_passes`; `offset`: T_0, K.
    """
    return jnp.where(air < 0, passes * air, air) + offset


def frost_passes(
    snow_water: Float[Any, " month"],
    least: Float[Number, ""] = _SNOW.least,
    scale: Float[Number, ""] = _SNOW.scale,
) -> Float[Array, " month"]:
    """Share of the frost of the air that reaches the soil below snow.

    n = n_0 + (1 - n_0) exp(-S / S_0)

    **Arguments:** `snow_water`: S, mm; `least`: n_0; `scale`: S_0, mm.
    """
    return jnp.asarray(least + (1 - least) * jnp.exp(-snow_water / scale))


def potential_evaporation(
    air: Float[Any, " month"], latitude: Float[Number, ""]
) -> Float[Array, " month"]:
    """What moist ground evaporates, mm per month.

    E = 29.8 D e_s / (T + 273.2) mm per day, D hours of daylight, e_s the saturation
    pressure, kPa

    **Arguments:** `air`: T, °C; `latitude`: degrees north.
    Source: Hamon (1961), doi:10.1061/JYCEAJ.0000599.
    """
    tilt = np.radians(-23.44 * np.cos(2 * np.pi * (_DAYS + 10) / DAYS_PER_YEAR))
    half = jnp.clip(-jnp.tan(jnp.radians(latitude)) * np.tan(tilt), -1.0, 1.0)
    hours = 24 / np.pi * jnp.arccos(half)
    pressure = 0.6108 * jnp.exp(17.27 * air / (air + 237.3))
    return DAYS_PER_MONTH * 29.8 * hours * pressure / (air + 273.2)


def bucket_water(
    liquid: Float[Any, " month"],
    evaporation: Float[Any, " month"],
    soil: Texture,
    bucket: Bucket = _BUCKET,
) -> Float[Array, " month"]:
    """Water content of the soil that plants draw from, m³ m⁻³, in a year that repeats.

    dS/dt = P - e E S / c, solved within each month, no more than
    c = (θ(ψ_wettest) - θ(-1.5 MPa)) z; the rest runs off; θ = θ(-1.5 MPa) + S / z

    **Arguments:** `liquid`: P, rain and melt, mm per month; `evaporation`: E, mm per
    month, see `potential_evaporation`; `bucket`: e, z and ψ_wettest.
    """
    wilting = clapp_hornberger_water(-1.5, soil)
    held = clapp_hornberger_water(bucket.wettest, soil) - wilting
    capacity = 1e3 * held * bucket.depth
    pace = jnp.maximum(bucket.evaporation * evaporation / capacity, 1e-9)
    gained = liquid * -jnp.expm1(-pace) / pace
    store = periodic_store(jnp.exp(-pace), gained, capacity)
    return jnp.asarray(wilting + _mean_of_month(store) / (1e3 * bucket.depth))


def thawing_depth(
    air: Float[Any, " month"], factor: Float[Number, ""] = 0.017
) -> Float[Array, ""]:
    """Depth that thaws in a year, m, by Stefan's law.

    z = a √D, D the degree-days of air above freezing

    **Arguments:** `air`: °C; `factor`: a, m (K d)^-½; half of the pedons of the
    Northern Circumpolar Soil Carbon Database lie between 0.011 and 0.025.
    """
    days = DAYS_PER_MONTH * jnp.sum(jnp.maximum(air, 0.0))
    # The slope of a root is infinite at zero.
    root = jnp.where(days > 0, jnp.sqrt(jnp.where(days > 0, days, 1.0)), 0.0)
    return jnp.asarray(factor * root)


def thawed_depth(
    temperature: Float[Any, "layer month"], column: SoilColumn
) -> Float[Array, ""]:
    """Depth that thaws in a year, m, from the temperature of the soil.

    In each month, z at which T falls below zero under the deepest layer above zero,
    linear between nodes; nothing where all are frozen, `NO_PERMAFROST` where the
    deepest is not; the largest of the months

    **Arguments:** `temperature`: °C.
    Source: CLM5's active layer, of monthly means in place of steps.
    """
    nodes = jnp.asarray(column.nodes)[:, None]
    thawed = temperature > 0
    below = jnp.minimum(temperature[1:], 0.0)
    upper = temperature[:-1]
    fall = jnp.where(thawed[:-1], upper - below, 1.0)
    depth = nodes[:-1] + upper / fall * (nodes[1:] - nodes[:-1])
    # A layer that is thawed and the deepest of them, which has frost just below it.
    ends = jnp.where(thawed[:-1] & ~thawed[1:], depth, 0.0)
    deepest = jnp.where(thawed[-1], NO_PERMAFROST, 0.0)
    return jnp.max(jnp.maximum(jnp.max(ends, axis=0), deepest))


def miami(
    mean: Float[Number, ""], precipitation: Float[Number, ""]
) -> Float[Array, ""]:
    """Net primary production of a climate, gC m⁻² yr⁻¹.

    0.45 · 3000 min(1 / (1 + exp(1.315 - 0.119 T)), 1 - exp(-0.000664 P))

    **Arguments:** `mean`: T, of the year, °C; `precipitation`: P, mm per year.
    Source: Lieth (1975), doi:10.1007/978-3-642-80913-2_12; 0.45 gC per g.
    """
    warmth = 1 / (1 + jnp.exp(1.315 - 0.119 * mean))
    return 0.45 * 3000 * jnp.minimum(warmth, -jnp.expm1(-0.000664 * precipitation))


def bedrock_layer(
    depth: Float[Number, ""], column: SoilColumn, least: float = 0.4
) -> Float[Array, ""]:
    """Number of the last layer above bedrock, from 1; the last where NaN.

    **Arguments:** `depth`: to bedrock, m; `least`: m of soil that there always is.
    Source: CLM5.
    """
    deep = jnp.where(jnp.isnan(depth), jnp.inf, jnp.maximum(depth, least))
    above = jnp.sum(jnp.asarray(column.bottom) < deep)
    return jnp.minimum(above + 1, column.layers).astype(float)
