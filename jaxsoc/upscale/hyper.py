"""Fields as smooth functions of a few numbers: how patchy, how related, how dead.

The noise is drawn once and kept; what remains is a pure function of the numbers, with
derivatives of any order, that runs inside `jit` and `grad`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxsoc.physics.parameters import (
    BELOW_ONE,
    NON_NEGATIVE,
    AbstractParameters,
    Interval,
    parameter,
)
from jaxsoc.physics.shapes import Number

from .distributions import LN10
from .spectral import correlated_with, scaled_to_mean, spectral_field, standardised

# Share of the cells over which the edge of the dead zones is spread.
SOFT_EDGE = 0.05


class Heterogeneity(AbstractParameters):
    """The numbers that say how heterogeneous a soil is.

    **Raises:** `ValueError` for a number outside its bounds.
    """

    variation: Float[Number, ""] = parameter(
        0.16, bounds=NON_NEGATIVE, unit="1", meaning="CV of substrate over cells"
    )
    correlation: Float[Number, ""] = parameter(
        0.0,
        bounds=Interval(-1.0, 1.0),
        unit="1",
        meaning="correlation of substrate and biomass",
    )
    dead_fraction: Float[Number, ""] = parameter(
        0.3, bounds=BELOW_ONE, unit="1", meaning="share of cells without biomass"
    )
    decades: Float[Number, ""] = parameter(
        1.54, bounds=NON_NEGATIVE, unit="decades", meaning="width of the rate constant"
    )


class Patterns(NamedTuple):
    """What is left to chance, drawn once.

    `biomass`: pattern before dead zones, any positive scale; `noise`: part of the
    substrate that owes nothing to biomass; `uniform`: in [0, 1), rank of the rate
    constant.
    """

    biomass: Float[Array, "x y"]
    noise: Float[Array, "x y"]
    uniform: Float[Array, "x y"]


class PatchyFields(NamedTuple):
    """Substrate and biomass in mgC/g, and the rate constant in its own unit."""

    substrate: Float[Array, "x y"]
    biomass: Float[Array, "x y"]
    rate: Float[Array, "x y"]


def draw_patterns(key: PRNGKeyArray, shape: tuple[int, int]) -> Patterns:
    """Patterns from a key: log-normal patches of biomass, noise, and ranks.

    **Arguments:** `shape`: cells. The power spectra are the published ones; patterns of
    one's own are `Patterns` like any.
    """
    patches, noise, uniform = jax.random.split(key, 3)
    return Patterns(
        jnp.exp(standardised(spectral_field(patches, shape))),
        standardised(spectral_field(noise, shape)),
        jax.random.uniform(uniform, shape),
    )


def patchy_fields(
    patterns: Patterns,
    heterogeneity: Heterogeneity,
    *,
    mean_substrate: Float[Number, ""],
    mean_biomass: Float[Number, ""],
    mean_rate: Float[Number, ""],
    edge: float = SOFT_EDGE,
) -> PatchyFields:
    """Fields with exact means, smooth in every number.

    B ∝ b · w(rank),  S = S̄ [ 1 + CV ( r p + √(1 - r²) e ) ],  k ∝ 10^(decades · u)

    with p the standardised biomass, e the part of the noise orthogonal to it, and w the
    soft edge of `soft_dead_zones`. Nothing stops a large CV from making cells negative:
    see `largest_substrate_variation`.

    **Arguments:** `mean_substrate`, `mean_biomass`: mgC/g; `mean_rate`: of the rate
    constant; `edge`: width of the soft edge, share of the cells.
    """
    CV, r = jnp.asarray(heterogeneity.variation), jnp.asarray(heterogeneity.correlation)
    biomass = soft_dead_zones(patterns.biomass, heterogeneity.dead_fraction, edge=edge)
    biomass = scaled_to_mean(biomass, mean_biomass)
    substrate = 1 + CV * correlated_with(biomass, patterns.noise, r)
    rate = jnp.exp(LN10 * heterogeneity.decades * patterns.uniform)
    return PatchyFields(
        jnp.asarray(mean_substrate) * substrate,
        biomass,
        scaled_to_mean(rate, mean_rate),
    )


def soft_dead_zones(
    biomass: Float[Array, "*cell"], fraction: Float[Number, ""], *, edge: float
) -> Float[Array, "*cell"]:
    """Dead zones with an edge that has a derivative, total kept.

    B w(x) · ΣB / ΣB w,  x = (rank - fraction) / edge + 1/2,
    w = 0 for x ≤ 0, 1 for x ≥ 1, and x³ (10 - 15 x + 6 x²) between

    The rank of a cell among all, from 0 to 1, is what the sharp `with_dead_zones` cuts
    at the fraction, which has no derivative by it; as `edge` → 0 the two become equal.
    The average cell loses exactly the fraction of its weight as long as the edge lies
    within the ranks, edge/2 ≤ fraction ≤ 1 - edge/2.

    **Arguments:** `fraction` in [0, 1); `edge`: share of the cells over which biomass
    fades out, positive.
    **Raises:** `ValueError` for an edge outside (0, 1].
    """
    Interval(0.0, 1.0, closed_high=True).check("soft edge", edge)
    order = jnp.argsort(jnp.argsort(biomass.reshape(-1))).reshape(biomass.shape)
    rank = (order.astype(biomass.dtype) + 0.5) / biomass.size
    x = jnp.clip((rank - fraction) / edge + 0.5, 0.0, 1.0)
    weight = x**3 * (10 - 15 * x + 6 * x**2)
    return scaled_to_mean(biomass * weight, jnp.mean(biomass))


def largest_substrate_variation(
    patterns: Patterns, heterogeneity: Heterogeneity, *, edge: float = SOFT_EDGE
) -> float:
    """The CV of substrate at which the poorest cell is empty, for known numbers."""
    biomass = soft_dead_zones(patterns.biomass, heterogeneity.dead_fraction, edge=edge)
    deviation = correlated_with(biomass, patterns.noise, heterogeneity.correlation)
    return float(-1 / jnp.min(deviation))
