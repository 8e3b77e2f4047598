"""The forcing of a soil from what is known of its place, by choices that have names."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import climate, soil_water
from .allocation import allocation
from .climate import Bucket, Insulation
from .columns import CLM5_COLUMN, SoilColumn
from .forcing import _KINDS, LITTER, MONTHS, NO_PERMAFROST, Forcing
from .land_cover import is_boreal, litter_types, root_beta
from .options import check_option
from .parameters import SHARE, numbers
from .site import Site
from .units import ZERO_CELSIUS

Surface = Literal["snow", "frost", "none"]
Permafrost = Literal["air", "soil"]
ActiveLayer = Literal["thawing_degree_days", "soil_temperature"]
Production = Literal["miami", "casa", "cesm", "mean"]
Profile = Literal["land_cover", "parameter"]

NPP_ERROR = 0.5
"""Standard deviation of log NPP around Miami's, from MODIS at 641 sites."""


@dataclass(frozen=True)
class Choices:
    """How forcing is made from a site: options by name, and their constants.

    `surface`: "snow" or "frost" keep cold from the soil, or "none"; `permafrost`: where
    the annual mean of the "air" is below -5 °C, or of the "soil" below 0; its
    `active_layer`: by "thawing_degree_days" of the air, or "soil_temperature"; `npp`:
    "miami", "casa", "cesm" or the geometric "mean" of those known, wherever the site
    has none of its own; `profile` of the litter by "land_cover", or from a "parameter"
    of the model; `site_mean`: whether the cycle of the air is shifted to the site's
    mean; `harvest`: share of production that stays on cropland; `litter_months`: shares
    of the annual litter by month, None for even ones; `texture`: sand and clay, %,
    where the site's is not known, None to refuse; `water_floor`: least W; `damping`,
    `water_damping`: depths, m, over which cycles of temperature and water fade;
    `insulation` by snow or frost; `bucket`; `thaw`: of degree-days.

    **Raises:** `ValueError` for an unknown option.
    """

    surface: Surface = "snow"
    permafrost: Permafrost = "air"
    active_layer: ActiveLayer = "thawing_degree_days"
    npp: Production = "miami"
    profile: Profile = "land_cover"
    site_mean: bool = True
    harvest: float = 1.0
    litter_months: tuple[float, ...] | None = None
    texture: tuple[float, float] | None = None
    water_floor: float = 0.01
    damping: float = 2.1
    water_damping: float = 0.5
    insulation: Insulation = Insulation()
    bucket: Bucket = Bucket()
    thaw: float = 0.017

    def __post_init__(self):
        check_option("surface", self.surface, Surface)
        check_option("permafrost", self.permafrost, Permafrost)
        check_option("active_layer", self.active_layer, ActiveLayer)
        check_option("npp", self.npp, Production)
        check_option("profile", self.profile, Profile)
        SHARE.check("harvest (share that stays on cropland)", self.harvest)
        shares = self.litter_months
        if shares is not None and (
            len(shares) != MONTHS or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6
        ):
            raise ValueError(
                f"litter_months must be {MONTHS} shares that sum to 1, got {shares}"
            )


def forcing_of(
    site: Site,
    choices: Choices = Choices(),
    column: SoilColumn = CLM5_COLUMN,
    **own: Any,
) -> Forcing:
    """The forcing of a site, or of many sites whose leaves lead by site.

    Soil temperature and water are the measured ones where the site has them, carried
    down the column; else they are made from the climate.

    **Arguments:** `own`: arguments of `Forcing` that take the place of what is made
    here; temperature also in what follows from it.
    **Raises:** `ValueError` for a site whose texture is not known, unless `choices`
    has one, and as `Forcing`.
    """
    _check_texture(site, choices)
    if not jnp.ndim(site.latitude):
        return Forcing(**_fields(site, own, choices, column), column=column)
    sites = len(site.latitude)
    for name, value in own.items():
        if jnp.shape(value)[:1] != (sites,):
            raise ValueError(
                f"{name} must lead by site, {sites} of them, got shape "
                f"{jnp.shape(value)}"
            )
        if name in _KINDS:
            _KINDS[name].bounds.check(name, value, _KINDS[name].unit)
    own = {name: jnp.asarray(value) for name, value in own.items()}
    return _many(site, own, choices, column)


