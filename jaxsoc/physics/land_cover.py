"""What plants do to a soil, by land cover: wood in their litter, depth of their roots.

Classes are those of the International Geosphere-Biosphere Programme (IGBP) with their
usual numbers, and 18 for tundra, as CASA-CNP has it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import Interval
from .shapes import Number

UNKNOWN = 0
BOREAL_BELOW = 3.0
"""Annual mean temperature of the top soil below which plants are boreal, °C."""


class LandCover(NamedTuple):
    """Of a class: share of NPP that goes to wood, β of its roots, and where boreal."""

    name: str
    wood: float
    root_beta: float
    boreal_beta: float


# Wood: CASA-CNP; β: Jackson et al. (1996) as in CLM5, the class to plant type ours.
_EVERY: dict[int, tuple[Any, ...]] = {
    UNKNOWN: ("unknown", 0.0, 0.95),
    1: ("evergreen needleleaf forest", 0.33, 0.976, 0.943),
    2: ("evergreen broadleaf forest", 0.10, 0.993),
    3: ("deciduous needleleaf forest", 0.30, 0.943),
    4: ("deciduous broadleaf forest", 0.20, 0.966, 0.943),
    5: ("mixed forest", 0.40, 0.966, 0.943),
    6: ("closed shrubland", 0.15, 0.964, 0.914),
    7: ("open shrubland", 0.15, 0.964, 0.914),
    8: ("woody savanna", 0.10, 0.943),
    9: ("savanna", 0.10, 0.943),
    10: ("grassland", 0.0, 0.943),
    11: ("permanent wetland", 0.0, 0.95),
    12: ("cropland", 0.0, 0.943),
    13: ("urban", 0.0, 0.95),
    14: ("cropland and natural vegetation", 0.0, 0.943),
    15: ("snow and ice", 0.0, 0.95),
    16: ("barren", 0.20, 0.943),
    17: ("water", 0.0, 0.95),
    18: ("tundra", 0.0, 0.914),
}
LAND_COVER = {
    number: LandCover(*found, *found[2:][: 4 - len(found)])
    for number, found in _EVERY.items()
}
"""Classes by number.

Source: wood, CASA-CNP (github.com/wwieder/biogeochem_testbed, commit 27ae1a0b6734); β,
Jackson et al. (1996), doi:10.1007/BF00333714, by CLM5's plant types.
"""
CROPS = (12, 14)


def of_class(what: str, land_cover: Any) -> Float[Array, "..."]:
    """A column of `LAND_COVER` by class.

    **Arguments:** `what`: "wood", "root_beta" or "boreal_beta"; `land_cover`: numbers.
    **Raises:** `ValueError` for a number that is no class.
    """
    known = Interval(UNKNOWN, max(LAND_COVER), closed_low=True, closed_high=True)
    known.check("land_cover", land_cover, hint=", IGBP's number")
    column = np.array([getattr(one, what) for one in LAND_COVER.values()])
    return jnp.asarray(column)[jnp.asarray(land_cover)]


def is_boreal(surface: Float[Any, "*site month"]) -> Any:
    """Whether plants are boreal, by the mean of the uppermost soil, °C by month."""
    return jnp.mean(surface, axis=-1) < BOREAL_BELOW


def root_beta(land_cover: Any, boreal: Any = False) -> Float[Array, "..."]:
    """Shape β of the roots' distribution, per cm, by class.

    **Arguments:** `boreal`: whether plants are, see `is_boreal`.
    """
    warm, cold = (of_class(name, land_cover) for name in ("root_beta", "boreal_beta"))
    return jnp.where(boreal, cold, warm)


def litter_types(
    npp: Float[Number, "..."], land_cover: Any, harvest: Float[Number, ""] = 1.0
) -> Float[Array, "litter ..."]:
    """Litter of the four kinds, which at rest is all of the production.

    CWD = f_w NPP, metabolic, cellulose and lignin litter (¼, ½, ¼) (1 - f_w) NPP

    **Arguments:** `npp`: gC m⁻² yr⁻¹; `harvest`: share of it that stays on cropland.
    """
    wood = of_class("wood", land_cover)
    crop = jnp.any(jnp.stack([jnp.asarray(land_cover) == c for c in CROPS]), axis=0)
    left = npp * jnp.where(crop, harvest, 1.0)
    others = [share * (1 - wood) * left for share in (0.25, 0.5, 0.25)]
    return jnp.stack([wood * left, *others])
