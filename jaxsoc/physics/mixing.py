"""V: vertical mixing by animals and by freezing and thawing, as three diagonals."""

from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .columns import SoilColumn
from .months import mean_of
from .options import check_option
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
    bioturbation: Any,
    cryoturbation: Any,
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
    level = np.arange(1.0, z.size + 1)
    under = jnp.asarray(z)[jnp.asarray(bedrock).astype(int)]
    end = jnp.minimum(DEEPEST_CRYOTURBATION, under)
    tapers = end > active_layer
    slope = jnp.where(tapers, 1 / jnp.where(tapers, end - active_layer, 1.0), 0.0)
    # From 1 at the active layer's depth to exactly 0 at the end: what rounding would
    # leave there mixes carbon into layers that have none. 0 where nothing tapers.
    left = jnp.maximum((end - z) * slope, 0.0)
    shallow = jnp.where(z < active_layer, 1.0, left) * cryoturbation
    D = jnp.where(active_layer > CRYOTURBATED_ACTIVE_LAYER, bioturbation, shallow)
    return jnp.where((active_layer > 0) & (level <= bedrock + 1), D, 0.0)


def conductance(
    diffusivity: Float[Array, " level"], column: SoilColumn
) -> Float[Array, " face"]:
    """Conductance between the nodes of each layer and the next, m yr⁻¹.

    G_j = [(1 - w) / D_j + w / D_{j-1}]⁻¹ / Δz_n, zero where a diffusivity is

    **Arguments:** `diffusivity`: m² yr⁻¹.
    Source: Patankar (1980), Numerical Heat Transfer and Fluid Flow, for the mean.
    """
    nodes = column.nodes
    spacing = nodes[1:] - nodes[:-1]
    w = (column.bottom[:-1] - nodes[:-1]) / spacing
    upper, lower = diffusivity[:-2], diffusivity[1:-1]
    # The harmonic mean with one division.
    weight = ((1 - w) * upper + w * lower) * spacing
    some = weight > 0
    return jnp.where(some, upper * lower / jnp.where(some, weight, 1.0), 0.0)


def mixing(
    active_layer: Float[Number, " month"],
    bedrock: Float[Number, " month"],
    bioturbation: Any,
    cryoturbation: Any,
    column: SoilColumn,
    bedrock_treatment: Bedrock = "closed",
) -> Exchange:
    """Mean over the months of what layers exchange by diffusion, 1/d.

    T_{z,z-1} = -G_z / Δz_z,  T_{z,z+1} = -G_{z+1} / Δz_z

    Nothing crosses the surface and the lower end of the column.

    **Arguments:** see `diffusivity`; `bedrock_treatment`: "closed": nothing crosses the
    bedrock; "proda": as published, where layers below it lose carbon that no layer
    receives.
    **Raises:** `ValueError` for another treatment.
    Source: the released programs of Tao et al. (2024), doi:10.1111/gcb.17297.
    """
    check_option("bedrock", bedrock_treatment, Bedrock)
    # Face between each layer and the next, by the number of the upper one.
    face = np.arange(1.0, column.layers)
    none = jnp.zeros(1)

    def month(depth, rock):
        D = diffusivity(depth, rock, bioturbation, cryoturbation, column)
        G = conductance(D, column)
        if bedrock_treatment == "closed":
            return jnp.where(face < rock, G, 0.0), None
        # Below the bedrock the lower face of a layer is given the conductance of the
        # upper one, and no layer receives what leaves through it.
        above = jnp.concatenate([none, G[:-1]])
        return G, jnp.where(face > rock, above - G, 0.0)

    G, leak = mean_of(month, active_layer, bedrock)
    below = G if leak is None else G + leak
    dz = column.thickness * DAYS_PER_YEAR
    above, below = jnp.concatenate([none, G]), jnp.concatenate([below, none])
    return Exchange(above / dz, below / dz)
