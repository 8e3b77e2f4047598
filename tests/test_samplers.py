"""Samplers against posteriors that are known, and against each other."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC
from scipy.stats import norm
from slow_cases import slow_but

from jaxsoc.infer import diagnostics
from jaxsoc.infer.approximations import Laplace, Pathfinder
from jaxsoc.infer.chains import starts
from jaxsoc.infer.hmc import BatchHMC, window_ends
from jaxsoc.infer.kernel import Kernel
from jaxsoc.infer.metropolis import AdaptiveMetropolis
from jaxsoc.infer.nuts import NUTS
from jaxsoc.infer.posterior import Posterior
from jaxsoc.infer.published import (
    PublishedMetropolis,
    published_chain,
    published_gelman_rubin,
)

pytestmark = pytest.mark.optimised

SIZE = 5
EXACT = {
    "hmc": BatchHMC(steps=8, warmup=300, draws=500),
    "nuts": NUTS(warmup=300, draws=500),
    "metropolis": AdaptiveMetropolis(warmup=4000, draws=500, thin=40),
}


def normal_posterior():
    """A normal density with sizes from 0.01 to 10 and correlations."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(SIZE, SIZE))
    size = np.logspace(-2, 1, SIZE)
    covariance = (A @ A.T / SIZE + 0.3 * np.eye(SIZE)) * np.outer(size, size)
    mean = rng.normal(size=SIZE) * size
    precision = np.linalg.inv(covariance)
    return mean, covariance, lambda z: -0.5 * (z - mean) @ precision @ (z - mean)


def drawn(sampler, log_density, size=SIZE, seed=0):
    first, second = jax.random.split(jax.random.PRNGKey(seed))

    def run(first, second):
        start = starts(log_density, first, sampler.chains, size)
        return sampler(log_density, start, second)

    return jax.device_get(jax.jit(run)(first, second))


def agree(off, error, level=0.01):
    """Within what chance allows, over all comparisons."""
    bound = norm.isf(level / (2 * np.size(off)))
    assert np.max(np.abs(off) / error) < bound


@pytest.mark.parametrize("name", slow_but(["hmc"], EXACT))
def test_exact_samplers_draw_from_a_normal_posterior(name):
    mean, covariance, log_density = normal_posterior()
    found = drawn(EXACT[name], log_density)
    assert np.max(diagnostics.rank_rhat(found.z)) < 1.03
    assert np.min(diagnostics.ess_bulk(found.z)) > 400
    agree(found.z.mean((0, 1)) - mean, diagnostics.mcse_mean(found.z))
    deviation = np.sqrt(np.diag(covariance))
    off = found.z.std((0, 1), ddof=1) - deviation
    agree(off, diagnostics.mcse_deviation(found.z))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_draws_hold_the_density_of_where_they_are(name):
    _, _, log_density = normal_posterior()
    sampler = replace(EXACT[name], draws=20, warmup=50)
    found = drawn(sampler, log_density)
    value = jax.vmap(jax.vmap(log_density))(jnp.asarray(found.z))
    np.testing.assert_allclose(found.log_density, value, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [Pathfinder(), Laplace()], ids=["path", "laplace"])
def test_normal_approximations_are_exact_for_normal_posteriors(sampler):
    mean, covariance, log_density = normal_posterior()
    found = drawn(sampler, log_density)
    flat = found.z.reshape(-1, SIZE)
    deviation = np.sqrt(np.diag(covariance))
    agree(flat.mean(0) - mean, deviation / np.sqrt(len(flat)))
    np.testing.assert_allclose(flat.std(0), deviation, rtol=0.2)


@pytest.mark.slow
def test_hmc_finds_a_bounded_posterior_and_its_wall():
    """An exponential law on its own line, and a wall that proposals meet."""

    def log_density(z):
        x = z[0]
        return jnp.where(x > 0, -x + jnp.log(jnp.maximum(x, 1e-300)), -jnp.inf)

    found = drawn(BatchHMC(steps=8, draws=1000), log_density, size=1)
    # A gamma law of shape 2: mean and variance 2.
    agree(found.z.mean((0, 1)) - 2.0, diagnostics.mcse_mean(found.z))
    off = found.z.std((0, 1), ddof=1) - np.sqrt(2.0)
    agree(off, diagnostics.mcse_deviation(found.z))
    assert (found.z > 0).all() and np.isfinite(found.log_density).all()


@pytest.mark.slow
def test_a_start_without_density_is_left():
    log_density = lambda z: jnp.where(z[0] > 1.0, -jnp.sum(z**2), jnp.nan)
    sampler = BatchHMC(steps=4, warmup=100, draws=50)
    start = jnp.full((4, 2), 3.0).at[0].set(-3.0)
    found = sampler(log_density, start, jax.random.PRNGKey(0))
    assert np.isfinite(np.asarray(found.log_density)[1:]).all()
    near = jnp.full((4, 2), 3.0).at[0, 0].set(0.9)
    found = sampler(log_density, near, jax.random.PRNGKey(0))
    assert np.isfinite(np.asarray(found.log_density)).all()


