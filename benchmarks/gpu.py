"""What an accelerator makes of it: ceilings, launches, runs, ensembles, columns.

Every section says its lines as they come, and one that fails does not stop the rest.
Without a card it says so; `--dry-run` tries every section on the processor, tiny.

    python -m benchmarks.gpu [--quick] [--json] [--dry-run]
"""

import argparse
import contextlib
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.models import CLM5, COMPAS
from jaxsoc.solve import (
    Sites,
    Steps,
    assume,
    devices,
    integrate,
    map_members,
    map_sites,
)
from jaxsoc.upscale import moments

from .cases import STIFF, cast, sample, soils
from .columns import case, profile
from .rivals import prepare_diffrax
from .timing import medians, surroundings

RESULTS = Path(__file__).with_name("results")
SOURCE = Path(__file__).with_name("rk4.cu")
GRAPHS = "--xla_gpu_enable_command_buffer=+WHILE --xla_gpu_graph_min_graph_size=1"
PRODA, PAPER = 5.4e9, 1.5e10
"""Column solves of PRODA's calibration, and of the paper's."""
NO_CARD = "no accelerator: JAX finds only processors here, and nothing was measured"


class Sizes(NamedTuple):
    """How much to do."""

    side: int = 100
    members: tuple[int, ...] = (1, 1000)
    days: int = 200
    unrolls: tuple[int, ...] = (8, 2, 16)
    sites: tuple[int, ...] = (4_096, 65_536, 524_288)
    passes: int = 10_000
    copied: int = 2**28
    diffrax: tuple[int, ...] = (10_000, 1_000_000)
    repeats: int = 7
    widths: tuple[str, ...] = ("float32", "float64")
    cases: tuple[str, ...] = ("multiplicative_full", "mm_biophysical", "mm_full")
    columns: tuple[type, ...] = (CLM5, COMPAS)


QUICK = Sizes(members=(1, 64), sites=(65_536,), repeats=3)
DRY = Sizes(
    side=10,
    members=(1, 2),
    days=2,
    unrolls=(2, 4),
    sites=(4,),
    passes=10,
    copied=2**10,
    diffrax=(4,),
    repeats=1,
    widths=("float32",),
    cases=("mm_biophysical",),
    columns=(CLM5,),
)


class Bench(NamedTuple):
    """What every section is given."""

    sizes: Sizes
    dry: bool
    say: Callable[[str], None]


class Program(NamedTuple):
    """A compiled program with its arguments, and what it cost."""

    run: Callable[[], Any]
    seconds_to_compile: float
    temporaries: float


def compiled(function: Callable, *arguments: Any) -> Program:
    """A function compiled for arguments that lie where they are wanted."""
    arguments = jax.block_until_ready(jax.device_put(arguments))
    start = time.perf_counter()
    made = jax.jit(function).lower(*arguments).compile()
    spent = time.perf_counter() - start
    memory = made.memory_analysis()
    held = float("nan") if memory is None else memory.temp_size_in_bytes / 1e9
    return Program(lambda: jax.block_until_ready(made(*arguments)), spent, held)


def seconds(program: Program, bench: Bench) -> float:
    """Median time of a run."""
    return medians({"it": program.run}, bench.sizes.repeats)["it"]


def ceilings(bench: Bench) -> dict[str, Any]:
    """1. The card, its clocks, its memory, and the same step in CUDA C."""
    found: dict[str, Any] = {"card": jax.devices()[0].device_kind} | surroundings()
    if tool := shutil.which("nvidia-smi"):
        asked = "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit"
        found["nvidia_smi"] = subprocess.run(
            [tool, asked, "--format=csv,noheader"], capture_output=True, text=True
        ).stdout.strip()
    numbers = jnp.zeros(bench.sizes.copied, jnp.float32)
    copy = compiled(lambda x: x + 1, numbers)
    found["copy_TB_per_s"] = 2 * numbers.nbytes / seconds(copy, bench) / 1e12
    bench.say(f"copy: {found['copy_TB_per_s']:.2f} TB/s")
    for width in bench.sizes.widths:
        for fast in (False, True):
            name = f"cuda_c_{width}" + ("_fast" if fast else "")
            found[name] = _cuda_c(width, fast, bench.dry)
            bench.say(f"{name}: {_rate(found[name])} cell-steps/s")
    return found


