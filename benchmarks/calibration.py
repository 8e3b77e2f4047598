"""How fast posteriors of measured profiles are sampled, beside numpyro's NUTS.

Sites go until all constants have 400 effective draws, for the centre and the tails, and
the largest rank-normalised R-hat is below 1.03. The profiles are those of SoDaH where
`JAXSOC_DATA` names the published data, else made up of the models themselves.

    python -m benchmarks.calibration [--quick] [--json]
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsoc.experiments.calibration import Calibration, Calibrator, SiteData, pilot
from jaxsoc.experiments.convergence import Convergence, diagnosed
from jaxsoc.experiments.measured_sites import measured_sites
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.io import load_climatology, load_profiles
from jaxsoc.observe import screen
from jaxsoc.observe.profiles import Profiles
from jaxsoc.physics.site import idealised_site
from jaxsoc.physics.site_forcing import Choices, forcing_of, texture_of
from jaxsoc.solve import use_all_cores

from . import calibration_rivals as rivals
from .timing import surroundings

SITES, QUICK_SITES = 256, 32
RIVAL_SITES, QUICK_RIVAL_SITES = 8, 2
ITERATIONS, QUICK_ITERATIONS = 210_000, 40_000
MODELS, QUICK_MODELS = ("clm5", "compas"), ("clm5",)
PAPER = 72_377
"""Profiles that Tao et al. (2024) calibrate, each for two models."""
REPEATS = 5


def site_data(model: str, count: int, **options: Any) -> tuple[Calibration, SiteData]:
    """The first of some profiles in a fixed order, and what is asked of them."""
    design = Calibration(model=model, **options)
    named = os.environ.get("JAXSOC_DATA")
    profiles, sites = _measured(Path(named)) if named else _made_up()
    profiles, sites = (
        profiles[np.arange(count) % len(profiles)],
        jax.tree.map(lambda x: np.asarray(x)[np.arange(count) % len(profiles)], sites),
    )
    choices = Choices(texture=(45.0, 20.0))
    forcing, (_, clay) = forcing_of(sites, choices), texture_of(sites, choices)
    inputs, known = measured_sites(profiles, forcing, clay)
    names = [f"{name} {i}" for i, name in enumerate(profiles.name)]
    middles = 0.5 * (profiles.top + profiles.bottom)
    depths = profiles.by_profile(middles, width=known["carbon"].shape[1])
    return design, SiteData.of(design, names, inputs, known, depths)


def _measured(folder: Path) -> tuple[Profiles, Any]:
    loaded = load_profiles(folder / "sodah" / "layers.csv.gz").profiles
    kept = screen(
        loaded, measured_bulk_density=True, without=("urban", "peat", "wet")
    ).kept
    # In an order that has nothing to do with the place.
    kept = kept[np.random.default_rng(16).permutation(len(kept))]
    climate = load_climatology(folder / "global_grids")
    temperature, _ = kept.climate()
    return kept, climate.at(
        kept.latitude, kept.longitude, mean_annual_temperature=temperature
    )


def _made_up(count: int = SITES) -> tuple[Profiles, Any]:
    from tests.profile_cases import profiles_of

    rng = np.random.default_rng(16)
    depths = [np.cumsum(rng.uniform(0.1, 0.3, n)) for n in rng.integers(4, 9, count)]
    carbon = [3e4 * np.exp(-2.5 * d) * rng.lognormal(0.0, 0.3, d.size) for d in depths]
    sites = [idealised_site(float(x)) for x in rng.uniform(-50, 65, count)]
    return profiles_of(carbon, depths), jax.tree.map(lambda *x: np.stack(x), *sites)


def ours(design: Calibration, data: SiteData) -> dict[str, Any]:
    """Time to converged posteriors, and what they are."""
    met, calibrator = Convergence(), Calibrator(design, BatchHMC())
    few = data.at(np.arange(calibrator.chunk) % data.size)
    short = BatchHMC(steps=1, warmup=1)
    # One program serves all lengths: it is compiled once, before the pilot.
    first, second = (_seconds(lambda: calibrator(few, short)) for _ in range(2))
    begun = time.perf_counter()
    sampler, _ = pilot(calibrator, data)
    tuning = time.perf_counter() - begun
    begun = time.perf_counter()
    found = calibrator(data, sampler)
    spent = time.perf_counter() - begun
    of = diagnosed(found.draws)
    done, again = met.met(of), 0.0
    late = np.flatnonzero(~done)
    if late.size:
        longer = replace(
            sampler, warmup=sampler.warmup * met.again, thin=sampler.thin * met.again
        )
        calibrator(data.at(late[:1]), longer)
        begun = time.perf_counter()
        more = calibrator(data.at(late), longer)
        again = time.perf_counter() - begun
        of = jax.tree.map(lambda x, y: _with(x, late, y), of, diagnosed(more.draws))
    worst = of.rhat.max(axis=1)
    least = np.minimum(of.bulk, of.tail).min(axis=1)
    return {
        "steps": int(sampler.steps),
        "seconds": spent + again,
        "pilot_seconds": tuning,
        "compile_seconds": first - second,
        "effective": float(least.sum()),
        "share_converged": float(np.mean(met.met(of))),
        "share_converged_at_first": float(np.mean(done)),
        "share_rhat_below_1.01": float(np.mean(worst < 1.01)),
        "largest_rhat": float(worst.max()),
        # Of those that have converged in the end.
        "sites_per_hour": 3600.0 * float(np.sum(met.met(of))) / (spent + again),
    }


def _seconds(run):
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _with(x, places, y):
    x = x.copy()
    x[places] = y
    return x


def main() -> None:
    """Prints a table, or its last line as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    quick = parser.parse_args().quick
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    found: dict[str, Any] = {
        "profiles": "sodah" if os.environ.get("JAXSOC_DATA") else "made up"
    }
    hours = 0.0
    for model in QUICK_MODELS if quick else MODELS:
        design, data = site_data(model, QUICK_SITES if quick else SITES)
        mine = ours(design, data)
        found[f"sites_per_hour_{model}"] = mine.pop("sites_per_hour")
        hours += PAPER / found[f"sites_per_hour_{model}"]
        found |= {f"{name}_{model}": x for name, x in mine.items()}
        rate = mine["effective"] / mine["seconds"]
        count = QUICK_RIVAL_SITES if quick else RIVAL_SITES
        nuts = rivals.two_processes(model, count, quick)
        rates = {"two_processes": nuts["effective"] / nuts["seconds"]}
        if not quick:
            many = rivals.many_at_once(design, data)
            rates["vmap"] = many["effective"] / many["seconds"]
        found |= {f"nuts_{name}_per_second_{model}": x for name, x in rates.items()}
        ratio = rate / max(rates.values())
        found[f"min_ess_per_second_over_numpyro_nuts_{model}"] = ratio
        serial = rivals.one_by_one(
            design, data, iterations=QUICK_ITERATIONS if quick else ITERATIONS
        )
        found[f"min_ess_per_second_over_serial_adaptive_metropolis_dense_{model}"] = (
            rate / (serial["effective"] / serial["seconds"])
        )
        print(f"{model}: {json.dumps(mine)}", flush=True)
    if not quick:
        found["projected_hours_paper"] = hours
    found |= surroundings()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
