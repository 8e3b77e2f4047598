"""Radiocarbon of the atmosphere's CO₂ through the bomb peak, by zone and month."""

from importlib.resources import files
from io import StringIO
from typing import Any, Literal

import numpy as np
import pandas as pd

from jaxsoc.physics.forcing import MONTHS
from jaxsoc.physics.options import check_option

Zone = Literal["north", "tropics", "south"]
FIRST, LAST = 1850, 2015
"""Years AD that the atmosphere is known of."""


_TROPICS = 30.0  # degrees of latitude at which they end


def zones(latitude: Any) -> np.ndarray:
    """The zone of the atmosphere that each latitude lies in, a `Zone`.

    **Arguments:** `latitude`: degrees north.
    """
    latitude = np.asarray(latitude, float)
    outside = np.where(latitude > 0, "north", "south")
    return np.where(np.abs(latitude) <= _TROPICS, "tropics", outside)


def atmosphere(zone: str, first: int, last: int) -> np.ndarray:
    """Δ¹⁴C of the atmosphere's CO₂ in calendar years, (year, month), ‰.

    The means of years lie in their middle and are joined by straight lines; before 1850
    the atmosphere is taken to be that of 1850, and from the middle of 2015 to its end
    that of the year.

    **Arguments:** `zone`: "north" of 30° N, "tropics", or "south" of 30° S; `first`,
    `last`: years AD.
    **Raises:** `ValueError` for an unknown zone, years that run backwards, and years of
    which nothing is known.
    Source: Graven et al. (2017), doi:10.5194/gmd-10-4405-2017, whose data, CC BY 3.0,
    are part of the package.
    """
    check_option("zone", zone, Zone)
    if not first <= last <= LAST:
        raise ValueError(
            f"the radiocarbon of the atmosphere is known to {LAST}: expected a first "
            f"year and a last one, not before it, up to then, got {first} to {last}"
        )
    text = files("jaxsoc.io").joinpath("atmosphere.csv").read_text(encoding="utf-8")
    known = pd.read_csv(StringIO(text), comment="#")
    months = np.arange((last - first + 1) * MONTHS).reshape(-1, MONTHS)
    middle = first + (months + 0.5) / MONTHS
    return np.interp(middle, known["year"], known[zone])
