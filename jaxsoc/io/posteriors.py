"""Stores of posteriors as what ArviZ and xarray open."""

from pathlib import Path

import numpy as np
import xarray as xr

from .store import SiteStore

_DRAW = ("site", "chain", "draw")
# Draws of these are no constants.
_STATISTICS = {"log_density": "lp"}


def open_posteriors(path: Path | str) -> xr.DataTree:
    """Draws of all finished sites of a store, of constants and of the sampler.

    Groups "posterior", by constant, and "sample_stats", with `lp`, the log density;
    dimensions site, chain and draw, sites by their names. Nothing is read before it is
    asked for. ArviZ takes it, one site at a time:
    `arviz.summary(tree["posterior"].to_dataset().sel(site="a profile"))`.

    **Raises:** `ValueError` for something else than a store of posteriors, or one in
    which no site is finished.
    """
    store = SiteStore(path)
    about, marks = store.about(), store.marks()
    chunk = about["chunk"]
    places = np.concatenate(
        [np.arange(n) + i * chunk for i, n in enumerate(marks.astype(int))]
    )
    if not places.size:
        raise ValueError(f"no site of {str(store.path)!r} is finished yet")
    held = xr.open_zarr(store.path, consolidated=False).isel(site=places)
    held = held.assign_coords(site=np.asarray(held.attrs["names"])[places])
    drawn = [name for name, x in held.data_vars.items() if x.dims == _DRAW]
    constants = [name for name in drawn if name not in _STATISTICS]
    groups = {
        "posterior": held[constants],
        "sample_stats": held[list(_STATISTICS)].rename(_STATISTICS),
    }
    said = {"experiment": str(about["experiment"]), "sampler": str(about["sampler"])}
    for group in groups.values():
        for dim in _DRAW[1:]:
            group.coords[dim] = np.arange(group.sizes[dim])
        group.attrs = said
    return xr.DataTree.from_dict(groups)
