"""What each clever part of the micro-scale runs gives: the same run without it.

Every part is taken out by itself; both programs take turns, and the ratio of their
times says what the part is worth (above one: faster with it).

    python -m benchmarks.ablation [--quick] [--json]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import jax
import numpy as np

from jaxsoc.models import two_pool
from jaxsoc.solve import blocks, reductions, use_all_cores

from .cases import STIFF, cast, soils
from .climit import Steps
from .ours import prepare, prepare_gradient
from .timing import surroundings

KEPT = 1.05
"""A part that gives less than this ratio everywhere does not earn its place."""


def _equal_blocks(cells: int, target: int, devices: int) -> blocks.Layout:
    """Blocks of just the size wanted, whatever is left to do twice."""
    count = cells // (target * devices)
    if not count:
        return blocks.Layout(devices, 0, 0, cells)
    return blocks.Layout(devices, count, target, cells - count * target * devices)


class _OneBranch(blocks._Packing):
    """All values of a save time in one vector."""

    @property
    def branches(self) -> list[list[int]]:
        return [list(range(len(jax.tree.leaves(self.shapes))))]


def _plain(over: Callable, cells: Any) -> Any:
    return over(cells.reshape(-1))


PARTS: dict[str, tuple[Any, str, Any]] = {
    "computed_once": (two_pool, "computed_once", lambda x: x),
    "reductions by lanes": (reductions, "_reduce", _plain),
    "packing by branch": (blocks, "_Packing", _OneBranch),
    "layout by weights": (blocks, "layout", _equal_blocks),
}


@contextmanager
def without(part: str | None) -> Iterator[None]:
    """A context in which programs are made without a part."""
    jax.clear_caches()
    if part is None:
        yield
        return
    module, name, plain = PARTS[part]
    with mock.patch.object(module, name, plain):
        yield


def seconds(side: Callable[[], Any]) -> float:
    """Of one run, the mean of as many as take a twentieth of a second."""
    side()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.05:
        side()
        count += 1
    return (time.perf_counter() - start) / count


def run(quick: bool, say: Callable = print) -> dict[str, Any]:
    """Ratio of every part in every case: median and quartiles over the turns."""
    turns = 5 if quick else 21
    made, times = soils(100)
    kinds = {
        "forward": (prepare, "float64"),
        "forward f32": (prepare, "float32"),
        "gradient": (prepare_gradient, "float64"),
    }
    found: dict[str, dict[str, Any]] = {}
    for name in ("multiplicative_full",) if quick else tuple(made):
        steps = Steps(courant=0.5) if name in STIFF else Steps(4)
        for kind, (make, width) in kinds.items():
            if kind == "gradient" and (name in STIFF or quick):
                continue
            soil = cast(made[name], width)
            programs = {}
            for part in (None, *PARTS):
                with without(part):
                    programs[part] = make(soil, times, steps)
                    programs[part]()
            spent: dict[Any, list[float]] = {part: [] for part in programs}
            for _ in range(turns):
                for part, program in programs.items():
                    spent[part].append(seconds(program))
            base = np.array(spent.pop(None))
            for part, taken in spent.items():
                ratios = np.array(taken) / base
                low, median, high = np.percentile(ratios, [25, 50, 75])
                case = {"ratio": median, "quartiles": [low, high]}
                found.setdefault(part, {})[f"{name}, {kind}"] = case
                say(f"{name}, {kind}: {median:.2f} [{low:.2f}, {high:.2f}] by {part}")
    earns = {
        part: any(case["ratio"] >= KEPT for case in cases.values())
        for part, cases in found.items()
    }
    return {"parts": found, "earns_its_place": earns, "surroundings": surroundings()}


def main(arguments: list[str] | None = None) -> None:
    """Runs the ablation and prints it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation")
    parser.add_argument("--quick", action="store_true", help="one case, fewer turns")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    result = run(asked.quick, lambda line: print(line, flush=True))
    if asked.json:
        print(json.dumps(result, default=float))


if __name__ == "__main__":
    main()
