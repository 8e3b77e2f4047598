"""Diagnostics of chains against closed forms and numpyro's."""

import numpy as np
import pytest
import xarray as xr
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

from jaxsoc.infer import diagnostics


def autoregressive(rng, rho, chains=4, draws=5000, columns=3):
    noise = rng.normal(size=(chains, draws, columns))
    found = np.zeros_like(noise)
    found[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, draws):
        found[:, t] = rho * found[:, t - 1] + noise[:, t]
    return found


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.5, 0.9])
def test_effective_draws_of_an_autoregression_are_those_of_its_formula(rng, rho):
    found = autoregressive(rng, rho)
    exact = found.shape[0] * found.shape[1] * (1 - rho) / (1 + rho)
    np.testing.assert_allclose(diagnostics.ess_mean(found), exact, rtol=0.25)


def test_effective_draws_are_those_of_numpyro(rng):
    found = autoregressive(rng, 0.7, draws=1000)
    halves = np.concatenate([found[:, :500], found[:, 500:]])
    known = effective_sample_size(halves)
    np.testing.assert_allclose(diagnostics.ess_mean(found), known, rtol=0.02)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_diagnostics_of_ranks_and_tails_are_those_of_arviz(rng, rho):
    arviz = pytest.importorskip("arviz", exc_type=ImportError)
    found = np.exp(autoregressive(rng, rho, draws=400))
    found[1, :, 1] *= 1.5
    data = xr.Dataset({"x": (("chain", "draw", "number"), found)})
    wanted = {
        diagnostics.rank_rhat: arviz.rhat(data, method="rank"),
        diagnostics.ess_bulk: arviz.ess(data, method="bulk"),
        diagnostics.ess_tail: arviz.ess(data, method="tail", prob=(0.05, 0.95)),
        diagnostics.mcse_mean: arviz.mcse(data, method="mean"),
        diagnostics.mcse_deviation: arviz.mcse(data, method="sd"),
    }
    for ours, theirs in wanted.items():
        known = np.asarray(theirs["x"])
        np.testing.assert_allclose(ours(found), known, rtol=1e-2, err_msg=str(ours))


def test_plain_rhat_is_that_of_numpyro(rng):
    found = autoregressive(rng, 0.7, draws=200)
    halves = np.concatenate([found[:, :100], found[:, 100:]])
    known = split_gelman_rubin(found)
    np.testing.assert_allclose(diagnostics.gelman_rubin(halves), known, rtol=1e-10)


def test_rhat_sees_chains_apart_in_place_and_in_spread(rng):
    found = rng.normal(size=(4, 1000, 3))
    found[0, :, 1] += 1.0
    found[0, :, 2] *= 3.0
    rhat = diagnostics.rank_rhat(found)
    assert rhat[0] < 1.01 < 1.05 < min(rhat[1], rhat[2])


def test_what_does_not_change_the_order_does_not_change_the_bulk(rng):
    found = rng.normal(size=(4, 500, 2))
    same = np.exp(3 * found)
    assert (diagnostics.ess_bulk(found) == diagnostics.ess_bulk(same)).all()


def test_errors_of_means_and_deviations_are_what_repeated_runs_scatter_by(rng):
    runs = [autoregressive(rng, 0.6, draws=400, columns=1) for _ in range(200)]
    means = np.array([run.mean() for run in runs])
    said = np.mean([diagnostics.mcse_mean(run)[0] for run in runs])
    np.testing.assert_allclose(means.std(), said, rtol=0.15)
    deviations = np.array([run.std() for run in runs])
    said = np.mean([diagnostics.mcse_deviation(run)[0] for run in runs])
    np.testing.assert_allclose(deviations.std(), said, rtol=0.15)


def test_constants_and_what_is_no_number_have_no_diagnostics():
    found = np.zeros((4, 100, 2))
    found[0, 3, 1] = np.nan
    for of in (diagnostics.rank_rhat, diagnostics.ess_bulk):
        assert np.isnan(of(found)).all()


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="four or more"):
        diagnostics.ess_bulk(np.zeros((4, 3)))


def test_contraction_of_draws_of_the_prior_is_nothing(rng):
    found = rng.uniform(size=(4, 2000))
    assert abs(diagnostics.contraction(found, 1 / 12)) < 0.05
