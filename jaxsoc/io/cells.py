"""Cells of a climatology, and the sites that they make of places."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from jaxsoc.physics.parameters import Interval
from jaxsoc.physics.site import CLIMATE, Site

WITHIN = 300.0
"""How far the nearest cell that has a value may lie, km."""
LATITUDE = Interval(-90, 90, closed_low=True, closed_high=True)
LONGITUDE = Interval(-180, 360, closed_low=True, closed_high=True)
_EARTH_RADIUS = 6371.0088


@dataclass(frozen=True)
class Cells:
    """Values at places on a sphere, of which the nearest is found.

    `latitude`, `longitude`: degrees; `values`: names in `Site`, each leads by cell;
    `distance`: the name in `Site` of how far the nearest cell is.
    """

    latitude: np.ndarray
    longitude: np.ndarray
    values: Mapping[str, np.ndarray]
    distance: str | None = None

    @cached_property
    def _tree(self):
        return KDTree(_on_sphere(self.latitude, self.longitude))

    def nearest(self, latitude: Any, longitude: Any) -> tuple[Any, Any]:
        """Place of the nearest cell, and the distance to its middle, km."""
        chord, found = self._tree.query(_on_sphere(latitude, longitude))
        return found, 2 * _EARTH_RADIUS * np.arcsin(np.minimum(chord / 2, 1.0))


@dataclass(frozen=True)
class Climatology:
    """Monthly climate of many places, and what else is known of them.

    `climate`: cells that have one; `others`: cells that have something else, such as
    texture; `label`: where it comes from.
    """

    label: str
    climate: Cells
    others: tuple[Cells, ...] = ()

    def distance(self, latitude: Any, longitude: Any) -> Any:
        """Distance to the nearest cell that has a climate, km.

        **Raises:** `ValueError` for degrees that are none.
        """
        return self.climate.nearest(*_degrees(latitude, longitude))[1]

    def at(
        self, latitude: Any, longitude: Any, *, within: float = WITHIN, **known: Any
    ) -> Site:
        """The site at a place, or the sites at many, by the nearest cell that knows.

        What no cell within reach knows is NaN; the distances are recorded.

        **Arguments:** `latitude`, `longitude`: degrees, one or arrays; `within`: reach,
        km; `known`: what is known better, in the words of `Site`, NaN where it is not.
        **Raises:** `ValueError` for degrees that are none, for a place without climate
        within reach, and as `Site`.
        """
        latitude, longitude = _degrees(latitude, longitude)
        found: dict[str, Any] = {}
        for cells in (self.climate, *self.others):
            near, km = cells.nearest(latitude, longitude)
            if cells is self.climate:
                self._check_reach(latitude, longitude, km, within)
            for name, values in cells.values.items():
                reached = np.expand_dims(
                    km <= within, tuple(range(-values.ndim + 1, 0))
                )
                found[name] = np.where(reached, values[near], np.nan)
            if cells.distance is not None:
                found[cells.distance] = km
        for name, value in known.items():
            if name in found and name not in CLIMATE:
                value = np.where(np.isnan(value), found[name], value)
            found[name] = value
        place = {"latitude": latitude, "longitude": longitude, "label": self.label}
        return Site(**{**place, **found})

    def _check_reach(self, latitude, longitude, km, within):
        far = np.ravel(km > within)
        if far.any():
            first = np.argmax(far)
            place = np.ravel(latitude)[first], np.ravel(longitude)[first]
            others = f" ({far.sum()} of {far.size} places)" if far.size > 1 else ""
            raise ValueError(
                f"no climate within {within:g} km of latitude {place[0]:g}, longitude "
                f"{place[1]:g}: the nearest cell of {self.label} that has one is "
                f"{np.ravel(km)[first]:.0f} km away{others}"
            )


def _on_sphere(latitude, longitude):
    """Points of a sphere of radius 1 at degrees."""
    up, around = np.radians(latitude), np.radians(longitude)
    out = np.cos(up)
    return np.stack([out * np.cos(around), out * np.sin(around), np.sin(up)], axis=-1)


def _degrees(latitude, longitude):
    latitude, longitude = np.asarray(latitude, float), np.asarray(longitude, float)
    LATITUDE.check("latitude", latitude, "degrees north")
    LONGITUDE.check("longitude", longitude, "degrees east")
    return np.broadcast_arrays(latitude, longitude)
