"""Options of `jaxsoc upscale`: a TOML file under, the command line over."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jaxsoc.experiments import SCENARIOS, Design
from jaxsoc.models import TwoPoolParameters
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.mortality import (
    LinearMortalityConstants,
    PowerMortalityConstants,
)
from jaxsoc.physics.parameters import declarations, default
from jaxsoc.solve import Adaptive, Steps
from jaxsoc.solve.methods import COURANT
from jaxsoc.upscale.fields import Acceptance, Generator
from jaxsoc.upscale.spectral import PUBLISHED_EXPONENT

_ALIASES = {
    "lin": "linear",
    "mult": "multiplicative",
    "mm": "michaelis_menten",
    "imm": "inverse_michaelis_menten",
}


_Config = TypeVar("_Config", bound=BaseModel)


class Config(BaseModel):
    """What a command, or a table of its file, can be told; every number is finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SoilConfig(Config):
    """Numbers of the soil that all kinetics share."""

    carbon_use_efficiency: float = default(TwoPoolParameters, "carbon_use_efficiency")
    input: float = default(TwoPoolParameters, "input")  # mgC/g/h
    mortality_rate: float = default(PowerMortalityConstants, "rate")  # 1/h
    mortality_exponent: float = default(PowerMortalityConstants, "exponent")


class CellsConfig(Config):
    """The grid of generated fields, and the size of a cell."""

    shape: tuple[int, int] = (100, 100)
    edge: float = CellGrid().edge  # µm
    bulk_density: float = CellGrid().bulk_density  # g/cm³


class GeneratorConfig(Config):
    """How fields are drawn, and which draws to keep."""

    exponent: float = PUBLISHED_EXPONENT
    dead_fraction: float | None = None
    variance: Literal["recipe", "equal"] = "recipe"
    keep: Literal["accepted", "first"] = "accepted"
    largest_uncorrelated: float = 0.05
    least_correlation: float | None = None
    largest_substrate: float | None = None  # mgC/g


class UpscaleConfig(Config):
    """Everything that `jaxsoc upscale` can be told."""

    scenario: int = 2
    kinetics: list[str] | None = None
    heterogeneity: list[str] = list(Design().heterogeneity)
    correlation: list[str] | None = None
    fields: Path | None = None
    units: str | None = None
    parameters: str = "case1"
    coupling: Literal["independent", "published"] = "independent"
    control: str = "nominal"
    every: float = 6.0  # hours
    days: float | None = None
    members: int = 1
    memory: float = 2.0  # GiB, of an ensemble
    seed: int = 0
    method: Literal["auto", "fixed", "substepped", "adaptive"] = "auto"
    step: float | None = None  # hours, of the fixed method
    tolerance: float = 1e-5
    out: Path = Path("jaxsoc-output")
    figures: bool = True
    soil: SoilConfig = SoilConfig()
    cells: CellsConfig = CellsConfig()
    generator: GeneratorConfig = GeneratorConfig()
    constants: dict[str, dict[str, float]] = {}

    def design(self) -> Design:
        """The experiment; raises `ValueError` for choices that are not possible."""
        soil, cells = self.soil, self.cells
        mortality = LinearMortalityConstants(soil.mortality_rate)
        if soil.mortality_exponent != 1.0:
            mortality = PowerMortalityConstants(
                soil.mortality_rate, soil.mortality_exponent
            )
        return Design(
            scenario=self.scenario,
            kinetics=self._kinetics(),
            heterogeneity=tuple(self.heterogeneity),
            correlation=None if self.correlation is None else tuple(self.correlation),
            members=self.members,
            seed=self.seed,
            degree=self.parameters,
            control=self.control,
            coupled=self.coupling == "published",
            every=self.every,
            duration=None if self.days is None else 24.0 * self.days,
            grid=CellGrid(cells.shape, cells.edge, cells.bulk_density),
            generator=self._generator(),
            constants=self._constants(),
            mortality=mortality,
            carbon_use_efficiency=soil.carbon_use_efficiency,
            input=soil.input,
            method=self._method(),
            tolerance=self.tolerance,
        )

    def _kinetics(self):
        if self.kinetics is not None:
            return tuple(map(canonical_kinetics, self.kinetics))
        # An unknown scenario is refused by `Design`, in its own words.
        return SCENARIOS.get(self.scenario, SCENARIOS[2]).kinetics

    def _generator(self):
        given = self.generator
        rule = Acceptance(
            given.largest_uncorrelated, given.least_correlation, given.largest_substrate
        )
        return Generator(
            given.exponent,
            given.dead_fraction,
            given.variance == "equal",
            rule if given.keep == "accepted" else None,
        )

    def _constants(self):
        constants = {}
        for name, given in self.constants.items():
            kinetics = canonical_kinetics(name)
            if kinetics not in KINETICS:
                raise ValueError(unknown("kinetics", name, list(KINETICS)))
            cls = KINETICS[kinetics].constants
            known = [declaration.name for declaration in declarations(cls)]
            for key in given:
                if key not in known:
                    raise ValueError(unknown(f"constant of {name}", key, known))
            constants[kinetics] = cls(**given)
        return constants

    def _method(self):
        if self.step is not None and self.method != "fixed":
            raise ValueError(
                f"step {self.step:g} belongs to method fixed, got method {self.method}"
            )
        match self.method:
            case "fixed":
                return Steps(0.1 if self.step is None else self.step, layout="whole")
            case "adaptive":
                return Adaptive()
            case "substepped":
                return Steps(courant=COURANT, layout="whole")
        return None


class BudgetConfig(UpscaleConfig):
    """Everything that `jaxsoc budget` can be told."""

    heterogeneity: list[str] = ["biophysical", "biochemical", "full"]
    every: float = 24.0  # hours
    order: int = 2
    of: str = "respiration"


def canonical_kinetics(name: str) -> str:
    """The name that jaxsoc uses for what a user may call "MM"."""
    plain = name.strip().lower().replace("-", "_")
    return _ALIASES.get(plain, plain)


def read_config(
    path: Path | None,
    options: Mapping[str, Any],
    model: type[_Config] = UpscaleConfig,
) -> _Config:
    """Configuration from a TOML file, if any, with the given options on top.

    An option that is None was not given.

    **Raises:** `ValueError` in one line for a file that cannot be read, a key that is
    not known (with the nearest one that is), or a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read_toml(path)
        _check_keys(values, model, path.name)
        if "fields" in values:
            # A path in a file is meant from where the file lies.
            values["fields"] = path.parent / str(values["fields"])
    values |= {name: value for name, value in options.items() if value is not None}
    return validated(model, values)


def validated(model: type[_Config], values: Mapping[str, Any]) -> _Config:
    """A configuration made of these values.

    **Raises:** `ValueError` in one line for a value of the wrong kind.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key, problem = ".".join(map(str, first["loc"])), first["msg"]
        raise ValueError(
            f"{key}: {problem[0].lower()}{problem[1:]}, got {first['input']!r}"
        ) from None


def _read_toml(path):
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not valid TOML: {error}") from None


def _check_keys(values, model, where):
    known = model.model_fields
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where}: {unknown('key', key, list(known))}")
        inner = known[key].annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: {key} must be a table, got {value!r}")
            _check_keys(value, inner, f"{where} [{key}]")


def unknown(what: str, received: str, known: Sequence[str]) -> str:
    """A sentence about a name that is not known, with the nearest one that is."""
    near = difflib.get_close_matches(received, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {what} {received!r}: {hint}known are {', '.join(known)}"
