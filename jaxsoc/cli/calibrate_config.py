"""Options of `jaxsoc calibrate`, checked before anything is computed."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from jaxsoc.experiments.measured_sites import check_measured

from .options import FIGURES, FOLDER, OUT, option
from .profiles_config import ProfilesConfig

Model = Literal["clm5", "compas", "mimics"]
Kind = Literal["carbon", "content", "stock", "radiocarbon"]
Law = Literal["log-normal", "normal", "student-t", "published-error", "published-nse"]
Sampler = Literal["hmc", "nuts", "metropolis", "pathfinder", "laplace"]


class CalibrateConfig(ProfilesConfig):
    """Posteriors of a soil model's constants at measured profiles."""

    results: ClassVar[str] = "calibration.nc"

    profiles: Path | None = option(
        None, "PROFILES", "Measured profiles: .csv, .tsv or .nc", alone=True
    )
    model: Model = option("clm5", "NAME", "clm5, compas or mimics")
    kinds: list[Kind] = option(
        ["carbon"], "NAMES", "Comma-separated: carbon, content, stock, radiocarbon"
    )
    law: Law = option(
        "log-normal",
        "NAME",
        "Of errors: log-normal, normal, student-t; published-error or published-nse",
    )
    error: float | None = option(
        None, "SHARE", "Of measurements, relative (default: inferred at each site)"
    )
    free_npp: bool = option(False, None, "Infer a multiplier of all litter, too")
    published_ranges: bool = option(False, None, "Priors as published, singular ends")
    sampler: Sampler = option(
        "hmc", "NAME", "hmc, nuts, metropolis, pathfinder or laplace"
    )
    chains: PositiveInt = option(4, "N", "Of each site")
    draws: PositiveInt = option(500, "N", "Of each chain")
    warmup: PositiveInt | None = option(
        None, "N", "Iterations before them (default: the sampler's)"
    )
    again: PositiveInt | None = option(
        None,
        "TIMES",
        "As many iterations for sites that have not converged (default: 4); 1 for none",
    )
    steps: PositiveInt | None = option(
        None,
        "N",
        "Longest trajectory of hmc (default: by a pilot; 16 for few profiles)",
    )
    first: PositiveInt | None = option(None, "N", "The first N profiles alone")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = option(0, "N", "Of all draws")
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)

    def check(self) -> None:
        """Refuses what does not fit together: `ValueError` in one line."""
        if self.profiles is None:
            raise ValueError("no profiles are given: name a file, .csv, .tsv or .nc")
        if len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds names one twice: {', '.join(self.kinds)}")
        check_measured(self.kinds)
        if self.again is not None and self.sampler not in ("hmc", "metropolis"):
            raise ValueError(
                f"{self.sampler} samples each site once: leave again out, or take hmc "
                "or metropolis"
            )
        if self.steps is not None and self.sampler != "hmc":
            raise ValueError(
                f"steps are of the sampler hmc, got {self.steps} for {self.sampler}"
            )
        if self.warmup is not None and self.sampler in ("pathfinder", "laplace"):
            raise ValueError(f"{self.sampler} has no warm-up: leave warmup out")
        if self.error is not None and self.error <= 0:
            raise ValueError(f"error must be positive, got {self.error:g}")
        if self.error is not None and self.law.startswith("published"):
            raise ValueError(f"{self.law} has its own error: leave error out")
