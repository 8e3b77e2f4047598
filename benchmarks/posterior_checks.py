"""Whether posteriors of columns are right, found by simulation.

    python -m benchmarks.posterior_checks calibration|recovery|samplers MODEL
        [--replicates N] [--fault F] [--json]

`calibration`: truths of the barred prior, data of them, and even ranks of the truths
among the draws (Talts et al., 2018); a fault multiplies the error of the data and must
be found. `recovery`: sites of different climates, intervals that must cover as often as
they say, and r² of posterior means and truths beside the contraction. `samplers`: exact
ones beside each other at three real profiles, and how far the others are from them.
"""

import argparse
import itertools
import json
import time
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom, norm

from jaxsoc.experiments.calibration import Calibration, Calibrator, SiteData
from jaxsoc.experiments.convergence import diagnosed
from jaxsoc.experiments.measured_sites import SiteInputs
from jaxsoc.experiments.published import published_site
from jaxsoc.infer.approximations import Laplace, Pathfinder
from jaxsoc.infer.calibration_checks import simulation_based_calibration
from jaxsoc.infer.diagnostics import (
    ess_bulk,
    ess_tail,
    mcse_deviation,
    mcse_mean,
    rank_rhat,
)
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.metropolis import AdaptiveMetropolis
from jaxsoc.infer.nuts import NUTS
from jaxsoc.infer.site import ERROR, Measured
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.profiles import stock
from jaxsoc.physics.site import idealised_site
from jaxsoc.physics.site_forcing import Choices, forcing_of
from jaxsoc.solve import Sites, map_sites, use_all_cores

from .calibration import site_data
from .timing import surroundings

# Made when they are used: numbers of theirs are arrays, and devices are chosen first.
SAMPLERS = {
    "clm5": partial(BatchHMC, steps=32, warmup=500, draws=500, chains=4),
    # Where soil carbon hangs on how close it is to none, steps are short.
    "compas": partial(BatchHMC, steps=48, warmup=500, draws=1000, chains=4),
    "mimics": partial(BatchHMC, steps=32, warmup=500, draws=500, chains=4),
}
REPLICATES, SITES = 1000, 200
BLOCK = 16
# Draws of the prior of a site, of which one that is not barred is the truth.
_TRIES = 256
_RESAMPLED = 400
_TOP = 0.3


def whole_column(column: SoilColumn, forcing: Forcing, clay: Any) -> SiteInputs:
    """A site of which every layer is measured."""
    layers = column.layers
    thickness = jnp.asarray(np.diff(np.concatenate([[0.0], column.interfaces])))
    mass = jnp.full(layers, 1200.0)
    return SiteInputs(forcing, jnp.asarray(clay), jnp.eye(layers), thickness, mass)


def derived(design: Calibration):
    """Stock, and its share above 0.3 m or half-saturation over substrate."""

    def of(values, args):
        rest = design.predict.column(values, args[0])
        column = rest.model.forcing.column
        soil = rest.model.organic_carbon(rest.pools)
        whole = rest.model.in_column(soil)
        ends = np.array([min(_TOP, float(column.interfaces[-1]))])
        if design.model != "compas":
            above = stock(soil, column, ends)[0]
            return {"stock": whole, "share_above": above / whole}
        held = stock(rest.pools.msoc, column, ends)[0] / ends[0]
        over = rest.params.half_saturation_decomposition / held
        return {"stock": whole, "half_saturation_over_substrate": over}

    return of


class _Wider(Measured):
    """Measurements whose error is some times what it is said to be."""

    times: float = eqx.field(static=True, default=1.0)

    def distribution(self, predicted, error):
        return super().distribution(predicted, self.times * error)


def calibration(
    model: str,
    replicates: int = REPLICATES,
    fault: float = 1.0,
    column: SoilColumn = CLM5_COLUMN,
    sampler: BatchHMC | None = None,
) -> dict[str, Any]:
    """Simulation-based calibration of a column of which every layer is measured."""
    design = Calibration(model=model)
    site = whole_column(column, idealised(column=column), 20.0)
    measured = {"carbon": Measured(jnp.ones(column.layers))}
    args = jax.tree.map(jnp.asarray, (site, measured))

    def with_data(args, data):
        return args[0], {"carbon": Measured(data["carbon"])}

    # Of its truths, error scales are ranked as well.
    sampled = design.site_model.sampled()

    def source(site, measured):
        wider = {kind: _Wider(x.values, times=fault) for kind, x in measured.items()}
        sampled(site, wider)

    def run(one, *batch):
        sites = Sites.of(batch, block=min(BLOCK, replicates))
        return map_sites(lambda at: one(*at), sites).leading()

    begun = time.perf_counter()
    found = simulation_based_calibration(
        design.site_model,
        args,
        with_data,
        sampler or SAMPLERS[model](),
        jax.random.PRNGKey(16),
        replicates=replicates,
        quantities=derived(design),
        run=run,
        source=source,
        afterwards=design.site_model.errors,
    )
    values = found.p_values()
    return {
        "replicates": replicates,
        "layers": column.layers,
        "error_times": fault,
        "failed": found.failed(),
        "least_p_times_quantities": min(values.values()) * len(values),
        "p_values": values,
        "share_rhat_below_1.03": float(np.mean(found.rhat < 1.03)),
        "largest_rhat": float(found.rhat.max()),
        "seconds": time.perf_counter() - begun,
    }


