"""A zarr store of the results of an ensemble, filled chunk by chunk.

A chunk counts as finished once its mark is written, after everything else of it; a run
that was killed goes on behind the last mark, and ends with the same bytes. Every chunk
bears a checksum, and one that is finished must be there: nothing is filled in.
"""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from jaxsoc.tables import Table

from .atomic import beside

_DONE = "chunk_finished"
_LOCK = "lock"
_FORMAT = 3
_CODECS = ZstdCodec(), Crc32cCodec()


class MemberStore:
    """Arrays with an axis `member`, in chunks of so many of them.

    **Arguments:** `path`: of the store.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def about(self) -> dict[str, Any]:
        """What the store says of itself.

        **Raises:** `ValueError` for something else than a store of an ensemble.
        """
        names = "format", "experiment", "chunk", "members", "courant", "error"
        try:
            known = self._group("r").attrs
            if known["format"] == _FORMAT:
                return {name: known[name] for name in names}
        except (KeyError, TypeError, ValueError, OSError):
            pass
        raise ValueError(
            f"{str(self.path)!r} is not a store of an ensemble that this version "
            "knows: name another, or remove it"
        )

    def create(self, empty: Table) -> None:
        """Makes the store of a table without values that says its members and chunk.

        **Raises:** `ValueError` if another run has made it in the meantime.
        """
        members, chunk = empty.about["members"], empty.about["chunk"]
        # Whole or absent: a store without its description could not be continued.
        with beside(self.path) as temporary:
            group: Any = zarr.open_group(temporary, mode="w")
            make = partial(group.create_array, compressors=_CODECS)
            for name, (dims, values, said) in empty.variables.items():
                sizes = dict(zip(dims, values.shape, strict=True)) | {"member": chunk}
                options = {"chunks": tuple(sizes.values()), "dimension_names": dims}
                options |= {"dtype": "float64", "fill_value": np.nan}
                make(name, shape=values.shape, attributes=said, **options)
            dim, days, said = empty.coordinates["time"]
            make("time", data=days, dimension_names=(dim,), attributes=said)
            options = {"chunks": (1,), "dtype": "int64", "dimension_names": ("chunk",)}
            make(_DONE, shape=(-(-members // chunk),), **options)
            group.attrs.update({"format": _FORMAT} | empty.about)
            (temporary / _DONE / _LOCK).touch()
            try:
                temporary.rename(self.path)
            except OSError:  # no folder with anything in it is replaced
                raise self._taken() from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A block in which no other run works on the store.

        The system takes the lock away when the process ends, however it does.

        **Raises:** `ValueError` while another run works on it, or as `about`.
        """
        self.about()
        path = self.path / _DONE / _LOCK
        try:
            file = path.open("ab")
        except OSError:  # a store that one may read, and nothing else
            yield
            return
        with file:
            try:
                _lock(file)
            except (BlockingIOError, PermissionError):
                raise self._taken() from None
            except OSError:
                warnings.warn(
                    f"the file system of {str(self.path)!r} knows no locks: start no "
                    "second run on this store",
                    stacklevel=3,
                )
            yield

    def grow(self, members: int) -> None:
        """Makes room for so many members."""
        group = self._group()
        for _, array in _by_member(group):
            dims = array.metadata.dimension_names
            sizes = dict(zip(dims, array.shape, strict=True)) | {"member": members}
            array.resize(tuple(sizes.values()))
        group[_DONE].resize((-(-members // group.attrs["chunk"]),))
        group.attrs["members"] = members

    def marks(self) -> np.ndarray:
        """Finished members of each chunk.

        **Raises:** `ValueError` for a finished chunk of which something is missing.
        """
        group = self._group("r")
        done = group[_DONE]
        marks = [int(self._read(done, number, number)) for number in range(done.size)]
        for name, array in _by_member(group):
            for number in np.flatnonzero(marks):
                place = (0, 0, 0, int(number), 0)[: array.ndim]
                key = array.metadata.encode_chunk_key(place)
                if not (self.path / name / key).is_file():
                    raise self._damaged(name, number)
        return np.asarray(marks)

    def write(self, number: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes a chunk, then marks it as finished."""
        self._group()[_DONE][number] = 0  # removes the mark of a chunk that is replaced
        # Also where all is NaN: what is not written counts as missing.
        with zarr.config.set({"array.write_empty_chunks": True}):
            group = self._group()
            chunk = group.attrs["chunk"]
            for name, array in values.items():
                place = self._members(group, number, chunk)
                # The whole chunk, so that nothing of an old one must be read.
                size = min(chunk, group[name].shape[3] - number * chunk)
                whole = np.full((*array.shape[:3], size, *array.shape[4:]), np.nan)
                whole[:, :, :, : array.shape[3]] = array
                group[name][place] = whole
            group[_DONE][number] = next(iter(values.values())).shape[3]

    def read(self, number: int, members: int) -> dict[str, np.ndarray]:
        """The first members of a finished chunk, by name.

        **Raises:** `ValueError` for a chunk that is not as it was written.
        """
        group = self._group("r")
        place = self._members(group, number, members)
        return {
            name: self._read(array, place, number) for name, array in _by_member(group)
        }

    def _read(self, array, place, number):
        try:
            return array[place]
        except (ValueError, RuntimeError, OSError):
            raise self._damaged(array.basename, number) from None

    def _damaged(self, name, number):
        mark = self.path / _DONE / "c" / str(number)
        return ValueError(
            f"{name} of chunk {number} in {str(self.path)!r} is missing or damaged: "
            f"remove {str(mark)!r}, and this chunk alone is computed again"
        )

    def _taken(self):
        path = repr(str(self.path))
        return ValueError(f"another run works on {path}: wait, or name another folder")

    def _members(self, group, number, count):
        first = number * group.attrs["chunk"]
        return np.s_[:, :, :, first : first + count]

    def _group(self, mode: Any = "r+") -> Any:
        # Typed loosely: what a name in a group stands for is known to its writer alone.
        return zarr.open_group(self.path, mode=mode)


def _by_member(group):
    """Arrays that are cut into chunks of members, with their names."""
    for name, array in group.arrays():
        if "member" in (array.metadata.dimension_names or ()):
            yield name, array


def _lock(file):
    """Takes the lock of a file at once, or raises `OSError`."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
