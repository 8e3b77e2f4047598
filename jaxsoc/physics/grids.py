"""The spaces that soil lives in: cells of equal size, each well mixed."""

import math
import warnings
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import POSITIVE
from .shapes import Number
from .units import CM_PER_UM, FGC_PER_MGC

SECONDS_PER_HOUR = 3600.0

# Above this ratio of diffusion time to reaction time, concentration differences inside
# a cell are no longer negligible.
WELL_MIXED_LIMIT = 0.1


class NotWellMixedWarning(UserWarning):
    """A cell is too large for the reactions in it to be well mixed."""


class SubstrateAboveLargestWarning(UserWarning):
    """A cell starts with more substrate than it can hold."""


class CellGrid(eqx.Module):
    """A block of cubic cells.

    **Arguments:** `shape`: cells along each axis; `edge`: of a cell, µm;
    `bulk_density`: g soil per cm³.

    **Raises:** `ValueError` for an edge or a density that is not positive.

    Defaults: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Sect. 2.3.
    """

    shape: tuple[int, ...] = (100, 100)
    edge: float = 50.0
    bulk_density: float = 1.65

    def __check_init__(self):
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"shape must name at least one cell, got {self.shape}")
        POSITIVE.check("edge of a cell", self.edge, "µm")
        POSITIVE.check("bulk density", self.bulk_density, "g/cm³")

    @property
    def cells(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    @property
    def fgc_per_mgc_per_g(self) -> float:
        """fgC per cell that make one mgC per g soil (206 250 by default)."""
        soil = self.bulk_density * (self.edge * CM_PER_UM) ** 3
        return FGC_PER_MGC * soil

    @property
    def largest_substrate(self) -> float:
        """The most substrate of a cell, mgC/g: it is full of organic matter.

        Cmax = 0.5 ρ_OM / ρ_b, half of it carbon, ρ_OM = 1.1 g/cm³ (constraint iii)
        """
        return 0.5 * 1.1 / self.bulk_density * 1e3


def damkohler_number(
    turnover_rate: Float[Number, "*#cell"],
    *,
    edge: float = 50.0,
    diffusivity: float = 1e-11,
) -> Float[Array, "..."]:
    """Ratio of the time to diffuse across a cell to the time to react in it.

    Da = (x² / D) λ

    **Arguments:** `turnover_rate`: λ, of the substrate, 1/h; `edge`: x, µm;
    `diffusivity`: D, m²/s, glucose in water by default.
    **Returns:** Da, dimensionless; well mixed means Da ≪ 1.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Sect. 2.1.1.
    """
    diffusion_time = (edge * 1e-6) ** 2 / diffusivity / SECONDS_PER_HOUR
    return diffusion_time * jnp.asarray(turnover_rate)


def warn_unless_well_mixed(
    largest: float, share: float, *, edge: float, case: str = "this soil"
) -> None:
    """Warns, as `NotWellMixedWarning`, when cells exceed Da = 0.1.

    **Arguments:** `largest`: Damköhler number of a cell; `share`: of cells above 0.1;
    `edge`: of a cell, µm; `case`: its name, for the reader.
    """
    if largest > WELL_MIXED_LIMIT:
        warnings.warn(
            f"cells of {edge:g} µm are too large to be well mixed where substrate "
            f"turns over fastest: Damköhler number up to {largest:.2g} in {case} "
            f"(limit {WELL_MIXED_LIMIT:g}, exceeded in {100 * share:.2g} % of the "
            "cells at most)",
            NotWellMixedWarning,
            stacklevel=2,
        )


def warn_above_largest(
    substrate: Mapping[str, Float[Array, "..."]], grid: CellGrid
) -> None:
    """Warns, as `SubstrateAboveLargestWarning`, of fields with cells above Cmax.

    The published recipes do not keep to it; nearly all uncorrelated fields exceed.

    **Arguments:** `substrate`: by correlation, mgC/g, of one member or of many.
    """
    most = grid.largest_substrate
    for name, field in substrate.items():
        if float(jnp.max(field)) > most:
            # The same words for every member, so that they are read once.
            warnings.warn(
                f"{name} substrate exceeds in some cells the {most:.4g} mgC/g that "
                f"soil of {grid.bulk_density:g} g/cm³ can hold (Cmax): give "
                f"largest_substrate = {math.floor(most)} to draw such fields anew",
                SubstrateAboveLargestWarning,
                stacklevel=3,
            )
