"""Do heterogeneous soils predict incubations better than homogeneous ones?

Three models are fitted to the first two thirds of each series and asked for the last:
homogeneous kinetics; a second pool; a few weighted cells of a patchy soil. The last two
have the same number of constants. Compared is the mean log predictive density of a
held-out point, by paired differences with standard errors by study. The rules stand in
`jaxsoc.experiments.held_out`.

The data: JAXSOC_DATA, else the folder shared/data beside the project, with parts of the
Soil Incubation Database, doi:10.5194/essd-12-1511-2020, and of the rewetted cores of
Patel et al. (2021), doi:10.1016/j.soilbio.2021.108427.

Beside the data stands a control: each model in turn is taken as the truth, its fits and
their noise make series at the same times, and the comparison is run on these. It tells
what the comparison can tell.

    python -m benchmarks.incubations [--quick] [--json] [--out FILE]
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxsoc.experiments import RIVALS, HeldOut, predict_held_out
from jaxsoc.io import load_respiration
from jaxsoc.observe import Respiration, mean_rates, standard_choice
from jaxsoc.solve import use_all_cores

from .paired import paired_differences
from .soil_samples import SoilSample, load_cores
from .timing import surroundings

PAIRS = (
    ("patchy", "homogeneous"),
    ("patchy", "second_pool"),
    ("second_pool", "homogeneous"),
)
KINETICS = {True: ("multiplicative",), False: ("multiplicative", "michaelis_menten")}
FEWEST = 10
"""Points of a series that leave two more than constants to fit."""
PER_STUDY = 3
MOST_STEPS = 200
SEED = 0


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.incubations",
        description="Compares homogeneous and heterogeneous soils on incubations.",
    )
    made.add_argument("--quick", action="store_true", help="few series, < 50 s")
    made.add_argument("--json", action="store_true", help="end with one line of JSON")
    made.add_argument("--out", type=Path, help="also write the JSON to this file")
    return made


def data_folder() -> Path:
    """`JAXSOC_DATA`, else the folder shared/data beside the project.

    **Raises:** `SystemExit` where there is none.
    """
    named = os.environ.get("JAXSOC_DATA")
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(named) if named else beside
    if not folder.is_dir():
        raise SystemExit(
            "no data: set JAXSOC_DATA to the folder that holds sidb_incubations and "
            "tes_amended_cores"
        )
    return folder


def chosen(folder: Path, quick: bool) -> dict[str, list[Any]]:
    """Series and cores by collection, by rules that see no outcome.

    Of the Soil Incubation Database the first three of each study with ten points or
    more; of the cores, all. Quick: the first series of four studies, and the first two
    control cores of a kind.
    """
    collection = load_respiration(folder / "sidb_incubations" / "series.csv.gz").series
    series = standard_choice(
        collection,
        per_study=1 if quick else PER_STUDY,
        fewest=FEWEST,
        most=4 if quick else None,
    )
    cores = load_cores(folder / "tes_amended_cores" / "flux.csv.gz")
    if quick:
        cores = tuple(core for core in cores if core.treatment[2] == "control")
    most = 2 if quick else None
    return {
        "sidb": series,
        "intact": [core for core in cores if core.intact][:most],
        "homogenised": [core for core in cores if not core.intact][:most],
    }


def run(quick: bool, say=print) -> dict[str, Any]:
    """Fits every model to every series and returns what the last line holds."""
    began = time.perf_counter()
    collections = chosen(data_folder(), quick)
    results: dict[str, Any] = {}
    for kinetics in KINETICS[quick]:
        results[kinetics] = {}
        for name, members in collections.items():
            rows = [judged(member, kinetics) for member in members]
            found = compared(rows) | {"rows": rows}
            results[kinetics][name] = found
            say(_table(kinetics, name, found))
        results[kinetics]["intact_minus_homogenised"] = by_core(results[kinetics])
        say(_pairs(results[kinetics]["intact_minus_homogenised"]))
    control = {} if quick else as_if(collections["sidb"], KINETICS[quick][0], say)
    return {
        "quick": quick,
        "measure": "mean log predictive density of a held-out point, nats",
        "held_out": "last third of each series",
        "pairs": ["-".join(pair) for pair in PAIRS],
        "zeros_left_out": sum(
            c.zeros for k in ("intact", "homogenised") for c in collections[k]
        ),
        "seconds": round(time.perf_counter() - began, 1),
        "surroundings": surroundings(),
        "results": results,
        "control": control,
    }


def judged(member: Respiration | SoilSample, kinetics: str) -> dict[str, Any]:
    """Every model on one series: scores, errors and outcomes, by model."""
    core = isinstance(member, SoilSample)
    series = mean_rates(member.series if core else member)
    row: dict[str, Any] = {"name": series.name, "study": series.study}
    if core:
        row["core"] = member.number
    row["points"] = series.times.size
    for model in RIVALS:
        found = predict_held_out(series, model, kinetics, max_steps=MOST_STEPS)
        row["held_out"] = series.times.size - found.fitted
        row[model] = {
            "score": found.score,
            "error": found.error,
            "noise": found.noise,
            "constants": len(found.fit.names),
            "constants_used": found.used,
            "outcome": found.fit.outcome.name.lower(),
            "values": {
                name.rsplit(".", 1)[-1]: float(value)
                for name, value in zip(found.fit.names, found.fit.values, strict=True)
            },
        }
    return row


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Paired differences over the series for which every model is finite."""
    sound = [r for r in rows if all(np.isfinite(r[m]["score"]) for m in RIVALS)]
    column = lambda model, key: [row[model][key] for row in sound]
    studies = [row["study"] for row in sound]
    found: dict[str, Any] = {
        "series": len(rows),
        "left_out": [row["name"] for row in rows if row not in sound],
        "median_score": {m: float(np.median(column(m, "score"))) for m in RIVALS},
        "median_error": {m: float(np.median(column(m, "error"))) for m in RIVALS},
        "differences": {},
        "error_differences": {},
    }
    for first, second in PAIRS:
        name = f"{first}-{second}"
        for key, where in (("score", "differences"), ("error", "error_differences")):
            paired = paired_differences(
                column(first, key), column(second, key), studies
            )
            found[where][name] = _plain(paired)
    return found