@partial(jax.jit, static_argnames=("choices", "column"))
def _many(site, own, choices, column):
    one = lambda s, o: Forcing(**_fields(s, o, choices, column), column=column)
    return jax.vmap(one)(site, own)


@partial(jax.jit, static_argnames=("choices", "column"))
def _fields(site, own, choices, column):
    """Arguments of `Forcing`: what is given, else made from the site."""
    air = site.air_temperature
    if choices.site_mean:
        air = climate.shifted(air, site.mean_annual_temperature)
    fallen = climate.snow(air, site.precipitation, choices.insulation.melt)
    if "temperature" in own:
        shape = (column.layers, MONTHS)
        temperature = jnp.broadcast_to(own["temperature"], shape) - ZERO_CELSIUS
    else:
        temperature = soil_temperature(site, air, fallen.water, choices, column)
    found = {"temperature": temperature + ZERO_CELSIUS}
    if "water" not in own:
        found["water"] = water(site, air, fallen.liquid, temperature, choices, column)
    depth = active_layer(air, temperature, choices, column)
    if "active_layer" not in own:
        found["active_layer"] = depth
    if "litter" not in own:
        annual = litter_types(
            production(site, choices), site.land_cover, choices.harvest
        )
        months = choices.litter_months or (1 / MONTHS,) * MONTHS
        found["litter"] = annual[:, None] * np.array(months)[None, :]
    if "bedrock" not in own:
        found["bedrock"] = climate.bedrock_layer(site.depth_to_bedrock, column)
    if "profile" not in own and choices.profile == "land_cover":
        beta = root_beta(site.land_cover, is_boreal(temperature[0]))
        shares = allocation(beta, jnp.mean(own.get("active_layer", depth)) <= 0, column)
        found["profile"] = jnp.broadcast_to(shares, (len(LITTER), column.layers))
    if "sand" not in own:
        found["sand"] = jnp.broadcast_to(texture_of(site, choices)[0], column.layers)
    return found | own


def soil_temperature(
    site: Site,
    air: Float[Array, " month"],
    snow_water: Float[Array, " month"],
    choices: Choices,
    column: SoilColumn,
) -> Float[Array, "layer month"]:
    """Soil temperature, °C: measured at two levels, else from the air above.

    **Arguments:** `air`: °C; `snow_water`: mm.
    """
    snow = choices.insulation
    own = choices.site_mean & ~jnp.isnan(site.mean_annual_temperature)
    offset = jnp.where(own, snow.site_offset, snow.offset)
    surface = air
    if choices.surface == "snow":
        passes = climate.frost_passes(snow_water, snow.least, snow.scale)
        surface = climate.surface_temperature(air, passes, offset)
    elif choices.surface == "frost":
        surface = climate.surface_temperature(air, snow.frost, offset)
    made = climate.damped_wave(surface, column.nodes, choices.damping)
    wave = partial(climate.damped_wave, damping=choices.damping)
    return _measured(
        site.soil_temperature,
        lambda x: climate.from_levels(x, column.nodes, wave),
        made,
    )


