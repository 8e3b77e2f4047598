"""One case: accuracy first, by rules fixed beforehand, then time."""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jaxsoc.experiments import Soil

from . import ours, rivals
from .cases import cast, sample
from .climit import CLimit, Steps, cores, law_of, names, respiration
from .timing import medians

ACCURACY = 1e-5
"""Largest error of daily mean respiration, relative to its peak, on every side."""
EVEN = tuple(Steps(n) for n in (2, 4, 6, 8, 12, 16, 24))
COURANT = tuple(Steps(courant=c) for c in (2.0, 1.5, 1.0, 0.75, 0.5, 0.35, 0.25, 0.18))
RTOL = tuple(10.0**-n for n in range(3, 11))
FINE, FINE_STIFF = Steps(32), Steps(courant=0.1)
LSODA_CELLS, SCIPY_CELLS = 200, 100
WIDTHS = ("float64", "float32")


class Settings(NamedTuple):
    """How much to do: repeats of each timing, and cells of a batch of diffrax."""

    repeats: int = 7
    batches: tuple[int, ...] = (1000, 10_000)
    stiff_batch: int = 1000


class Bench(NamedTuple):
    """A case with all that is needed to measure it; `limit` is None without gcc."""

    soil: Soil
    times: np.ndarray
    stiff: bool
    limit: CLimit | None
    settings: Settings

    @property
    def cells(self) -> int:
        """How many there are."""
        return self.soil.state.substrate.size

    def mean_respiration(self, soil: Soil, steps: Steps) -> np.ndarray:
        """By time; from C where it is there, which `agreement` compares with ours."""
        if self.limit is None:
            values = ours.prepare(soil, self.times, steps)()
            return ours.columns(values)["flux respiration"]
        return respiration(self.limit.prepare(soil, self.times, steps)()[0])

    def reference(self, soil: Soil) -> np.ndarray:
        """Mean respiration by time, from steps far shorter than any that are timed."""
        return self.mean_respiration(soil, FINE_STIFF if self.stiff else FINE)


