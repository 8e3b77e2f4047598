"""The one frame of commands: check, foresee, work, store, print, draw."""

import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table as Printed
from rich.text import Text

from jaxsoc.io import save_closure, save_dataset, to_dataset, writable_folder
from jaxsoc.plots import save_figure
from jaxsoc.solve.progress import Progress as Progress
from jaxsoc.tables import Table
from jaxsoc.upscale import FittedClosure

from . import cache, interrupt


class Outcome(NamedTuple):
    """What a command has computed, and how it is shown.

    `found`: the results; `tell`: prints them, given the console and their dataset, or
    the closure; `about`: provenance beside the configuration.
    """

    found: Table | FittedClosure
    tell: Callable[[Console, Any], None]
    about: Mapping[str, Any] = {}


class Job(NamedTuple):
    """What a command is about to do; everything is checked, nothing computed.

    `work`: computes; `foreseen`: what it will take, in words; `memory`: bytes it
    takes at a time, about; `figures`: by name, what draws them of the dataset, None
    for one that there is no reason to draw; `before`: printed before the work, if any.
    """

    work: Callable[[Progress], Outcome]
    foreseen: Callable[[], str]
    memory: int
    figures: Mapping[str, Callable[[Any], Any]] = {}
    before: str = ""


def carry_out(
    prepare: Callable[[Any], Job],
    config: Any,
    *,
    quiet: bool = False,
    dry_run: bool = False,
) -> None:
    """Checks, works, stores results and figures, and prints what was found.

    **Arguments:** `prepare`: checks the configuration and says what is to be done;
    `dry_run`: only that.
    **Raises:** `ValueError` before anything is computed, for whatever does not fit;
    `OSError` for what could not be written, after all else has been.
    """
    console, started = printer(quiet=quiet), time.perf_counter()
    with warnings.catch_warnings(record=True, action="always") as noticed:
        cache.keep()
        job = prepare(config)
        check_memory(job.memory)
        figures = dict(job.figures) if config.figures else {}
        check_out(config.target, figures)
        about = {"configuration": config.model_dump(mode="json")}
        if job.before:
            console.print(job.before, highlight=False)
        if dry_run:
            console.print(f"{job.foreseen()}; nothing was run")
            return print_warnings(console, noticed)
        writable_folder(config.target.parent)
        outcome = with_bar(console, job.work)
    about |= outcome.about
    results: Any = outcome.found
    write: Callable[[Path], Any] = partial(save_closure, results, attributes=about)
    if isinstance(results, Table):
        results = to_dataset(results, about)
        write = partial(save_dataset, results)
    # Before anything is printed: a closed pipe must not cost the results.
    path, troubles = _stored(write, config.target)
    outcome.tell(console, results)
    print_warnings(console, noticed)
    written = [path]
    with console.status("drawing figures"):
        for name, draw in figures.items():
            try:
                if (figure := draw(results)) is not None:
                    written.append(save_figure(figure, path.with_name(f"{name}.png")))
            except Exception as error:  # the results are there, whatever it is
                troubles.append(f"cannot draw {name}.png: {_said(error)}")
    seconds = time.perf_counter() - started
    console.print(f"{seconds:.0f} s; written to {path.parent}:")
    for one in written:
        console.print(f"  {one.name}", highlight=False)
    if troubles:
        raise OSError("; ".join(troubles))


def _stored(write: Callable[[Path], Any], path: Path) -> tuple[Path, list[str]]:
    """Where the results are in the end, and what went wrong before."""
    try:
        write(path)
        return path, []
    except Exception as error:  # hours of work are in memory, whatever it is
        other = Path(tempfile.mkdtemp(prefix="jaxsoc-")) / path.name
        write(other)
        said = f"cannot write {str(path)!r} ({_said(error)})"
        return other, [f"{said}: the results are in {str(other)!r}"]


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_out(path: Path, figures: Mapping[str, Any] = {}) -> None:
    """Refuses a file that cannot be written where it is to be, and writes nothing.

    **Arguments:** `figures`: by their names, to be written beside it.
    **Raises:** `ValueError` for a folder that cannot be made or written to, or one of
    the name of a file.
    """
    try:
        there = next(filter(_is_there, path.parents))
        with tempfile.TemporaryFile(dir=there):
            pass
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot write to the folder {str(path.parent)!r}: {_said(error)}"
        ) from None
    for one in (path, *(path.with_name(f"{name}.png") for name in figures)):
        if one.is_dir():
            raise ValueError(
                f"{str(one)!r} is a folder, and a file of this name is to be written: "
                "remove it, or name another --out"
            )


def _is_there(path: Path) -> bool:
    try:
        return bool(path.lstat())
    except FileNotFoundError:  # and nothing else: a name too long is no folder to be
        return False


def check_memory(needed: int) -> None:
    """Refuses, by a `ValueError`, what takes more bytes than are free."""
    if needed > (free := free_memory()):
        raise ValueError(
            f"this needs about {needed / 2**30:.4g} GiB of memory, and "
            f"{free / 2**30:.4g} GiB are free: save less often, or ask for fewer cells "
            "or cases"
        )


def free_memory() -> float:
    """Bytes that may still be asked for, as far as the system says."""
    free = [float("inf")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = dict(line.split(":") for line in lines)
        free.append(1024.0 * int(known["MemAvailable"].split()[0]))
        group = Path("/sys/fs/cgroup")
        most, used = (group / f"memory.{name}" for name in ("max", "current"))
        free.append(float(most.read_text()) - float(used.read_text()))
    except (OSError, ValueError, KeyError):  # another system, or no limit
        pass
    return min(free)


def printer(**options: Any) -> Console:
    """A console that prints names as they are: brackets in them are no markup."""
    return Console(markup=False, emoji=False, **options)


def table_of(
    first: str, *numbers: str, wrapped: bool = False, **options: Any
) -> Printed:
    """An empty table: a column of names, then columns of numbers on the right.

    **Arguments:** `wrapped`: names may take several lines; `options`: of the table.
    """
    table = Printed(**options)
    table.add_column(first, no_wrap=not wrapped)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


class _Rate(ProgressColumn):
    """How many are done in a second, or in an hour where that is less than one."""

    def render(self, task: Any) -> Text:
        if not (speed := task.finished_speed or task.speed):
            return Text("")
        said = f"{speed:.0f}/s" if speed >= 1 else f"{3600 * speed:.0f}/h"
        return Text(said)


def with_bar(console: Console, work: Callable[[Progress], Any]) -> Any:
    """Result of `work(progress)`, with a bar where there is a terminal to draw it."""
    if not console.is_terminal:  # a log has no use for a bar, nor for its last line
        return work(lambda done, total, what: interrupt.check())
    what = TextColumn("{task.description}", markup=False)
    columns = BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(), what
    # A chunk may take minutes: the rate is that of the last hour.
    made = Bar(*columns, console=console, transient=True, speed_estimate_period=3600.0)
    with made as bar:
        task = bar.add_task("starting", total=None)

        def progress(done: float | int, total: int, what: str) -> None:
            interrupt.check()
            bar.update(task, completed=done, total=total, description=what)

        return work(progress)


def print_warnings(console: Console, noticed: Sequence[Any]) -> None:
    """What was warned of, each once."""
    for message in dict.fromkeys(str(warning.message) for warning in noticed):
        console.print(f"note: {message}", style="yellow")
