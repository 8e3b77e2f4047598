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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.experiments import SHIFTS, Design, examples, varying_of
from jaxsoc.io import closure_from_json, closure_to_json
from jaxsoc.io.atomic import replacing
from jaxsoc.models import TwoPool
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import Fused, follow, integrate, map_members, use_all_cores
from jaxsoc.upscale import (
    TRACKS,
    Examples,
    FittedClosure,
    closure,
    errors,
    fit_closure,
    predict,
    state_count,
)

from .timing import medians, surroundings

FITS = Path(__file__).parent / "results" / "closures"
TRAINING_SEED, UNSEEN_SEED = 101, 202
CORES = 20
EVERY = 6.0
"""Hours between the times at which errors are taken."""
STEPS = 3
"""Equal steps of a closure between two of them."""
BATCH = 1000

# How each is fitted; the number of cells of a statistics closure is not limited by what
# it reads: more members where constants differ between cells.
_STEPS = {"representative_cells": 800, "representative_statistics": 600, "learned": 600}
_RATES = {"learned": 0.01, "functions_of_means": 0.05}
PLAIN = ("mean_field", "two_strata", "zero_third", "power_two", "log_normal")
FITTED = (
    "representative_cells",
    "representative_statistics",
    "learned",
    "functions_of_means",
    "effective_multiplicative",
    "effective_michaelis_menten",
    "effective_inverse_michaelis_menten",
    "effective_eca",
)


class Case(NamedTuple):
    """One of the 18."""

    kinetics: str
    heterogeneity: str
    correlation: str

    @property
    def name(self) -> str:
        """What its fits are stored under."""
        return "_".join(self)

    @property
    def stiff(self) -> bool:
        """Whether it is Michaelis-Menten with all heterogeneous, told apart."""
        return self[:2] == ("michaelis_menten", "full")


CASES = tuple(
    Case(kinetics, heterogeneity, correlation)
    for kinetics in ("multiplicative", "michaelis_menten", "inverse_michaelis_menten")
    for heterogeneity in ("biophysical", "full")
    for correlation in ("positive", "negative", "uncorrelated")
)


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


def design(seed: int, every: float) -> Design:
    """Scenario 2 with what is drawn from a seed."""
    return Design(scenario=2, seed=seed, every=every)


def refit(case: Case, say=print) -> Path:
    """Fits every closure of a case and stores the numbers."""
    plan = design(TRAINING_SEED, 24.0)
    cores = examples(plan, *case, range(CORES))
    model = TwoPool(KINETICS[case.kinetics].law)
    varying = varying_of(case.kinetics, case.heterogeneity, plan)
    fits = {}
    for name in FITTED:
        start = time.perf_counter()
        options = {"members": 6} if varying and name.endswith("statistics") else {}
        first = closure(name, model, varying, cores, **options)
        made, history = fit_closure(
            first,
            cores,
            steps=_STEPS.get(name, 150),
            learning_rate=_RATES.get(name, 0.03),
        )
        score = eqx.filter_jit(jax.vmap(_respiration(24.0, 12), (None, 0, 0)))
        trained = errors(score(made, cores.state, cores.params), cores.respiration)
        fits[name] = closure_to_json(
            FittedClosure.on(name, case.kinetics, made, cores),
            {
                "training_error": float(np.median(trained)),
                "validation_error": float(history.validation.min()),
                "best_step": history.best,
            },
        )
        say(
            f"{case.name} {name}: {100 * float(np.median(trained)):.3f} % in training, "
            f"{100 * history.validation.min():.3f} % aside, "
            f"{time.perf_counter() - start:.0f} s"
        )
    content = {"case": case._asdict(), "seed": TRAINING_SEED, "cores": CORES}
    fine = examples(design(TRAINING_SEED, EVERY), *case, range(CORES))
    content["mean_respiration"] = [float(f"{x:.6g}") for x in fine.respiration.mean(0)]
    FITS.mkdir(parents=True, exist_ok=True)
    path = FITS / f"{case.name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content | {"fits": fits}) + "\n")
    return path


def stored(case: Case) -> dict[str, Any]:
    """What `refit` wrote."""
    path = FITS / f"{case.name}.json"
    if not path.exists():
        raise SystemExit(f"{path.name} is not there: run with --refit")
    return json.loads(path.read_text())


