"""B: over which layers the litter falls."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .columns import SoilColumn
from .shapes import Number

CM_PER_M = 100.0


def root_profile(beta: Float[Number, ""], column: SoilColumn) -> Float[Array, " layer"]:
    """Share of the litter that enters each layer, as roots are distributed.

    v_z ∝ β^(100 z_top) - β^(100 z_bottom), Σ v_z = 1

    **Arguments:** `beta`: β, per cm, between 0 and 1.
    Source: Jackson et al. (1996), doi:10.1007/BF00333714.
    """
    reach = jnp.log(beta) * CM_PER_M
    # expm1 keeps the digits of the thin layers and of β close to 1.
    falls = -jnp.exp(reach * column.top) * jnp.expm1(reach * column.thickness)
    return falls / jnp.sum(falls)


def allocation(
    beta: Float[Number, ""], frozen: Bool[Array, ""], column: SoilColumn
) -> Float[Array, " layer"]:
    """Share of the litter by layer: the root profile, or on top of frozen soil."""
    on_top = jnp.zeros(column.layers).at[0].set(1.0)
    return jnp.where(frozen, on_top, root_profile(beta, column))
