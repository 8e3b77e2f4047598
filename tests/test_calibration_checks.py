"""Simulation-based calibration finds what is wrong, and nothing where nothing is."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2, norm

from jaxsoc.infer.calibration_checks import (
    Ranks,
    simulated,
    simulation_based_calibration,
)
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.posterior import Posterior
from jaxsoc.infer.predictive import predictive_check

pytestmark = pytest.mark.optimised

SAMPLER = BatchHMC(steps=4, warmup=150, draws=200, chains=2)


def model(y, times=1.0):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    # A barrier, which is part of the prior: no means below -1.
    barred = jnp.where(mean > -1.0, 0.0, -jnp.inf)
    numpyro.factor("bar", barred)
    numpyro.sample(
        "y", dist.Normal(mean * jnp.ones(5), times * scale).to_event(1), obs=y
    )


def ranks(**how):
    return simulation_based_calibration(
        model,
        (jnp.zeros(5),),
        lambda args, data: (data["y"],),
        SAMPLER,
        jax.random.PRNGKey(3),
        quantities=lambda values, args: {"largest": values["mean"] + values["scale"]},
        run=lambda one, *batch: jax.vmap(one)(*batch),
        **how,
    )


@pytest.mark.slow
def test_ranks_of_a_sound_sampler_are_even_and_of_spoilt_data_are_not():
    found = ranks(replicates=500)
    assert set(found.ranks) == {"mean", "scale", "log_likelihood", "largest"}
    assert found.failed() == [] and np.median(found.rhat) < 1.05
    wider = partial(model, times=2.0)
    assert "scale" in ranks(replicates=500, source=wider).failed()


def test_sites_that_are_drawn_afterwards_are_ranked_too():
    def source(y):
        model(y)
        numpyro.sample("late", dist.Normal(0.0, 1.0))

    late = lambda key, values, y: {"late": jax.random.normal(key) + 0.0 * y[0]}
    few = {"replicates": 40, "source": source}
    found = ranks(afterwards=late, **few).ranks["late"]
    assert found.shape == (40,) and 30 < found.mean() < 70 and 15 < found.std() < 40
    with pytest.raises(ValueError, match="late: latent in only one"):
        ranks(**few)


def test_truths_are_those_that_the_barrier_lets_by():
    made = simulated(model, jax.random.PRNGKey(0), (jnp.zeros(5),), 300)
    mean = made.truth["mean"]
    assert mean.shape == (300,) and (mean > -1.0).all()
    # Of a normal law 84 % lie above -1.
    np.testing.assert_allclose(made.tried, 1 / 0.841, rtol=0.1)
    off = (made.data["y"] - mean[:, None]) / made.truth["scale"][:, None]
    np.testing.assert_allclose(off.std(), 1.0, rtol=0.1)


def test_a_factor_that_is_no_chance_is_refused():
    def wrong(y):
        numpyro.factor("more", jnp.asarray(1.0))
        model(y)

    with pytest.raises(ValueError, match="above 0"):
        simulated(wrong, jax.random.PRNGKey(0), (jnp.zeros(5),), 3)


def test_even_ranks_pass_and_uneven_ones_do_not(rng):
    even = Ranks({"a": np.arange(1000) % 100}, 99, np.ones(1000))
    assert even.p_values()["a"] == 1.0 and even.failed() == []
    uneven = Ranks({"a": rng.integers(0, 60, 1000)}, 99, np.ones(1000))
    assert uneven.failed() == ["a"]
    with pytest.raises(ValueError, match="evenly"):
        Ranks({"a": np.arange(9)}, 98, np.ones(9)).p_values()
    with pytest.raises(ValueError, match="cannot give"):
        ranks(replicates=3, draws=1000)


def test_predictive_checks_find_data_that_scatter_too_much():
    posterior = Posterior(model, jnp.zeros(5))
    key, y = jax.random.PRNGKey(1), jnp.asarray([-0.5, 0.7, 1.6, 0.2, 9.0])
    draws = {"mean": jnp.full(400, 0.5), "scale": jnp.full(400, 1.0)}
    found = predictive_check(posterior, draws, key, y)
    assert found.replicates["y"].shape == (400, 5)
    assert found.p_value["y"] == 0.0 and found.below["y"][4] == 1.0
    even = norm.cdf(np.asarray(y)[:4], 0.5, 1.0)
    assert (abs(found.below["y"][:4] - even) < 0.1).all()
    # Of a χ² of five numbers, about as many are larger as smaller than the median.
    typical = 0.5 + np.sqrt(chi2.median(5) / 5) * np.array([1.0, -1, 1, -1, 1])
    found = predictive_check(posterior, draws, key, jnp.asarray(typical))
    assert abs(found.p_value["y"] - 0.5) < 0.1