def _respiration(every: float, steps: int):
    times = np.arange(0.0, 4800.0 + 0.5 * every, every)

    def one(made, state, params):
        found = predict(made, state, params, times, steps=steps, throw=False)
        rate = found.fluxes.respiration
        # What came after a run left the possible is no prediction.
        return jnp.where(jnp.isfinite(found.left), jnp.inf, rate)

    return one


_SCORE = eqx.filter_jit(jax.vmap(_respiration(EVERY, STEPS), (None, 0, 0)))


def judge(made: Any, cores: Examples) -> np.ndarray:
    """Error of each core, infinite where the closure left what a soil can be."""
    found = np.asarray(_SCORE(made, cores.state, cores.params))
    off = np.asarray(errors(found, cores.respiration))
    return np.where(np.isfinite(off), off, np.inf)


class Drawn(NamedTuple):
    """Fields of unseen cores, drawn once for all cases."""

    plan: Design
    plain: Any
    dead: dict[float, Any]
    cores: int

    @classmethod
    def of(cls, seed: int, cores: int, shifts: bool) -> "Drawn":
        """From a seed; with other shares of dead cells if shifts are asked for."""
        plan = design(seed, EVERY)
        share = {s.dead for s in SHIFTS.values() if s.dead} if shifts else ()
        moved = {x: draw_members(plan, range(cores), Shift(dead=x)) for x in share}
        return cls(plan, draw_members(plan, range(cores)), moved, cores)

    def run(self, case: Case, shift: Shift | None = None) -> Examples:
        """The distributed runs of a case."""
        shift = Shift() if shift is None else shift
        fields = self.dead[shift.dead] if shift.dead else self.plain
        return examples(self.plan, *case, range(self.cores), shift=shift, drawn=fields)


class Result(NamedTuple):
    """Errors by closure and core: on unseen cores and, by shift, on shifted ones.

    `states`: by closure; `training`: median error by fitted closure.
    """

    unseen: dict[str, np.ndarray]
    shifted: dict[str, dict[str, np.ndarray]]
    states: dict[str, int]
    training: dict[str, float]


def evaluate(case: Case, drawn: Drawn, names: Sequence[str]) -> Result:
    """Errors of every closure on unseen cores of a case, and on shifted ones."""
    kept = stored(case)
    unseen = drawn.run(case)
    null = np.asarray(kept["mean_respiration"])[None]
    made = closures_of(case, kept, names)
    found = {
        "null": np.asarray(errors(null, unseen.respiration)),
        **{name: judge(one, unseen) for name, one in made.items()},
    }
    moved = {}
    for label, shift in SHIFTS.items() if drawn.dead else ():
        shifted = drawn.run(case, shift)
        moved[label] = {name: judge(one, shifted) for name, one in made.items()}
    training = {n: f["training_error"] for n, f in kept["fits"].items()}
    return Result(
        found, moved, {n: _count(one, unseen) for n, one in made.items()}, training
    )


def closures_of(case: Case, kept: dict, names: Sequence[str]) -> dict[str, Any]:
    """Closures by name, fitted ones from what is stored."""
    model = TwoPool(KINETICS[case.kinetics].law)
    varying = varying_of(case.kinetics, case.heterogeneity, design(0, 24.0))
    return {
        name: closure_from_json(kept["fits"][name]).closure
        if name in kept["fits"]
        else closure(name, model, varying)
        for name in names
    }


def _count(made, cores):
    one = jax.tree.map(lambda x: x[0], (cores.state, cores.params))
    core, _ = jax.eval_shape(made.initial, *one)
    return state_count(core)


