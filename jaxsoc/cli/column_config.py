"""Options of `jaxsoc column`, checked before anything is computed."""

from pathlib import Path
from typing import ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxsoc.experiments.comparison import MODELS
from jaxsoc.io.atmosphere import FIRST, LAST
from jaxsoc.io.runs import WARMING

from .options import FIGURES, FOLDER, OUT, check_different, check_known, option
from .profiles_config import ProfilesConfig


class ColumnConfig(ProfilesConfig):
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
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)

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
