"""Microbial mortality at a point of soil: `mortality(biomass, constants)` -> rate."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import POSITIVE, AbstractParameters, default, parameter
from .safe import power
from .shapes import Cells


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

    T = m Bᵝ

    **Arguments:** `biomass` in mgC/g; `constants.rate`, `constants.exponent` (β).
    **Returns:** T in mgC/g/h. Source: Chakrawal et al. (2020),
    doi:10.5194/gmd-13-1399-2020, Sect. 4.4.
    """
    B, m, β = biomass, constants.rate, constants.exponent
    return m * power(B, β)
