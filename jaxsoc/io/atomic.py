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
