"""Tables as datasets that say where they come from, and as netCDF-4 files."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import xarray as xr

from jaxsoc.tables import Table

from .atomic import replacing

SCHEMA = 1
"""Version of the names, units and attributes that datasets are written with."""


def to_dataset(table: Table, attributes: Mapping[str, Any] | None = None) -> xr.Dataset:
    """A table as a dataset, with its `SCHEMA` and the versions it was made with.

    **Arguments:** `attributes`: more provenance, for example the command's options;
    what is not text or a number is stored as JSON.
    """
    versions = {name: version(name) for name in ("jaxsoc", "jax", "jaxlib", "diffrax")}
    known = {
        "title": table.about["title"],
        "schema": SCHEMA,
        "source": f"jaxsoc {versions['jaxsoc']}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {"python": platform.python_version()},
        **table.about,
        **(attributes or {}),
    }
    held = {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in known.items()
    }
    texts = {
        name: (dims, values.astype(str), said)
        for name, (dims, values, said) in table.variables.items()
        if values.dtype == object
    }
    return xr.Dataset({**table.variables, **texts}, table.coordinates, held)


def save_dataset(results: xr.Dataset, path: Path | str) -> Path:
    """Writes netCDF-4, compressed; the file is whole or absent.

    **Raises:** `OSError` if it cannot be written.
    """
    path = Path(path)
    encoding = {
        name: {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in results.data_vars.items()
        if variable.dtype.kind == "f"
    }
    # To memory first: HDF5 ends the whole process where it cannot write to a disk.
    content = BytesIO()
    results.to_netcdf(content, engine="h5netcdf", encoding=encoding)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return path
