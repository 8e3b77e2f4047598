"""`jaxsoc budget`: split the mean rate into its terms, print, draw."""

from functools import partial
from typing import Any

import numpy as np
from rich.console import Console

from jaxsoc import plots
from jaxsoc.experiments import budgets
from jaxsoc.experiments.budget import checked_choice
from jaxsoc.experiments.cost import memory_of_budgets

from .config import BudgetConfig
from .report import Job, Outcome, Progress, table_of
from .upscale import checked_design, foreseen


def budget(config: BudgetConfig) -> Job:
    """Checks everything; the budget of every case is still to be made.

    **Raises:** `ValueError` for whatever does not fit.
    """
    checked_choice(config.order, config.of, config.members)
    design, supplied = checked_design(config)

    def work(progress: Progress) -> Outcome:
        choice = {"order": config.order, "of": config.of}
        found = budgets(design, supplied, progress=progress, **choice)
        return Outcome(found, _print_table)

    needed = memory_of_budgets(design, supplied, order=config.order)
    figures = {f"budget_{k}": partial(_figure, k) for k in design.kinetics}
    return Job(work, lambda: foreseen(design, supplied, needed), needed, figures)


def _figure(kinetics: str, results: Any) -> Any:
    return plots.figure_budget(results.sel(kinetics=[kinetics]))


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
    names = of_kind.correlation.values
    every = {str(n): of_kind.sel(correlation=n, drop=True) for n in names}
    first, *others = every.values()
    shared = others and all(map(first.equals, others))
    return {"all correlations": first} if shared else every


def _number(value: float, digits: int) -> str:
    """Of so many decimals; what rounds to zero has no sign."""
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _parts(one: Any) -> dict[str, np.ndarray]:
    """Rows of a case: terms of order 2 one by one, the others by order."""
    parts = {"all cells": one.exact, "mean field": one.mean_field}
    second = one.contribution.isel(term=one.term_order == 2).fillna(0)
    parts |= {str(term.term.values): term for term in second.transpose() if term.any()}
    parts |= {f"order {n}": one.order_sum.sel(order=n) for n in one.order.values[3:]}
    last = int(one.order[-1])
    parts[f"remainder after order {last}"] = one.remainder.sel(order=last)
    return {name: values.values for name, values in parts.items()}
