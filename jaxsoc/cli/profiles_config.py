"""Options of measured profiles and of what is known of their places."""

import dataclasses
from pathlib import Path
from typing import Literal

from pydantic import NegativeFloat, NonNegativeFloat, PositiveFloat, PositiveInt

from jaxsoc.physics.climate import Bucket, Insulation
from jaxsoc.physics.site_forcing import (
    ActiveLayer,
    Choices,
    Permafrost,
    Production,
    Profile,
    Surface,
)

from .options import Config, option

_CHOICES = Choices()


class ForcingConfig(Config):
    """How forcing is made of what is known of a place."""

    surface: Surface = option(
        _CHOICES.surface, None, "snow or frost keep cold from the soil, or none"
    )
    permafrost: Permafrost = option(
        _CHOICES.permafrost, None, "Told by the mean of the air, or of the soil"
    )
    active_layer: ActiveLayer = option(
        _CHOICES.active_layer, None, "thawing_degree_days or soil_temperature"
    )
    npp: Production = option(
        _CHOICES.npp, None, "Where none was measured: miami, casa, cesm or mean"
    )
    profile: Profile = option(
        _CHOICES.profile, None, "Of the litter: land_cover, or the models' parameter"
    )
    site_mean: bool = option(
        _CHOICES.site_mean, None, "Shift the air to the mean that the site gives"
    )
    harvest: float = option(
        _CHOICES.harvest, None, "Share of production that stays on cropland"
    )
    texture: tuple[float, float] | None = option(
        (45.0, 20.0), "%", "Sand and clay where they are not known"
    )
    water_floor: float = option(_CHOICES.water_floor, None, "Least water scalar")
    damping: float = option(
        _CHOICES.damping, "m", "Depth over which the cycle of temperature fades"
    )
    water_damping: float = option(
        _CHOICES.water_damping, "m", "Depth over which the cycle of water fades"
    )
    thaw: float = option(
        _CHOICES.thaw, None, "Metres that thaw per root of degree-days above zero"
    )
    litter_months: tuple[float, ...] | None = option(
        None, None, "Shares of the year's litter by month (default: even)"
    )
    bucket_evaporation: PositiveFloat = option(
        _CHOICES.bucket.evaporation, None, "Multiplier of potential evaporation"
    )
    bucket_depth: PositiveFloat = option(
        _CHOICES.bucket.depth, "m", "That plants draw from"
    )
    bucket_wettest: NegativeFloat = option(
        _CHOICES.bucket.wettest, "MPa", "Water potential of a full bucket"
    )
    insulation_least: NonNegativeFloat = option(
        _CHOICES.insulation.least, None, "Share of frost that the deepest snow lets by"
    )
    insulation_scale: PositiveFloat = option(
        _CHOICES.insulation.scale, "mm", "Snow water that leaves 1/e of the rest"
    )
    insulation_frost: NonNegativeFloat = option(
        _CHOICES.insulation.frost, None, "Share of frost that passes surface frost"
    )
    insulation_offset: float = option(
        _CHOICES.insulation.offset, "K", "Of soil above the air of the grid"
    )
    insulation_site_offset: float = option(
        _CHOICES.insulation.site_offset, "K", "Of soil above the air of the site"
    )
    insulation_melt: NonNegativeFloat = option(
        _CHOICES.insulation.melt, None, "Of snow, mm per month and K"
    )

    def made(self) -> Choices:
        """The choices, which check themselves."""
        parts = {"bucket": Bucket, "insulation": Insulation}
        made = {
            name: part(**{n: getattr(self, f"{name}_{n}") for n in part._fields})
            for name, part in parts.items()
        }
        plain = {one.name for one in dataclasses.fields(Choices)} - {*parts}
        return Choices(**{name: getattr(self, name) for name in plain}, **made)


class ProfilesConfig(Config):
    """Which profiles are taken, and what drives the soil there."""

    climate: Path | None = option(
        None,
        "FILE",
        "Monthly climate: .csv, .nc, or a folder of grids (default: global_grids in "
        "JAXSOC_DATA, else an idealised climate by latitude)",
    )
    layers: PositiveInt = option(3, "N", "Fewest layers of a profile that is taken")
    deepest: float = option(0.5, "M", "Depth that a profile reaches at least")
    bulk_density: Literal["measured", "pedotransfer"] = option(
        "measured", "HOW", "measured, or by pedotransfer where it is missing"
    )
    without: list[str] = option(
        [], "FLAGS", "Comma-separated: urban, peat, wet profiles are left out"
    )
    skip_bad: bool = option(False, None, "List rows of FILE that are wrong, and go on")
    forcing: ForcingConfig = ForcingConfig()
