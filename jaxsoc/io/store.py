"""A zarr store of the results of an ensemble, filled chunk by chunk.

A chunk counts as finished once its mark is written, after everything else of it; a run
that was killed goes on behind the last mark, and ends with the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from jaxsoc.tables import Table

_DONE = "chunk_finished"


class MemberStore:
    """Arrays with an axis `member`, in chunks of so many of them.

    **Arguments:** `path`: of the store; `begun`: whether it is there.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    @property
    def begun(self) -> bool:
        """Whether there is anything at the path."""
        return self.path.exists()

    def about(self) -> dict[str, Any]:
        """What the store says of itself.

        **Raises:** `ValueError` for something else than a store of an ensemble.
        """
        names = "experiment", "chunk", "members", "courant", "error"
        try:
            known = self._group("r").attrs
            return {name: known[name] for name in names}
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{str(self.path)!r} is not a store of an ensemble: name another, or "
                "remove it"
            ) from None

    def create(self, empty: Table) -> None:
        """Makes the store of a table without values that says its members and chunk."""
        members, chunk = empty.about["members"], empty.about["chunk"]
        # Whole or absent: a store without its description could not be continued.
        temporary = self.path.with_name(f".{self.path.name}-new")
        group: Any = zarr.open_group(temporary, mode="w")
        for name, (dims, values, said) in empty.variables.items():
            sizes = dict(zip(dims, values.shape, strict=True))
            array = group.create_array(
                name,
                shape=values.shape,
                chunks=tuple((sizes | {"member": chunk}).values()),
                dtype="float64",
                dimension_names=dims,
            )
            array.attrs.update(said)
        dim, days, said = empty.coordinates["time"]
        time = group.create_array("time", data=days, dimension_names=(dim,))
        time.attrs.update(said)
        group.create_array(
            _DONE,
            shape=(-(-members // chunk),),
            chunks=(1,),
            dtype="int64",
            dimension_names=("chunk",),
        )
        group.attrs.update(empty.about)
        temporary.rename(self.path)

    def grow(self, members: int) -> None:
        """Makes room for so many members."""
        group = self._group()
        for _, array in group.arrays():
            dims = array.metadata.dimension_names
            if "member" in dims:
                sizes = dict(zip(dims, array.shape, strict=True)) | {"member": members}
                array.resize(tuple(sizes.values()))
        group[_DONE].resize((-(-members // group.attrs["chunk"]),))
        group.attrs["members"] = members

    def marks(self) -> np.ndarray:
        """Finished members of each chunk."""
        return self._group("r")[_DONE][:]

    def write(self, number: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes a chunk, then marks it as finished."""
        group = self._group()
        for name, array in values.items():
            group[name][self._members(group, number, array.shape[3])] = array
        group[_DONE][number] = array.shape[3]

    def read(self, number: int) -> dict[str, np.ndarray]:
        """The finished members of a chunk, by name."""
        group = self._group("r")
        place = self._members(group, number, int(group[_DONE][number]))
        return {
            name: array[place]
            for name, array in group.arrays()
            if "member" in array.metadata.dimension_names
        }

    def _members(self, group, number, count):
        first = number * group.attrs["chunk"]
        return np.s_[:, :, :, first : first + count]

    def _group(self, mode: Any = "r+") -> Any:
        # Typed loosely: what a name in a group stands for is known to its writer alone.
        return zarr.open_group(self.path, mode=mode)