def cost(case: Case, drawn: Drawn, name: str) -> dict[str, float]:
    """Seconds per member of a batch, beside those of the fast distributed road.

    Daily respiration on both sides, each with the loosest steps whose largest error is
    at most 1e-5 of its own peak.
    """
    made = closures_of(case, stored(case), (name,))[name]
    plan = design(drawn.plan.seed, 24.0)
    few = examples(plan, *case, range(CORES), drawn=drawn.plain)
    soils, times = (few.state, few.params), jnp.asarray(few.times)
    describe = eqx.filter_jit(jax.vmap(lambda s, p: made.initial(s, p)))
    described = describe(*soils)
    # Groups that stay in the cache, shared out to all cores as the others are.
    group = lambda x: jnp.concatenate([x] * (BATCH // CORES)).reshape(
        BATCH // CORES, CORES, *x.shape[1:]
    )
    batch = jax.tree.map(group, described)

    def closed(steps):
        def respiration(core, given):
            cores, _ = follow(made, core, given, times, steps=steps)
            return jax.vmap(lambda c: made.fluxes(0.0, c, given).respiration)(cores)

        return jax.jit(lambda b: map_members(lambda z: jax.vmap(respiration)(*z), b))

    def whole(courant):
        model = TwoPool(KINETICS[case.kinetics].law)
        save, road = MeanRespiration(model.fluxes), courant(model)
        one = lambda soil: (
            integrate(
                model, *soil, plan.times, save=save, method=road, throw=False
            ).values
        )
        return jax.jit(lambda soils: map_members(one, soils))

    exact = np.asarray(closed(48)(batch))
    steps, fast = _loosest(closed, (2, 3, 4, 6, 8, 12, 16, 24), batch, exact)
    roads = (
        lambda m: Fused(6.0, devices=1),
        lambda m: Fused(4.0, devices=1),
        lambda m: Fused(2.0, devices=1),
        lambda m: Fused(1.0, devices=1),
        lambda m: Fused(24.0, m.fastest_rate, 1.0, devices=1),
        lambda m: Fused(24.0, m.fastest_rate, 0.5, devices=1),
        lambda m: Fused(24.0, m.fastest_rate, 0.25, devices=1),
    )
    if not case.stiff:
        # Equal steps suit these best; the others are for stiff cells.
        roads = roads[:4]
    else:
        roads = roads[4:]
    road, slow = _loosest(whole, roads, soils, few.respiration)
    seconds = medians(
        {
            "closure": lambda: fast(batch).block_until_ready(),
            "describe": lambda: jax.block_until_ready(describe(*soils)),
            "distributed": lambda: slow(soils).block_until_ready(),
        },
        5,
    )
    each = {
        "closure": seconds["closure"] / BATCH,
        "describe": seconds["describe"] / CORES,
        "distributed": seconds["distributed"] / CORES,
    }
    both = each["closure"] + each["describe"]
    return each | {
        "steps_a_day": steps,
        "speedup": each["distributed"] / each["closure"],
        "speedup_with_description": each["distributed"] / both,
    }


def _loosest(made, choices, given, exact):
    """The first choice with an error of at most 1e-5 of the peak, else the last."""
    for choice in choices:
        program = made(choice)
        found = np.asarray(program(given))
        if np.max(np.abs(found - exact)) <= 1e-5 * np.max(exact):
            break
    return choice if isinstance(choice, int) else 0, program


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
            f"{prefix}best_over_null": found_ratio(of, unseen["null"]),
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


def found_ratio(errors_of: Sequence[float], null: Sequence[float]) -> float:
    """Median error over cases in units of the null's."""
    return float(np.median(errors_of) / np.median(null))


def run(quick: bool, seed: int, say=print) -> dict[str, Any]:
    """Evaluates the stored fits and returns what the last line holds."""
    names = (
        ("mean_field", "representative_cells", "representative_statistics", "learned")
        if quick
        else (*PLAIN, *FITTED)
    )
    drawn = Drawn.of(seed, 1 if quick else CORES, not quick)
    results = {}
    for case in CASES:
        results[case] = evaluate(case, drawn, names)
        say(_line(case, results[case].unseen))
        if case.correlation == "uncorrelated" and not quick:
            jax.clear_caches()
    made = summary(results)
    table = {
        c.name: {n: _finite(np.median(e)) for n, e in r.unseen.items()}
        for c, r in results.items()
    }
    costs = {}
    if not quick:
        made["scale_invariance"] = scale_invariance(results)
        for case in CASES[::3]:
            costs[case.name] = cost(case, drawn, made["best"])
            say(f"{case.name}: {costs[case.name]}")
        made["least_speedup"] = min(c["speedup"] for c in costs.values())
        made["least_speedup_with_description"] = min(
            c["speedup_with_description"] for c in costs.values()
        )
    return made | {
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
