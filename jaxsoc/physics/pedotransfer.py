"""Bulk density and carbon per volume from carbon per mass, where soil was not weighed.

Carbon content is in gC per kg of fine earth, bulk density in g cm⁻³.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import BELOW_ONE, NON_NEGATIVE, POSITIVE, numbers
from .shapes import Number

ORGANIC_MATTER_PER_CARBON = 1.724
"""Grams of organic matter that hold a gram of carbon (van Bemmelen's factor)."""
GRAMS_PER_M3 = 1e3
"""gC m⁻³ in one gC kg⁻¹ times one g cm⁻³."""


class BulkDensityConstants(NamedTuple):
    """Of the bulk density: `organic`, what it falls to in pure organic matter; `fall`,
    how much more soil without any has, both g cm⁻³; `rate`, kg g⁻¹."""

    organic: Any
    fall: Any
    rate: Any


PUBLISHED = BulkDensityConstants(0.32, 1.30, 0.0089)
"""As Tao et al. (2024), doi:10.1111/gcb.17297; too dense in organic layers."""
REFITTED = BulkDensityConstants(0.133, 1.350, 0.00640)
"""Fitted to 10,109 layers, organic ones too, of three sets of profiles."""


def bulk_density(
    content: Float[Number, "..."], constants: BulkDensityConstants = PUBLISHED
) -> Float[Array, "..."]:
    """Bulk density from carbon content, g cm⁻³.

    BD = organic + fall exp(-rate OM),  OM = 1.724 SOC

    **Arguments:** `content`: SOC, gC kg⁻¹; `constants`: `PUBLISHED`, `REFITTED` or
    one's own.
    **Raises:** `ValueError` for a negative content; NaN passes.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297; there in percent, but 0.0089 fits
    g kg⁻¹ alone.
    """
    _check(NON_NEGATIVE, "carbon content", content, "gC/kg")
    matter = ORGANIC_MATTER_PER_CARBON * jnp.asarray(content)
    return constants.organic + constants.fall * jnp.exp(-constants.rate * matter)


def carbon_density(
    content: Float[Number, "..."],
    bulk_density: Float[Number, "..."],
    coarse_fragments: Float[Number, "..."] = 0.0,
) -> Float[Array, "..."]:
    """Organic carbon per volume of soil, gC m⁻³.

    1000 SOC BD (1 - G)

    **Arguments:** `content`: SOC, gC kg⁻¹ of fine earth; `bulk_density`: BD, g cm⁻³ of
    fine earth; `coarse_fragments`: G, share of the volume, 0 where the bulk density
    counts it already.
    **Raises:** `ValueError` for a negative content, a bulk density that is not positive
    or a share outside [0, 1); NaN, as of what was not measured, passes.
    """
    _check(NON_NEGATIVE, "carbon content", content, "gC/kg")
    _check(POSITIVE, "bulk density", bulk_density, "g/cm³")
    _check(BELOW_ONE, "share of coarse fragments", coarse_fragments)
    fine = 1.0 - jnp.asarray(coarse_fragments)
    return GRAMS_PER_M3 * jnp.asarray(content) * jnp.asarray(bulk_density) * fine


def _check(interval, what, value, unit="1"):
    """Refuses numbers outside; NaN, as of what was not measured, passes."""
    if (known := numbers(what, value)) is not None:
        interval.check(what, np.where(np.isnan(known), 0.5, known), unit)
