"""A column of soil: layers from the surface down, in metres."""

import itertools
import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import POSITIVE


class SoilColumn(eqx.Module):
    """Layers of a soil column, given by the depths of their lower interfaces.

    A pool is held as gC m⁻³ at the node, the middle of its layer; times the thickness
    that is its stock, gC m⁻². One more level below the last layer, in which nothing is
    stored, closes the formulas of vertical mixing.

    **Arguments:** `interfaces`: lower interfaces, m, from the top down; `below`: lower
    interface of the level below, m, by default one layer's thickness further down.
    **Raises:** `ValueError` for depths that do not increase or are not finite.
    """

    interfaces: tuple[float, ...] = eqx.field(
        static=True, converter=lambda depths: tuple(float(z) for z in depths)
    )
    below: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        depths = (0.0, *self.interfaces)
        if self.below is not None:
            depths += (self.below,)
        if len(self.interfaces) < 2:
            raise ValueError(
                f"a column needs at least 2 layers, got {len(self.interfaces)}"
            )
        for upper, lower in itertools.pairwise(depths):
            if not upper < lower < math.inf:
                raise ValueError(
                    "the lower interfaces of the layers must increase from the surface "
                    f"down and be finite, in m: got {lower:g} after {upper:g}"
                )

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.interfaces)

    @property
    def bottom(self) -> Float[np.ndarray, " layer"]:
        """Depth of each layer's lower interface, m."""
        return np.array(self.interfaces)

    @property
    def top(self) -> Float[np.ndarray, " layer"]:
        """Depth of each layer's upper interface, m."""
        return np.array((0.0, *self.interfaces[:-1]))

    @property
    def thickness(self) -> Float[np.ndarray, " layer"]:
        """Thickness of each layer, m."""
        return self.bottom - self.top

    @property
    def nodes(self) -> Float[np.ndarray, " layer"]:
        """Depth of the middle of each layer, m."""
        return 0.5 * (self.top + self.bottom)

    @property
    def levels(self) -> Float[np.ndarray, " level"]:
        """Lower interfaces of the layers and of the level below them, m."""
        last = self.interfaces[-1]
        below = 2 * last - self.top[-1] if self.below is None else self.below
        return np.array((*self.interfaces, below))

    def share_above(self, depths: Any) -> Float[Array, "*depth layer"]:
        """Metres of each layer that lie above each depth.

        clip(d - z_top, 0, Δz)

        **Arguments:** `depths`: one or several, m, in any order.
        **Raises:** `ValueError` for a depth that is not positive.
        """
        POSITIVE.check("depths from the surface down", depths, "m")
        above = lambda depth: jnp.clip(depth - self.top, 0.0, self.thickness)
        return jnp.vectorize(above, signature="()->(layer)")(jnp.asarray(depths))


CLM5_COLUMN = SoilColumn(
    (
        *(0.02, 0.06, 0.12, 0.20, 0.32, 0.48, 0.68, 0.92, 1.20, 1.52),
        *(1.88, 2.28, 2.72, 3.26, 3.90, 4.64, 5.48, 6.42, 7.46, 8.60),
    ),
    below=10.99,
)
"""The 20 soil layers of CLM5, to 8.6 m."""
