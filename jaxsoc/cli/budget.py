"""`jaxsoc budget`: run, split the mean rate into its terms, tell, draw, store."""

import time
import warnings
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxsoc.experiments import Budget, Design, budgets, checked_correlations
from jaxsoc.experiments.budget import Case, checked_choice
from jaxsoc.io import budget_to_dataset, save_dataset, writable_folder

from .config import BudgetConfig
from .report import finish, with_bar
from .upscale import supplied_fields


def run_budget(config: BudgetConfig, *, quiet: bool) -> None:
    """Checks everything, runs, and writes `budget.nc` and figures into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """
    console = Console(quiet=quiet)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        checked_choice(config.order, config.of)
        design = config.design()
        supplied = supplied_fields(config, design)
        checked_correlations(design, supplied)
        folder = writable_folder(config.out)
        options: dict[str, Any] = {"order": config.order, "of": config.of}
        cases = with_bar(
            console,
            lambda progress: budgets(design, supplied, progress=progress, **options),
        )
    about = {"configuration": config.model_dump(mode="json")}
    results = budget_to_dataset(design, cases, about)
    # Before anything is printed: a closed pipe must not cost the results.
    written = save_dataset(results, folder / "budget.nc")
    _print_table(console, design, cases)
    figures = lambda: _figures(results) if config.figures else {}
    finish(console, noticed, started, written, figures)


def _print_table(console: Console, design: Design, cases: dict[Case, Budget]) -> None:
    of = next(iter(cases.values())).of
    table = Table(title=f"Budget of {of}, {design.hours / 24:g} days, µgC/g/h")
    table.add_column("case, term", no_wrap=True)
    for heading in ("at the\nstart", "of mean\nfield, %", "at its\nlargest", "on\nday"):
        table.add_column(heading, justify="right", no_wrap=True)
    shared: dict[int, list[Case]] = {}
    for names, one in cases.items():
        shared.setdefault(id(one), []).append(names)
    last = None
    for group in shared.values():
        one = cases[group[0]]
        kinetics, kind, correlation = group[0]
        if kinetics != last:
            table.add_section()
            table.add_row(kinetics.replace("_", " "), style="bold")
            last = kinetics
        said = correlation if len(group) == 1 else "all correlations"
        table.add_row(f"{kind}, {said}", style="italic")
        for name, values in _parts(one).items():
            most = int(np.abs(values).argmax())
            table.add_row(
                f"  {name}",
                _number(1e3 * values[0], 3),
                _number(100 * values[0] / one.mean_field[0], 2),
                _number(1e3 * values[most], 3),
                f"{one.times[most] / 24:.2f}",
            )
    console.print(table)
    worst = max(one.error for one in cases.values())
    console.print(f"estimated error of the mean pools {worst:.1e}")


def _number(value: float, digits: int) -> str:
    """Of so many decimals; what rounds to zero has no sign."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _parts(one: Budget) -> dict[str, np.ndarray]:
    """What is told of a case: terms of order 2 one by one, the others by order."""
    second = [
        (name, one.contribution[:, i])
        for i, name in enumerate(one.names)
        if one.orders[i] == 2
    ]
    parts = {"all cells": one.exact, "mean field": one.mean_field}
    parts |= {name: values for name, values in second if np.any(values)}
    parts |= {f"order {n}": one.of_order(n) for n in range(3, one.order + 1)}
    return parts | {f"remainder after order {one.order}": one.remainder()}


def _figures(results) -> dict[str, Any]:
    from jaxsoc import plots

    return {
        f"budget_{name}": plots.figure_budget(results.sel(kinetics=[name]))
        for name in map(str, results.kinetics.values)
    }
