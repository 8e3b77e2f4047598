"""How fast the micro-scale runs are, beside plain C, LSODA and diffrax.

Scenario 2 of Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020: 200 days, positive
fields from the published recipe, seed 0; daily moments on every side, and on every side
the loosest setting with an error of at most 1e-5 of peak respiration.

    python -m benchmarks.microscale [--quick] [--json]
"""

import argparse
import json
from typing import Any

import jax

from jaxsoc.solve import use_all_cores

from .cases import CORRELATION, SEED, STIFF, soils
from .climit import FASTEST, CLimit, compiler
from .measure import ACCURACY, Bench, Settings, measure
from .timing import surroundings

QUICK = Settings(repeats=5, batches=(500,), stiff_batch=256)
SIDES = {True: (100,), False: (100, 800)}
LEAST = (
    "speedup_over_lsoda_per_cell",
    "speedup_over_odeint_per_cell",
    "speedup_over_diffrax_vmap",
    "fraction_of_c_limit",
    "fraction_of_c_limit_f32",
)
MOST = ("gradient_over_forward",)
WIDE = ("error", "error_c", "error_lsoda", "error_diffrax", "error_odeint")
NARROW = ("error_f32", "error_c_f32")


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.microscale",
        description="Times the micro-scale runs beside C, LSODA and diffrax.",
    )
    made.add_argument("--quick", action="store_true", help="10 000 cells, < 50 s")
    made.add_argument("--json", action="store_true", help="end with one line of JSON")
    return made


def run(quick: bool, say=print) -> dict[str, Any]:
    """Measures every case and returns what the last line holds."""
    settings = QUICK if quick else Settings()
    cases: dict[str, dict[str, Any]] = {}
    with CLimit() as limit:
        known = limit if compiler() else None
        if known is None:
            say("no C compiler: the limit is not measured")
        for side in SIDES[quick]:
            made, times = soils(side)
            for name, soil in made.items():
                bench = Bench(soil, times, name in STIFF, known, settings)
                cases[f"{name}_{side * side}"] = measure(bench)
                say(_line(name, cases[f"{name}_{side * side}"]))
                jax.clear_caches()
    return summary(cases) | {
        "quick": quick,
        "repeats": settings.repeats,
        "method": "Steps",
        "fields": f"recipe of scenario 2, {CORRELATION}, seed {SEED}",
        "scaled": "LSODA from 200 random cells, diffrax from diffrax_cells of them",
        "surroundings": surroundings(),
        "cases": cases,
    }


def summary(cases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Worst ratio over the cases, those with stiff cells under their own keys."""
    is_stiff = lambda name: name.rsplit("_", 1)[0] in STIFF
    found: dict[str, Any] = {}
    for prefix, stiff in (("", False), ("mm_full_", True)):
        chosen = [case for name, case in cases.items() if is_stiff(name) == stiff]
        for keys, worst in ((LEAST, min), (MOST, max)):
            found |= {prefix + key: _worst(worst, chosen, (key,)) for key in keys}
        for end, keys in (("", WIDE), ("_f32", NARROW)):
            off = _worst(max, chosen, keys)
            found[f"{prefix}largest_error{end}"] = off
            found[f"{prefix}accuracy_met{end}"] = off is not None and off <= ACCURACY
        found[f"{prefix}c_cell_steps_per_s"] = _worst(
            min, chosen, ("cell_steps_per_s_c",)
        )
    speed = found["c_cell_steps_per_s"]
    found["c_limit_is_one"] = None if speed is None else speed >= FASTEST
    return found


def _worst(worst, cases, keys):
    """None if any case could not be measured for lack of something."""
    values = [case[key] for case in cases for key in keys if key in case]
    if not values or any(value is None for value in values):
        return None
    return worst(values)


def _line(name, case):
    show = lambda key, form: "-" if case.get(key) is None else format(case[key], form)
    return "\n".join(
        (
            f"{name}, {case['cells']} cells, steps: {case['steps']}, "
            f"error {show('error', '.1e')}, f32 {show('error_f32', '.1e')}",
            f"  jaxsoc {show('seconds', '.4f')} s, f32 {show('seconds_f32', '.4f')} s; "
            f"C {show('seconds_c', '.4f')} s, f32 {show('seconds_c_f32', '.4f')} s: "
            f"{show('fraction_of_c_limit', '.2f')} and "
            f"{show('fraction_of_c_limit_f32', '.2f')} of the limit "
            f"({show('cell_steps_per_s_c', '.2g')} cell-steps/s), moments differ by "
            f"{show('moments_minus_c', '.1e')}",
            f"  LSODA x{show('speedup_over_lsoda_per_cell', '.0f')} at rtol "
            f"{show('lsoda_rtol', '.0e')}, by odeint "
            f"x{show('speedup_over_odeint_per_cell', '.0f')}; diffrax vmap "
            f"x{show('speedup_over_diffrax_vmap', '.1f')} at rtol "
            f"{show('diffrax_rtol', '.0e')}; gradient "
            f"x{show('gradient_over_forward', '.1f')} of forward",
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark and prints it."""
    asked = parser().parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    result = run(asked.quick, lambda line: print(line, flush=True))
    if result["c_limit_is_one"] is False:
        print(
            f"the C code makes {result['c_cell_steps_per_s']:.2g} cell-steps/s here, "
            f"less than {FASTEST:.0e}: its limit is not one on this machine"
        )
    if asked.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
