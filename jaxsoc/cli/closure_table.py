"""What `jaxsoc closure` prints."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console

from .closure_config import CompareConfig
from .report import table_of


def print_forecasts(console: Console, results: Any, config: CompareConfig) -> None:
    """Errors of closures on unseen cores, the best first."""
    names = (results.attrs[n] for n in ("kinetics", "heterogeneity", "correlation"))
    case = ", ".join(name.replace("_", " ") for name in names)
    table = table_of(
        *("closure", "reads", "states", "median", "worst"),
        title=f"{case}: errors on {_cores(config.unseen)}, % of peak respiration",
        caption=f"fitted on {_cores(config.training)} of seed {config.seed}; "
        "null: their mean",
    )
    middle = lambda one: float(np.median(one.error.fillna(np.inf)))
    for one in sorted(_each(results), key=middle):
        row = _name(one), _reads(one), str(one.states.values)
        table.add_row(*row, *_errors(one.left.values, one.error.values))
    table.add_section()
    null = results.null_error.values
    table.add_row("null", "", "", *_errors(np.full(null.size, np.nan), null))
    console.print(table)
    _print_reasons(console, results)


def print_predictions(console: Console, results: Any) -> None:
    """Peak and last respiration of each core by each closure; errors where known."""
    times, known = results.time.values, bool(results.error.notnull().any())
    headings = ["peak R\non day", "peak R\nmgC/g/h", "final R\nmgC/g/h"]
    headings += ["error\n% of peak"] * known
    title = f"Respiration over {times[-1]:g} days"
    table = table_of("closure, core", *headings, title=title)
    for one in _each(results):
        table.add_section()
        table.add_row(f"{_name(one)} ({_reads(one)})", style="bold")
        for i, core in enumerate(results.core.values):
            if np.isfinite(one.left[i]):
                table.add_row(f"  {core}", f"left on day {one.left.values[i]:.3g}")
                continue
            rate = one.respiration.values[i]
            peak = int(np.argmax(rate))
            cells = [f"{times[peak]:.2f}", f"{rate[peak]:.5g}", f"{rate[-1]:.5g}"]
            error = [_percent(one.error.values[i])] * known
            table.add_row(f"  {core}", *cells, *error)
    console.print(table)
    _print_reasons(console, results)


def _each(results: Any) -> Iterator[Any]:
    return (results.sel(closure=name) for name in results.closure.values)


def _print_reasons(console: Console, results: Any) -> None:
    """Why runs left what a soil can be."""
    for one in _each(results):
        if reason := str(one.reason.values):
            said = f"{_name(one)}: {reason}"
            console.print(said, style="yellow", highlight=False)


def _name(one: Any) -> str:
    return str(one.closure.values)


def _reads(one: Any) -> str:
    numbers = float(one.numbers_read)
    return "field" if np.isnan(numbers) else f"{numbers:g} numbers"


def _errors(left: np.ndarray, error: np.ndarray) -> tuple[str, str]:
    gone = np.isfinite(left)
    if gone.any():
        many = "" if gone.all() else f" ({gone.sum()} of {gone.size})"
        return f"left on day {np.nanmin(left):.3g}{many}", ""
    return _percent(np.median(error)), _percent(np.max(error))


def _percent(error: float) -> str:
    return f"{100 * error:.3g}" if np.isfinite(error) else ""


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"