def by_core(results: dict[str, Any]) -> dict[str, Any]:
    """The differences of intact cores minus those of the homogenised same numbers."""
    kinds = [
        {
            row["core"]: row
            for row in results[name]["rows"]
            if row["name"] not in results[name]["left_out"]
        }
        for name in ("intact", "homogenised")
    ]
    both = sorted(set(kinds[0]) & set(kinds[1]))
    if not both:
        return {}
    gain = lambda row, a, b: row[a]["score"] - row[b]["score"]
    return {
        f"{a}-{b}": _plain(
            paired_differences(
                *([gain(kind[n], a, b) for n in both] for kind in kinds), both
            )
        )
        for a, b in PAIRS
    }


def as_if(series: Sequence[Respiration], kinetics: str, say=print) -> dict[str, Any]:
    """The comparison on series that each model in turn has made, by that model."""
    found = {}
    for truth in RIVALS:
        rng = np.random.default_rng(SEED)
        rows = []
        for one in map(mean_rates, series):
            made = redrawn(
                rng, one, predict_held_out(one, truth, kinetics, max_steps=MOST_STEPS)
            )
            rows.append(judged(made, kinetics))
        found[truth] = compared(rows)
        say(_table(kinetics, f"sidb as if {truth}", found[truth]))
    return found


def redrawn(
    rng: np.random.Generator, series: Respiration, found: HeldOut
) -> Respiration:
    """A series that is what the model predicts, with the noise that it found.

    y = c sinh(f + σ ε),  ε standard normal
    """
    noise = found.noise * rng.standard_normal(found.predicted.size)
    values = found.size * np.sinh(found.predicted + noise)
    return eqx.tree_at(lambda s: s.values, series, values)


def _plain(paired):
    """One group has no standard error; JSON knows no NaN."""
    return {k: None if v != v else v for k, v in paired._asdict().items()}


def short(found: Any) -> Any:
    """The same with five digits of every number, and none where it is not finite."""
    if isinstance(found, dict):
        return {key: short(value) for key, value in found.items()}
    if isinstance(found, list):
        return [short(value) for value in found]
    if isinstance(found, float):
        return float(f"{found:.5g}") if np.isfinite(found) else None
    return found


def _table(kinetics, name, found):
    lines = [
        f"{kinetics}, {name}: {found['series']} series, left out "
        f"{len(found['left_out'])}"
    ]
    for model in RIVALS:
        lines.append(
            f"  {model:12s} median log density {found['median_score'][model]:7.3f}, "
            f"median error {found['median_error'][model]:.3f}"
        )
    return "\n".join([*lines, _pairs(found["differences"])])


def _pairs(differences):
    return "\n".join(
        f"  {name:25s} {d['mean']:+.3f} ± "
        f"{'-' if d['error'] is None else format(d['error'], '.3f')} over "
        f"{d['groups']} groups, median {d['median']:+.3f}, larger in {d['wins']} of "
        f"{d['series']}"
        for name, d in differences.items()
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the comparison and prints it."""
    asked = parser().parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    result = short(run(asked.quick, lambda line: print(line, flush=True)))
    if asked.out:
        asked.out.write_text(json.dumps(result) + "\n")
    if asked.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
