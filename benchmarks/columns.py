"""How fast soil columns come to rest and change, beside LAPACK, stepping and SciPy.

Sites differ in warmth, thaw and bedrock; their parameters are drawn from the bounded
priors. Every side goes from the 21 (23) numbers and the forcing to the profile of soil
carbon, in float64, on all cores; the forcing lies ready in each side's own layout.

    python -m benchmarks.columns [--quick] [--json]
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxsoc import steady_state
from jaxsoc.columns import feasibility
from jaxsoc.columns.seasons import periodic_state, step_year
from jaxsoc.experiments.places import columns_at_sites
from jaxsoc.io import columns_dataset, forcings_from_dataset
from jaxsoc.models import CLM5, COMPAS
from jaxsoc.physics.forcing import LITTER, Forcing, idealised
from jaxsoc.physics.parameters import declarations, from_unit, from_vector, to_vector
from jaxsoc.solve import Sites, map_sites, use_all_cores

from .column_rivals import batched_lapack, numpy_lapack
from .column_runs import runs
from .timing import medians, surroundings

SEED = 20241
SITES, QUICK_SITES = 4096, 1024
REPEATS, QUICK_REPEATS = 7, 5
PERIODIC_SITES, QUICK_PERIODIC_SITES = 32, 8
YEARS, QUICK_YEARS, CENTURY = 5000, 100, 100
"""Years stepped at most. A bare column is far from rest even then, so that the speedup
is what stepping would have cost at least."""
RUN_SITES, QUICK_RUN_SITES = 1024, 256
RUN_YEARS, QUICK_RUN_YEARS = 100, 10
THOUSAND = 1000
# Of a forcing that a file holds, by month and perhaps layer.
_WRITTEN = {
    **dict.fromkeys(("water", "oxygen", "nitrogen"), (("layer", "month"), "1")),
    "temperature": (("layer", "month"), "K"),
    "active_layer": (("month",), "m"),
    "bedrock": (("month",), "1"),
    "litter": (("litter_pool", "month"), "g m-2 month-1"),
}
BARE = 1.0
"""Carbon of every pool in a bare column, gC m⁻³."""
DRIFT = 1e-6
"""Largest change of a pool's column stock over a year, relative, at which it rests."""


class Case(NamedTuple):
    """Sites of one model: numbers (site, param) and forcing leading by site."""

    model: type
    vectors: jax.Array
    forcing: Forcing


def forcings(count: int) -> Forcing:
    """Sites that differ in warmth, thaw and bedrock, leading by site."""
    rng = np.random.default_rng(SEED)
    repeat = lambda x: jnp.repeat(jnp.asarray(x)[None], count, axis=0)
    base = jax.tree.map(repeat, idealised())
    months = np.ones(12)
    return eqx.tree_at(
        lambda f: (f.temperature, f.active_layer, f.bedrock),
        base,
        (
            base.temperature + rng.normal(0.0, 4.0, (count, 1, 1)),
            jnp.asarray(rng.choice([0.0, 1.0, 3.5], count)[:, None] * months),
            jnp.asarray(rng.choice([8.0, 12.0, 20.0], count)[:, None] * months),
        ),
    )


def case(model: type, count: int) -> Case:
    """Draws from the bounded priors, one for each site."""
    rng = np.random.default_rng(SEED + 1)
    numbers = model.parameters
    unit = jnp.asarray(rng.uniform(size=(count, len(declarations(numbers)))))
    vectors = jax.vmap(lambda u: to_vector(from_unit(numbers, u)))(unit)
    return Case(model, vectors, forcings(count))


def profile(model: type, vector: Any, forcing: Forcing) -> jax.Array:
    """Soil organic carbon by layer of one site, gC m⁻³."""
    made = model(forcing)
    pools = steady_state(made, from_vector(model.parameters, vector))
    return made.organic_carbon(pools)


class Compiled(NamedTuple):
    """A program, its arguments on the devices, and how long it took to compile."""

    run: Callable
    arguments: tuple[Any, ...]
    seconds: float

    def __call__(self) -> Any:
        """Runs it to its end."""
        return jax.block_until_ready(self.run(*self.arguments))


def compiled(function: Callable, *arguments: Any) -> Compiled:
    """A jitted function, compiled now."""
    arguments = jax.block_until_ready(jax.tree.map(jnp.asarray, arguments))
    start = time.perf_counter()
    run = jax.jit(function).lower(*arguments).compile()
    return Compiled(run, arguments, time.perf_counter() - start)


