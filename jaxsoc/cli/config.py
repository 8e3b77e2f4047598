"""Options of `jaxsoc upscale` and `jaxsoc budget`."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, AllowInfNan, field_validator

from jaxsoc.experiments import SCENARIOS, Design
from jaxsoc.experiments.scenarios import HETEROGENEITY
from jaxsoc.models import TwoPoolParameters
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.mortality import LinearMortalityConstants, PowerMortalityConstants
from jaxsoc.physics.parameters import POSITIVE, declarations, default
from jaxsoc.solve import Adaptive, Steps
from jaxsoc.solve.methods import COURANT
from jaxsoc.upscale.fields import CORRELATIONS, Acceptance, Generator
from jaxsoc.upscale.spectral import PUBLISHED_EXPONENT

from .options import (
    FIGURES,
    FOLDER,
    OUT,
    Config,
    check_different,
    check_known,
    option,
)

_ALIASES = {
    "lin": "linear",
    "mult": "multiplicative",
    "mm": "michaelis_menten",
    "imm": "inverse_michaelis_menten",
}


def _canonical(name: str) -> str:
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return _ALIASES.get(plain, plain)


KineticsName = Annotated[str, AfterValidator(_canonical)]
"""The name that jaxsoc uses for what a user may call "MM"."""

_MOST_STEPS = 2**31  # between two saved times
_SOIL = partial(default, TwoPoolParameters)
_MORTALITY = partial(default, PowerMortalityConstants)


def _constants_text() -> str:
    lines = ["Uniform constants of a kinetics where they are to differ from these:"]
    for name, kinetics in KINETICS.items():
        lines.append(f"[constants.{name}]")
        for one in declarations(kinetics.constants):
            lines.append(f"{one.name} = {one.default}  # {one.unit}")
    return "\n".join(lines)


class SoilConfig(Config):
    """Numbers of the soil that all kinetics share."""

    carbon_use_efficiency: float = option(
        _SOIL("carbon_use_efficiency"), None, "What becomes biomass"
    )
    input: float = option(_SOIL("input"), "mgC/g/h", "Of substrate")
    mortality_rate: float = option(_MORTALITY("rate"), "1/h", "Of biomass")
    mortality_exponent: float = option(_MORTALITY("exponent"), None, "1: linear")


class CellsConfig(Config):
    """The grid of generated fields, and the size of a cell."""

    shape: tuple[int, int] = option(CellGrid().shape, "cells", "Of generated fields")
    edge: float = option(CellGrid().edge, "µm", "Of a cell")
    bulk_density: float = option(CellGrid().bulk_density, "g/cm³", "Of the soil")


class GeneratorConfig(Config):
    """How fields are drawn, and which draws to keep."""

    exponent: float = option(PUBLISHED_EXPONENT, None, "Of the power spectrum")
    dead_fraction: float | None = option(
        None, None, "Of the cells, exactly; without it, what the recipe gives"
    )
    variance: Literal["recipe", "equal"] = option(
        "recipe", None, "recipe, or equal: correlation 1, -1, 0 at one variance"
    )
    keep: Literal["accepted", "first"] = option(
        "accepted", None, "accepted, or first: the first draw"
    )
    largest_uncorrelated: float = option(
        0.05, None, "Size of the correlation of fields accepted as uncorrelated"
    )
    least_correlation: float | None = option(
        None, None, "Size of that of the others, if not 0.9 (scenario 1: 0.85)"
    )
    largest_substrate: float | None = option(
        None, "mgC/g", "Of a cell of an accepted field, if limited"
    )

    def made(self) -> Generator:
        """The generator of fields."""
        rule = Acceptance(
            self.largest_uncorrelated, self.least_correlation, self.largest_substrate
        )
        rule = rule if self.keep == "accepted" else None
        equal = self.variance == "equal"
        return Generator(self.exponent, self.dead_fraction, equal, rule)


class UpscaleConfig(Config):
    """Run heterogeneous and homogeneous soil cores and compare their respiration."""

    results: ClassVar[str] = "upscale.nc"

    scenario: int = option(2, "N", "1: steady state, 20 years; 2: transient, 200 days")
    kinetics: list[KineticsName] | None = option(
        None, "NAMES", f"Comma-separated: {', '.join(KINETICS)}"
    )
    heterogeneity: list[str] = option(
        list(HETEROGENEITY), "NAMES", f"Comma-separated: {', '.join(HETEROGENEITY)}"
    )
    correlation: list[str] | None = option(
        None, "NAMES", f"Comma-separated: {', '.join(CORRELATIONS)}, or a field's own"
    )
    fields: Path | None = option(
        None, "FILE", "Your own fields: .npz, .npy, .nc, .mat or a folder of them"
    )
    units: str | None = option(
        None, "UNIT", "Of carbon in FILE: fgC/cell, if not given, or mgC/g"
    )
    parameter_spread: str = option(
        "case1", "CASE", "Spread of the constants: case1 (wide) or case2"
    )
    coupling: Literal["independent", "published"] = option(
        "independent", "HOW", "Constants of inverse MM: independent or published"
    )
    control: str = option(
        "nominal", "WHICH", "Constants of the homogeneous soil: nominal or field-mean"
    )
    every: float = option(6.0, "HOURS", "Between saved times")
    days: float | None = option(None, "DAYS", "Duration, if not the scenario's")
    members: int = option(1, "N", "Draws of the random fields")
    memory: Annotated[float, AllowInfNan()] = option(
        2.0, "GIB", "Limit for several members at a time"
    )
    seed: int = option(0, "N", "Of the random fields")
    method: Literal["auto", "fixed", "substepped", "adaptive"] = option(
        "auto", "METHOD", "auto, fixed, substepped or adaptive"
    )
    step: float | None = option(None, "HOURS", "Of the fixed method, if not 0.1")
    tolerance: float = option(1e-5, "X", "Relative, of the automatic method")
    out: Path = option(FOLDER, *OUT)
    figures: bool = option(True, *FIGURES)
    soil: SoilConfig = SoilConfig()
    cells: CellsConfig = CellsConfig()
    generator: GeneratorConfig = GeneratorConfig()
    constants: dict[KineticsName, dict[str, float]] = option(
        {}, None, _constants_text()
    )

    @field_validator("constants", mode="before")
    @classmethod
    def _once(cls, given: Any) -> Any:
        """Two names of one kinetics would become one."""
        if isinstance(given, dict):
            check_different("constants", list(map(_canonical, given)))
        return given

    def design(self) -> Design:
        """The experiment; raises `ValueError` for choices that are not possible."""
        for name in ("days", "step"):
            if (value := getattr(self, name)) is not None:
                POSITIVE.check(name, value)
        soil, cells = self.soil, self.cells
        rate, exponent = soil.mortality_rate, soil.mortality_exponent
        mortality = LinearMortalityConstants(rate)
        if exponent != 1.0:
            mortality = PowerMortalityConstants(rate, exponent)
        return Design(
            scenario=self.scenario,
            kinetics=tuple(self.laws),
            heterogeneity=tuple(self.heterogeneity),
            correlation=None if self.correlation is None else tuple(self.correlation),
            members=self.members,
            seed=self.seed,
            parameter_spread=self.parameter_spread,
            control=self.control,
            coupled=self.coupling == "published",
            every=self.every,
            duration=None if self.days is None else 24.0 * self.days,
            grid=CellGrid(cells.shape, cells.edge, cells.bulk_density),
            generator=self.generator.made(),
            constants=self._constants(),
            mortality=mortality,
            carbon_use_efficiency=soil.carbon_use_efficiency,
            input=soil.input,
            method=self._method(),
            tolerance=self.tolerance,
        )

    @property
    def laws(self) -> Sequence[str]:
        """Names of the kinetics, by default those of the scenario."""
        if self.kinetics is not None:
            return self.kinetics
        # An unknown scenario is refused by `Design`, in its own words.
        return SCENARIOS.get(self.scenario, SCENARIOS[2]).kinetics

    def _constants(self):
        constants = {}
        for kinetics, given in self.constants.items():
            check_known("kinetics", kinetics, KINETICS)
            cls = KINETICS[kinetics].constants
            known = [declaration.name for declaration in declarations(cls)]
            for name in given:
                check_known(f"constant of {kinetics}", name, known)
            constants[kinetics] = cls(**given)
        return constants

    def _method(self):
        if self.step is not None and self.method != "fixed":
            raise ValueError(
                f"step {self.step:g} belongs to method fixed, got method {self.method}"
            )
        if self.step and 0 < self.step * _MOST_STEPS < self.every:
            raise ValueError(
                f"step must be longer than every / 2^31, got {self.step:g} hours and "
                f"every {self.every:g}"
            )
        known = {
            "fixed": Steps(0.1 if self.step is None else self.step, layout="whole"),
            "substepped": Steps(courant=COURANT, layout="whole"),
            "adaptive": Adaptive(),
        }
        return known.get(self.method)


class BudgetConfig(UpscaleConfig):
    """Split the mean rate of a soil core into mean field, terms and remainder."""

    results: ClassVar[str] = "budget.nc"
    file_only: ClassVar = frozenset(
        ("control", "members", "memory", "method", "step", "tolerance")
    )

    heterogeneity: list[str] = option(
        ["biophysical", "biochemical", "full"],
        "NAMES",
        "Comma-separated: biophysical, biochemical, full",
    )
    every: float = 24.0
    order: int = option(2, "N", "Of the last terms")
    of: str = option(
        "respiration", "FLUX", "respiration, decomposition, mortality or growth"
    )
