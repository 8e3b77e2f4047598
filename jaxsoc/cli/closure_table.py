"""What `jaxsoc closure` prints."""

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxsoc.experiments import Forecast

from .closure_config import CompareConfig


def print_forecasts(
    console: Console,
    names: Sequence[str],
    config: CompareConfig,
    forecasts: Sequence[Forecast],
    null: Forecast,
) -> None:
    """Errors of closures on unseen cores, the best first."""
    case = ", ".join(name.replace("_", " ") for name in names)
    table = Table(
        title=f"{case}: errors on {_cores(config.unseen)}, % of peak respiration",
        caption=f"fitted on {_cores(config.training)} of seed {config.seed}; "
        "null: their mean",
    )
    table.add_column("closure", no_wrap=True)
    for heading in ("reads", "states", "median", "worst"):
        table.add_column(heading, justify="right", no_wrap=True)
    ordered = sorted(forecasts, key=lambda f: float(np.median(f.error)))
    for one in ordered:
        table.add_row(one.name, _reads(one), str(one.states), *_errors(one))
    table.add_section()
    table.add_row(null.name, "", "", *_errors(null))
    console.print(table)
    print_reasons(console, forecasts)


def print_predictions(
    console: Console,
    cores: Sequence[str],
    times: np.ndarray,
    forecasts: Sequence[Forecast],
) -> None:
    """Peak and last respiration of each core by each closure; errors where known."""
    known = any(np.isfinite(one.error).any() for one in forecasts)
    table = Table(title=f"Respiration over {times[-1] / 24:g} days")
    table.add_column("closure, core", no_wrap=True)
    headings = ["peak R\non day", "peak R\nmgC/g/h", "final R\nmgC/g/h"]
    for heading in headings + ["error\n% of peak"] * known:
        table.add_column(heading, justify="right", no_wrap=True)
    for one in forecasts:
        table.add_section()
        table.add_row(f"{one.name} ({_reads(one)})", style="bold")
        for i, core in enumerate(cores):
            if np.isfinite(one.left[i]):
                table.add_row(f"  {core}", f"left on day {one.left[i] / 24:.3g}")
                continue
            rate = one.respiration[i]
            peak = int(np.argmax(rate))
            cells = [f"{times[peak] / 24:.2f}", f"{rate[peak]:.5g}", f"{rate[-1]:.5g}"]
            error = [_percent(one.error[i])] * known
            table.add_row(f"  {core}", *cells, *error)
    console.print(table)
    print_reasons(console, forecasts)


def print_reasons(console: Console, forecasts: Sequence[Forecast]) -> None:
    """Why runs left what a soil can be."""
    for one in forecasts:
        if one.reason:
            console.print(f"{one.name}: {one.reason}", style="yellow", highlight=False)


def _reads(one: Forecast) -> str:
    return "field" if one.numbers is None else f"{one.numbers} numbers"


def _errors(one: Forecast) -> tuple[str, str]:
    gone = np.isfinite(one.left)
    if gone.any():
        many = "" if gone.all() else f" ({gone.sum()} of {gone.size})"
        return f"left on day {one.left.min() / 24:.3g}{many}", ""
    return _percent(np.median(one.error)), _percent(np.max(one.error))


def _percent(error: float) -> str:
    return f"{100 * error:.3g}" if np.isfinite(error) else ""


def _cores(count: int) -> str:
    return f"{count} core{'s' if count > 1 else ''}"