def _laid_out(cases: Case) -> tuple[Sites, Sites]:
    """Numbers and forcing as they lie ready on all devices."""
    return Sites.of(cases.vectors).shared(), Sites.of(cases.forcing).shared()


def ours(cases: Case) -> tuple[Compiled, Compiled]:
    """Profiles, and gradients of a misfit to them by all numbers, of all sites."""
    one = lambda v, f: profile(cases.model, v, f)
    vectors, forcing = _laid_out(cases)
    forward = compiled(lambda v, f: map_sites(one, v, f), vectors, forcing)
    observed = eqx.tree_at(lambda s: s.blocks, forward(), forward().blocks * 1.1)

    def misfit(vector, forcing, seen):
        return jnp.mean((one(vector, forcing) / seen - 1) ** 2)

    slope = jax.value_and_grad(misfit)
    gradient = compiled(
        lambda v, f, s: map_sites(slope, v, f, s), vectors, forcing, observed
    )
    return forward, gradient


def steady(count: int, repeats: int, say: Callable) -> dict[str, Any]:
    """Everything about annual-mean steady states."""
    clm5, compas = case(CLM5, count), case(COMPAS, count)
    (forward, gradient), (other, other_gradient) = ours(clm5), ours(compas)
    mine = {
        "clm5": forward,
        "clm5_gradient": gradient,
        "compas": other,
        "compas_gradient": other_gradient,
    }
    rivals = {
        "jax_lapack": batched_lapack(clm5),
        "numpy_lapack": numpy_lapack(clm5, 1),
        "numpy_lapack_threads": numpy_lapack(clm5, len(jax.devices())),
    }
    profiles = np.asarray(forward().leading())
    off = {name: _agreement(profiles, side()) for name, side in rivals.items()}
    seconds = medians(mine, repeats, warm=True)
    # The forward run again beside its rivals: a slow moment meets them all.
    beside = medians(rivals | {"clm5": forward}, repeats, warm=True)
    rival = min(rivals, key=lambda name: beside[name])
    by_site = {name: 1e6 * s / count for name, s in (beside | seconds).items()}
    for name, cost in by_site.items():
        say(f"{name}: {cost:.2f} µs a site")
    over = {name: beside[name] / beside["clm5"] for name in rivals}
    return {
        "clm5_speedup_over_dense_lu": over[rival],
        "dense_lu": rival,
        "clm5_microseconds_per_site": by_site["clm5"],
        "compas_over_clm5": seconds["compas"] / seconds["clm5"],
        "clm5_gradient_over_forward": seconds["clm5_gradient"] / seconds["clm5"],
        "compas_gradient_over_forward": seconds["compas_gradient"] / seconds["compas"],
        "compile_forward_seconds": max(forward.seconds, other.seconds),
        "compile_gradient_seconds": max(gradient.seconds, other_gradient.seconds),
        "sites": count,
        "microseconds_per_site": by_site,
        "speedups": over,
        "difference_of_stocks": off,
    }