def recovery(model: str, sites: int = SITES, sampler: BatchHMC | None = None):
    """Whether intervals of synthetic sites cover, and r² beside the contraction."""
    design = Calibration(model=model)
    rng = np.random.default_rng(17)
    places = [idealised_site(float(x)) for x in rng.uniform(-50, 65, sites)]
    forcing = forcing_of(jax.tree.map(lambda *x: np.stack(x), *places), Choices())
    column, clay = CLM5_COLUMN, np.full(sites, 20.0)
    each = [
        whole_column(column, jax.tree.map(lambda x, i=i: x[i], forcing), clay[i])
        for i in range(sites)
    ]
    inputs = jax.tree.map(lambda *x: np.stack(x), *each)
    keys = jax.random.split(jax.random.PRNGKey(18), sites)
    begun = time.perf_counter()
    truth, values, moments = jax.device_get(
        jax.jit(lambda *batch: jax.lax.map(lambda x: _truth(design, *x), batch))(
            jax.tree.map(jnp.asarray, inputs), keys
        )
    )
    # Where none of the draws was kept there is no truth.
    if barred := np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist():
        raise ValueError(f"sites {barred}: all {_TRIES} draws of the prior are barred")
    names = [f"site {i}" for i in range(sites)]
    data = SiteData.of(design, names, inputs, {"carbon": values}, np.ones(values.shape))
    found = Calibrator(design, sampler or SAMPLERS[model](), block=BLOCK)(data)
    of = diagnosed(found.draws)
    constants = list(found.draws)
    draws = {n: x.reshape(sites, -1) for n, x in found.draws.items()}
    inside, gap, error, r2s, contractions = {}, {}, {}, {}, {}
    for place, name in enumerate(constants):
        low, high = np.quantile(draws[name], [0.05, 0.95], axis=1)
        inside[name] = float(np.mean((truth[name] > low) & (truth[name] < high)))
        first, second = moments[name]
        variance = second.mean() - first.mean() ** 2
        mean, posterior = of.mean[:, place], of.deviation[:, place] ** 2

        def both(at, name=name, mean=mean, posterior=posterior, variance=variance):
            r2 = np.corrcoef(mean[at], truth[name][at])[0, 1] ** 2
            return r2, 1 - posterior[at].mean() / variance

        r2, contraction = both(np.arange(sites))
        again = [both(rng.integers(0, sites, sites)) for _ in range(_RESAMPLED)]
        error[name] = float(np.std([a - b for a, b in again]))
        gap[name], r2s[name] = float(r2 - contraction), float(r2)
        contractions[name] = float(contraction)
    band = lambda n, level: [
        float(x) / n for x in binom.ppf([level / 2, 1 - level / 2], n, 0.9)
    ]
    pooled = float(np.mean(list(inside.values())))
    return {
        "sites": sites,
        "coverage_pooled": pooled,
        "band_pooled_99": band(sites * len(constants), 0.01),
        "coverage": inside,
        "band_bonferroni": band(sites, 0.01 / len(constants)),
        "r2": r2s,
        "contraction": contractions,
        "gap_over_error_largest": max(abs(gap[n]) / error[n] for n in constants),
        "gap_over_error": {n: gap[n] / error[n] for n in constants},
        "share_rhat_below_1.03": float(np.mean(of.rhat.max(axis=1) < 1.03)),
        "largest_rhat": float(of.rhat.max()),
        "seconds": time.perf_counter() - begun,
    }


