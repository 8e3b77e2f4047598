"""Tables as datasets that say where they come from, and as netCDF-4 files."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from jaxsoc.tables import Table

from .atomic import replacing


def to_dataset(table: Table, attributes: Mapping[str, Any] | None = None) -> xr.Dataset:
    """A table as a dataset, with the versions it was made with.

    **Arguments:** `attributes`: more provenance, for example the command's options;
    what is not text or a number is stored as JSON.
    """
    known = provenance(**table.about)
    return dataset(table.variables, table.coordinates, known, attributes)


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
    with replacing(path) as temporary:
        results.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    return path


def dataset(
    variables: Mapping[str, Any],
    coordinates: Mapping[str, Any],
    *attributes: Mapping[str, Any] | None,
) -> xr.Dataset:
    """A dataset; what a file cannot hold as an attribute is stored as JSON.

    **Arguments:** `attributes`: the later ones win.
    """
    known = {k: plain(v) for one in attributes for k, v in (one or {}).items()}
    texts = {
        name: (dims, values.astype(str), said)
        for name, (dims, values, said) in variables.items()
        if values.dtype == object
    }
    return xr.Dataset({**variables, **texts}, coordinates, known)


def provenance(title: str, **more: Any) -> dict[str, Any]:
    """Where results come from: what they are, when and with what they were made."""
    return {
        "title": title,
        "source": f"jaxsoc {version('jaxsoc')}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            name: version(name) for name in ("jaxsoc", "jax", "jaxlib", "diffrax")
        }
        | {"python": platform.python_version()},
        **more,
    }


def plain(value: Any) -> str | int | float:
    """A value that an attribute of a file can hold."""
    return value if isinstance(value, str | int | float) else json.dumps(value)