def _agreement(mine: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Differences of stocks to 2.3 m, relative, by site."""
    column = idealised().column
    weights = column.share_above((0.3, 1.0, 2.0))
    a, b = mine @ weights.T, np.asarray(other) @ weights.T
    off = np.max(np.abs(a / b - 1), axis=1)
    return {"median": float(np.median(off)), "largest": float(np.max(off))}


def periodic(count: int, years: int, repeats: int, say: Callable) -> dict[str, Any]:
    """COMPAS through the seasons: solved for, and stepped from a bare column."""
    made = _feasible(case(COMPAS, 8 * count), count)
    rebuilt = lambda v, f: (COMPAS(f), from_vector(COMPAS.parameters, v))
    solve = lambda v, f: periodic_state(*rebuilt(v, f)).start
    later = lambda v, f, x: step_year(*rebuilt(v, f), x)[0]
    drift = lambda v, f, x: _drift(x, later(v, f, x), f.column)
    vectors, forcing = _laid_out(made)
    solved = compiled(lambda v, f: map_sites(solve, v, f), vectors, forcing)
    found = solved()
    bare = jax.tree.map(lambda leaf: jnp.full_like(leaf, BARE), found)

    def stepped(v, f, x):
        year = lambda _, x: map_sites(later, v, f, x)
        return jax.lax.fori_loop(0, CENTURY, year, x)

    century = compiled(stepped, vectors, forcing, bare)
    moved = compiled(lambda v, f, x: map_sites(drift, v, f, x), vectors, forcing, bare)
    drifts = lambda x: np.asarray(moved.run(vectors, forcing, x).leading())
    start, done, x = time.perf_counter(), 0, bare
    while done < years:
        x = jax.block_until_ready(century.run(vectors, forcing, x))
        done += CENTURY
        if done % (5 * CENTURY) == 0 and np.max(drifts(x)) <= DRIFT:
            break
    stepping = time.perf_counter() - start
    seconds = medians({"periodic": solved}, repeats)["periodic"]
    say(
        f"periodic: {1e3 * seconds / count:.2f} ms a site; stepping: "
        f"{1e3 * stepping / count:.1f} ms a site for {done} years, after which "
        f"{np.mean(drifts(x) <= DRIFT):.0%} of the sites are at rest"
    )
    return {
        "compas_periodic_speedup_over_stepping": stepping / seconds,
        "compas_periodic_drift": float(np.max(drifts(found))),
        "stepping_years": done,
        "stepping_drift_largest": float(np.max(drifts(x))),
        "stepping_share_at_rest": float(np.mean(drifts(x) <= DRIFT)),
        "periodic_sites": count,
        "periodic_milliseconds_per_site": 1e3 * seconds / count,
        "compile_periodic_seconds": solved.seconds,
    }


def files(repeats: int, say: Callable) -> dict[str, Any]:
    """From a dataset of a thousand sites to their steady states and back to one."""
    forcing = forcings(THOUSAND)
    given = xr.Dataset(
        {
            name: (("site", *dims), np.asarray(getattr(forcing, name)), {"units": unit})
            for name, (dims, unit) in _WRITTEN.items()
        },
        {
            "depth": ("layer", idealised().column.nodes, {"units": "m"}),
            "litter_pool": list(LITTER),
        },
    )

    def whole():
        made, places = forcings_from_dataset(given)
        results = columns_at_sites(CLM5(made))
        return columns_dataset({"clm5": results}, places)

    seconds = medians({"files": whole}, repeats)["files"]
    say(f"a dataset of {THOUSAND} sites to one of their states: {seconds:.2f} s")
    return {"thousand_sites_from_dataset_seconds": seconds}


def _drift(before: Any, after: Any, column: Any) -> jax.Array:
    """Largest relative change of a pool's column stock over a year, at one site."""
    stock = lambda pool: jnp.sum(pool * column.thickness)
    pairs = zip(before, after, strict=True)
    changes = [jnp.abs(stock(b) - stock(a)) / stock(a) for a, b in pairs]
    return jnp.max(jnp.stack(changes))


def _feasible(made: Case, count: int) -> Case:
    """The first sites that have a steady state."""
    far = lambda v, f: feasibility(COMPAS(f), from_vector(COMPAS.parameters, v))
    least = lambda v, f: jnp.min(jnp.stack(far(v, f)))
    thawed = np.asarray(made.forcing.active_layer)[:, 0] > 0
    found = np.asarray(jax.jit(jax.vmap(least))(made.vectors, made.forcing)) > 0
    chosen = np.flatnonzero(found & thawed)[:count]
    pick = lambda leaf: leaf[chosen]
    return Case(made.model, made.vectors[chosen], jax.tree.map(pick, made.forcing))


def run(quick: bool, say: Callable = print) -> dict[str, Any]:
    """Measures everything and returns what the last line holds."""
    count, repeats = (QUICK_SITES, QUICK_REPEATS) if quick else (SITES, REPEATS)
    found = steady(count, repeats, say)
    sites, years = (
        (QUICK_PERIODIC_SITES, QUICK_YEARS) if quick else (PERIODIC_SITES, YEARS)
    )
    found |= periodic(sites, years, repeats, say)
    sites, years = (
        (QUICK_RUN_SITES, QUICK_RUN_YEARS) if quick else (RUN_SITES, RUN_YEARS)
    )
    found |= runs(case(CLM5, sites), repeats, years, compiled, say)
    found |= files(repeats, say)
    return (
        found
        | {"quick": quick, "repeats": repeats, "seed": SEED}
        | {"surroundings": surroundings()}
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs the benchmark and prints it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.columns",
        description="Times steady states and runs of soil columns beside SciPy.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer sites, < 90 s")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    asked = parser.parse_args(arguments)
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    result = run(asked.quick, lambda line: print(line, flush=True))
    if asked.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
