"""The published scenarios: where they start, how long they last, how they vary."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

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


_MM_RATE = LogUniform(-3.0, -1.0978)
_MM_HALF_SATURATION = Uniform(0.25, 49.75)
_IMM_RATE = LogUniform(-3.0, -1.0978, scale=0.25)
_IMM_HALF_SATURATION = Uniform(1.0, 16 * 2.5e5 / FGC_PER_CELL - 1.0)
_MM_WIDE = {"rate": _MM_RATE, "half_saturation": _MM_HALF_SATURATION}
_MM_NARROW = {
    "rate": LogUniform.with_mean(_mean("michaelis_menten"), _MM_RATE.width * _SHRINK),
    "half_saturation": _narrowed(_MM_HALF_SATURATION),
}

# Distribution of each constant over the cells, by degree and kinetics, in mgC/g and h.
# Source: Chakrawal et al. (2020), Table A3, with the corrections of its bounds.
DISTRIBUTIONS: Mapping[str, Mapping[str, dict[str, AbstractDistribution]]] = (
    MappingProxyType(
        {
            "case1": {
                "linear": {"rate": LogUniform.with_mean(_mean("linear"), _WIDE)},
                "multiplicative": {"rate": LogUniform(-10.1, -8.56, FGC_PER_CELL)},
                "michaelis_menten": _MM_WIDE,
                "inverse_michaelis_menten": {
                    "rate": _IMM_RATE,
                    "half_saturation": _IMM_HALF_SATURATION,
                },
                "eca": _MM_WIDE,
                "quadratic": _MM_WIDE,
            },
            "case2": {
                "linear": {"rate": LogUniform.with_mean(_mean("linear"), _NARROW)},
                "multiplicative": {"rate": LogUniform(-9.4, -8.9, FGC_PER_CELL)},
                "michaelis_menten": _MM_NARROW,
                "inverse_michaelis_menten": {
                    "rate": LogUniform.with_mean(
                        _mean("inverse_michaelis_menten"), _IMM_RATE.width * _SHRINK
                    ),
                    "half_saturation": _narrowed(_IMM_HALF_SATURATION),
                },
                "eca": _MM_NARROW,
                "quadratic": _MM_NARROW,
            },
        }
    )
)
