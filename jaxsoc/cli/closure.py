"""`jaxsoc closure`: fit macro-scale closures, compare them, predict with them."""

import hashlib
import json
import warnings
from collections.abc import Callable
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
    draw_member,
    examples,
    forecasts,
    run,
    varying_of,
)
from jaxsoc.experiments.cost import memory_of_run
from jaxsoc.experiments.design import case_axes
from jaxsoc.experiments.soils import model_of
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
from .report import Job, Outcome, with_bar
from .upscale import checked_design, foreseen

# Where the default of `fit_closure` is too fast or too slow.
_RATES = {"learned": 0.01, "functions_of_means": 0.05}
_HOURS_PER_STEP = 3.0  # of the solver within a fit
_BATCH = 4  # cores of a step

_Closures = dict[str, AbstractMacroModel | FittedClosure]


def compare(config: CompareConfig) -> Job:
    """Checks everything; closures are still to be fitted and judged.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, names = config.checked()
    loaded = load_by_name(config.load, design, names)
    refuse_seen(config)
    # Unseen cores are the next members of the same seed.
    total = config.training + config.unseen

    def work(console: Console) -> Outcome:
        cores = _drawn(console, design, names, total)
        training, unseen = map(
            cores.part, np.split(np.arange(cores.cores), [config.training])
        )
        made = _made(console, config, design, names, training, loaded)
        options = {"names": range(config.training, total), "training": training}
        found = with_bar(
            console, lambda p: forecasts(design, made, unseen, progress=p, **options)
        )
        tell = lambda console, results: print_forecasts(console, config, results)
        return Outcome(found, tell, _loaded(config))

    instead = {fitted.name for fitted in loaded.values()}
    fits = [n for n in config.closures if n in FITTED and n not in instead]
    said = f"{_cores_of(design, total)}, and {len(fits)} fits of {config.steps} steps"
    return Job(work, lambda: said, _memory(design, total, config.steps), _FIGURES)


def fit(config: FitClosureConfig) -> Job:
    """Checks everything; the closure is still to be fitted on training cores.

    A fit that was stopped goes on where it was, with the same options.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, names = config.checked()
    path, name = config.target, config.closure
    checkpoint = path.with_name(f"{path.stem}-{_fingerprint(config)}.checkpoint")

    def work(console: Console) -> Outcome:
        if checkpoint.exists():
            console.print(f"going on from {checkpoint.name}", highlight=False)
        training = _drawn(console, design, names, config.training)
        start = _start(name, design, names, training)
        fitted, history = _fitted(console, config, name, start, training, checkpoint)
        kinds = ("kinetics", "heterogeneity", "correlation")
        about = {
            "case": dict(zip(kinds, names, strict=True)),
            **config.model_dump(include={"seed", "training", "steps"}),
            "best_step": history.best,
            "validation_error": float(np.nanmin(history.validation)),
        }

        def tell(console: Console, _: Any) -> None:
            if path.exists():
                checkpoint.unlink(missing_ok=True)
            console.print(
                f"{name}: {100 * about['validation_error']:.3g} % of peak "
                f"respiration on cores set aside, step {history.best} of {config.steps}"
            )

        return Outcome(FittedClosure.on(name, names[0], fitted, training), tell, about)

    said = f"{_cores_of(design, config.training)}, and a fit of {config.steps} steps"
    return Job(work, lambda: said, _memory(design, config.training, config.steps))


def predict(config: PredictConfig) -> Job:
    """Checks everything; the respiration of given fields is still to be predicted.

    **Raises:** `ValueError` for whatever does not fit.
    """
    config = config.filled()
    design, names = config.checked()
    loaded = load_by_name(config.load, design, names)
    design, supplied = checked_design(config)
    correlations = case_axes(design, supplied)["correlation"]

    def work(console: Console) -> Outcome:
        member = draw_member(design, 0, supplied)
        soils = [case(design, member, *names, one) for one in correlations]
        known = np.full((len(soils), design.times.size), np.nan)
        if config.distributed:
            whole = with_bar(console, lambda p: run(design, supplied, progress=p))
            known = whole.values("respiration")[0, 0, :, 0]
        cores = Examples(*_by_core(soils), design.times, known)
        make = lambda progress: forecasts(
            design, loaded, cores, names=correlations, progress=progress
        )
        return Outcome(with_bar(console, make), print_predictions, _loaded(config))

    needed = memory_of_run(design, supplied)

    def said() -> str:
        predictions = (
            f"predictions of {len(correlations)} cores by {len(loaded)} closures at "
            f"{len(design.times)} times"
        )
        if not config.distributed:
            return predictions
        return f"{predictions}, and {foreseen(design, supplied, needed)}"

    return Job(work, said, needed, _FIGURES)


def _cores_of(design: Design, count: int) -> str:
    return (
        f"{count} cores of {design.grid.cells} cells, {len(design.times)} saved times, "
        f"about {_memory(design, count, 0) / 2**20:.0f} MiB"
    )


def _memory(design: Design, cores: int, steps: int) -> int:
    """Bytes that cores and the orders of batches of a fit take, about."""
    pools_and_constants = 2 * (3 + 2)  # twice: as drawn, and as run
    each = pools_and_constants * design.grid.cells + 4 * len(design.times)
    return 8 * (cores * each + _BATCH * steps)


def _loaded(config: CompareConfig | PredictConfig) -> dict[str, Any]:
    return {"loaded": [str(path) for path in config.load]}


def _figure(results: Any) -> Any:
    from jaxsoc import plots

    return plots.figure_closures(results)


_FIGURES = {"closure": _figure}


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
            batch=_BATCH,
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