def error(found: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over time, relative to the peak."""
    worst = np.max(np.abs(found - reference)) / np.max(reference)
    return float(worst) if np.isfinite(worst) else float("inf")


def loosest(
    settings: Sequence[Any], error_of: Callable[[Any], float]
) -> tuple[Any, float]:
    """First setting, from loose to tight, that is accurate enough; else the last."""
    setting, found = settings[-1], float("inf")
    for setting in settings:
        found = error_of(setting)
        if found <= ACCURACY:
            break
    return setting, found


def measure(bench: Bench) -> dict[str, Any]:
    """Every number of one case: settings, errors, seconds and ratios."""
    reference = bench.reference(bench.soil)
    steps, _ = loosest(
        COURANT if bench.stiff else EVEN,
        lambda s: error(bench.mean_respiration(bench.soil, s), reference),
    )
    # Compiling and settling accuracy share the cores; clocks run one at a time, later.
    with ThreadPoolExecutor(cores()) as pool:
        backward = pool.submit(_backward, bench, steps)
        diffrax = pool.submit(_settled_diffrax, bench)
        mine = {
            dtype: pool.submit(
                ours.prepare, cast(bench.soil, dtype), bench.times, steps
            )
            for dtype in WIDTHS
        }
        lsoda = pool.submit(_settled_lsoda, bench)
        checks = pool.submit(_checks, bench)
    result: dict[str, Any] = {"cells": bench.cells, "steps": str(steps)}
    result |= checks.result()
    for dtype in WIDTHS:
        result |= _beside_c(bench, steps, dtype, mine[dtype].result(), reference)
        gc.collect()
    forward = mine["float64"].result()
    result |= _gradient(bench, forward, backward.result())
    result |= _against_lsoda(bench, forward, lsoda.result())
    result |= _against_diffrax(bench, forward, diffrax.result())
    return result


class Settled(NamedTuple):
    """A rival ready to run: `sides` by name, and its tolerance and error by name."""

    sides: dict[Any, Callable]
    rtol: dict[Any, float]
    error: dict[Any, float]


def _checks(bench):
    """The reference itself, against SciPy on some cells."""
    some = sample(bench.soil, SCIPY_CELLS)
    mine = bench.reference(some)
    if bench.stiff:
        pools = rivals.lsoda(some, bench.times, 1e-10)
        theirs = rivals.mean_respiration(some, pools)
    else:
        theirs = rivals.dop853(some, bench.times)
    return {"reference_minus_scipy": error(mine, theirs)}


def _beside_c(bench, steps, dtype, mine, reference):
    end = "" if dtype == "float64" else "_f32"
    sides: dict[str, Callable] = {"ours": mine}
    columns = ours.columns(mine())
    work, found = 0.0, dict[str, Any]()
    found |= {f"error{end}": error(columns["flux respiration"], reference)}
    if bench.limit is not None:
        sides["c"] = bench.limit.prepare(bench.soil, bench.times, steps, dtype)
        moments, work = sides["c"]()
        found[f"error_c{end}"] = error(respiration(moments), reference)
        if dtype == "float64":
            found["moments_minus_c"] = disagreement(
                columns, moments, law_of(bench.soil)
            )
    seconds = medians(sides, bench.settings.repeats)
    found[f"seconds{end}"] = seconds["ours"]
    c = seconds.get("c")
    found[f"seconds_c{end}"] = c
    found[f"fraction_of_c_limit{end}"] = None if c is None else c / seconds["ours"]
    if c is not None:
        found[f"cell_steps_per_s{end}"] = work / seconds["ours"]
        found[f"cell_steps_per_s_c{end}"] = work / c
    return found


def _backward(bench, steps):
    if not ours.reversible(steps):
        return None
    return ours.prepare_gradient(bench.soil, bench.times, steps)


def _gradient(bench, mine, backward):
    if backward is None:
        return {"seconds_gradient": None, "gradient_over_forward": None}
    seconds = medians({"ours": mine, "back": backward}, bench.settings.repeats)
    ratio = seconds["back"] / seconds["ours"]
    return {"seconds_gradient": seconds["back"], "gradient_over_forward": ratio}


def disagreement(columns: dict[str, np.ndarray], moments: np.ndarray, law: int) -> Any:
    """Largest difference of any moment, relative to its largest value over time."""
    worst = 0.0
    for name, theirs in zip(names(law), moments.T, strict=True):
        scale = max(float(np.max(np.abs(theirs))), 1e-300)
        worst = max(worst, float(np.max(np.abs(columns[name] - theirs))) / scale)
    return worst


def _settled_lsoda(bench):
    some = sample(bench.soil, LSODA_CELLS)
    reference = bench.reference(some)
    settled = Settled({}, {}, {})
    for key, solver in (("lsoda", rivals.solve_ivp_lsoda), ("odeint", rivals.lsoda)):
        run = rivals.prepare_lsoda(some, bench.times, solver)
        rtol, off = loosest(RTOL, lambda rtol, run=run: error(run(rtol), reference))
        settled.sides[key] = lambda run=run, rtol=rtol: run(rtol)
        settled.rtol[key], settled.error[key] = rtol, off
    return settled


def _against_lsoda(bench, mine, settled):
    found: dict[str, Any] = {}
    seconds = medians({"ours": mine, **settled.sides}, 5)
    for key in settled.sides:
        scaled = seconds[key] * bench.cells / min(LSODA_CELLS, bench.cells)
        found[f"{key}_rtol"], found[f"error_{key}"] = (
            settled.rtol[key],
            settled.error[key],
        )
        found[f"seconds_{key}"] = scaled
        found[f"speedup_over_{key}_per_cell"] = scaled / seconds["ours"]
    return found


def _settled_diffrax(bench):
    """Every size of batch; accuracy is settled on the smallest."""
    settings = bench.settings
    batches = (settings.stiff_batch,) if bench.stiff else settings.batches
    sizes = sorted({min(n, bench.cells) for n in batches})
    small = sample(bench.soil, sizes[0])
    run = rivals.prepare_diffrax(small, bench.times, bench.stiff)
    reference = bench.reference(small)
    rtol, off = loosest(RTOL, lambda rtol: error(run(rtol), reference))
    settled = Settled({}, dict.fromkeys(sizes, rtol), dict.fromkeys(sizes, off))
    for size in sizes:
        if size != sizes[0]:
            batch = sample(bench.soil, size)
            run = rivals.prepare_diffrax(batch, bench.times, bench.stiff)
        settled.sides[size] = lambda run=run: run(rtol)
    return settled


def _against_diffrax(bench, mine, settled):
    """The batch with the least time per cell."""
    seconds = medians({"ours": mine, **settled.sides}, 5)
    spent = {size: seconds[size] * bench.cells / size for size in settled.sides}
    best = min(spent, key=lambda size: spent[size])
    return {
        "diffrax_rtol": settled.rtol[best],
        "diffrax_cells": best,
        "error_diffrax": settled.error[best],
        "seconds_diffrax": spent[best],
        "speedup_over_diffrax_vmap": spent[best] / seconds["ours"],
    }
