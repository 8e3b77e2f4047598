"""Soil profiles made up for tests."""

import numpy as np

from jaxsoc.observe.profiles import Profiles, fields_by

_TEXTS = ("name", "site", "source", "land_cover", "soil")


def profiles_of(densities, bottoms=None, **given):
    """Profiles of layers with these carbon densities, gC/m³, one list for each."""
    counts = [len(one) for one in densities]
    layers, n = sum(counts), len(counts)
    if bottoms is None:
        bottoms = [0.2 * np.arange(1, count + 1) for count in counts]
    held = {name: np.full(layers, np.nan) for name in fields_by("layer")}
    held |= {name: np.full(n, np.nan) for name in fields_by("profile")}
    held |= {name: np.full(n, "") for name in _TEXTS}
    held |= {name: np.zeros(n, bool) for name in ("urban", "peat", "wet")}
    held |= {
        "profile": np.repeat(np.arange(n), counts),
        "top": np.concatenate([np.append(0.0, one[:-1]) for one in bottoms]),
        "bottom": np.concatenate(bottoms),
        "density": np.concatenate(densities),
        "bulk_density_from": np.full(layers, ""),
        "name": np.array([f"p{i}" for i in range(n)]),
    }
    return Profiles(**held | given)
