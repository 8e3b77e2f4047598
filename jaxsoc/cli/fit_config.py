"""Options of `jaxsoc fit`, checked before anything is computed."""

from collections.abc import Mapping
from pathlib import Path

from jaxsoc.experiments import Incubation

from .config import Config, canonical_kinetics, read_config


class FitConfig(Config):
    """Everything that `jaxsoc fit` can be told; numbers may come as text."""

    kinetics: list[str] = ["multiplicative"]
    to: str = "michaelis_menten"
    on: str = "biomass"
    series: Path | None = None
    id: list[str] = []
    first: int | None = None
    unit: str | None = None
    time_unit: str | None = None
    soil_carbon: float | None = None
    mean_rates: bool = False
    independent_errors: bool = False
    free: list[str] = list(Incubation().free)
    starts: int = 8
    seed: int = 0
    out: Path = Path("jaxsoc-output")
    figures: bool = True

    @property
    def laws(self) -> list[str]:
        """Names of the kinetics to fit, as jaxsoc calls them."""
        laws = [canonical_kinetics(name) for name in self.kinetics]
        if len(set(laws)) < len(laws):
            raise ValueError(f"kinetics names one twice: {', '.join(self.kinetics)}")
        return laws


_OF_SERIES = {"id", "first", "unit", "time_unit", "soil_carbon", "mean_rates"}
_OF_SERIES |= {"independent_errors", "free"}


def checked_config(options: Mapping[str, object]) -> FitConfig:
    """Options as a configuration that fits together; None is the default.

    **Raises:** `ValueError` in one line for a value of the wrong kind.
    """
    config = read_config(None, options, FitConfig)
    given = config.model_fields_set
    for name in ("first", "starts"):
        if name in given and getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed must lie in [0, 2^63), got {config.seed}")
    if config.series is not None and ("to" in given or "on" in given):
        raise ValueError("to and on name a kinetics to fit to; with series, leave out")
    for name in sorted(_OF_SERIES & given):
        if config.series is None:
            raise ValueError(f"{name} is given without series; use --series FILE")
    return config
