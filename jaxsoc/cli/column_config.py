"""Options of `jaxsoc column`, checked before anything is computed."""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import (
    NegativeFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from jaxsoc.experiments.comparison import MODELS
from jaxsoc.io.atmosphere import FIRST, LAST
from jaxsoc.io.runs import WARMING
from jaxsoc.physics.climate import Bucket, Insulation
from jaxsoc.physics.site_forcing import (
    ActiveLayer,
    Choices,
    Permafrost,
    Production,
    Profile,
    Surface,
)

from .options import FIGURES, FOLDER, OUT, Config, check_different, check_known, option

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


class ColumnConfig(Config):
    """Soil carbon with depth at a place or at many, by several models."""

    results: ClassVar[str] = "column.nc"

    lat: float | None = option(None, "DEGREES", "Latitude of a place, north")
    lon: float | None = option(None, "DEGREES", "Longitude of a place, east")
    profiles: Path | None = option(
        None, "FILE", "Measured profiles, whose places are taken: .csv, .tsv or .nc"
    )
    model: list[str] = option(
        list(MODELS), "NAMES", f"Comma-separated: {', '.join(MODELS)}"
    )
    climate: Path | None = option(
        None,
        "FILE",
        "Monthly climate: .csv, .nc, or a folder of grids (default: global_grids in "
        "JAXSOC_DATA, else an idealised climate by latitude)",
    )
    mean_temperature: float | None = option(None, "°C", "Of the air at the place")
    production: float | None = option(None, "GC/M2/YR", "NPP at the place")
    sand: float | None = option(None, "%", "Of the soil at the place")
    clay: float | None = option(None, "%", "Of the soil at the place")
    land_cover: int | None = option(None, "N", "Class of IGBP, 1 to 18")
    bedrock: float | None = option(None, "M", "Depth to bedrock at the place")
    periodic: bool = option(False, None, "Also the year of months that repeats itself")
    years: PositiveInt | None = option(
        None, "N", "Also run through so many years, from where the climate leads to"
    )
    warming: float = option(0.0, "K", "Of the run, in all layers and months")
    litter: NonNegativeFloat = option(1.0, "FACTOR", "Of all litter of the run")
    ramp: NonNegativeInt = option(
        0, "YEARS", "Over which warming and litter come about (default: at once)"
    )
    changes: Path | None = option(
        None, "FILE", "Warming and litter by year instead: .csv, see docs"
    )
    radiocarbon: bool = option(
        False,
        None,
        f"Carry radiocarbon, from {FIRST} on, in years without change first",
    )
    until: PositiveInt | None = option(
        None, "YEAR", f"Last year of the run (default: {LAST} with radiocarbon)"
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
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)
    forcing: ForcingConfig = ForcingConfig()

    def check(self) -> None:
        """Refuses what does not fit together: `ValueError` in one line."""
        for name in self.model:
            check_known("model", name, MODELS)
        check_different("model", self.model)
        at = {"lat": self.lat, "lon": self.lon}
        given = [name for name, value in at.items() if value is not None]
        if self.profiles is not None:
            if given := sorted({*given} | (_OF_PLACE & self.changed)):
                raise ValueError(
                    f"{', '.join(given)} tell of one place, and profiles have their "
                    "own: leave out one or the other"
                )
        elif len(given) < 2:
            said = f"only {given[0]} is given" if given else "no place is given"
            raise ValueError(f"{said}: use --lat and --lon, or --profiles FILE")
        elif unfit := sorted(_OF_PROFILES & self.changed):
            raise ValueError(f"{unfit[0]} is given without profiles; use --profiles")
        self._check_run()

    def _check_run(self) -> None:
        WARMING.check("warming", self.warming, "K")
        run = {"warming", "litter", "ramp"} & self.changed
        if self.changes is not None and (
            given := sorted(run | ({"years", "until"} & self.changed))
        ):
            raise ValueError(
                f"{', '.join(given)} and changes both tell what changes: leave out "
                "one or the other"
            )
        given = sorted(run | ({"until"} & self.changed))
        if given and not self.runs:
            raise ValueError(f"{given[0]} is of a run: say of how many --years")
        if self.radiocarbon and (self.until or 0) > LAST:
            raise ValueError(
                f"the atmosphere's radiocarbon is known to {LAST}, got until "
                f"{self.until}"
            )

    @property
    def runs(self) -> bool:
        """Whether a run through time is asked for."""
        return bool(self.years or self.changes or self.radiocarbon)

    def span(self) -> tuple[int | None, int]:
        """First calendar year of the run, None where they are counted, and its length.

        **Raises:** `ValueError` for a first year before 1.
        """
        until = self.until or (LAST if self.radiocarbon else None)
        years = self.years
        if years is None:
            years = (until or LAST) - FIRST + 1
        if until is None:
            return None, years
        if until < years or years < 1:
            raise ValueError(f"a run of {years} years cannot end in {until}")
        return until - years + 1, years


_OF_PLACE = {"mean_temperature", "production", "sand", "clay", "land_cover", "bedrock"}
_OF_PROFILES = {"layers", "deepest", "bulk_density", "without", "skip_bad"}
