"""`jaxsoc fit`: fit, tell, draw, store; a fit that fails is a row of the table."""

import time
import warnings
from collections import Counter
from itertools import product
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from jaxsoc.fitting import (
    PUBLISHED,
    QUANTITIES,
    Incubation,
    Respiration,
    check_count,
    common_length,
    compared,
    fit_kinetics,
    fit_respiration,
    known_kinetics,
    standard_choice,
)
from jaxsoc.io import (
    Fitted,
    fits_to_dataset,
    load_respiration,
    save_dataset,
    writable_folder,
)
from jaxsoc.physics.parameters import declarations

from .config import canonical_kinetics
from .fit_config import FitConfig
from .report import finish, with_bar


def run_fit(config: FitConfig, *, quiet: bool) -> None:
    """Checks everything, fits, and writes `fit.nc` and figures into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """
    console = Console(quiet=quiet)
    started = time.perf_counter()
    laws = config.laws
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        chosen = None if config.series is None else _chosen(config)
        if chosen is None:
            _check_target(config)
        else:
            _check_lengths(config, laws, chosen)
        folder = writable_folder(config.out)
        fitted = with_bar(console, lambda p: _fit_all(config, laws, chosen, p))
    results = fits_to_dataset(
        fitted, {"configuration": config.model_dump(mode="json"), "seed": config.seed}
    )
    # Before anything is printed: a closed pipe must not cost the results.
    written = save_dataset(results, folder / "fit.nc")
    _print_table(console, fitted)
    figures = lambda: _figures(results) if config.figures else {}
    finish(console, noticed, started, written, figures)


def _check_target(config):
    known_kinetics(canonical_kinetics(config.to))
    if config.on not in QUANTITIES:
        raise ValueError(
            f"unknown quantity {config.on!r}: expected one of {', '.join(QUANTITIES)}"
        )


def _check_lengths(config, laws, chosen):
    more = Incubation(free=tuple(config.free)).free
    for law, one in product(laws, chosen):
        names = [d.name for d in declarations(known_kinetics(law).constants)]
        points = _compared(config, one).times.size
        check_count(points, (*names, *more), of=f"{one.name}, {law}: ")


def _compared(config, one):
    return compared(one, independent_errors=config.independent_errors)[0]


def _chosen(config: FitConfig) -> list[Respiration]:
    collection = load_respiration(
        config.series or "",
        unit=config.unit,
        time_unit=config.time_unit,
        soil_carbon=config.soil_carbon,
        mean_rates=config.mean_rates,
    )
    if config.id:
        return [collection[name] for name in config.id]
    if not collection.series:
        why = next(iter(collection.left_out.values()), "it is empty")
        raise ValueError(f"no series can be fitted: {why}")
    if len(collection.series) == 1:
        return list(collection.series)
    chosen = standard_choice(collection.series, most=config.first)
    return chosen or list(collection.series)[: config.first]


def _fit_all(config, laws, chosen, progress) -> list[Fitted]:
    total = len(laws) * (1 if chosen is None else len(chosen))
    options: dict[str, Any] = {
        "starts": config.starts,
        "key": jax.random.key(config.seed),
    }
    if chosen is not None:
        options["points"] = common_length(chosen)
    fitted: list[Fitted] = []
    for law, one in product(laws, chosen or [None]):
        name = f"{law} {one.name if one else config.to}"
        options["progress"] = lambda done, starts, what, name=name: progress(
            len(fitted) + done / starts, total, name
        )
        fitted.append(_fitted(config, law, one, options))
    return fitted


def _fitted(config, law, one, options) -> Fitted:
    if one is None:
        target = canonical_kinetics(config.to)
        fit = fit_kinetics(law, target, to=config.on, **options)
        return Fitted(f"{target} {config.on}", law, config.on, PUBLISHED.times, fit)
    incubation = Incubation(free=tuple(config.free))
    options = options | {"independent_errors": config.independent_errors}
    fit = fit_respiration(one, law, incubation=incubation, **options)
    shown = _compared(config, one)
    return Fitted(one.name, law, shown.quantity, shown.times, fit)


def _print_table(console: Console, fitted: list[Fitted]) -> None:
    table = Table()
    table.add_column("fit, constant")
    for heading in ("value", "± standard error"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for one in fitted:
        fit = one.fit
        table.add_section()
        table.add_row(f"{one.series}, {one.kinetics.replace('_', ' ')}", style="bold")
        for name, value, error, unit in zip(
            fit.names, fit.values, fit.standard_error, fit.units, strict=True
        ):
            spread = f"{error:.2g}" if np.isfinite(error) else "not determined"
            table.add_row(f"  {_short(name)}", f"{value:.6g}", spread, unit)
        unit = "mgC/g" if one.quantity in ("substrate", "biomass", "co2") else "mgC/g/h"
        table.add_row("  RMSE", f"{fit.rmse:.4g}", "", unit)
        table.add_row("  R²", f"{fit.r_squared:.4f}")
        if not fit.sound:
            table.add_row(f"  {_short(fit.reason)}", style="yellow")
    console.print(table)
    counted = Counter(one.fit.outcome.name for one in fitted)
    said = ", ".join(
        f"{n} {name.lower().replace('_', ' ')}" for name, n in counted.items()
    )
    median = np.nanmedian([one.fit.r_squared for one in fitted])
    console.print(f"{len(fitted)} fits: {said}; median R² {median:.4f}")


def _short(text):
    return text.replace("soil.", "")


def _figures(results) -> dict[str, Any]:
    from jaxsoc import plots

    figures = plots.figures_fits(results)
    names = ["fit"] if len(figures) == 1 else [f"fit_{i + 1}" for i in range(99)]
    return dict(zip(names, figures, strict=False))
