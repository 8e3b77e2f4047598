"""`jaxsoc closure`: fit macro-scale closures, compare them, predict with them."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxsoc.experiments import (
    Design,
    case,
    checked_correlations,
    draw_member,
    examples,
    forecasts,
    run,
    varying_of,
)
from jaxsoc.experiments.soils import model_of
from jaxsoc.io import save_closure, writable_folder
from jaxsoc.solve import History
from jaxsoc.upscale import (
    FITTED,
    AbstractMacroModel,
    Examples,
    FittedClosure,
    closure,
    fit_closure,
)

from .closure_config import (
    CompareConfig,
    FitClosureConfig,
    PredictConfig,
    TrainedConfig,
    load_by_name,
    refuse_seen,
)
from .closure_table import print_forecasts, print_predictions
from .report import Outcome, carry_out, print_warnings, with_bar
from .upscale import supplied_fields

# Where the default of `fit_closure` is too fast or too slow.
_RATES = {"learned": 0.01, "functions_of_means": 0.05}
_HOURS_PER_STEP = 3.0  # of the solver within a fit

_Closures = dict[str, AbstractMacroModel | FittedClosure]


def run_compare(config: CompareConfig, load: Sequence[Path], *, quiet: bool) -> None:
    """Fits or loads closures, predicts unseen cores, and prints the error of each.

    Writes `closure.nc` and a figure into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """

    def work(console: Console) -> Outcome:
        design, names = config.checked()
        loaded = load_by_name(load, design, names)
        refuse_seen(load, config)
        writable_folder(config.out)
        # Unseen cores are the next members of the same seed.
        cores = _drawn(console, design, names, config.training + config.unseen)
        parts = np.split(np.arange(cores.cores), [config.training])
        training, unseen = map(cores.part, parts)
        made = _made(console, config, design, names, training, loaded)
        numbers = range(config.training, config.training + config.unseen)
        options = {"names": numbers, "training": training}
        found = with_bar(
            console, lambda p: forecasts(design, made, unseen, progress=p, **options)
        )
        tell = lambda console, results: print_forecasts(console, config, results)
        return Outcome(found, tell, _figures, _loaded(load))

    carry_out("closure", config, quiet, work)


def run_fit_closure(config: FitClosureConfig, *, quiet: bool) -> None:
    """Fits one closure on training cores and saves it as JSON.

    A fit that was stopped goes on where it was, with the same options.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """
    console = Console(quiet=quiet)
    started = time.perf_counter()
    design, names = config.checked()
    path = config.file
    writable_folder(path.parent)
    checkpoint = path.with_name(f"{path.stem}-{_fingerprint(config)}.checkpoint")
    if checkpoint.exists():
        console.print(f"going on from {checkpoint.name}", highlight=False)
    with warnings.catch_warnings(record=True, action="always") as noticed:
        training = _drawn(console, design, names, config.training)
        name = config.closure
        start = _start(name, design, names, training)
        fitted, history = _fitted(console, config, name, start, training, checkpoint)
        ranged = FittedClosure.on(name, names[0], fitted, training)
    about = {
        "case": dict(
            zip(("kinetics", "heterogeneity", "correlation"), names, strict=True)
        ),
        **config.model_dump(include={"seed", "training", "steps"}),
        "best_step": history.best,
        "validation_error": float(np.nanmin(history.validation)),
        "configuration": config.model_dump(mode="json"),
    }
    save_closure(ranged, path, about)
    checkpoint.unlink(missing_ok=True)
    print_warnings(console, noticed)
    console.print(
        f"{name}: {100 * about['validation_error']:.3g} % of peak "
        f"respiration on cores set aside, step {history.best} of {config.steps}"
    )
    seconds = time.perf_counter() - started
    console.print(f"{seconds:.0f} s; written to {path}", highlight=False)


def run_predict(config: PredictConfig, load: Sequence[Path], *, quiet: bool) -> None:
    """Predicts the respiration of given fields with closures from files.

    Writes `closure.nc` and a figure into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """
    if not load:
        raise ValueError("no closure to predict with: use --load FILE.json")
    filled = config.filled(load[0])

    def work(console: Console) -> Outcome:
        design, names = filled.checked()
        loaded = load_by_name(load, design, names)
        supplied = supplied_fields(filled, design)
        correlations = checked_correlations(design, supplied)
        member = draw_member(design, 0, supplied)
        soils = [case(design, member, *names, one) for one in correlations]
        writable_folder(filled.out)
        known = np.full((len(soils), design.times.size), np.nan)
        if filled.distributed:
            whole = with_bar(console, lambda p: run(design, supplied, progress=p))
            known = whole.values("respiration")[0, 0, :, 0]
        cores = Examples(*_by_core(soils), design.times, known)
        predict = lambda progress: forecasts(
            design, loaded, cores, names=correlations, progress=progress
        )
        found = with_bar(console, predict)
        return Outcome(found, print_predictions, _figures, _loaded(load))

    carry_out("closure", filled, quiet, work)


def _loaded(load: Sequence[Path]) -> dict[str, Any]:
    return {"loaded": [str(path) for path in load]}


def _figures(results: Any) -> dict[str, Any]:
    from jaxsoc import plots

    return {"closure": plots.figure_closures(results)}


def _drawn(console, design: Design, names, count: int) -> Examples:
    law, kind, correlation = names
    work = lambda progress: examples(
        design, law, kind, correlation, range(count), progress=progress
    )
    return with_bar(console, work)


def _made(console, config: CompareConfig, design, names, training, loaded) -> _Closures:
    """Closures by what to call them: given ones, fitted ones, and those as they are."""
    instead = {fitted.name for fitted in loaded.values()}
    made: _Closures = {}
    for name in dict.fromkeys(("mean_field", *config.closures)):
        if name in instead:
            continue
        made[name] = start = _start(name, design, names, training)
        if name in FITTED:
            try:
                made[name], _ = _fitted(console, config, name, start, training)
            except ValueError as error:
                warnings.warn(f"{name} stays as it starts: {error}", stacklevel=2)
    return made | loaded


def _start(name, design: Design, names, training: Examples) -> AbstractMacroModel:
    model = model_of(design, names[0])
    return closure(name, model, varying_of(names[0], names[1], design), training)


def _fitted(
    console: Console,
    config: TrainedConfig,
    name: str,
    start: AbstractMacroModel,
    training: Examples,
    checkpoint: Path | None = None,
) -> tuple[AbstractMacroModel, History]:
    longest = float(np.diff(training.times).max())

    def fit(progress: Callable) -> tuple[AbstractMacroModel, History]:
        show = lambda done, total, what: progress(done, total, f"{name}, {what}")
        return fit_closure(
            start,
            training,
            steps=config.steps,
            learning_rate=_RATES.get(name, 0.03),
            solver_steps=max(1, round(longest / _HOURS_PER_STEP)),
            seed=config.seed,
            checkpoint=checkpoint,
            progress=show,
        )

    return with_bar(console, fit)


def _by_core(soils) -> tuple[Any, Any]:
    """States and parameters of soils, leading by core, cells in a row."""
    row = lambda x: jnp.reshape(x, -1) if jnp.ndim(x) else jnp.asarray(x)
    rows = [jax.tree.map(row, (soil.state, soil.params)) for soil in soils]
    return jax.tree.map(lambda *xs: np.stack(xs), *rows)


def _fingerprint(config: FitClosureConfig) -> str:
    """Of everything that a fit depends on: a checkpoint of another is not its own."""
    options = config.model_dump(mode="json", exclude={"out", "figures"})
    text = json.dumps([options, version("jaxsoc")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
