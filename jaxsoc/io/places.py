"""Where the sites of a dataset lie: dimensions of any name, and the conventions of CF.

Source: Eaton et al., NetCDF Climate and Forecast (CF) Metadata Conventions 1.10,
https://cfconventions.org.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxsoc.physics.forcing import MONTHS
from jaxsoc.physics.parameters import Interval
from jaxsoc.tables import Variable

CONVENTIONS = "CF-1.10"

# Names of dimensions, or of the axes or standard names of their coordinates.
_DIMS = {
    **dict.fromkeys(("levgrnd", "levsoi", "levdcmp", "depth", "Z"), "layer"),
    **dict.fromkeys(("time", "T"), "month"),
}
# Standard names of CF of what is read.
_STANDARD = {
    "soil_temperature": "temperature",
    "volume_fraction_of_sand_in_soil": "sand",
}
# Names of coordinates, their standard name, unit and range.
_LATITUDE = "latitude", "degrees_north", Interval(-90, 90, True, True)
_LONGITUDE = "longitude", "degrees_east", Interval(-180, 360, True, True)
_POSITIONS = {
    **dict.fromkeys(("lat", "latitude", "degrees_north"), _LATITUDE),
    **dict.fromkeys(("lon", "longitude", "degrees_east"), _LONGITUDE),
}


class Places(NamedTuple):
    """Where the sites of a batch lie, to give results their dimensions back.

    `dims`, `shape`: of the places, one dimension of sites, or latitudes by longitudes;
    `coordinates`: along them, with attributes; `valid`: which of the places, in their
    order, are the sites of the batch; the others have no data.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coordinates: Mapping[str, Variable]
    valid: np.ndarray

    @classmethod
    def of(cls, dim: str = "site", **coordinates: Any) -> "Places":
        """Places along one dimension, by its labels and coordinates as `lat` and `lon`.

        **Raises:** `ValueError` for coordinates of several lengths, or off the Earth.
        """
        lengths = {name: len(values) for name, values in coordinates.items()}
        if len({*lengths.values()}) != 1:
            raise ValueError(f"expected coordinates of one length, got {lengths}")
        return places_of(
            xr.Dataset(coords={name: (dim, x) for name, x in coordinates.items()}),
            {dim: next(iter(lengths.values()))},
        )

    def spread(self, values: Any, fill: Any = np.nan) -> np.ndarray:
        """Values that lead by site over the dimensions of the places."""
        values = np.asarray(values)
        whole = np.full((self.valid.size, *values.shape[1:]), fill, values.dtype)
        whole[self.valid] = values
        return whole.reshape(*self.shape, *values.shape[1:])

    def name(self, site: int) -> str:
        """What a site, numbered from 0, is called: by its coordinates, else number."""
        place = np.unravel_index(np.flatnonzero(self.valid)[site], self.shape)
        at = dict(zip(self.dims, map(int, place), strict=True))
        said = [
            f"{dim} {i + 1}" for dim, i in at.items() if dim not in self.coordinates
        ]
        for name, (dims, values, _) in self.coordinates.items():
            value = values[tuple(at[dim] for dim in dims)]
            plain = values.dtype.kind in "fiu"
            said.append(f"{name} {value:g}" if plain else f"{name} {value}")
        return ", ".join(said) or "the place"


def places_of(
    dataset: xr.Dataset, sizes: Mapping[str, int], valid: np.ndarray | None = None
) -> Places:
    """Places along some dimensions of a dataset, with what lies along them alone.

    Coordinates of latitude and longitude are known by their name, standard name or
    unit, and get what of these they lack.

    **Raises:** `ValueError` for places that lie off the Earth.
    """
    held = {}
    for name, given in dataset.variables.items():
        here = set(given.dims) <= set(sizes) and (given.dims or not sizes)
        position = _position(str(name), given.attrs)
        if not here or not (name in dataset.coords or position):
            continue
        # The ends of cells are not kept.
        attributes = {k: said for k, said in given.attrs.items() if k != "bounds"}
        if position:
            standard, unit, bounds = position
            bounds.check(str(name), given.values, unit)
            known = {"standard_name": standard, "long_name": standard, "units": unit}
            attributes = known | attributes | {"units": unit}
        held[str(name)] = (tuple(map(str, given.dims)), given.values, attributes)
    shape = tuple(sizes.values())
    every = np.ones(int(np.prod(shape, dtype=int)), bool) if valid is None else valid
    return Places(tuple(sizes), shape, held, every)


def _position(name, attributes):
    said = (name, *(attributes.get(key) for key in ("standard_name", "units")))
    return next((_POSITIONS[word] for word in said if word in _POSITIONS), None)


def by_standard_names(dataset: xr.Dataset, known: Iterable[str]) -> xr.Dataset:
    """A dataset with dimensions and variables by our names where CF names them.

    Layers and months are known by `depth`, `time`, CESM's names, or the axis or
    standard name of a coordinate; what has months with numbers or dates is sorted.

    **Arguments:** `known`: dimensions that keep their name.
    """
    found = {}
    for dim in map(str, dataset.dims):
        axis = dataset[dim].attrs if dim in dataset.coords else {}
        words = (dim, axis.get("standard_name"), axis.get("axis"))
        ours = next((_DIMS[word] for word in words if word in _DIMS), None)
        if ours and dim not in known and ours not in (*dataset.dims, *found.values()):
            found[dim] = ours
    variables = {
        name: _STANDARD[given.attrs["standard_name"]]
        for name, given in dataset.data_vars.items()
        if given.attrs.get("standard_name") in _STANDARD
    }
    free = {n: ours for n, ours in variables.items() if ours not in dataset}
    # Without indices, which bind a coordinate to the name of its dimension.
    plain = dataset.drop_indexes([d for d in found if d in dataset.indexes])
    return _from_january(plain.rename_vars(free).rename_dims(found))


def _from_january(dataset):
    if dataset.sizes.get("month") != MONTHS:
        return dataset
    for name in ("month", "time"):
        if name not in dataset or dataset[name].dims != ("month",):
            continue
        given = dataset[name]
        months = given.dt.month if given.dtype.kind == "M" else given
        if months.dtype.kind in "fiu" and sorted(months.values) == [*range(1, 13)]:
            return dataset.isel(month=np.argsort(months.values))
    return dataset
