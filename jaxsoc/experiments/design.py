"""What to run: plain choices, checked when they are made."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import TwoPoolParameters
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS, Kinetics
from jaxsoc.physics.mortality import LinearMortalityConstants, PowerMortalityConstants
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import AbstractParameters, declarations, default
from jaxsoc.solve import Method
from jaxsoc.upscale.distributions import AbstractDistribution
from jaxsoc.upscale.fields import CORRELATIONS, Fields, Generator
from jaxsoc.upscale.spectral import check_shape
from jaxsoc.upscale.supplied import Supplied as Supplied

from .scenarios import CONTROLS, DISTRIBUTIONS, HETEROGENEITY, SCENARIOS

_MOST_TIMES = 10_000_000


class Design(eqx.Module):
    """One experiment: every combination of the choices named in it.

    **Arguments:** `scenario`: 1 or 2; `kinetics`, `heterogeneity`, `correlation`:
    names; `members`: draws of the random fields; `seed`; `parameter_spread`: of the
    constants over the cells, "case1" (wide) or "case2" (narrow); `control`: constants
    of the homogeneous soil, "nominal" or the "field-mean"; `coupled`: draw the inverse
    Michaelis-Menten pair from one variate, as published; `every`: hours between
    saved times; `duration`: h, the scenario's by default; `grid`: cells; `generator`:
    of the initial fields, a `Generator` or any function with its call; `constants`:
    nominal constants by kinetics where they differ from the defaults;
    `distributions`: of constants over the cells, by kinetics and name, where they
    differ from those of `parameter_spread`; `mortality`, `carbon_use_efficiency`,
    `input`: see `TwoPoolParameters`; `method`, `tolerance`: see `integrate`; `laws`:
    known kinetics by name.

    **Raises:** `ValueError` for a choice that is not known or not possible.
    """

    scenario: int = 2
    kinetics: tuple[str, ...] = SCENARIOS[2].kinetics
    heterogeneity: tuple[str, ...] = HETEROGENEITY
    correlation: tuple[str, ...] | None = None
    members: int = 1
    seed: int = 0
    parameter_spread: str = "case1"
    control: str = "nominal"
    coupled: bool = False
    every: float = 6.0
    duration: float | None = None
    grid: CellGrid = CellGrid()
    generator: Callable[..., Fields] = Generator()
    constants: Mapping[str, Any] = eqx.field(default_factory=dict)
    distributions: Mapping[str, Mapping[str, AbstractDistribution]] = eqx.field(
        default_factory=dict
    )
    mortality: AbstractParameters = LinearMortalityConstants()
    carbon_use_efficiency: float = default(TwoPoolParameters, "carbon_use_efficiency")
    input: float = default(TwoPoolParameters, "input")
    method: Method | None = None
    tolerance: float = 1e-5
    laws: Mapping[str, Kinetics] = eqx.field(default_factory=lambda: dict(KINETICS))

    def __check_init__(self):
        check_option("scenario", self.scenario, SCENARIOS)
        _some_of("kinetics", self.kinetics, self.laws)
        _some_of("heterogeneity", self.heterogeneity, HETEROGENEITY)
        check_option("parameter_spread", self.parameter_spread, DISTRIBUTIONS)
        check_option("control", self.control, CONTROLS)
        for kinetics in self.kinetics:
            # Built once here so that its own checks speak before anything runs.
            self.parameters(self.nominal(kinetics))
        hours = self.hours
        least = hours / _MOST_TIMES
        for name, sound, where in (
            ("members", 1 <= self.members < 2**32, "[1, 2^32)"),  # else keys repeat
            ("duration", 0 < hours < math.inf, "(0, inf) hours"),
            ("every", least <= self.every <= hours, f"[{least:g}, {hours:g}] hours"),
            ("seed", 0 <= self.seed < 2**63, "[0, 2^63)"),
            ("tolerance", 0 < self.tolerance < math.inf, "(0, inf)"),
        ):
            if not sound:
                received = getattr(self, name)
                raise ValueError(f"{name} must lie in {where}, got {received}")
        for kinetics, named in self.distributions.items():
            check_option("kinetics", kinetics, self.laws)
            _check_ends(kinetics, self.nominal(kinetics), named)

    @property
    def hours(self) -> float:
        """Duration, h."""
        usual = SCENARIOS[self.scenario].duration
        return usual if self.duration is None else self.duration

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

    def distributions_of(self, kinetics: str) -> dict[str, AbstractDistribution]:
        """Distributions of the constants of a kinetics over the cells, if known.

        Those of the papers move with the nominal constants: same shape, scaled.
        """
        if kinetics in self.distributions:
            return dict(self.distributions[kinetics])
        nominal, usual = self.nominal(kinetics), self.laws[kinetics].constants()
        published = DISTRIBUTIONS[self.parameter_spread].get(kinetics, {})
        return {
            name: distribution.scaled(getattr(nominal, name) / getattr(usual, name))
            for name, distribution in published.items()
        }

    def nominal(self, kinetics: str) -> Any:
        """Uniform constants of a kinetics."""
        own = self.constants.get(kinetics)
        return self.laws[kinetics].constants() if own is None else own


def _some_of(what, received, known):
    if not received:
        raise ValueError(f"no {what} given: expected some of {', '.join(known)}")
    for name in received:
        check_option(what, name, known)
    if len(set(received)) < len(received):
        raise ValueError(f"{what} names one twice: {', '.join(received)}")


def _check_ends(kinetics, nominal, distributions):
    """Refuses distributions that reach out of the bounds of their constants."""
    for name, distribution in distributions.items():
        known = [field.name for field in dataclasses.fields(nominal)]
        check_option(f"constant of {kinetics}", name, known)
        ends = distribution.quantile(jnp.asarray([1e-6, 1 - 1e-6]))
        dataclasses.replace(nominal, **{name: np.asarray(ends)})


def case_axes(design: Design, supplied: Supplied | None = None) -> dict[str, list[str]]:
    """Names along the axes of results: kinetics, heterogeneity, correlation.

    Correlations are those asked for, else all there are.

    **Raises:** `ValueError` for a design and fields that do not fit together.
    """
    known = CORRELATIONS if supplied is None else tuple(supplied.substrate)
    if supplied is not None and design.members > 1:
        raise ValueError(
            f"supplied fields make one member, got members {design.members}"
        )
    if supplied is None and isinstance(design.generator, Generator):
        check_shape(design.grid.shape)
    if design.correlation is not None:
        _some_of("correlation", design.correlation, known)
    return {
        "kinetics": list(design.kinetics),
        "heterogeneity": list(design.heterogeneity),
        "correlation": list(design.correlation or known),
    }


def design_provenance(design: Design) -> dict[str, Any]:
    """What results of a design say of where they come from."""
    return {
        "title": "Respiration of a heterogeneous soil core",
        "references": "https://doi.org/10.5194/gmd-13-1399-2020",
        "seed": design.seed,
        "scenario": design.scenario,
        "rate_units": {name: _rate_unit(name) for name in design.kinetics},
        "design": described(design),
    }


def described(design: Design) -> dict[str, str]:
    """The choices of a design as text."""
    return {name: str(value) for name, value in vars(design).items() if name != "laws"}


def _rate_unit(kinetics):
    if kinetics not in KINETICS:
        return "as given"
    return declarations(KINETICS[kinetics].constants)[0].unit
