"""How well closed macro-scale models predict soils that they have not seen.

Scenario 2 of Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, on fields that are
accepted by their correlation: three kinetics, pools alone or constants too differing
between cells, three correlations. Closures were fitted to 20 cores of each of the 18
cases and predict 20 others, and soils shifted as none of them was. The error of a core
is the RMSE of respiration over 200 days by the peak of the distributed run, that of a
case the median over cores; the best closure of a track is the one with the least
median over cases of its errors on the training cores.

    python -m benchmarks.closures [--quick] [--seed N] [--refit] [--only NAMES] [--json]

The fits are stored; `--refit` redoes them (about 40 minutes), `--only` those of the
cases whose names hold one of these words.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxsoc.solve import use_all_cores
from jaxsoc.upscale import TRACKS

from .closure_cases import CASES, CORES, TRAINING_SEED, UNSEEN_SEED, Case, Drawn
from .closure_cost import cost
from .closure_errors import Result, evaluate
from .closure_fits import FITTED, closures_of, refit, stored
from .timing import surroundings

PLAIN = ("mean_field", "two_strata", "zero_third", "power_two", "log_normal")
QUICK = ("mean_field", "representative_cells", "representative_statistics")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.closures",
        description="Predicts unseen soils with closed macro-scale models.",
    )
    made.add_argument("--quick", action="store_true", help="one fresh core per case")
    made.add_argument("--seed", type=int, default=UNSEEN_SEED, help="of unseen cores")
    made.add_argument("--refit", action="store_true", help="redo the stored fits")
    made.add_argument("--only", default="", help="comma-separated words, for --refit")
    made.add_argument("--json", action="store_true", help="end with one line of JSON")
    return made


def summary(results: dict[Case, Result]) -> dict[str, Any]:
    """The keys that the bars are about."""
    cases = list(results)
    names = list(next(iter(results.values())).unseen)
    unseen = {n: [float(np.median(results[c].unseen[n])) for c in cases] for n in names}
    found: dict[str, Any] = {
        "mean_field_median_error": float(np.median(unseen["mean_field"])),
        "null_median_error": float(np.median(unseen["null"])),
    }
    for track, prefix in (("field", ""), ("statistics", "statistics_")):
        some = [n for n in names if TRACKS.get(n) == track and n != "mean_field"]
        trained = {
            n: np.median([results[c].training.get(n, np.inf) for c in cases])
            for n in some
        }
        best = min(some, key=trained.get)
        of = unseen[best]
        soft = [e for c, e in zip(cases, of, strict=True) if not c.stiff]
        stiff = [e for c, e in zip(cases, of, strict=True) if c.stiff]
        ratios = np.asarray(of) / np.asarray(unseen["null"])
        found |= {
            f"{prefix}best": best,
            f"{prefix}best_median_error": float(np.median(of)),
            f"{prefix}best_worst_error": float(max(soft)),
            f"{prefix}mm_full_error": float(max(stiff)) if stiff else None,
            f"{prefix}best_over_null": over_null(of, unseen["null"]),
            f"{prefix}best_over_null_by_case": [float(r) for r in ratios],
            f"{prefix}best_states": max(results[c].states[best] for c in cases),
        }
        if results[cases[0]].shifted:
            moved = {
                label: float(
                    np.median(
                        [np.median(results[c].shifted[label][best]) for c in cases]
                    )
                )
                for label in results[cases[0]].shifted
            }
            all_of = [
                np.median(results[c].shifted[label][best])
                for c in cases
                for label in moved
            ]
            found |= {
                f"{prefix}shifted_median_error": float(np.median(all_of)),
                f"{prefix}shifted": moved,
            }
    return found


def scale_invariance(results: dict[Case, Result]) -> dict[str, float]:
    """Share of a law's mean-field error that the same law absorbs by its constants.

    1 - error(own law, constants fitted) / error(own law, constants of the cells), the
    median over cores, then over correlations; pools heterogeneous.
    """
    found = {}
    for law in dict.fromkeys(c.kinetics for c in results):
        shares = [
            1 - np.median(r.unseen[f"effective_{law}"] / r.unseen["mean_field"])
            for c, r in results.items()
            if c.kinetics == law and c.heterogeneity == "biophysical"
        ]
        found[law] = float(np.median(shares))
    return found


def over_null(errors_of: Sequence[float], null: Sequence[float]) -> float:
    """Median error over cases in units of the null's."""
    return float(np.median(errors_of) / np.median(null))


def run(quick: bool, seed: int, say=print) -> dict[str, Any]:
    """Evaluates the stored fits and returns what the last line holds."""
    names = QUICK if quick else (*PLAIN, *FITTED)
    drawn = Drawn.of(seed, 1 if quick else CORES, not quick)
    results = {}
    for case in CASES:
        kept = stored(case)
        made = closures_of(case, kept, names)
        results[case] = evaluate(case, drawn, kept, made)
        say(_line(case, results[case].unseen))
        if case.correlation == "uncorrelated" and not quick:
            jax.clear_caches()
    found = summary(results)
    table = {
        c.name: {n: _finite(np.median(e)) for n, e in r.unseen.items()}
        for c, r in results.items()
    }
    costs = {}
    if not quick:
        found["scale_invariance"] = scale_invariance(results)
        for case in CASES[::3]:
            best = found["best"]
            one = closures_of(case, stored(case), (best,))[best]
            costs[case.name] = cost(case, drawn, one)
            say(f"{case.name}: {costs[case.name]}")
        found["least_speedup"] = min(c["speedup"] for c in costs.values())
        found["least_speedup_with_description"] = min(
            c["speedup_with_description"] for c in costs.values()
        )
    return found | {
        "quick": quick,
        "seed": seed,
        "training_seed": TRAINING_SEED,
        "cores": 1 if quick else CORES,
        "states": {n: max(r.states[n] for r in results.values()) for n in names},
        "tracks": {n: TRACKS[n] for n in names},
        "cases": table,
        "worst_core": {
            c.name: {n: _finite(np.max(e)) for n, e in r.unseen.items()}
            for c, r in results.items()
        },
        "shifted_cases": {
            c.name: {
                label: {n: _finite(np.median(e)) for n, e in by.items()}
                for label, by in r.shifted.items()
            }
            for c, r in results.items()
        },
        "cost": costs,
        "surroundings": surroundings(),
    }


def _finite(x):
    return float(f"{x:.5g}") if np.isfinite(x) else None


def _line(case, found):
    shown = ", ".join(
        f"{name} {100 * np.median(e):.2f}" if np.isfinite(np.median(e)) else f"{name} -"
        for name, e in found.items()
    )
    return f"{case.name} (%): {shown}"


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark and prints it."""
    asked = parser().parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    say = lambda line: print(line, flush=True)
    words = [w for w in asked.only.split(",") if w]
    if asked.refit:
        for case in CASES:
            if not words or any(w in case.name for w in words):
                refit(case, say)
                jax.clear_caches()
        if words:
            return
    result = run(asked.quick, asked.seed, say)
    if asked.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
