"""`jaxsoc budget`: run, split the mean rate into its terms, tell, draw, store."""

from typing import Any

import numpy as np
from rich.console import Console

from jaxsoc.experiments import budgets, checked_correlations
from jaxsoc.experiments.budget import checked_choice
from jaxsoc.io import writable_folder

from .config import BudgetConfig
from .report import Outcome, carry_out, table_of, with_bar
from .upscale import supplied_fields


def run_budget(config: BudgetConfig, *, quiet: bool) -> None:
    """Checks everything, runs, and writes `budget.nc` and figures into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """

    def work(console: Console) -> Outcome:
        checked_choice(config.order, config.of)
        design = config.design()
        supplied = supplied_fields(config, design)
        checked_correlations(design, supplied)
        writable_folder(config.out)
        options = {"order": config.order, "of": config.of}
        found = with_bar(
            console, lambda p: budgets(design, supplied, progress=p, **options)
        )
        return Outcome(found, _print_table, _figures)

    carry_out("budget", config, quiet, work)


def _print_table(console: Console, results: Any) -> None:
    of, days = results.attrs["flux"], results.time.values[-1]
    headings = "at the\nstart", "of mean\nfield, %", "at its\nlargest", "on\nday"
    title = f"Budget of {of}, {days:g} days, µgC/g/h"
    table = table_of("case, term", *headings, title=title)
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
