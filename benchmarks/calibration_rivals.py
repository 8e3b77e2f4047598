"""Other ways to the same posteriors: numpyro's NUTS, and one site after another.

    python -m benchmarks.calibration_rivals MODEL FIRST COUNT QUICK

samples some sites by NUTS, four chains side by side, compiled once with the data as
arguments, and prints what it took: one of two processes, since numpyro leaves the
second core idle.
"""

import json
import subprocess
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.network import network
from jaxsoc.infer.diagnostics import ess_bulk, ess_tail
from jaxsoc.infer.metropolis import AdaptiveMetropolis
from jaxsoc.infer.nuts import NUTS
from jaxsoc.infer.posterior import Posterior
from jaxsoc.solve import Sites, map_sites

from .column_rivals import dense_system

LANES = 64
"""Sites that NUTS goes through at once, where it does."""


def least_effective(z: Any) -> float:
    """Smallest effective number of draws of all numbers, bulk or tail."""
    z = np.asarray(z)
    return float(min(ess_bulk(z).min(), ess_tail(z).min()))


def two_processes(model: str, sites: int, quick: bool) -> dict[str, float]:
    """Effective draws per second of numpyro's NUTS, half of the sites in each."""
    half = -(-sites // 2)
    parts = [(0, half), (half, sites - half)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.calibration_rivals", model]
            + [str(first), str(count), str(int(quick))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for first, count in parts
        if count
    ]
    lines = [one.communicate()[0].splitlines()[-1] for one in started]
    found = [json.loads(line) for line in lines]
    return {
        "effective": sum(one["effective"] for one in found),
        "seconds": max(one["seconds"] for one in found),
        "compile_seconds": max(one["compile_seconds"] for one in found),
    }


def _alone(model: str, first: int, count: int, quick: bool) -> dict[str, float]:
    """NUTS at some sites, one after the other."""
    from .calibration import site_data

    design, data = site_data(model, first + count)
    args = jax.tree.map(jnp.asarray, (data.inputs, data.measured))
    at = lambda i: jax.tree.map(lambda x: x[i], args)
    posterior, sampler = Posterior(design.site_model, *at(0)), NUTS()
    run = jax.jit(lambda key, site: posterior.sample(sampler, key, *site).z)
    begun = time.perf_counter()
    run = run.lower(data.key[0], at(0)).compile()
    compiled = time.perf_counter() - begun
    effective, begun = 0.0, time.perf_counter()
    for i in range(first, first + count):
        z = jax.block_until_ready(run(data.key[i], at(i)))
        effective += least_effective(z)
    spent = time.perf_counter() - begun
    return {"effective": effective, "seconds": spent, "compile_seconds": compiled}


def many_at_once(design: Any, data: Any) -> dict[str, float]:
    """NUTS under `vmap` over sites, on all cores."""
    few = data.at(np.arange(min(LANES, data.size)))
    first = jax.tree.map(lambda x: jnp.asarray(x[0]), (few.inputs, few.measured))
    posterior, sampler = Posterior(design.site_model, *first), NUTS()

    def one(site):
        inputs, measured, key = site
        return posterior.sample(sampler, key, inputs, measured).z

    block = -(-few.size // jax.device_count())
    sites = Sites.of((few.inputs, few.measured, few.key), block=block)
    run = jax.jit(lambda sites: map_sites(one, sites)).lower(sites).compile()
    begun = time.perf_counter()
    z = jax.block_until_ready(run(sites)).leading()
    spent = time.perf_counter() - begun
    effective = sum(map(least_effective, np.asarray(z)))
    return {"effective": effective, "seconds": spent}


def one_by_one(design: Any, data: Any, *, iterations: int) -> dict[str, float]:
    """Sound adaptive Metropolis, one chain at one site, each state by dense LU.

    The published arrangement, made honest: its 210,000 solves of a site's whole matrix
    are as many here, and its draws those of the posterior.
    """
    predict = design.predict

    class Dense(type(predict)):
        def column(self, values, site):
            rest = super().column(values, site)
            model, params = rest.model, rest.params
            names = model.pools._fields
            if set(network(model, params).pools) != set(names):
                return rest
            M, b = dense_system(model, params)
            found = jnp.linalg.solve(M, b).reshape(len(names), -1)
            return rest._replace(pools=model.pools(*found))

    dense = Dense(predict.model, predict.kinds, predict.width)
    model = type(design.site_model)(dense, design.site_model.priors)
    args = jax.tree.map(lambda x: jnp.asarray(x[0]), (data.inputs, data.measured))
    posterior = Posterior(model, *args)
    thin = 40
    sampler = AdaptiveMetropolis(
        warmup=iterations // 4, draws=3 * iterations // (4 * thin), thin=thin, chains=1
    )
    run = eqx.filter_jit(lambda key: posterior.sample(sampler, key, *args).z)
    run = run.lower(data.key[0]).compile()
    begun = time.perf_counter()
    z = jax.block_until_ready(run(data.key[0]))
    spent = time.perf_counter() - begun
    # One core only: the published scheme gives each its own sites.
    share = spent / jax.device_count()
    return {"effective": least_effective(z), "seconds": share}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    _model, *_numbers = sys.argv[1:]
    _first, _count, _quick = map(int, _numbers)
    print(json.dumps(_alone(_model, _first, _count, bool(_quick))))