@pytest.mark.slow
def test_posteriors_sampled_together_are_those_sampled_alone():
    shifts = jnp.linspace(-1.0, 1.0, 8)
    sampler = BatchHMC(steps=4, warmup=60, draws=30)

    def one(shift, key):
        return sampler(
            lambda z: -jnp.sum((z - shift) ** 2), jnp.zeros((4, 3)) + shift, key
        ).z

    keys = jax.random.split(jax.random.PRNGKey(3), 8)
    many = jax.jit(jax.vmap(one, in_axes=-1, out_axes=-1))
    together = many(shifts, keys.T)
    last = jnp.full(8, shifts[5]), jnp.repeat(keys[5:6], 8, axis=0).T
    alone = many(*last)
    np.testing.assert_array_equal(together[..., 5], alone[..., 0])


@pytest.mark.parametrize("warmup", [20, 100, 400, 1000])
def test_windows_end_before_the_step_is_learnt(warmup):
    ends = np.asarray(window_ends(warmup))
    ends = ends[ends >= 0]
    assert (np.diff(ends) > 0).all() and ends[-1] < warmup
    assert ends[-1] == warmup - int(0.1 * warmup) - 1


def regression(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    base = numpyro.sample("base", dist.Normal(0.0, 2.0))
    with numpyro.plate("points", len(x)):
        numpyro.sample("y", dist.Normal(base + slope * x, 0.5), obs=y)


def regression_data():
    x = jnp.linspace(-1.0, 2.0, 9)
    y = 0.5 - 1.2 * x + 0.5 * jax.random.normal(jax.random.PRNGKey(5), (9,))
    A = np.stack([np.asarray(x), np.ones(9)], axis=1)
    precision = A.T @ A / 0.25 + np.eye(2) / 4.0
    covariance = np.linalg.inv(precision)
    return x, y, covariance @ (A.T @ np.asarray(y)) / 0.25, covariance


@pytest.mark.parametrize("vectorized", slow_but([True], [True, False]))
@pytest.mark.parametrize("name", slow_but(["hmc"], ["hmc", "metropolis"]))
def test_kernels_run_under_numpyro(name, vectorized):
    x, y, mean, covariance = regression_data()
    kernel = Kernel(regression, EXACT[name])
    method = "vectorized" if vectorized else "sequential"
    mcmc = MCMC(
        kernel,
        num_warmup=1000,
        num_samples=1000,
        num_chains=4 if vectorized else 1,
        chain_method=method,
        progress_bar=False,
    )
    mcmc.run(jax.random.PRNGKey(0), x, y)
    draws = mcmc.get_samples(group_by_chain=True)
    z = np.stack([draws["slope"], draws["base"]], axis=-1)
    agree(z.mean((0, 1)) - mean, diagnostics.mcse_mean(z))
    off = z.std((0, 1), ddof=1) - np.sqrt(np.diag(covariance))
    agree(off, diagnostics.mcse_deviation(z))


def test_the_posterior_of_a_numpyro_model_is_that_of_its_formula():
    x, y, mean, covariance = regression_data()
    posterior = Posterior(regression, x, y)
    assert posterior.names == ("slope", "base") and posterior.size == 2
    z = jnp.array([0.3, -0.2])
    off = np.asarray(z) - mean
    known = -0.5 * off @ np.linalg.solve(covariance, off)
    at_mean = posterior(jnp.asarray(mean), x, y)
    np.testing.assert_allclose(posterior(z, x, y) - at_mean, known, rtol=1e-10)


@pytest.mark.parametrize(
    "model, said",
    [
        (lambda x: numpyro.sample("a", dist.Normal()), "observes nothing"),
        (lambda x: numpyro.sample("a", dist.Normal(), obs=x), "no latent site"),
        (lambda x: numpyro.sample("k", dist.Poisson(3.0)), "discrete"),
    ],
)
def test_models_that_cannot_be_sampled_are_refused(model, said):
    with pytest.raises(ValueError, match=said):
        Posterior(model, jnp.zeros(()))


def cube_cost(u):
    return 50.0 * jnp.sum((u - 0.4) ** 2)


@pytest.mark.slow
def test_the_published_chain_without_annealing_has_the_spread_of_its_cost():
    scheme = PublishedMetropolis(
        trial=4000, formal=20_000, renewed_after=1000, annealed=False
    )
    chain = published_chain(scheme, cube_cost, jnp.full(3, 0.5), jax.random.PRNGKey(0))
    states = np.asarray(chain.states)[5000:]
    # A normal law of variance 0.01, well inside the cube.
    np.testing.assert_allclose(states.mean(0), 0.4, atol=0.02)
    np.testing.assert_allclose(states.std(0), 0.1, rtol=0.15)
    assert len(chain.kept()) == chain.accepted.sum() - chain.accepted.sum() // 2


@pytest.mark.slow
def test_annealing_narrows_what_it_leaves():
    chains = {}
    for annealed in (False, True):
        scheme = PublishedMetropolis(
            trial=4000, formal=20_000, renewed_after=1000, annealed=annealed
        )
        chains[annealed] = scheme(cube_cost, jnp.full(3, 0.5), jax.random.PRNGKey(1))
    spread = {a: np.asarray(c.states)[5000:].std() for a, c in chains.items()}
    # ln n is about 10 towards the end.
    assert spread[True] < 0.5 * spread[False]


def test_published_gelman_rubin_is_one_for_chains_alike(rng):
    chains = [rng.normal(size=(2000, 2)) for _ in range(3)]
    np.testing.assert_allclose(published_gelman_rubin(chains), 1.0, atol=0.01)
    chains[0] = chains[0] + 2.0
    assert (published_gelman_rubin(chains) > 1.3).all()