def _truth(design, site, key):
    """A truth of the barred prior at a site, data of it, and that prior's moments."""
    first, second, third = jax.random.split(key, 3)
    priors = design.site_model.priors

    def tried(key):
        keys = dict(zip(priors, jax.random.split(key, len(priors)), strict=True))
        values = {name: law.sample(keys[name]) for name, law in priors.items()}
        seen, penalty = design.predict(values, site)
        return values, seen["carbon"], penalty

    values, carbon, penalty = jax.lax.map(tried, jax.random.split(first, _TRIES))
    kept = jnp.log(jax.random.uniform(second, (_TRIES,))) < -penalty
    one = jnp.argmax(kept)
    carbon = jnp.where(jnp.any(kept), carbon, jnp.nan)
    truth = {name: x[one] for name, x in values.items()}
    weight = kept.astype(float)
    share = weight / jnp.sum(weight)
    moments = {
        name: (jnp.sum(share * x), jnp.sum(share * x**2)) for name, x in values.items()
    }
    error = ERROR.sample(third)
    truth["carbon_error"] = error
    moments["carbon_error"] = ERROR.mean, ERROR.variance + ERROR.mean**2
    deviate = jax.random.normal(jax.random.fold_in(third, 1), carbon[one].shape)
    return truth, carbon[one] * jnp.exp(error * deviate), moments


EXACT = {
    "hmc": partial(BatchHMC, steps=16, warmup=1000, draws=1000, thin=2),
    "nuts": partial(NUTS, warmup=1000, draws=1000),
    "metropolis": partial(AdaptiveMetropolis, warmup=60_000, draws=1000, thin=300),
}
OTHERS = {"pathfinder": Pathfinder, "laplace": Laplace}


def samplers(model: str, sites: int = 3) -> dict[str, Any]:
    """Exact samplers beside each other at real profiles; errors of the others."""
    design, data = site_data(model, sites)
    found, seconds = {}, {}
    for name, made in (EXACT | OTHERS).items():
        begun = time.perf_counter()
        drawn = Calibrator(design, made(), block=-(-sites // 2))(data).draws
        found[name] = np.stack([np.moveaxis(x, 0, -1) for x in drawn.values()], -1)
        seconds[name] = time.perf_counter() - begun
    exact = {name: _moments(found[name]) for name in EXACT}
    gaps = []
    for one, other in itertools.combinations(EXACT, 2):
        for (a, error_a), (b, error_b) in zip(exact[one], exact[other], strict=True):
            gaps.append(np.abs(a - b) / np.hypot(error_a, error_b))
    gaps = np.stack(gaps)
    (mean, _), (deviation, _) = exact["hmc"]
    effective = lambda x: float(min(ess_bulk(x).min(), ess_tail(x).min()))
    result = {
        "sites": sites,
        "comparisons": int(gaps.size),
        "largest_gap_over_error": float(gaps.max()),
        "bonferroni_bound": float(norm.isf(0.01 / (2 * gaps.size))),
        "least_effective": {name: effective(found[name]) for name in EXACT},
        "largest_rhat": {name: float(rank_rhat(found[name]).max()) for name in EXACT},
        "seconds": seconds,
    }
    for name in OTHERS:
        own, spread = found[name].mean((0, 1)), found[name].std((0, 1), ddof=1)
        result[name] = {
            "mean_off_in_deviations_median": float(
                np.median(np.abs(own - mean) / deviation)
            ),
            "mean_off_in_deviations_largest": float(
                np.max(np.abs(own - mean) / deviation)
            ),
            "deviation_ratio_median": float(np.median(spread / deviation)),
        }
    return result | {"published": _annealed(model, sites)}


def _moments(draws):
    """Means and deviations with their errors, by site and constant."""
    return (
        (draws.mean((0, 1)), mcse_mean(draws)),
        (draws.std((0, 1), ddof=1), mcse_deviation(draws)),
    )


def _annealed(model, sites):
    """Deviations of the published chains over those of the posterior they stand for."""
    law = "published-error" if model == "clm5" else "published-nse"
    design, data = site_data(model, sites, law=law)
    drawn = Calibrator(design, EXACT["hmc"](), block=-(-sites // 2))(data).draws
    ratios, kept = [], 0
    for place in range(sites):
        site = published_site(design, data, place)
        if site is None:
            continue
        kept += site.kept
        ratios += [s / np.std(drawn[n][place]) for n, s in site.deviation.items()]
    median = float(np.median(ratios)) if ratios else float("nan")
    return {"deviation_ratio_median": median, "sites_kept": int(kept)}


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["calibration", "recovery", "samplers"])
    parser.add_argument("model", choices=["clm5", "compas", "mimics"])
    parser.add_argument("--replicates", type=int)
    parser.add_argument("--fault", type=float, default=1.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    if asked.what == "calibration":
        count = asked.replicates or REPLICATES
        found = calibration(asked.model, count, asked.fault)
    elif asked.what == "recovery":
        found = recovery(asked.model, asked.replicates or SITES)
    else:
        found = samplers(asked.model)
    print(json.dumps({"model": asked.model} | found | surroundings()))


if __name__ == "__main__":
    main()
