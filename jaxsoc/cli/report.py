"""What a command says while it works and when it is done."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as Remaining

from . import interrupt


def with_bar(console: Console, work: Callable) -> Any:
    """Result of `work(progress)`, with a bar where there is a terminal to draw it."""
    if not console.is_terminal:  # a log has no use for a bar, nor for its last line
        return work(lambda done, total, case: interrupt.check())
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        Remaining(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(done, total, case):
            interrupt.check()
            bar.update(task, completed=done, total=total, description=case)

        return work(progress)


def print_warnings(console: Console, noticed: Sequence[Any]) -> None:
    """What was warned of, each once."""
    for message in dict.fromkeys(str(warning.message) for warning in noticed):
        console.print(f"note: {message}", style="yellow")


def finish(
    console: Console,
    noticed: Sequence[Any],
    started: float,
    results: Path,
    figures: Callable[[], Mapping[str, Any]],
) -> None:
    """Prints warnings, draws beside the results, and lists what was written.

    **Arguments:** `started`: by `time.perf_counter`; `results`: the file of them;
    `figures`: makes figures by name.
    """
    print_warnings(console, noticed)
    written = [results]
    with console.status("drawing figures"):
        for name, figure in figures().items():
            from jaxsoc.plots import save_figure

            written.append(save_figure(figure, results.parent / f"{name}.png"))
    seconds = time.perf_counter() - started
    console.print(f"{seconds:.0f} s; written to {results.parent}:")
    for path in written:
        console.print(f"  {path.name}", highlight=False)
