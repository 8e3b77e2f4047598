"""What a command says while it works and when it is done."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table as Printed

from jaxsoc.io import save_dataset, to_dataset
from jaxsoc.tables import Table

from . import interrupt
from .config import UpscaleConfig
from .fit_config import FitConfig


class Outcome(NamedTuple):
    """What a command has computed, and how it shows it.

    `found`: the results; `tell`: prints them, given the console and their dataset;
    `figures`: makes figures by name, given the dataset; `about`: provenance beside
    the configuration.
    """

    found: Table
    tell: Callable[[Console, Any], None]
    figures: Callable[[Any], Mapping[str, Any]]
    about: Mapping[str, Any] = {}


def carry_out(
    name: str,
    config: UpscaleConfig | FitConfig,
    quiet: bool,
    work: Callable[[Console], Outcome | None],
) -> None:
    """Works, stores `NAME.nc` and figures in `config.out`, and tells what was found.

    **Arguments:** `name`: of the file of results; `work`: checks
    everything, makes the folder and computes; None if there is nothing to store.
    """
    console, started = Console(quiet=quiet), time.perf_counter()
    with warnings.catch_warnings(record=True, action="always") as noticed:
        outcome = work(console)
    if outcome is None:
        print_warnings(console, noticed)
        return
    about = {"configuration": config.model_dump(mode="json"), **outcome.about}
    results = to_dataset(outcome.found, about)
    # Before anything is printed: a closed pipe must not cost the results.
    written = [save_dataset(results, config.out / f"{name}.nc")]
    outcome.tell(console, results)
    print_warnings(console, noticed)
    with console.status("drawing figures"):
        figures = outcome.figures(results) if config.figures else {}
        for title, figure in figures.items():
            from jaxsoc.plots import save_figure

            written.append(save_figure(figure, config.out / f"{title}.png"))
    seconds = time.perf_counter() - started
    console.print(f"{seconds:.0f} s; written to {config.out}:")
    for path in written:
        console.print(f"  {path.name}", highlight=False)


def table_of(first: str, *numbers: str, **options: Any) -> Printed:
    """An empty table: a column of names, then columns of numbers on the right."""
    table = Printed(**options)
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


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
