"""Places of commands: of measured profiles, and what climate is known there."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.io import Places, load_climatology, load_profiles
from jaxsoc.io.cells import WITHIN
from jaxsoc.observe.profiles import Profiles, with_bulk_density
from jaxsoc.observe.screening import screen
from jaxsoc.physics.site import Site, idealised_site

from .profiles_config import ProfilesConfig


class Task(NamedTuple):
    """Where columns are made, and what is known there.

    `sites`; `places`: with their dimension; `profiles`: measured, if any; `names`;
    `notes`: what was left out or taken of elsewhere, in sentences.
    """

    sites: Site
    places: Places
    profiles: Profiles | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


def climate_of(config: ProfilesConfig) -> Any:
    """The climatology that is named, or found, or None for an idealised one."""
    if config.climate is not None:
        return load_climatology(config.climate)
    named = os.environ.get("JAXSOC_DATA")
    if named and (Path(named) / "global_grids").is_dir():
        return load_climatology()
    return None


def sites_of(climate: Any, latitude: Any, longitude: Any, **known: Any) -> Site:
    """Sites at positions, with a climatology or an idealised climate.

    **Arguments:** `known`: of the sites, in the words of `Site`, by site.
    """
    if climate is not None:
        return climate.at(latitude, longitude, **known)
    every = [
        idealised_site(
            float(lat),
            longitude=float(lon),
            **{
                name: float(values[i])
                for name, values in known.items()
                if not np.isnan(values[i])
            },
        )
        for i, (lat, lon) in enumerate(zip(latitude, longitude, strict=True))
    ]
    return jax.tree.map(lambda *x: jnp.stack(x), *every)


def of_profiles(file: Path, config: ProfilesConfig) -> Task:
    """The profiles of a file that are taken, and their places.

    **Raises:** `ValueError` where none is left, with the reasons.
    """
    loaded = load_profiles(file, skip_bad=config.skip_bad)
    notes = [f"left out: {one.sentence}" for one in loaded.refused]
    profiles = loaded.profiles
    if config.bulk_density == "pedotransfer":
        profiles = with_bulk_density(profiles)
    screened = screen(
        profiles,
        fewest_layers=config.layers,
        deepest=config.deepest,
        without=tuple(config.without),
    )
    notes += [
        f"{count} of {len(profiles)} profiles left out: {reason}"
        for reason, count in screened.counts.items()
        if count
    ]
    kept = screened.kept
    lost = np.isnan(kept.latitude) | np.isnan(kept.longitude)
    if lost.any():
        notes.append(
            f"{lost.sum()} of {len(kept)} profiles left out: no latitude and longitude"
        )
        kept = kept[~lost]
    if not len(kept):
        raise ValueError(
            f"no profile of {file.name} can be compared: "
            + ("; ".join(notes) or "it is empty")
        )
    climate = climate_of(config)
    if climate is not None:
        far = climate.distance(kept.latitude, kept.longitude) > WITHIN
        if far.any():
            notes.append(
                f"{far.sum()} of {len(kept)} profiles left out: no climate within "
                f"{WITHIN:g} km"
            )
            kept = kept[~far]
    known = {"mean_annual_temperature": kept.temperature}
    sites = sites_of(climate, kept.latitude, kept.longitude, **known)
    places = Places.of(
        "profile", profile=kept.name, lat=kept.latitude, lon=kept.longitude
    )
    return Task(sites, places, kept, tuple(kept.name), (*notes, *notes_of(sites)))


def notes_of(sites: Site) -> tuple[str, ...]:
    """What was taken of elsewhere, or is not known."""
    notes = []
    bare = int(np.isnan(np.asarray(sites.sand)).sum())
    if bare:
        notes.append(f"{bare} places have no known texture: that of [forcing] is taken")
    return tuple(notes)
