"""The published scenarios: where they start, how long they last, how they vary."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.parameters import default
from jaxsoc.physics.units import FGC_PER_CELL, HOURS_PER_DAY, HOURS_PER_YEAR
from jaxsoc.upscale.distributions import AbstractDistribution, LogUniform, Uniform
from jaxsoc.upscale.fields import STEADY, TRANSIENT, Recipe

HETEROGENEITY = ("homogeneous", "biophysical", "biochemical", "full")
DEGREES = ("case1", "case2")
CONTROLS = ("nominal", "field-mean")


class Scenario(NamedTuple):
    """Initial means (mgC/g), duration (h), recipe of the fields, published kinetics.

    Without means, the soil starts at the steady state of multiplicative kinetics.
    """

    title: str
    duration: float
    mean_substrate: float | None
    mean_biomass: float | None
    recipe: Recipe
    kinetics: tuple[str, ...]


# The steady state of scenario 1 is S* = m / (Y k) = 5.878 mgC/g and B* = 0.972 mgC/g
# with the default numbers; Table A2 prints this S* with the wrong power of ten.
SCENARIOS: Mapping[int, Scenario] = MappingProxyType(
    {
        1: Scenario(
            "steady state of the homogeneous soil, 20 years",
            20 * HOURS_PER_YEAR,
            None,
            None,
            STEADY,
            ("multiplicative",),
        ),
        2: Scenario(
            "transient after a pulse of substrate, 200 days",
            200 * HOURS_PER_DAY,
            2.5e7 / FGC_PER_CELL,
            2.5e5 / FGC_PER_CELL,
            TRANSIENT,
            ("multiplicative", "michaelis_menten", "inverse_michaelis_menten"),
        ),
    }
)

# Width of the distributions, decades of a log-uniform rate constant. The papers give
# both degrees for multiplicative kinetics alone; the narrow degree of the others, and
# all of linear, ECA and the quadratic law, are ours: same mean, width in proportion.
_WIDE, _NARROW = 1.54, 0.5
_SHRINK = _NARROW / _WIDE


def _mean(kinetics: str) -> float:
    return default(KINETICS[kinetics].constants, "rate")


def _narrowed(wide: Uniform) -> Uniform:
    half = 0.5 * (wide.high - wide.low) * _SHRINK
    return Uniform(wide.mean - half, wide.mean + half)


def _both_narrowed(kinetics: str) -> dict[str, AbstractDistribution]:
    rate, half_saturation = _CASE_1[kinetics].values()
    return {
        "rate": LogUniform.with_mean(_mean(kinetics), rate.width * _SHRINK),
        "half_saturation": _narrowed(half_saturation),
    }


_MM: dict[str, Any] = {
    "rate": LogUniform(-3.0, -1.0978),
    "half_saturation": Uniform(0.25, 49.75),
}
_CASE_1: dict[str, dict[str, Any]] = {
    "linear": {"rate": LogUniform.with_mean(_mean("linear"), _WIDE)},
    "multiplicative": {"rate": LogUniform(-10.1, -8.56, FGC_PER_CELL)},
    "michaelis_menten": _MM,
    "inverse_michaelis_menten": {
        "rate": LogUniform(-3.0, -1.0978, scale=0.25),
        "half_saturation": Uniform(1.0, 16 * 2.5e5 / FGC_PER_CELL - 1.0),
    },
    "eca": _MM,
    "quadratic": _MM,
}
_CASE_2: dict[str, dict[str, Any]] = {
    "linear": {"rate": LogUniform.with_mean(_mean("linear"), _NARROW)},
    "multiplicative": {"rate": LogUniform(-9.4, -8.9, FGC_PER_CELL)},
    "michaelis_menten": _both_narrowed("michaelis_menten"),
    "inverse_michaelis_menten": _both_narrowed("inverse_michaelis_menten"),
    "eca": _both_narrowed("michaelis_menten"),
    "quadratic": _both_narrowed("michaelis_menten"),
}

# Distribution of each constant over the cells, by degree and kinetics, in mgC/g and h.
# Source: Chakrawal et al. (2020), Table A3, with the corrections of its bounds.
DISTRIBUTIONS: Mapping[str, Mapping[str, dict[str, AbstractDistribution]]] = (
    MappingProxyType({"case1": _CASE_1, "case2": _CASE_2})
)
