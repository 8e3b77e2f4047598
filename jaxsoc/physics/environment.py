"""ξ: what temperature, water, oxygen, nitrogen and depth do to decomposition."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .forcing import Forcing
from .options import check_option
from .shapes import Number

REFERENCE_TEMPERATURE = 298.15
"""Where the temperature scalar is one, K."""

Averaging = Literal["mean_of_product", "product_of_means"]


class Environment(NamedTuple):
    """Scalars of decomposition by layer, means over the year.

    `soil`: of soil pools and coarse wood, x; `litter`: of the other litter, which needs
    nitrogen, too.
    """

    soil: Any
    litter: Any


def temperature_scalar(
    temperature: Float[Number, "..."], q10: Float[Number, ""]
) -> Float[Array, "..."]:
    """Rate relative to that at 25 °C; the same Q10 above and below freezing.

    ξT = Q10^((T - 298.15) / 10)

    **Arguments:** `temperature`: T, K.
    **Raises:** `ValueError` for more than one Q10.
    """
    _check_one("q10", q10)
    return jnp.exp(jnp.log(q10) * ((temperature - REFERENCE_TEMPERATURE) / 10))


def water_scalar(
    water: Float[Number, "..."], scaling: Float[Number, ""]
) -> Float[Array, "..."]:
    """Rate relative to that in soil moist enough.

    ξW = min(1, s W)

    **Arguments:** `water`: W, CESM's W_SCALAR; `scaling`: s.
    **Raises:** `ValueError` for more than one scaling.
    """
    _check_one("water_scaling", scaling)
    return jnp.minimum(1.0, scaling * water)


def water_availability(
    potential: Float[Number, "..."], *, driest: float = -2.0, wettest: float = -0.002
) -> Float[Array, "..."]:
    """CLM5's water scalar of a matric potential.

    W = log(ψ_min / ψ) / log(ψ_min / ψ_max), 0 below ψ_min, 1 above ψ_max

    **Arguments:** `potential`: ψ, MPa, negative; `driest`, `wettest`: ψ_min, ψ_max.
    """
    ψ = jnp.clip(potential, driest, wettest)
    return jnp.log(driest / ψ) / jnp.log(driest / wettest)


def depth_scalar(
    depth: Float[Number, " layer"], efolding: Float[Number, ""]
) -> Float[Array, " layer"]:
    """Rate relative to that at the surface.

    ξD = exp(-z / z_e)

    **Arguments:** `depth`: z, m; `efolding`: z_e, m.
    """
    return jnp.exp(-depth / efolding)


def environment(
    forcing: Forcing,
    q10: Any,
    scaling: Any,
    efolding: Any,
    averaging: Averaging = "mean_of_product",
) -> Environment:
    """Scalars by layer: those of the months averaged over the year, times depth.

    x = mean(ξT ξW ξO) ξD, with ξN for litter ("mean_of_product"), or
    x = mean(ξT) mean(ξW) mean(ξO) ξD, mean(ξN) for litter ("product_of_means"), as the
    released program of COMPAS

    **Arguments:** `q10`: Q10; `scaling`: of water; `efolding`: m.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, and its released programs.
    """
    check_option("averaging", averaging, Averaging)
    mean = averages(forcing, q10, scaling)
    depth = depth_scalar(forcing.column.nodes, efolding)
    if averaging == "mean_of_product":
        soil, litter = mean(
            lambda T, W, O, N: T * W * O, lambda T, W, O, N: T * W * O * N
        )
    else:
        T, W, O, N = mean(*(lambda *xi, i=i: xi[i] for i in range(4)))
        soil, litter = T * W * O, T * W * O * N
    return Environment(soil * depth, litter * depth)


def averages(forcing: Forcing, q10: Any, scaling: Any) -> Callable:
    """A function for means over the months of functions of the four scalars.

    **Returns:** `mean(*functions)`, each of (ξT, ξW, ξO, ξN); a tuple of (layer,).
    """
    T = temperature_scalar(forcing.temperature, q10)
    W = water_scalar(forcing.water, scaling)
    O, N = forcing.oxygen, forcing.nitrogen
    return lambda *functions: tuple(jnp.mean(f(T, W, O, N), axis=-1) for f in functions)


def _check_one(name, value):
    """Several would be taken for months."""
    if jnp.ndim(value):
        raise ValueError(
            f"{name} must be one number, got shape {jnp.shape(value)}; many go through "
            "jax.vmap"
        )
