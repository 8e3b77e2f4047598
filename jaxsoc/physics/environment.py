"""ξ: what temperature, water, oxygen, nitrogen and depth do to decomposition."""

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
    """
    return jnp.exp(jnp.log(q10) * ((temperature - REFERENCE_TEMPERATURE) / 10))


def water_scalar(
    water: Float[Number, "..."], scaling: Float[Number, ""]
) -> Float[Array, "..."]:
    """Rate relative to that in soil moist enough.

    ξW = min(1, s W)

    **Arguments:** `water`: W, CESM's W_SCALAR; `scaling`: s.
    """
    return jnp.minimum(1.0, scaling * water)


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
    **Raises:** `ValueError` for several numbers, which would be taken for months.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, and its released programs.
    """
    check_option("averaging", averaging, Averaging)
    if jnp.ndim(q10) or jnp.ndim(scaling):
        raise ValueError(
            "q10 and water_scaling must be one number each, got shapes "
            f"{jnp.shape(q10)} and {jnp.shape(scaling)}; many go through jax.vmap"
        )
    T = temperature_scalar(forcing.temperature, q10)
    W, O, N = water_scalar(forcing.water, scaling), forcing.oxygen, forcing.nitrogen
    mean = lambda x: jnp.mean(x, axis=-1)
    if averaging == "mean_of_product":
        soil, litter = mean(T * W * O), mean(T * W * O * N)
    else:
        T, W, O, N = map(mean, (T, W, O, N))
        soil, litter = T * W * O, T * W * O * N
    depth = depth_scalar(forcing.column.nodes, efolding)
    return Environment(soil * depth, litter * depth)
