"""What every reader asks of a file before it asks for memory."""

import difflib
import gzip
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import scipy.io
import xarray as xr

_LARGEST_TEXT = 256 * 2**20
_MOST_COMMAS = 10_000  # of a line: pandas takes minutes for a line of millions


def _largest() -> float:
    """Bytes of arrays that are read: half of the memory, for they are copied once."""
    try:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # where the system does not say
        return 8.0 * 2**30


@contextmanager
def reading(path: Path, what: str = "") -> Iterator[None]:
    """A block that reads a file, of which whatever is wrong is said in one sentence.

    **Arguments:** `what`: is read of the file, ending with "from".
    **Raises:** `ValueError` for a file that is not there, no regular file, empty, or
    broken.
    """
    file = path.name or str(path)  # "." has no name
    if not path.exists():
        raise ValueError(f"no such file: {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"cannot read {file}: it is not a regular file")
    if not path.stat().st_size:
        raise ValueError(f"cannot read {file}: it is empty")
    try:
        yield
    # For broken files NumPy, SciPy, pandas, h5py and xarray raise whatever there is.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if reason.startswith(f"{file}: "):  # a sentence already
            raise
        raise ValueError(f"cannot read {what}{file}: {reason}") from None


def check_size(shapes: Iterable[tuple[int, ...]]) -> None:
    """Raises `ValueError` for arrays that no memory can hold as numbers."""
    claimed, most = 8 * sum(map(math.prod, shapes)), _largest()
    if claimed > most:
        raise ValueError(
            f"it would take {claimed / 2**30:.3g} GiB, more than half of the memory, "
            f"{most / 2**30:.3g} GiB"
        )


def read_text(path: Path) -> bytes:
    """The bytes of a text, unpacked if it is gzipped, without a byte order mark.

    **Raises:** `ValueError` for a text of more than 256 MiB or with NUL bytes; to be
    called in `reading`.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    # One byte too many tells a text that is too long, whatever it unpacks to.
    with gzip.open(path) if packed else path.open("rb") as file:
        content = file.read(_LARGEST_TEXT + 1)
    if len(content) > _LARGEST_TEXT:
        raise ValueError(f"it holds more than {_LARGEST_TEXT // 2**20} MiB of text")
    if b"\0" in content:
        raise ValueError("it holds NUL bytes, and is no text")
    return content.removeprefix(b"\xef\xbb\xbf")


def read_table(
    path: Path, *, numbers: Callable[[str], bool] = lambda name: False
) -> pd.DataFrame:
    """A file of columns as text, between tabs if its first line has more than commas.

    Lines that begin with # are comments.

    **Arguments:** `numbers`: names of columns that become numbers at once if they hold
    nothing else, for `parsed`.
    **Raises:** `ValueError` for a file that is not there or cannot be read, a line of
    more than 10 000 columns, or a column that is there twice.
    """
    with reading(path):
        lines = read_text(path).splitlines()
        if any(max(map(line.count, b",\t")) > _MOST_COMMAS for line in lines):
            raise ValueError(f"a line of it has more than {_MOST_COMMAS} columns")
        lines = [line for line in lines if line.strip() and not line.startswith(b"#")]
        first, text = lines[0] if lines else b"", b"\n".join(lines)
        separator = "\t" if first.count(b"\t") > first.count(b",") else ","
        options: dict[str, Any] = {"sep": separator, "keep_default_na": False}
        # Headings as a row of data, for pandas would rename those that are there twice
        # and take a column without one for labels of the rows.
        # With a row of numbers, for pandas takes fields that have no heading for labels
        # of the rows, if the first row has them already.
        head = pd.read_csv(BytesIO(text), header=None, nrows=2, dtype=str, **options)
        # A heading on several lines, as spreadsheets have them, is one line here.
        names = [_on_one_line(name) for name in head.iloc[0]]
        counted = [place for place, name in enumerate(names) if numbers(name)]
        headed = {"header": 0, "names": range(len(names))} if counted else {}
        options = {"header": None} | headed | options
        rows = pd.read_csv(
            BytesIO(text),
            dtype={n: str for n in range(len(names)) if n not in counted},
            na_values=dict.fromkeys(counted, ["", "nan", "NaN", "NA"]),
            low_memory=False,
            **options,
        )
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        raise ValueError(f"{path.name} has two columns {twice[0]!r}: expected one")
    rows = rows if counted else rows.iloc[1:]
    return rows.reset_index(drop=True).set_axis(names, axis=1)


def with_columns(
    path: Path, table: pd.DataFrame, texts: Iterable[str], numbers: Iterable[str]
) -> pd.DataFrame:
    """A table that has these columns, some of them as numbers.

    **Raises:** `ValueError` for columns that it lacks, and as `numbers_of`.
    """
    missing = [name for name in (*texts, *numbers) if name not in table.columns]
    if missing:
        raise ValueError(f"{path.name} has no column {', '.join(missing)}")
    return table.assign(**{name: numbers_of(path, table[name]) for name in numbers})


def numbers_of(path: Path, column: Any) -> np.ndarray:
    """A column of a table of text as numbers, NaN where nothing is given.

    **Raises:** `ValueError` for text that is no number, with its row.
    """
    numbers, bad = parsed(column)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{path.name}: {column.name} is {column.iloc[first].strip()!r} in row "
            f"{first + 1}; expected a number"
        )
    return numbers


def parsed(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """A column of text as numbers, NaN where nothing is given, and which are none."""
    found = pd.to_numeric(column, errors="coerce")
    numbers = np.asarray(found, dtype=float)
    bad = np.isnan(numbers)
    if bad.any() and column.dtype.kind not in "iuf":
        text = column[bad].fillna("").astype(str).str.strip().str.lower()
        bad[bad] = ~text.isin(("", "nan", "na")).to_numpy()
        return numbers, bad
    return numbers, np.zeros_like(bad)


def lacking(wanted: str, found: Iterable[str]) -> str:
    """What was found in place of what is wanted, with the name that comes nearest."""
    names = sorted(map(_on_one_line, found))
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f"; did you mean {near[0]!r} to be it?" if near else ""
    return f"found {', '.join(names) or 'nothing'}{hint}"


def _on_one_line(name):
    return " ".join(name.split())


def read_matlab(
    path: Path,
    names: Iterable[str] | None = None,
    part: Callable[[tuple[int, ...]], tuple[int, ...]] = lambda shape: (),
) -> dict[str, np.ndarray]:
    """Arrays of numbers of a .mat file by name, of MATLAB's old formats or of 7.3.

    **Arguments:** `names`: of those to read, by default all; `part`: where in an array
    of a shape to read, places along its first axes.
    **Raises:** `ValueError` for what no memory can hold; to be called in `reading`.
    """
    wanted = lambda name: names is None or name in names
    if h5py.is_hdf5(path):
        # The axes of 7.3, which is HDF5, are in reverse order.
        with hdf5(path) as file:
            held = {name: x for name, x in file.items() if wanted(name)}
            found = {name: x for name, x in held.items() if are_numbers(x)}
            at = {name: part(x.shape[::-1])[::-1] for name, x in found.items()}
            check_size(x.shape[: x.ndim - len(at[name])] for name, x in found.items())
            return {n: np.asarray(x[(..., *at[n])]).T for n, x in found.items()}
    plain = lambda kind: kind in ("double", "single", "logical") or "int" in kind
    whole = scipy.io.whosmat(path)
    known = {n: shape for n, shape, kind in whole if wanted(n) and plain(kind)}
    check_size(known.values())
    content = scipy.io.loadmat(path, variable_names=list(known))
    return {name: content[name][part(shape)] for name, shape in known.items()}


def are_numbers(held: Any) -> bool:
    """Whether an array is of numbers: text, structures and complex ones are none."""
    return getattr(held, "dtype", np.dtype(object)).kind in "fiub"


def read_numpy(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, or the one of a .npy file by the file's.

    **Raises:** `ValueError` as `reading`, also for a file of the other kind, for arrays
    of objects, of one name, or larger than the memory or than the file; to be called in
    `reading`.
    """
    if zipfile.is_zipfile(path) != (path.suffix == ".npz"):
        other = ".npy" if path.suffix == ".npz" else ".npz"
        raise ValueError(f"it is no {path.suffix} file; is it {other}?")
    if path.suffix == ".npy":
        # Mapped first: a header that claims more than there is maps nothing.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        check_size([array.shape])
        return {path.stem: np.array(array)}
    with np.load(path, allow_pickle=False) as arrays:
        members = arrays.zip.infolist()
        check_size([(sum(one.file_size for one in members) // 8,)])
        names = [one.filename for one in members if one.filename.endswith(".npy")]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"it has two arrays {twice[0]!r}: expected one")
        found = {name.removesuffix(".npy"): arrays[name] for name in names}
    # Bytes and short numbers become longer ones.
    check_size(array.shape for array in found.values())
    return found


@contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file that is whole in itself.

    **Raises:** `ValueError` for one that leads to other files.
    """
    with h5py.File(path) as file:
        # Gathered first: an error inside of a visit breaks HDF5's own lock.
        links: list[Any] = []
        items: list[Any] = []
        file.visititems_links(lambda *one: links.append(one))
        file.visititems(lambda *one: items.append(one))
        for name, link in links:
            if isinstance(link, h5py.ExternalLink):
                raise ValueError(f"{name} leads to another file, {link.filename!r}")
        for name, item in items:
            if isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    raise ValueError(f"the numbers of {name} lie in other files")
                if len(item.shape or ()) <= 2:  # coordinates, which are always read
                    check_size([item.shape or ()])
        yield file


@contextmanager
def netcdf(path: Path) -> Iterator[xr.Dataset]:
    """A netCDF file that is whole in itself, as a dataset of which nothing is read."""
    classic = not h5py.is_hdf5(path)
    if not classic:
        with hdf5(path):
            pass
    engine = "scipy" if classic else "h5netcdf"
    with xr.open_dataset(path, decode_times=False, engine=engine) as dataset:
        yield dataset
