"""What `jaxsoc fit` can be told, checked before anything is computed."""

from pathlib import Path
from typing import Any, ClassVar

from pydantic import field_validator

from jaxsoc.experiments import Incubation

from .config import canonical_kinetics
from .options import FIGURES, FOLDER, OUT, Config, option


class FitConfig(Config):
    """Fit the constants of kinetics to other kinetics or to measured respiration."""

    results: ClassVar[str] = "fit.nc"

    kinetics: list[str] = option(
        ["multiplicative"], "NAMES", "Comma-separated, to be fitted"
    )
    to: str = option("michaelis_menten", "NAME", "Kinetics to fit to")
    on: str = option(
        "biomass", "WHAT", "biomass, substrate, co2, respiration or mean_rate"
    )
    series: Path | None = option(None, "FILE", "Measured respiration to fit to: .csv")
    id: list[str] = option(
        [], "NAME", "A series of FILE; may be repeated", repeated=True
    )
    first: int | None = option(None, "N", "At most N series, three of each study")
    unit: str | None = option(None, "UNIT", "Of values in FILE, for example ugC/g/d")
    time_unit: str | None = option(None, "UNIT", "Of times in FILE: h or d")
    soil_carbon: float | None = option(None, "MGC/G", "Where FILE does not say")
    mean_rates: bool = option(False, None, "Rates are means since the point before")
    independent_errors: bool = option(
        False, None, "Fit cumulative CO2 as it is, not its differences"
    )
    free: list[str] = option(
        list(Incubation().free),
        "NAMES",
        "Fitted beside the constants: initial_substrate, initial_biomass, "
        "mortality.rate, carbon_use_efficiency, or none",
    )
    starts: int = option(8, "N", "Of the search, each fit")
    seed: int = option(0, "N", "Of the starts")
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)

    @field_validator("free", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        return [] if given == ["none"] else given

    @property
    def laws(self) -> list[str]:
        """Names of the kinetics to fit, as jaxsoc calls them."""
        laws = [canonical_kinetics(name) for name in self.kinetics]
        if len(set(laws)) < len(laws):
            raise ValueError(f"kinetics names one twice: {', '.join(self.kinetics)}")
        return laws

    def check(self) -> None:
        """Refuses what does not fit together: `ValueError` in one line."""
        for name, value in (("first", self.first), ("starts", self.starts)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must lie in [0, 2^63), got {self.seed}")
        if self.series is not None and self.changed & {"to", "on"}:
            raise ValueError(
                "to and on name a kinetics to fit to; with series, leave out"
            )
        for name in sorted(_OF_SERIES & self.changed):
            if self.series is None:
                raise ValueError(f"{name} is given without series; use --series FILE")


_OF_SERIES = {"id", "first", "unit", "time_unit", "soil_carbon", "mean_rates"}
_OF_SERIES |= {"independent_errors", "free"}
