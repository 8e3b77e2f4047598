"""Water in soil: what holds it, and what it leaves to decomposers."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .shapes import Number
from .units import ZERO_CELSIUS

# Specific weight of water, MPa per m; its heat of fusion, MPa.
_MPA_PER_M = 9.80665e-3
_FUSION = 333.7


class Texture(NamedTuple):
    """Of the water in soil: content when saturated, m³ m⁻³; potential then, MPa; b."""

    saturated: Any
    potential: Any
    exponent: Any


def texture(sand: Float[Number, ""], clay: Float[Number, ""]) -> Texture:
    """Hydraulic constants by texture; organic matter is ignored.

    θ_s = 0.489 - 0.00126 sand, ψ_s = -10 · 10^(1.88 - 0.0131 sand) mm,
    b = 2.91 + 0.159 clay

    **Arguments:** `sand`, `clay`: %.
    Source: CLM5, after Clapp & Hornberger (1978), doi:10.1029/WR014i004p00601, and
    Cosby et al. (1984), doi:10.1029/WR020i006p00682.
    """
    suction = 10 * 10 ** (1.88 - 0.0131 * sand)
    return Texture(
        0.489 - 0.00126 * sand, -1e-3 * _MPA_PER_M * suction, 2.91 + 0.159 * clay
    )


def clapp_hornberger(theta: Float[Number, "..."], soil: Texture) -> Float[Array, "..."]:
    """Water potential, MPa.

    ψ = ψ_s (θ / θ_s)^(-b), θ / θ_s clipped to 0.01 and 1

    **Arguments:** `theta`: θ, m³ m⁻³.
    Source: Clapp & Hornberger (1978), doi:10.1029/WR014i004p00601.
    """
    wet = jnp.clip(theta / soil.saturated, 0.01, 1.0)
    return soil.potential * wet ** (-soil.exponent)


def clapp_hornberger_water(
    potential: Float[Number, "..."], soil: Texture
) -> Float[Array, "..."]:
    """Water content, m³ m⁻³, at a potential, MPa: the inverse of `clapp_hornberger`."""
    dry = jnp.maximum(potential / soil.potential, 1.0)
    return soil.saturated * dry ** (-1 / soil.exponent)


# By ERA5's class: θ_s, θ_r, α (1/m), n. 0, no class, stands for the first.
_ERA5_SOILS = np.array(
    [
        (0.403, 0.025, 3.83, 1.38),
        (0.403, 0.025, 3.83, 1.38),
        (0.439, 0.010, 3.14, 1.18),
        (0.430, 0.010, 0.83, 1.25),
        (0.520, 0.010, 3.67, 1.10),
        (0.614, 0.010, 2.65, 1.10),
        (0.766, 0.010, 1.30, 1.20),
        (0.766, 0.010, 1.30, 1.20),
    ]
)


def van_genuchten(theta: Float[Number, "..."], soil_class: Any) -> Float[Array, "..."]:
    """Water potential, MPa, of ERA5's water content, which fits ERA5's own soils alone.

    ψ = -(S^(-1/m) - 1)^(1/n) / α, S = (θ - θ_r) / (θ_s - θ_r) clipped to 1e-4 and 1,
    m = 1 - 1/n

    **Arguments:** `theta`: θ, m³ m⁻³; `soil_class`: 1 coarse, 2 medium, 3 medium fine,
    4 fine, 5 very fine, 6 organic, 7 tropical organic.
    Source: Balsamo et al. (2009), doi:10.1175/2008JHM1068.1; α, n and θ_r not read in
    it, but they return its wilting points.
    """
    saturated, least, alpha, n = jnp.asarray(_ERA5_SOILS)[jnp.asarray(soil_class)]
    wet = jnp.clip((theta - least) / (saturated - least), 1e-4, 1.0)
    # At saturation the slope of the power is infinite.
    dry = jnp.maximum(wet ** (-n / (n - 1)) - 1, 1e-12)
    return -_MPA_PER_M / alpha * dry ** (1 / n)


def frozen_potential(
    potential: Float[Number, "..."], temperature: Float[Number, "..."]
) -> Float[Array, "..."]:
    """Water potential, MPa, no higher than that of what stays liquid in frost.

    ψ ≤ -L (273.15 - T) / T, L = 333.7 MPa, T in K

    **Arguments:** `temperature`: °C.
    Source: as supercooled water in CLM5, after Niu & Yang (2006), doi:10.1175/JHM538.1.
    """
    liquid = _FUSION * temperature / (ZERO_CELSIUS + temperature)
    return jnp.where(temperature < 0, jnp.minimum(potential, liquid), potential)


def decomposition_water(
    potential: Float[Number, "..."], floor: Float[Number, ""] = 0.01
) -> Float[Array, "..."]:
    """W, CESM's W_SCALAR.

    W = log(ψ_min / ψ) / log(ψ_min / ψ_max), ψ_min = -2, ψ_max = -0.002 MPa, clipped to
    the floor and 1

    **Arguments:** `potential`: ψ, MPa; `floor`: a layer where W is zero all year has no
    steady state.
    Source: CLM5, after Andrén & Paustian (1987), doi:10.2307/1939203.
    """
    suction = jnp.clip(-potential, 0.002, 2.0)
    return jnp.maximum(jnp.log(2.0 / suction) / np.log(1000.0), floor)