def water(
    site: Site,
    air: Float[Array, " month"],
    liquid: Float[Array, " month"],
    temperature: Float[Array, "layer month"],
    choices: Choices,
    column: SoilColumn,
) -> Float[Array, "layer month"]:
    """W by layer: from water measured at two levels, else from a bucket.

    **Arguments:** `air`: °C; `liquid`: rain and melt, mm per month; `temperature`: of
    the soil, °C.
    """
    soil = soil_water.texture(*texture_of(site, choices))
    evaporation = climate.potential_evaporation(air, site.latitude)
    theta = climate.bucket_water(liquid, evaporation, soil, choices.bucket)
    fade = partial(climate.damped_anomaly, damping=choices.water_damping)
    down = lambda levels: climate.from_levels(levels, column.nodes, fade)

    def measured(levels):
        theta = down(levels)
        era5 = soil_water.van_genuchten(theta, site.soil_class)
        return jnp.where(
            site.soil_class > 0, era5, soil_water.clapp_hornberger(theta, soil)
        )

    made = soil_water.clapp_hornberger(down(jnp.stack([theta, theta])), soil)
    potential = soil_water.frozen_potential(
        _measured(site.soil_water, measured, made), temperature
    )
    return soil_water.decomposition_water(potential, choices.water_floor)


def active_layer(
    air: Float[Array, " month"],
    temperature: Float[Array, "layer month"],
    choices: Choices,
    column: SoilColumn,
) -> Float[Array, ""]:
    """Depth that thaws in a year, m, `NO_PERMAFROST` where there is no permafrost.

    **Arguments:** `air`, `temperature`: of the soil, °C.
    """
    if choices.permafrost == "air":
        permafrost = jnp.mean(air) < -5.0
    else:
        permafrost = jnp.mean(temperature[-1]) < 0
    if choices.active_layer == "soil_temperature":
        depth = climate.thawed_depth(temperature, column)
    else:
        depth = climate.thawing_depth(air, choices.thaw)
    return jnp.where(permafrost, depth, NO_PERMAFROST)


def production(site: Site, choices: Choices = Choices()) -> Float[Array, "..."]:
    """Net primary production, gC m⁻² yr⁻¹: the site's, else as chosen, else Miami's.

    An estimate is off by `NPP_ERROR` in the logarithm.
    """
    air, total = site.air_temperature, jnp.sum(site.precipitation, axis=-1)
    mean = jnp.mean(air, axis=-1)
    if choices.site_mean:
        mean = _known(site.mean_annual_temperature, mean)
    miami = climate.miami(mean, total)
    casa, cesm = (_known(x, miami) for x in (site.npp_casa, site.npp_cesm))
    if choices.npp == "mean":
        logs = [jnp.log(miami)]
        for x in (site.npp_casa, site.npp_cesm):
            logs.append(jnp.where(jnp.isnan(x), jnp.nan, jnp.log(_known(x, 1.0))))
        chosen = jnp.exp(jnp.nanmean(jnp.stack(logs), axis=0))
    else:
        chosen = {"miami": miami, "casa": casa, "cesm": cesm}[choices.npp]
    return _known(site.npp, chosen)


def _known(value, otherwise):
    return jnp.where(jnp.isnan(value), otherwise, value)


def _measured(levels, profile, made):
    """A profile of what was measured, or what was made where nothing was."""
    if levels is None:
        return made
    known = jnp.all(jnp.isfinite(levels))
    # Another number in place of NaN, which would spoil the gradients.
    return jnp.where(known, profile(jnp.where(known, levels, 0.3)), made)


def texture_of(site: Site, choices: Choices) -> tuple[Any, Any]:
    """Sand and clay, %, of one or many sites: as chosen where they are not known."""
    sand, clay = choices.texture or (jnp.nan, jnp.nan)
    return _known(site.sand, sand), _known(site.clay, clay)


def _check_texture(site, choices):
    sand, clay = (numbers("texture", x) for x in (site.sand, site.clay))
    if sand is None or clay is None or choices.texture is not None:
        return
    missing = np.isnan(sand + clay)
    if missing.any():
        where = f" of site {np.argmax(missing) + 1}" if missing.ndim else ""
        raise ValueError(
            f"sand and clay{where} are not known: give them, or a texture for where "
            "they are not, as in Choices(texture=(45, 20))"
        )
