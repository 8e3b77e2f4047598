"""Options of `jaxsoc fit`, checked before anything is computed."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveInt, field_validator

from jaxsoc.experiments import Incubation

from .config import KineticsName
from .options import FIGURES, FOLDER, OUT, Config, check_different, option


class FitConfig(Config):
    """Fit the constants of kinetics to other kinetics or to measured respiration."""

    results: ClassVar[str] = "fit.nc"

    kinetics: list[KineticsName] = option(
        ["multiplicative"], "NAMES", "Comma-separated, to be fitted"
    )
    to: KineticsName = option("michaelis_menten", "NAME", "Kinetics to fit to")
    on: str = option(
        "biomass", "WHAT", "biomass, substrate, co2, respiration or mean_rate"
    )
    series: Path | None = option(None, "FILE", "Measured respiration to fit to: .csv")
    id: list[str] = option(
        [], "NAME", "A series of FILE; may be repeated", repeated=True
    )
    first: PositiveInt | None = option(
        None, "N", "At most N series, three of each study"
    )
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
    starts: PositiveInt = option(8, "N", "Of the search, each fit")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = option(0, "N", "Of the starts")
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)

    @field_validator("free", mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        return [] if given == ["none"] else given

    def check(self) -> None:
        """Refuses what does not fit together: `ValueError` in one line."""
        check_different("kinetics", self.kinetics)
        if self.series is not None and self.changed & {"to", "on"}:
            raise ValueError(
                "to and on name a kinetics to fit to; with series, leave out"
            )
        for name in sorted(_OF_SERIES & self.changed):
            if self.series is None:
                raise ValueError(f"{name} is given without series; use --series FILE")


_OF_SERIES = {"id", "first", "unit", "time_unit", "soil_carbon", "mean_rates"}
_OF_SERIES |= {"independent_errors", "free"}
