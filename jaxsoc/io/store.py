"""Zarr stores of the results of many members or sites, filled chunk by chunk.

A chunk counts as finished once its mark is written, after everything else of it; a run
that was killed goes on behind the last mark, and ends with the same bytes. Every chunk
bears a checksum, and one that is finished must be there: nothing is filled in.
"""

import errno
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from jaxsoc.tables import Table

from .atomic import beside

_DONE = "chunk_finished"
_LOCK = "lock"
_FORMAT = 4
_UNLOCKED = errno.EACCES, errno.EPERM, errno.EROFS
_CODECS = ZstdCodec(), Crc32cCodec()


class AbstractChunkStore:
    """Arrays with one axis along which they come in chunks.

    `axis`: its name; `at`: its place among the axes of every array; `count`: what a
    store calls their number; `tables`: what it says of itself besides; `what`: it is
    of.

    **Arguments:** `path`: of the store.
    """

    axis: ClassVar[str]
    at: ClassVar[int]
    count: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]
    what: ClassVar[str]

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def about(self) -> dict[str, Any]:
        """What the store says of itself.

        **Raises:** `ValueError` for something else than a store of an ensemble, or for
        an array of it that is not there as it was made.
        """
        path, said = repr(str(self.path)), {}
        with suppress(Exception):  # zarr raises whatever there is
            said = self._group("r").attrs.asdict()
        if said.get("format") != _FORMAT:
            raise ValueError(
                f"{path} is not a store of {self.what} that this version knows: name "
                "another, or remove it"
            )
        # Whole numbers from 1 on, and tables; `arrays`: their shapes.
        whole, tables = (self.count, "chunk"), (*self.tables, "arrays")
        for name in (*whole, *tables):
            value, table = said.get(name), name in tables
            sound = type(value) is int and value > 0
            if not (isinstance(value, dict) if table else sound):
                expected = "a table" if table else "a whole number from 1 on"
                raise ValueError(
                    f"{path} says {name} {value!r}, expected {expected}: name another, "
                    "or remove it"
                )
        group = self._group("r")
        for name in (_DONE, *said["arrays"]):
            self._array(group, name)
        return {name: said[name] for name in (*whole, *tables)}

    def create(self, empty: Table) -> None:
        """Makes the store of a table without values that says its count and chunk.

        **Raises:** `ValueError` if another run has made it in the meantime; `OSError`
        where it cannot be written.
        """
        count, chunk = empty.about[self.count], empty.about["chunk"]
        shapes = {name: x.shape for name, (_, x, _) in empty.variables.items()}
        # Whole or absent: a store without its description could not be continued.
        with self._writing(), beside(self.path) as temporary:
            group: Any = zarr.open_group(temporary, mode="w")
            make = partial(group.create_array, compressors=_CODECS)
            for name, (dims, values, said) in empty.variables.items():
                sizes = dict(zip(dims, values.shape, strict=True)) | {self.axis: chunk}
                options = {"chunks": tuple(sizes.values()), "dimension_names": dims}
                options |= {"dtype": "float64", "fill_value": np.nan}
                make(name, shape=values.shape, attributes=said, **options)
            for name, (dims, values, said) in empty.coordinates.items():
                dims = (dims,) if isinstance(dims, str) else dims
                make(name, data=values, dimension_names=dims, attributes=said)
            options = {"chunks": (1,), "dtype": "int64", "dimension_names": ("chunk",)}
            make(_DONE, shape=(-(-count // chunk),), **options)
            group.attrs.update({"format": _FORMAT, "arrays": shapes} | empty.about)
            (temporary / _DONE / _LOCK).touch()
            try:
                temporary.rename(self.path)
            except OSError:  # no folder with anything in it is replaced
                raise self._taken() from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A block in which no other run works on the store.

        The system takes the lock away when the process ends, however it does.

        **Raises:** `ValueError` while another run works on it, or as `about`; `OSError`
        for a lock that cannot be opened, unless it may not be.
        """
        self.about()
        path = self.path / _DONE / _LOCK
        try:
            file = path.open("ab")
        except OSError as error:
            if error.errno not in _UNLOCKED:
                raise
            yield  # a store that one may read, and nothing else
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
            else:
                self._clear()
            yield

    def marks(self) -> np.ndarray:
        """How many of each chunk are finished.

        **Raises:** `ValueError` for a finished chunk of which something is missing, or
        as `about`.
        """
        arrays, group = self.about()["arrays"], self._group("r")
        done = group[_DONE]
        marks = [int(self._read(done, number, number)) for number in range(done.size)]
        for name in arrays:
            array = group[name]
            for number in np.flatnonzero(marks):
                place = [0] * array.ndim
                place[self.at] = int(number)
                key = array.metadata.encode_chunk_key(tuple(place))
                if not (self.path / name / key).is_file():
                    raise self._damaged(name, number)
        return np.asarray(marks)

    def write(self, number: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes a chunk, then marks it as finished.

        **Raises:** `OSError` where it cannot be written.
        """
        with self._writing():
            self._group()[_DONE][number] = 0  # removes the mark of what is replaced
        # Also where all is NaN: what is not written counts as missing.
        with self._writing(), zarr.config.set({"array.write_empty_chunks": True}):
            group = self._group()
            chunk, at = group.attrs["chunk"], self.at
            for name, array in values.items():
                # The whole chunk, so that nothing of an old one must be read.
                size = min(chunk, group[name].shape[at] - number * chunk)
                shape = *array.shape[:at], size, *array.shape[at + 1 :]
                whole = np.full(shape, np.nan)
                whole[self._place(0, array.shape[at])] = array
                group[name][self._place(number * chunk, size)] = whole
            group[_DONE][number] = next(iter(values.values())).shape[at]

    def read(self, number: int, count: int) -> dict[str, np.ndarray]:
        """The first so many of a finished chunk, by name.

        **Raises:** `ValueError` for a chunk that is not as it was written.
        """
        group = self._group("r")
        place = self._place(number * group.attrs["chunk"], count)
        names = group.attrs["arrays"]
        return {name: self._read(group[name], place, number) for name in names}

    def _clear(self):
        """Removes what a killed run was writing when it ended, which zarr leaves."""
        with self._writing():
            for path in self.path.rglob("*.partial"):
                path.unlink(missing_ok=True)

    def _array(self, group, name):
        """Refuses an array that is not as it was made, but for more members.

        They are opened one by one, by name: a group that lists what it holds leaves
        tasks behind when one of it is broken.
        """
        said, at = group.attrs, 0 if name == _DONE else self.at
        chunk, least = said["chunk"], said[self.count]
        if name == _DONE:
            chunk, least = 1, -(-least // chunk)
        try:
            array, sizes = group[name], said["arrays"].get(name, [0])
            sized = lambda n: (*sizes[:at], n, *sizes[at + 1 :])
            found = array.shape, array.chunks
            expected = sized(max(least, array.shape[at])), sized(chunk)
            reason = "it has shape {}, in chunks {}; expected {}, in chunks {}"
            reason = "" if found == expected else reason.format(*found, *expected)
        except KeyError:
            reason = "it is not there"
        except Exception as error:  # zarr raises whatever there is
            reason = (str(error).splitlines() or [type(error).__name__])[0]
        if reason:
            raise ValueError(
                f"cannot read {name} of {str(self.path)!r}: {reason}; name another "
                "store, or remove it"
            )

    @contextmanager
    def _writing(self):
        """A block that writes, and says where if it cannot."""
        try:
            yield
        except OSError as error:
            said = error.strerror or error
            raise OSError(f"cannot write to {str(self.path)!r}: {said}") from None

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

    def _place(self, first, count):
        return (*[slice(None)] * self.at, slice(first, first + count))

    def _group(self, mode: Any = "r+") -> Any:
        # Typed loosely: what a name in a group stands for is known to its writer alone.
        return zarr.open_group(self.path, mode=mode)


class MemberStore(AbstractChunkStore):
    """A store of an ensemble: arrays with an axis `member`, the fourth.

    **Arguments:** `path`: of the store.
    """

    axis, at, count = "member", 3, "members"
    tables = "experiment", "courant", "error"
    what = "an ensemble"

    def grow(self, members: int) -> None:
        """Makes room for so many members."""
        with self._writing():
            group = self._group()
            for name in group.attrs["arrays"]:
                before, after = group[name].shape[:3], group[name].shape[4:]
                group[name].resize((*before, members, *after))
            group[_DONE].resize((-(-members // group.attrs["chunk"]),))
            group.attrs["members"] = members


class SiteStore(AbstractChunkStore):
    """A store of posteriors: arrays that lead by `site`.

    **Arguments:** `path`: of the store.
    """

    axis, at, count = "site", 0, "sites"
    tables = "experiment", "sampler"
    what = "posteriors"


def _lock(file):
    """Takes the lock of a file at once, or raises `OSError`."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
