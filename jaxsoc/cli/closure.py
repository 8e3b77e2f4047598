"""`jaxsoc closure`: fit macro-scale closures, compare them, predict with them."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxsoc import experiments, plots
from jaxsoc.experiments import Design
from jaxsoc.experiments.cost import memory_of_run
from jaxsoc.experiments.design import case_axes
from jaxsoc.experiments.soils import model_of
from jaxsoc.io import load_closure
from jaxsoc.io.reading import read_text, reading
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
)
from .closure_table import print_forecasts, print_predictions
from .report import Job, Outcome, Progress
from .upscale import checked_design, foreseen

# Where the default of `fit_closure` is too fast or too slow.
_RATES = {"learned": 0.01, "functions_of_means": 0.05}
_HOURS_PER_STEP = 3.0  # of the solver within a fit
_BATCH = 4  # cores of a step
_FIGURES = {"closure": plots.figure_closures}

_Case = tuple[str, str, str]


def compare(config: CompareConfig) -> Job:
    """Checks everything; closures are still to be fitted and judged.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, case = config.checked()
    loaded = _loaded(config.load, design, case)
    _refuse_seen(config)
    # Unseen cores are the next members of the same seed.
    total = config.training + config.unseen

    def work(progress: Progress) -> Outcome:
        cores = experiments.examples(design, *case, range(total), progress=progress)
        training, unseen = map(
            cores.part, np.split(np.arange(cores.cores), [config.training])
        )
        made = _made(progress, config, design, case, training, loaded)
        options = {"names": range(config.training, total), "training": training}
        found = experiments.forecasts(
            design, made, unseen, progress=progress, **options
        )
        tell = partial(print_forecasts, config=config)
        return Outcome(found, tell, _provenance(config))

    instead = {fitted.name for fitted in loaded.values()}
    fits = [n for n in config.closures if n in FITTED and n not in instead]
    said = f"{_cores_of(design, total)}, and {len(fits)} fits of {config.steps} steps"
    return Job(work, lambda: said, _memory(design, total, config.steps), _FIGURES)


def fit(config: FitClosureConfig) -> Job:
    """Checks everything; the closure is still to be fitted on training cores.

    A fit that was stopped goes on where it was, with the same options.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, case = config.checked()
    path, name = config.target, config.closure
    checkpoint = path.with_name(f"{path.stem}-{_fingerprint(config)}.checkpoint")

    def work(progress: Progress) -> Outcome:
        members = range(config.training)
        training = experiments.examples(design, *case, members, progress=progress)
        start = _start(name, design, case, training)
        fitted, history = _fitted(progress, config, name, start, training, checkpoint)
        kinds = ("kinetics", "heterogeneity", "correlation")
        about = {
            "case": dict(zip(kinds, case, strict=True)),
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

        return Outcome(FittedClosure.on(name, case[0], fitted, training), tell, about)

    said = f"{_cores_of(design, config.training)}, and a fit of {config.steps} steps"
    needed = _memory(design, config.training, config.steps)
    before = f"going on from {checkpoint.name}" if checkpoint.exists() else ""
    return Job(work, lambda: said, needed, before=before)


def predict(config: PredictConfig) -> Job:
    """Checks everything; the respiration of given fields is still to be predicted.

    **Raises:** `ValueError` for whatever does not fit.
    """
    if not config.load:
        raise ValueError("no closure to predict with: use --load FILE.json")
    if config.fields is None:
        raise ValueError("no fields to predict from: use --fields FILE")
    config = config.filled(load_closure(config.load[0]))
    names = config.case
    design, supplied = checked_design(config)
    loaded = _loaded(config.load, design, names)
    correlations = case_axes(design, supplied)["correlation"]

    def work(progress: Progress) -> Outcome:
        member = experiments.draw_member(design, 0, supplied)
        soils = [experiments.case(design, member, *names, one) for one in correlations]
        known = np.full((len(soils), design.times.size), np.nan)
        if config.distributed:
            whole = experiments.run(design, supplied, progress=progress)
            known = whole.values("respiration")[0, 0, :, 0]
        cores = Examples(*_by_core(soils), design.times, known)
        options = {"names": correlations, "progress": progress}
        found = experiments.forecasts(design, loaded, cores, **options)
        return Outcome(found, print_predictions, _provenance(config))

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


def _loaded(
    paths: Sequence[Path], design: Design, case: Sequence[str]
) -> dict[str, FittedClosure]:
    """Fitted closures by the names of their files.

    **Raises:** `ValueError` for a file that is none, two of one name, or a closure of
    other kinetics than those of the case.
    """
    model, varying = model_of(design, case[0]), _varying(design, case)
    found: dict[str, FittedClosure] = {}
    for path in paths:
        if path.stem in found:
            raise ValueError(f"two closures are called {path.stem}: rename a file")
        found[path.stem] = load_closure(path)
        try:
            found[path.stem].check(model, varying)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
    return found


def _refuse_seen(config: CompareConfig) -> None:
    """Raises `ValueError` for a closure that was fitted on cores to judge it by."""
    for path in config.load:
        with reading(path):
            known = json.loads(read_text(path))
        seen = known.get("training")
        if not isinstance(seen, int):
            warnings.warn(
                f"{path.name} does not say which cores it was fitted on: unseen ones "
                "may be some of them",
                stacklevel=2,
            )
        elif known.get("seed") == config.seed and seen > config.training:
            raise ValueError(
                f"{path.name} was fitted on {seen} cores of seed {config.seed}, and "
                f"unseen ones would be some of them: use training {seen}, or another "
                "seed"
            )


def _varying(design: Design, case: Sequence[str]) -> tuple[str, ...]:
    return experiments.varying_of(case[0], case[1], design)


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


def _provenance(config: CompareConfig | PredictConfig) -> dict[str, Any]:
    return {"loaded": [str(path) for path in config.load]}


def _made(
    progress: Progress,
    config: CompareConfig,
    design: Design,
    case: _Case,
    training: Examples,
    loaded: dict[str, FittedClosure],
) -> dict[str, AbstractMacroModel | FittedClosure]:
    """Closures by what to call them: given ones, fitted ones, and those as they are."""
    instead = {fitted.name for fitted in loaded.values()}
    made: dict[str, AbstractMacroModel] = {}
    for name in dict.fromkeys(("mean_field", *config.closures)):
        if name in instead:
            continue
        made[name] = start = _start(name, design, case, training)
        if name in FITTED:
            try:
                made[name], _ = _fitted(progress, config, name, start, training)
            except ValueError as error:
                warnings.warn(f"{name} stays as it starts: {error}", stacklevel=2)
    return made | loaded


def _start(
    name: str, design: Design, case: _Case, training: Examples
) -> AbstractMacroModel:
    return closure(name, model_of(design, case[0]), _varying(design, case), training)


def _fitted(
    progress: Progress,
    config: TrainedConfig,
    name: str,
    start: AbstractMacroModel,
    training: Examples,
    checkpoint: Path | None = None,
) -> tuple[AbstractMacroModel, History]:
    longest = float(np.diff(training.times).max())
    return fit_closure(
        start,
        training,
        steps=config.steps,
        batch=_BATCH,
        learning_rate=_RATES.get(name, 0.03),
        solver_steps=max(1, round(longest / _HOURS_PER_STEP)),
        seed=config.seed,
        checkpoint=checkpoint,
        progress=lambda done, total, what: progress(done, total, f"{name}, {what}"),
    )


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
