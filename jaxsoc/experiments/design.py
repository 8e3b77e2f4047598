"""What to run: plain choices, checked when they are made."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from jaxsoc.models import TwoPoolParameters
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS, Kinetics
from jaxsoc.physics.mortality import (
    LinearMortalityConstants,
    PowerMortalityConstants,
)
from jaxsoc.physics.parameters import AbstractParameters
from jaxsoc.solve import Method
from jaxsoc.upscale.fields import CORRELATIONS, Acceptance

from .scenarios import CONTROLS, DEGREES, HETEROGENEITY, SCENARIOS


class Supplied(eqx.Module):
    """Fields that take the place of generated ones, in mgC/g and h.

    **Arguments:** `biomass`: one value per cell; `substrate`: by correlation, any
    names; `constants`: kinetics -> constant -> field, where known.

    **Raises:** `ValueError` for fields of unequal shape, negative or NaN cells.
    """

    biomass: np.ndarray
    substrate: dict[str, np.ndarray]
    constants: dict[str, dict[str, np.ndarray]]

    def __check_init__(self):
        if not self.substrate:
            raise ValueError("no substrate field was given")
        named = {"biomass": self.biomass}
        named |= {f"substrate ({name})": f for name, f in self.substrate.items()}
        for kinetics, constants in self.constants.items():
            named |= {f"{kinetics} {name}": f for name, f in constants.items()}
        for name, field in named.items():
            _check_field(name, field, self.biomass.shape)
        for kinetics, constants in self.constants.items():
            if kinetics in KINETICS:
                KINETICS[kinetics].constants(**constants)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.biomass.size


class Design(eqx.Module):
    """One experiment: every combination of the choices named in it.

    **Arguments:** `scenario`: 1 or 2; `kinetics`, `heterogeneity`, `correlation`:
    names; `members`: draws of the random fields; `seed`; `degree`: of parameter
    heterogeneity, "case1" (wide) or "case2" (narrow); `control`: constants of the
    homogeneous soil, "nominal" or the "field-mean"; `coupled`: draw the inverse
    Michaelis-Menten pair from one variate, as published; `every`: hours between
    saved times; `duration`: h, the scenario's by default; `grid`: cells;
    `acceptance`: of the generated fields, None to keep the first draw; `constants`:
    nominal constants by kinetics where they differ from the defaults; `mortality`,
    `carbon_use_efficiency`, `input`: see `TwoPoolParameters`; `method`,
    `tolerance`: see `integrate`; `laws`: known kinetics by name.

    **Raises:** `ValueError` for a choice that is not known or not possible.
    """

    scenario: int = 2
    kinetics: tuple[str, ...] = SCENARIOS[2].kinetics
    heterogeneity: tuple[str, ...] = HETEROGENEITY
    correlation: tuple[str, ...] = CORRELATIONS
    members: int = 1
    seed: int = 0
    degree: str = "case1"
    control: str = "nominal"
    coupled: bool = False
    every: float = 6.0
    duration: float | None = None
    grid: CellGrid = CellGrid()
    acceptance: Acceptance | None = Acceptance()
    constants: Mapping[str, AbstractParameters] = eqx.field(default_factory=dict)
    mortality: AbstractParameters = LinearMortalityConstants()
    carbon_use_efficiency: float = 0.31
    input: float = 125.0 / 206_250.0
    method: Method | None = None
    tolerance: float = 1e-5
    laws: Mapping[str, Kinetics] = eqx.field(default_factory=lambda: dict(KINETICS))

    def __check_init__(self):
        _one_of("scenario", self.scenario, SCENARIOS)
        _some_of("kinetics", self.kinetics, self.laws)
        _some_of("heterogeneity", self.heterogeneity, HETEROGENEITY)
        _one_of("parameters", self.degree, DEGREES)
        _one_of("control", self.control, CONTROLS)
        for kinetics in self.kinetics:
            # Built once here so that its own checks speak before anything runs.
            self.parameters(self.nominal(kinetics))
        if self.members < 1:
            raise ValueError(f"members must be at least 1, got {self.members}")
        if not self.every > 0:
            raise ValueError(
                f"every must be a positive number of hours, got {self.every}"
            )
        if not self.hours > 0 or not math.isfinite(self.hours):
            raise ValueError(f"duration must be positive (hours), got {self.duration}")
        if self.every > self.hours:
            raise ValueError(
                f"every must not exceed the duration of {self.hours:g} hours, got "
                f"{self.every:g}"
            )
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")

    @property
    def hours(self) -> float:
        """Duration, h."""
        if self.duration is None:
            return SCENARIOS[self.scenario].duration
        return self.duration

    @property
    def times(self) -> np.ndarray:
        """Saved times, h; the last one is the duration."""
        count = math.floor(self.hours / self.every * (1 + 1e-12))
        times = self.every * np.arange(count + 1)
        if self.hours - times[-1] > 1e-9 * self.hours:
            times = np.append(times, self.hours)
        return times

    @property
    def nonlinear_mortality(self) -> bool:
        """Whether mortality has an exponent other than 1."""
        return isinstance(self.mortality, PowerMortalityConstants)

    def parameters(self, constants: Any) -> TwoPoolParameters:
        """Parameters of a soil with these constants of decomposition."""
        return TwoPoolParameters(
            constants, self.mortality, self.carbon_use_efficiency, self.input
        )

    def nominal(self, kinetics: str) -> Any:
        """Uniform constants of a kinetics."""
        if kinetics in self.constants:
            return self.constants[kinetics]
        return self.laws[kinetics].constants()


def _one_of(what, received, known):
    if received not in known:
        raise ValueError(
            f"unknown {what} {received!r}: expected one of {', '.join(map(str, known))}"
        )


def _some_of(what, received, known):
    if not received:
        raise ValueError(f"no {what} given: expected some of {', '.join(known)}")
    for name in received:
        _one_of(what, name, known)
    if len(set(received)) < len(received):
        raise ValueError(f"{what} names one twice: {', '.join(received)}")


def _check_field(name, field, shape):
    if field.shape != shape:
        raise ValueError(
            f"fields must have one shape: {name} has {field.shape}, biomass has {shape}"
        )
    for problem, bad in (("NaN", np.isnan(field)), ("negative", field < 0)):
        if bad.any():
            raise ValueError(
                f"{name} has {int(bad.sum())} {problem} cells of {field.size}; the "
                f"first is at index {tuple(map(int, np.argwhere(bad)[0]))}"
            )
    if not np.isfinite(field).all():
        raise ValueError(f"{name} has infinite cells")
