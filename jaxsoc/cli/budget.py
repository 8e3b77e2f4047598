"""`jaxsoc budget`: run, split the mean rate into its terms, tell, draw, store."""

import time
import warnings
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jaxsoc.experiments import budgets, checked_correlations
from jaxsoc.experiments.budget import checked_choice
from jaxsoc.io import save_dataset, to_dataset, writable_folder

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
        work = lambda progress: budgets(
            design, supplied, order=config.order, of=config.of, progress=progress
        )
        found = with_bar(console, work)
    results = to_dataset(found, {"configuration": config.model_dump(mode="json")})
    # Before anything is printed: a closed pipe must not cost the results.
    written = save_dataset(results, folder / "budget.nc")
    _print_table(console, results)
    figures = lambda: _figures(results) if config.figures else {}
    finish(console, noticed, started, written, figures)


def _print_table(console: Console, results: Any) -> None:
    of, days = results.attrs["flux"], results.time.values[-1]
    table = Table(title=f"Budget of {of}, {days:g} days, µgC/g/h")
    table.add_column("case, term", no_wrap=True)
    for heading in ("at the\nstart", "of mean\nfield, %", "at its\nlargest", "on\nday"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kinetics in results.kinetics.values:
        table.add_section()
        table.add_row(kinetics.replace("_", " "), style="bold")
        for kind in results.heterogeneity.values:
            of_kind = results.sel(kinetics=kinetics, heterogeneity=kind)
            for said, one in _distinct(of_kind).items():
                table.add_row(f"{kind}, {said}", style="italic")
                for name, values in _parts(one).items():
                    most = int(np.abs(values).argmax())
                    table.add_row(
                        f"  {name}",
                        _number(1e3 * values[0], 3),
                        _number(100 * values[0] / one.mean_field.values[0], 2),
                        _number(1e3 * values[most], 3),
                        f"{one.time.values[most]:.2f}",
                    )
    console.print(table)
    worst = float(results.error_estimate.max())
    console.print(f"estimated error of the mean pools {worst:.1e}")


def _distinct(of_kind: Any) -> dict[str, Any]:
    """Soils by correlation, or the one that all share since it starts uniform."""
    every = {
        str(name): of_kind.sel(correlation=name, drop=True)
        for name in of_kind.correlation.values
    }
    first = next(iter(every.values()))
    shared = len(every) > 1 and all(map(first.equals, every.values()))
    return {"all correlations": first} if shared else every


def _number(value: float, digits: int) -> str:
    """Of so many decimals; what rounds to zero has no sign."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _parts(one: Any) -> dict[str, np.ndarray]:
    """What is told of a case: terms of order 2 one by one, the others by order."""
    parts = {"all cells": one.exact, "mean field": one.mean_field}
    second = one.contribution.isel(term=one.order == 2).fillna(0)
    parts |= {str(term.term.values): term for term in second.transpose() if term.any()}
    parts |= {f"order {n}": one.order_sum.sel(degree=n) for n in one.degree.values[3:]}
    last = int(one.degree[-1])
    parts[f"remainder after order {last}"] = one.remainder.sel(degree=last)
    return {name: values.values for name, values in parts.items()}


def _figures(results) -> dict[str, Any]:
    from jaxsoc import plots

    return {
        f"budget_{name}": plots.figure_budget(results.sel(kinetics=[name]))
        for name in map(str, results.kinetics.values)
    }
