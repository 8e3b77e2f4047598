"""Files that are whole or absent, never half-written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside it, which is removed in the end.

    Nobody can guess the folder's name, and put a link in the way.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as inner:
        yield Path(inner, path.name)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path whose file takes the place of `path` if the block succeeds."""
    with beside(path) as temporary:
        yield temporary
        # On the disk before it replaces anything: a full one is noticed here at last.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


def writable_folder(path: Path) -> Path:
    """The folder, made if it is not there.

    **Raises:** `ValueError` if it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {str(path)!r}: {error.strerror or error}"
        ) from None
    return path


def writable_file(path: Path) -> Path:
    """A path that a file can be written to, its folder made if it is not there.

    **Raises:** `ValueError` for a folder or a device of this name, or as
    `writable_folder`.
    """
    writable_folder(path.parent)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"cannot write to {str(path)!r}: it is {kind}")
    return path
