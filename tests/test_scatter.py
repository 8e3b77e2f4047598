"""An unknown error scale, integrated out: closed forms against quadrature and draws."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.scipy.special import logsumexp
from scipy.stats import invgamma, kstest

from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.posterior import Posterior
from jaxsoc.infer.predictive import predictive_check
from jaxsoc.infer.scatter import ErrorScale, Scattered
from jaxsoc.infer.site import ERROR, Measured, SiteModel

LOGS = np.linspace(-12.0, 20.0, 60_001)
EVERY = jnp.asarray(np.exp(LOGS))


def over_all(log_density):
    """Logarithm of the integral of a density of s, by quadrature on the logarithm."""
    return logsumexp(log_density + LOGS) + np.log(LOGS[1] - LOGS[0])


@pytest.mark.parametrize("a, b", [(2.0, 0.15), (0.8, 3.0), (5.0, 1e-3)])
def test_the_prior_is_one_and_has_its_moments(a, b):
    law = ErrorScale(a, b)
    density = law.log_prob(EVERY)
    np.testing.assert_allclose(over_all(density), 0.0, atol=1e-9)
    mean = float(jnp.exp(over_all(density + jnp.log(EVERY))))
    if a < 1:
        assert law.variance == np.inf
    else:
        np.testing.assert_allclose(law.mean, mean, rtol=1e-7)
        second = jnp.exp(over_all(density + 2 * jnp.log(EVERY)))
        np.testing.assert_allclose(law.variance, second - mean**2, rtol=1e-3)
    drawn = law.sample(jax.random.PRNGKey(0), (2000,))
    assert kstest(np.asarray(drawn) ** 2, invgamma(a, scale=b).cdf).pvalue > 1e-3


def test_the_prior_of_layers_is_as_wide_as_it_says():
    ends = np.sqrt(invgamma(2.0, scale=0.15).ppf([0.05, 0.5, 0.95]))
    np.testing.assert_allclose(ends, [0.18, 0.30, 0.65], atol=0.006)
    assert (ERROR.concentration, ERROR.rate) == (2.0, 0.15)


@pytest.mark.parametrize("law", ["log-normal", "normal"])
def test_measurements_over_all_scales_are_those_of_quadrature(law):
    y = jnp.array([1.0, 2.5, jnp.nan, 0.7])
    seen = Measured(y, law=law)
    predicted = jnp.array([1.2, 2.0, 1.0, 1.1])
    known = jnp.isfinite(y)
    filled = jnp.where(known, y, 1.0)
    found = seen.scattered(predicted, ERROR).log_prob(filled)
    ones = jnp.ones(4)
    of = lambda s: seen.distribution(predicted, s * ones).log_prob(filled)
    each = jax.vmap(of)(EVERY)
    total = jnp.sum(jnp.where(known[None], each, 0.0), axis=1) + ERROR.log_prob(EVERY)
    np.testing.assert_allclose(found, over_all(total), rtol=1e-9)


def test_draws_of_measurements_have_ranks_that_are_even():
    known = jnp.array([True, True, True, False])
    law = Scattered(jnp.zeros(4), jnp.ones(4), ERROR, known, logarithmic=False)
    y = law.sample(jax.random.PRNGKey(1), (2000,))
    # Each alone is Student's t of 2a degrees, whatever the others.
    t = dist.StudentT(4.0, 0.0, np.sqrt(0.075))
    assert kstest(np.asarray(t.cdf(y[:, 0])), "uniform").pvalue > 1e-3
    # With one scale for all, squares go together.
    assert np.corrcoef(np.log(y[:, 0] ** 2), np.log(y[:, 1] ** 2))[0, 1] > 0.1


@pytest.mark.optimised
def test_integrated_out_or_sampled_the_posterior_is_the_same():
    y = jnp.array([0.9, 1.4, 1.1, jnp.nan])
    predict = lambda values, site: ({"y": values["a"] * jnp.ones(4)}, jnp.zeros(()))
    model = SiteModel(predict, {"a": dist.Uniform(0.1, 5.0)})
    seen = {"y": Measured(y)}

    def plain(site, measured):
        a = numpyro.sample("a", dist.Uniform(0.1, 5.0))
        s = numpyro.sample("y_error", ERROR)
        numpyro.sample("y", dist.LogNormal(jnp.log(a) * jnp.ones(3), s), obs=y[:3])

    sampler, key = BatchHMC(steps=6, warmup=500, draws=4000), jax.random.PRNGKey(2)
    found = {}
    for name, one in {"out": model, "in": plain}.items():
        posterior = Posterior(one, None, seen)
        chains = posterior.sample(sampler, key, None, seen)
        flat = chains.z.reshape(-1, posterior.size)
        found[name] = jax.vmap(lambda z, p=posterior: p.latent(z, None, seen))(flat)
    assert set(found["out"]) == {"a"}
    keys = jax.random.split(key, len(flat))
    errors = jax.vmap(lambda k, v: model.errors(k, v, None, seen))(keys, found["out"])
    found["out"] |= errors
    for name in ("a", "y_error"):
        at = [0.1, 0.25, 0.5, 0.75, 0.9]
        ours, theirs = (np.quantile(np.log(found[k][name]), at) for k in found)
        np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_replicates_have_the_error_scale_of_their_draw():
    predict = lambda values, site: ({"y": values["a"] * jnp.ones(4)}, jnp.zeros(()))
    model = SiteModel(predict, {"a": dist.Uniform(0.1, 5.0)})
    seen = {"y": Measured(jnp.array([0.99, 1.01, 1.0, 1.5]))}
    draws = {"a": jnp.ones(500), "y_error": jnp.full(500, 0.01)}
    whole = Posterior(model.sampled(), None, seen)
    found = predictive_check(whole, draws, jax.random.PRNGKey(0), None, seen)
    spread = np.std(np.log(found.replicates["y"]), axis=0)
    np.testing.assert_allclose(spread, 0.01, rtol=0.15)
    assert found.below["y"][3] == 1.0 and found.p_value["y"] == 0.0
    with pytest.raises(ValueError, match="no draws of y_error"):
        predictive_check(whole, {"a": draws["a"]}, jax.random.PRNGKey(0), None, seen)
    out = Posterior(model, None, seen)
    with pytest.raises(ValueError, match="error scale of y is integrated out"):
        predictive_check(out, draws, jax.random.PRNGKey(0), None, seen)


def test_an_error_that_is_known_or_has_another_prior_is_not_integrated_out():
    predict = lambda values, site: ({"y": values["a"] * jnp.ones(2)}, jnp.zeros(()))
    priors, y = {"a": dist.Uniform(0.1, 5.0)}, jnp.array([1.0, 2.0])
    known = SiteModel(predict, priors)
    seen = {"y": Measured(y, 0.2)}
    assert Posterior(known, None, seen).names == ("a",)
    values, key = {"a": jnp.asarray(1.0)}, jax.random.PRNGKey(0)
    assert known.errors(key, values, None, seen) == {}
    other = SiteModel(predict, priors, dist.HalfNormal(1.0))
    seen = {"y": Measured(y)}
    assert Posterior(other, None, seen).names == ("a", "y_error")
    assert other.errors(key, values, None, seen) == {}
    asked = SiteModel(predict, priors, integrated=False)
    assert Posterior(asked, None, seen).names == ("a", "y_error")
    heavy = {"y": Measured(y, law="student-t")}
    assert Posterior(known, None, heavy).names == ("a", "y_error")
