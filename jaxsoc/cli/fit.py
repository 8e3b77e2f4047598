"""`jaxsoc fit`: fit, print, draw; a fit that fails is a row of the table."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from jaxsoc.experiments import Incubation, kinetics_problem, respiration_problems
from jaxsoc.infer import Fit, Problem, fit_all, fits_table, quantity_of
from jaxsoc.io import load_respiration
from jaxsoc.observe import QUANTITIES, Respiration, standard_choice
from jaxsoc.plots.fits import PANELS, figure_fits

from .fit_config import FitConfig
from .report import Job, Outcome, Progress, table_of

_EVALUATIONS = 100  # of each start, after its first


def fit(config: FitConfig) -> Job:
    """Checks everything; the fits are still to be made.

    **Raises:** `ValueError` for whatever does not fit.
    """
    config.check()
    problems = _problems(config)

    def work(progress: Progress) -> Outcome:
        fits = fit_all(
            problems,
            starts=config.starts,
            max_steps=_EVALUATIONS,
            key=jax.random.key(config.seed),
            progress=progress,
        )
        tell = lambda console, _: _print_table(console, fits)
        return Outcome(fits_table(fits), tell, {"seed": config.seed})

    sizes = [(one.data.size, one.start.size) for one in problems.values()]
    # Each start keeps its residuals and their derivatives.
    needed = 8 * config.starts * max(points * (n + 2) + 2 * n for points, n in sizes)
    said = (
        f"{len(problems)} fits of up to {max(sizes)[0]} points, {config.starts} starts "
        f"each of at most {1 + _EVALUATIONS} evaluations"
    )
    pages = -(-len({series for series, _ in problems}) // PANELS)
    names = ["fit"] if pages == 1 else [f"fit_{i}" for i in range(1, pages + 1)]
    figures = {name: partial(figure_fits, page=i) for i, name in enumerate(names)}
    return Job(work, lambda: said, needed, figures)


def _problems(config: FitConfig) -> dict[tuple[str, str], Problem]:
    if config.series is not None:
        return respiration_problems(
            _chosen(config, config.series),
            config.kinetics,
            incubation=Incubation(free=tuple(config.free)),
            independent_errors=config.independent_errors,
        )
    target, on = config.to, config.on
    return {
        (f"{target} {on}", law): kinetics_problem(law, target, to=on)
        for law in config.kinetics
    }


def _chosen(config: FitConfig, path: Path) -> list[Respiration]:
    collection = load_respiration(
        path,
        unit=config.unit,
        time_unit=config.time_unit,
        soil_carbon=config.soil_carbon,
        mean_rates=config.mean_rates,
    )
    if config.id:
        return [collection[name] for name in config.id]
    series = list(collection.series)
    if not series:
        why = next(iter(collection.left_out.values()), "it is empty")
        raise ValueError(f"no series can be fitted: {why}")
    if len(series) == 1:
        return series
    return standard_choice(series, most=config.first) or series[: config.first]


def _print_table(console: Console, fits: Mapping[tuple[str, str], Fit]) -> None:
    table = table_of("fit, constant", "value", "± standard error", wrapped=True)
    table.add_column("unit", no_wrap=True)
    for (series, law), fit in fits.items():
        table.add_section()
        table.add_row(f"{series}, {law.replace('_', ' ')}", style="bold")
        for name, value, error, unit in zip(
            fit.names, fit.values, fit.standard_error, fit.units, strict=True
        ):
            spread = f"{error:.2g}" if np.isfinite(error) else "not determined"
            table.add_row(f"  {_short(name)}", f"{value:.6g}", spread, unit)
        rate = "h-1" in QUANTITIES[quantity_of(fit)]
        table.add_row("  RMSE", f"{fit.rmse:.4g}", "", "mgC/g/h" if rate else "mgC/g")
        table.add_row("  R²", f"{fit.r_squared:.4f}")
        if not fit.sound:
            table.add_row(f"  {_short(fit.reason)}", style="yellow")
    console.print(table)
    named = (fit.outcome.name.lower().replace("_", " ") for fit in fits.values())
    said = ", ".join(f"{n} {name}" for name, n in Counter(named).items())
    known = [fit.r_squared for fit in fits.values() if np.isfinite(fit.r_squared)]
    median = np.median(known) if known else np.nan
    console.print(f"{len(fits)} fits: {said}; median R² {median:.4f}")


def _short(text):
    return text.replace("soil.", "")
