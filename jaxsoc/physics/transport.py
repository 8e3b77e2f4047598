"""V: vertical mixing by animals and by freezing and thawing, as three diagonals."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .columns import SoilColumn
from .months import mean_of
from .shapes import Number
from .units import DAYS_PER_YEAR

Bedrock = Literal["closed", "proda"]

# Active layers deeper than this are mixed by animals, others by cryoturbation, which
# reaches down to at most the second depth. m
CRYOTURBATED_ACTIVE_LAYER = 2.0
DEEPEST_CRYOTURBATION = 3.0


class Exchange(NamedTuple):
    """What a layer exchanges with the layers above and below it, 1/d.

    dX_z/dt = above_z (X_{z-1} - X_z) + below_z (X_{z+1} - X_z)
    """

    above: Float[Array, " layer"]
    below: Float[Array, " layer"]

    @property
    def diagonal(self) -> Float[Array, " layer"]:
        """What leaves a layer, T_zz."""
        return self.above + self.below

    def __call__(self, pool: Float[Array, " layer"]) -> Float[Array, " layer"]:
        """Change of a pool by mixing, gC m⁻³ d⁻¹."""
        upper = jnp.concatenate([pool[:1], pool[:-1]])
        lower = jnp.concatenate([pool[1:], pool[-1:]])
        return self.above * (upper - pool) + self.below * (lower - pool)


def diffusivity(
    active_layer: Float[Number, ""],
    bedrock: Float[Number, ""],
    bioturbation: Float[Number, ""],
    cryoturbation: Float[Number, ""],
    column: SoilColumn,
) -> Float[Array, " level"]:
    """Diffusivity at the lower interface of each level, m² yr⁻¹, in a month.

    Where the active layer reaches below 2 m: that of bioturbation. Where it is
    shallower: that of cryoturbation, tapered from the active layer's depth to 3 m, or
    to the interface below the bedrock. None where the soil never thaws, and none below
    the level under the bedrock.

    **Arguments:** `active_layer`: its depth, m; `bedrock`: number of the last layer
    above it, from 1; `bioturbation`, `cryoturbation`: m² yr⁻¹.
    Source: CLM5, Lawrence et al. (2019), doi:10.1029/2018MS001583; Koven et al. (2013),
    doi:10.5194/bg-10-7109-2013.
    """
    z = column.levels
    level = jnp.arange(1.0, z.size + 1)
    # The interface of level bedrock + 1, read without an index so that it vectorises.
    under = jnp.sum(jnp.where(level == bedrock + 1, z, 0.0))
    end = jnp.minimum(DEEPEST_CRYOTURBATION, under)
    tapers = end > active_layer
    slope = jnp.where(tapers, 1 / jnp.where(tapers, end - active_layer, 1.0), 0.0)
    left = jnp.where(tapers, 1 - (z - active_layer) * slope, 0.0)
    shallow = jnp.where(z < active_layer, 1.0, jnp.maximum(left, 0.0)) * cryoturbation
    D = jnp.where(active_layer > CRYOTURBATED_ACTIVE_LAYER, bioturbation, shallow)
    return jnp.where((active_layer > 0) & (level <= bedrock + 1), D, 0.0)


def exchange(
    diffusivity: Float[Array, " level"],
    bedrock: Float[Number, ""],
    column: SoilColumn,
    road: Bedrock = "closed",
) -> Exchange:
    """What layers exchange by diffusion, 1/d.

    G_j = [(1 - w) / D_j + w / D_{j-1}]⁻¹ / Δz_n,  T_{z,z-1} = -G_z / Δz_z

    Nothing crosses the surface and the lower end of the column.

    **Arguments:** `diffusivity`: m² yr⁻¹; `bedrock`: number of the last layer above it;
    `road`: "closed": nothing crosses the bedrock; "proda": as published, where layers
    below it lose carbon that no layer receives.
    Source: Patankar (1980) for the means; the released programs of Tao et al. (2024),
    doi:10.1111/gcb.17297, for "proda".
    """
    D, nodes = diffusivity, column.level_nodes
    spacing = nodes[1:] - nodes[:-1]
    w = (column.levels[:-1] - nodes[:-1]) / spacing
    # The harmonic mean with one division, zero where both diffusivities are.
    weight = (1 - w) * D[:-1] + w * D[1:]
    some = weight > 0
    mean = jnp.where(some, D[:-1] * D[1:] / jnp.where(some, weight, 1.0), 0.0)
    # Face between each layer and the next; the last layer has none below.
    G = (mean / (spacing * DAYS_PER_YEAR))[:-1]
    face = jnp.arange(1.0, G.size + 1)
    none = jnp.zeros(1, G.dtype)
    if road == "closed":
        G = jnp.where(face < bedrock, G, 0.0)
        upper, lower = jnp.concatenate([none, G]), jnp.concatenate([G, none])
    else:
        upper = jnp.concatenate([none, G])
        # Below the bedrock the lower face of a layer is given the conductance of the
        # upper one, and no layer receives what leaves through it.
        leaking = jnp.where(face > bedrock, upper[:-1], G)
        lower = jnp.concatenate([leaking, none])
    dz = column.thickness
    return Exchange(upper / dz, lower / dz)


def mixing(
    active_layer: Float[Number, " month"],
    bedrock: Float[Number, " month"],
    bioturbation: Any,
    cryoturbation: Any,
    column: SoilColumn,
    road: Bedrock = "closed",
) -> Exchange:
    """Mean over the months of what layers exchange, 1/d.

    **Arguments:** see `diffusivity` and `exchange`.
    """

    def month(depth, rock):
        D = diffusivity(depth, rock, bioturbation, cryoturbation, column)
        return exchange(D, rock, column, road)

    return mean_of(month, active_layer, bedrock)