def _cuda_c(width: str, fast: bool, dry: bool) -> float | None:
    """Cell-steps per second of rk4.cu, without moments; None without nvcc or card."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        built = str(Path(folder) / "rk4.so")
        card = "-arch=sm_90" if dry else "-arch=native"
        flags = ["-O3", card, "-shared", "-Xcompiler", "-fPIC"]
        flags += ["-DF32"] * (width == "float32") + ["-use_fast_math"] * fast
        subprocess.run([compiler, *flags, str(SOURCE), "-o", built], check=True)
        if dry:
            return None
        run = ctypes.CDLL(built).run
        run.restype = ctypes.c_double
        cells, steps = 10_000_000, 1_200
        spent = run(ctypes.c_long(cells), ctypes.c_long(steps))
    if spent <= 0:
        raise RuntimeError(f"rk4.cu ended with {spent}")
    return cells * steps / spent


def launches(bench: Bench) -> dict[str, Any]:
    """2. What a pass of a loop costs: of known length and not, with graphs and not."""
    found = _loops(bench)
    if not bench.dry:
        flags = os.environ.get("XLA_FLAGS", "") + " " + GRAPHS
        # Loops become graphs by a flag that must be set before JAX starts.
        printed = subprocess.run(
            [sys.executable, "-m", "benchmarks.gpu", "--loops"],
            env=os.environ | {"XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        again = json.loads(printed.splitlines()[-1])
        found |= {f"{name}_graphs": spent for name, spent in again.items()}
    for name, spent in found.items():
        bench.say(f"{name}: {spent:.2f} µs a pass")
    return found


def _loops(bench: Bench) -> dict[str, float]:
    """Microseconds of a pass."""
    passes, found = bench.sizes.passes, {}
    for name, cells in (("empty", 1), ("cells", 10_000)):
        x = jnp.zeros(cells, jnp.float32)
        body = lambda _, x: 0.5 * x + jnp.roll(x, 1)
        known = compiled(lambda x, body=body: lax.fori_loop(0, passes, body, x), x)
        unknown = compiled(
            lambda x, n, body=body: lax.fori_loop(0, n, body, x), x, passes
        )
        for kind, program in (("known", known), ("unknown", unknown)):
            found[f"{name}_{kind}"] = 1e6 * seconds(program, bench) / passes
    return found


def correctness(bench: Bench) -> dict[str, Any]:
    """3. `pytest -m gpu`: the numbers of the processor."""
    if bench.dry:
        return {"pytest": "not asked for in a dry run"}
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu"]
    ended = subprocess.run(
        [*command, str(root / "tests" / "test_gpu.py")],
        env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "0"},
        capture_output=True,
        text=True,
        cwd=root,
    )
    lines = ended.stdout.strip().splitlines() or [ended.stderr[-200:]]
    bench.say(f"pytest -m gpu: {lines[-1]}")
    return {"pytest": lines[-1], "passed": ended.returncode == 0}


def runs(bench: Bench) -> dict[str, Any]:
    """4. Daily moments of 1e4 cells, of many members at once; gradients."""
    sizes, found = bench.sizes, {}
    made, times = soils(sizes.side)
    times = times[: sizes.days + 1]
    for name in sizes.cases:
        truth = _program(made[name], name, times, 1, dry=bench.dry).run()
        for width, members in product(sizes.widths, sizes.members):
            # How many steps to unroll is settled on one case.
            settled = (name, width) == ("mm_biophysical", "float32")
            for unroll in sizes.unrolls if settled else sizes.unrolls[:1]:
                key = f"{name} {width} x{members} unroll {unroll}"
                with _said(bench, key), _unrolled(unroll):
                    given = made[name], name, times, width, members
                    found[key] = _one_run(bench, *given, truth)
                    if name not in STIFF and unroll == sizes.unrolls[0]:
                        spent = found[key]["milliseconds"] / 1e3
                        found[key] |= _gradient(bench, *given, spent)
                    bench.say(f"{key}: {_line(found[key])}")
    return found


def _one_run(bench, soil, name, times, width, members, truth):
    soil = cast(soil, width)
    program = _program(soil, name, times, members, dry=bench.dry)
    spent = seconds(program, bench)
    values, steps = program.run()
    respiration = np.asarray(values.flux.respiration, float)[0]
    exact = np.asarray(truth[0].flux.respiration, float)[0]
    cells = soil.state.substrate.size * members
    found = {
        "milliseconds": 1e3 * spent,
        "seconds_to_compile": program.seconds_to_compile,
        "temporaries_GB": program.temporaries,
        "cell_days_per_s": cells * (len(times) - 1) / spent,
        "error": float(np.max(np.abs(respiration - exact)) / np.max(exact)),
    }
    if name not in STIFF:
        found["cell_steps_per_s"] = 6 * found["cell_days_per_s"]
    return found


def _gradient(bench, soil, name, times, width, members, forward):
    soil = cast(soil, width)
    back = _program(soil, name, times, members, gradient=True, dry=bench.dry)
    return {
        "gradient_over_forward": seconds(back, bench) / forward,
        "gradient_seconds_to_compile": back.seconds_to_compile,
        "gradient_temporaries_GB": back.temporaries,
    }


def _program(soil, name, times, members, *, gradient=False, dry=False):
    """Members that differ in their substrate, at six steps a day or counted ones."""
    counted = name in STIFF
    method = Steps(courant=0.5, devices=1) if counted else Steps(4.0, devices=1)
    save = moments.of(soil.model.fluxes)

    def one(substrate, params):
        state = soil.state._replace(substrate=substrate)
        solved = integrate(
            soil.model, state, params, times, save=save, method=method, throw=False
        )
        return jnp.max(solved.values.flux.respiration), (solved.values, solved.steps)

    single = jax.grad(one, has_aux=True) if gradient else one
    factors = np.linspace(1.0, 1.1, members)[:, None]
    start = jnp.asarray(factors * np.asarray(soil.state.substrate)[None])
    start = start.astype(soil.state.substrate.dtype)
    with assume("cuda") if dry else contextlib.nullcontext():
        return compiled(
            lambda start, params: map_members(
                lambda substrate: single(substrate, params), start, devices=1
            )[1],
            start,
            soil.params,
        )


def diffrax(bench: Bench) -> dict[str, Any]:
    """5. `vmap` of diffrax's Tsit5 at a tolerance that gives 1e-5 of the peak."""
    made, times = soils(bench.sizes.side)
    soil, times = made["mm_biophysical"], times[: bench.sizes.days + 1]
    found = {}
    for cells in bench.sizes.diffrax:
        repeat = -(-cells // soil.state.substrate.size)
        widen = lambda x, n=repeat: jnp.tile(x, n) if jnp.ndim(x) else x
        state, params = jax.tree.map(widen, (soil.state, soil.params))
        many = cast(sample(soil._replace(state=state, params=params), cells), "float32")
        run = prepare_diffrax(many, np.asarray(times, np.float32), False)
        program = Program(lambda run=run: run(np.float32(1e-4)), 0.0, 0.0)
        program.run()
        theirs = seconds(program, bench)
        ours = seconds(_program(many, "mm_biophysical", times, 1, dry=bench.dry), bench)
        found[f"{cells}"] = {"seconds": theirs, "ours": ours, "ratio": theirs / ours}
        bench.say(f"diffrax, {cells} cells: {theirs:.3g} s, {theirs / ours:.1f} times")
    return found


def columns(bench: Bench) -> dict[str, Any]:
    """6. Columns at rest and their gradients: layers written out, or in loops."""
    found = {}
    for model, count in product(bench.sizes.columns, bench.sizes.sites):
        one = lambda v, f, model=model: profile(model, v, f)
        slope = jax.value_and_grad(lambda v, f, one=one: jnp.sum(one(v, f)))
        given = case(model, count)
        ways = [("written out", "forward", one)]
        if count == 65_536:
            ways += [("loops", "forward", one), ("loops", "gradient", slope)]
            ways += [("written out", "gradient", slope)]
        if bench.dry:
            # A processor's compiler takes minutes for layers that are written out.
            ways = [("loops", "forward", one)]
        for layers, what, function in ways:
            key = f"{model.__name__} {count} {layers} {what}"
            with _said(bench, key):
                platform = "cpu" if layers == "loops" else "cuda"
                spent = _columns_seconds(bench, function, given, platform)
                found[key] = {
                    "columns_per_s": count / spent,
                    "minutes_of_PRODA": PRODA / count * spent / 60,
                    "minutes_of_the_paper": PAPER / count * spent / 60,
                }
                bench.say(f"{key}: {_rate(count / spent)} columns/s")
    return found


def _columns_seconds(bench, function, given, written):
    """Sites lie in as few blocks for both, so that only the layers differ."""
    block = min(65_536, given.vectors.shape[0])
    sites = [Sites.of(x, block=block) for x in (given.vectors, given.forcing)]
    with assume(written):
        program = compiled(lambda *s: map_sites(function, *s, devices=1), *sites)
    return seconds(program, bench)


@contextlib.contextmanager
def _unrolled(steps: int) -> Iterator[None]:
    """Steps that a pass of the loop holds on an accelerator."""
    saved, devices.UNROLL = devices.UNROLL, steps
    jax.clear_caches()  # no program knows how many steps the last one held
    try:
        yield
    finally:
        devices.UNROLL = saved


@contextlib.contextmanager
def _said(bench: Bench, key: str) -> Iterator[None]:
    """Says what went wrong, in a line, and goes on: a card may lack the memory."""
    try:
        yield
    except Exception as wrong:
        bench.say(f"{key}: failed, {_first_line(wrong)}")
        if bench.dry:
            raise


def _first_line(wrong: Exception) -> str:
    return f"{type(wrong).__name__}: {(str(wrong).splitlines() or [''])[0][:200]}"


def _rate(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2e}"


def _line(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


SECTIONS = (ceilings, launches, correctness, runs, diffrax, columns)


def run(bench: Bench) -> dict[str, Any]:
    """Every section, by name; one that fails leaves a sentence in its place."""
    found: dict[str, Any] = {"sizes": str(bench.sizes), "dry_run": bench.dry}
    for section in SECTIONS:
        bench.say(f"-- {section.__doc__}")
        start = time.perf_counter()
        try:
            found[section.__name__] = section(bench)
        except Exception as wrong:
            found[section.__name__] = {"failed": _first_line(wrong)}
            bench.say(f"failed: {_first_line(wrong)}")
        bench.say(f"({time.perf_counter() - start:.0f} s)")
    return found


def table(found: dict[str, Any]) -> list[str]:
    """The runs in a few lines: time, speed, share of CUDA C, gradient."""
    lines = [f"{'case':44} {'ms':>9} {'steps/s':>9} {'of CUDA C':>9} {'gradient':>9}"]
    limits = found.get("ceilings", {})
    for name, one in found.get("runs", {}).items():
        if not isinstance(one, dict):
            continue
        limit = limits.get(f"cuda_c_{name.split()[1]}")
        speed = one.get("cell_steps_per_s")
        share = speed / limit if speed and limit else None
        cells = [one["milliseconds"], speed, share, one.get("gradient_over_forward")]
        shown = ["-" if x is None else format(x, ".3g") for x in cells]
        lines.append(f"{name:44} " + " ".join(f"{x:>9}" for x in shown))
    return lines


def kept(found: dict[str, Any]) -> Path:
    """Writes all numbers where the device's owner looks for them, and beside us."""
    card = re.sub(r"\W+", "-", jax.devices()[0].device_kind).strip("-").lower()
    folders = [RESULTS, *filter(None, [os.environ.get("OUT")])]
    for folder in map(Path, folders):
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"gpu_{card}.json").write_text(json.dumps(found, indent=1) + "\n")
    return RESULTS / f"gpu_{card}.json"


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark and prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Times runs, ensembles and columns on an accelerator.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument(
        "--dry-run", action="store_true", help="every section, tiny, on any machine"
    )
    parser.add_argument("--loops", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    dry = asked.dry_run or bool(os.environ.get("JAXSOC_GPU_DRY"))
    say = lambda line: print(line, flush=True)
    bench = Bench(DRY if dry else QUICK if asked.quick else Sizes(), dry, say)
    if asked.loops:
        say(json.dumps(_loops(bench)))
        return
    if jax.default_backend() == "cpu" and not dry:
        say(NO_CARD)
        found: dict[str, Any] = {"skipped": NO_CARD}
    else:
        found = run(bench)
        for line in table(found):
            say(line)
        if not dry:
            say(f"all numbers: {kept(found)}")
    if asked.json:
        say(json.dumps(found))


if __name__ == "__main__":
    main()
