"""The published scenarios: where they start, how long they last, how they vary."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.parameters import default
from jaxsoc.physics.units import FGC_PER_CELL, HOURS_PER_DAY, HOURS_PER_YEAR
from jaxsoc.upscale.distributions import AbstractDistribution, LogUniform, Uniform
from jaxsoc.upscale.fields import STEADY, TRANSIENT, Recipe

HETEROGENEITY = ("homogeneous", "biophysical", "biochemical", "full")
CONTROLS = ("nominal", "field-mean")


class Scenario(NamedTuple):
    """Duration (h), initial means (mgC/g), recipe of the fields, published kinetics.

    `means`: of substrate and biomass; without them, the soil starts at the steady state
    of multiplicative kinetics.
    """

    duration: float
    means: tuple[float, float] | None
    recipe: Recipe
    kinetics: tuple[str, ...]


# 1: the steady state of the homogeneous soil; 2: the transient after a pulse of
# substrate. That steady state is S* = m / (Y k) = 5.878 mgC/g and B* = 0.972 mgC/g
# with the default numbers; Table A2 prints this S* with the wrong power of ten.
SCENARIOS: Mapping[int, Scenario] = {
    1: Scenario(20 * HOURS_PER_YEAR, None, STEADY, ("multiplicative",)),
    2: Scenario(
        200 * HOURS_PER_DAY,
        (2.5e7 / FGC_PER_CELL, 2.5e5 / FGC_PER_CELL),
        TRANSIENT,
        ("multiplicative", "michaelis_menten", "inverse_michaelis_menten"),
    ),
}

# Width of the distributions, decades of a log-uniform rate constant. The papers give
# both spreads for multiplicative kinetics alone; the narrow spread of the others, and
# all of linear, ECA and the quadratic law, are ours: same mean, width in proportion.
_WIDE, _NARROW = 1.54, 0.5
_SHRINK = _NARROW / _WIDE


def _rate(kinetics: str, decades: float) -> LogUniform:
    """So many decades about the default of a law."""
    return LogUniform.with_mean(default(KINETICS[kinetics].constants, "rate"), decades)


def _narrowed(
    kinetics: str, rate: LogUniform, half_saturation: Uniform
) -> dict[str, AbstractDistribution]:
    """The same two constants with the narrow spread."""
    mean = half_saturation.mean
    half = 0.5 * (half_saturation.high - half_saturation.low) * _SHRINK
    return {
        "rate": _rate(kinetics, rate.width * _SHRINK),
        "half_saturation": Uniform(mean - half, mean + half),
    }


_MM: dict[str, Any] = {
    "rate": LogUniform(-3.0, -1.0978),
    "half_saturation": Uniform(0.25, 49.75),
}
_INVERSE: dict[str, Any] = {
    "rate": LogUniform(-3.0, -1.0978, scale=0.25),
    "half_saturation": Uniform(1.0, 16 * 2.5e5 / FGC_PER_CELL - 1.0),
}
# A law with a rate and a half-saturation is a line here, one with a rate alone a line
# in both cases below.
_SATURATING = {
    "michaelis_menten": _MM,
    "inverse_michaelis_menten": _INVERSE,
    "eca": _MM,
    "quadratic": _MM,
}
_CASE_1: Mapping[str, dict[str, Any]] = _SATURATING | {
    "linear": {"rate": _rate("linear", _WIDE)},
    "multiplicative": {"rate": LogUniform(-10.1, -8.56, FGC_PER_CELL)},
}
_CASE_2: Mapping[str, dict[str, Any]] = {
    law: _narrowed(law, **wide) for law, wide in _SATURATING.items()
} | {
    "linear": {"rate": _rate("linear", _NARROW)},
    "multiplicative": {"rate": LogUniform(-9.4, -8.9, FGC_PER_CELL)},
}

# Distribution of each constant over the cells, by parameter spread and kinetics, in
# mgC/g and h.
# Source: Chakrawal et al. (2020), Table A3, with the corrections of its bounds.
DISTRIBUTIONS: Mapping[str, Mapping[str, dict[str, AbstractDistribution]]] = {
    "case1": _CASE_1,
    "case2": _CASE_2,
}
