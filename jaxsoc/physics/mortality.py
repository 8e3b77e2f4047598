"""Microbial mortality at a point of soil: `mortality(biomass, constants)` -> rate."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import POSITIVE, AbstractParameters, default, parameter
from .safe import power
from .shapes import Cells

FEWEST = 1e-4
"""Biomass below which mortality with an exponent below 1 turns linear, mgC/g: 21 fgC in
a cell of 50 µm, about one bacterium."""


class LinearMortalityConstants(AbstractParameters):
    """Constants of `linear_mortality`."""

    rate: Cells = parameter(
        0.00028, bounds=POSITIVE, unit="1/h", meaning="mortality rate"
    )


class PowerMortalityConstants(AbstractParameters):
    """Constants of `power_mortality`; the unit of `rate` follows from the exponent."""

    rate: Cells = parameter(
        default(LinearMortalityConstants, "rate"),
        bounds=POSITIVE,
        unit="1/h/(mgC/g)^(β-1)",
        meaning="mortality rate",
    )
    exponent: Cells = parameter(
        1.0, bounds=POSITIVE, unit="1", meaning="exponent of biomass in mortality"
    )


def linear_mortality(biomass: Cells, constants: Any) -> Float[Array, "..."]:
    """First-order mortality.

    T = m B

    **Arguments:** `biomass` in mgC/g; `constants.rate` in 1/h.
    **Returns:** T in mgC/g/h. Source: Chakrawal et al. (2020),
    doi:10.5194/gmd-13-1399-2020, Table 1.
    """
    B, m = biomass, constants.rate
    return jnp.asarray(m * B)


def power_mortality(biomass: Cells, constants: Any) -> Float[Array, "..."]:
    """Density-dependent mortality.

    T = m Bᵝ; for β < 1 below B₀ = `FEWEST`: T = m B₀ᵝ [(2 - β) s - (1 - β) s²],
    s = B / B₀, with the same value and slope at B₀

    With β < 1 the power alone has no finite slope at zero, takes all biomass in a
    finite time, and what a step leaves below zero for good.

    **Arguments:** `biomass` in mgC/g; `constants.rate`, `constants.exponent` (β).
    **Returns:** T in mgC/g/h. Source: Chakrawal et al. (2020),
    doi:10.5194/gmd-13-1399-2020, Sect. 4.4; below B₀ ours.
    """
    B, m, β = biomass, constants.rate, constants.exponent
    few = jnp.less(B, FEWEST) & jnp.less(β, 1)
    s = B / FEWEST
    last = FEWEST**β * s * (2 - β - (1 - β) * jnp.maximum(s, 0.0))
    return m * jnp.where(few, last, power(jnp.where(few, FEWEST, B), β))


def biomass_at(mortality: Cells, constants: Any) -> Float[Array, "..."]:
    """Biomass at which `power_mortality` has a rate, the law solved for B, mgC/g."""
    T, β = mortality / constants.rate, constants.exponent
    few = jnp.less(T, FEWEST**β) & jnp.less(β, 1)
    b = 2 - β
    root = jnp.sqrt(jnp.where(few, b**2 - 4 * (1 - β) * T / FEWEST**β, 1.0))
    last = 2 * T * FEWEST ** (1 - β) / (b + root)
    return jnp.where(few, last, T ** (1 / β))
