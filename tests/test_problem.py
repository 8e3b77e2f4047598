"""One posterior for every method: closed forms, change of variables, least squares."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxsoc.infer import Normal, OnLine, Problem, fit
from jaxsoc.physics.parameters import FRACTION, POSITIVE, Interval
from jaxsoc.physics.transforms import REAL, transform

X = np.linspace(0.5, 3.0, 12)
DATA = 1.3 * X + 0.2 * np.sin(40 * X)
SIZES = 0.3 + 0.1 * np.cos(X)
FLAT = OnLine()
INTERVALS = [POSITIVE, FRACTION, Interval(-np.inf, 2.0), REAL, Interval(-1.0, 3.0)]


def line(params, x):
    return params["a"] * x + params.get("b", 0.0)


def decay(params, t):
    return params["a"] * jnp.exp(-params["b"] * t)


def problem_of(predict=line, data=DATA, start=None, **options):
    start = {"a": 0.9} if start is None else start
    options = {"free": tuple(start), "weights": 1 / SIZES, "noise": 1.0} | options
    return Problem(predict, start, data, jnp.asarray(X), **options)


def decay_problem(wiggle=0.0, **options):
    """The data without noise, unless asked for."""
    data = 0.8 * np.exp(-0.4 * X) + wiggle * np.cos(50 * X)
    bounds = {"a": FRACTION, "b": POSITIVE}
    start = {"a": 0.5, "b": 1.0}
    return problem_of(decay, data, start, **{"bounds": bounds} | options)


def over_line(function, low=-30.0, high=30.0, count=20_001):
    """Integral of exp(function) over the line."""
    z = np.linspace(low, high, count)
    values = np.asarray(jax.jit(jax.vmap(lambda z: function(z)))(z[:, None]))
    return np.trapezoid(np.exp(values), z)


def test_the_density_of_a_line_integrates_to_the_evidence():
    """∫ p(y | a) p(a) da = N(y; x m, σ² + s² x xᵀ)"""
    mean, deviation = 1.0, 0.4
    for noise in (1.0, 2.0):
        prior = {"a": Normal(mean, deviation)}
        found = over_line(problem_of(priors=prior, noise=noise).log_density)
        covariance = np.diag((noise * SIZES) ** 2) + deviation**2 * np.outer(X, X)
        expected = stats.multivariate_normal.pdf(DATA, mean * X, covariance)
        assert found == pytest.approx(expected, rel=1e-10)


def test_a_profiled_noise_is_a_free_one_integrated_out():
    """∫ p(y | a, σ) dlog σ = p(y | a, σ̂) · ½ Γ(n/2) (2e/n)^(n/2), whatever a."""
    n = X.size
    free, profiled = (problem_of(noise=n) for n in ("free", "profiled"))
    assert free.start.size == profiled.start.size + 1
    factor = 0.5 * special.gamma(n / 2) * (2 * np.e / n) ** (n / 2)
    for a in (0.7, 1.3):
        found = over_line(
            lambda s, a=a: free.log_likelihood(jnp.array([a, s[0]])), -9.0, 9.0
        )
        expected = factor * np.exp(profiled.log_likelihood(jnp.array([a])))
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bounds", INTERVALS)
def test_slopes_of_transforms_are_differences(bounds):
    t, z, h = transform(bounds), jnp.linspace(-3.0, 3.0, 7), 1e-5
    slope = (t.constrained(z + h) - t.constrained(z - h)) / (2 * h)
    np.testing.assert_allclose(t.log_slope(z), np.log(slope), atol=1e-8)
    assert np.isfinite(t.log_slope(jnp.array([-200.0, 200.0]))).all()


class Exponential(eqx.Module):
    """A distribution of one's own."""

    def log_prob(self, value):
        return -value


@pytest.mark.parametrize(
    ("prior", "bounds"),
    [
        (None, FRACTION),
        (None, Interval(-1.0, 3.0)),
        (Exponential(), POSITIVE),
        (Normal(0.3, 0.1), REAL),
        (OnLine(Normal(0.3, 2.0)), FRACTION),
        (OnLine(Normal(0.3, 2.0)), Interval(-np.inf, 2.0)),
    ],
)
def test_priors_are_densities_on_the_line(prior, bounds):
    """p(z) = p(θ) |dθ/dz|, which has the integral of p(θ): one."""
    given = {} if prior is None else {"a": prior}
    problem = problem_of(bounds={"a": bounds}, priors=given, start={"a": 0.4})
    assert over_line(problem.log_prior) == pytest.approx(1.0, rel=1e-6)


def test_a_prior_that_is_flat_on_the_line_is_not_flat_in_the_value():
    on_line, uniform = (
        problem_of(bounds={"a": POSITIVE}, priors=p) for p in ({"a": FLAT}, {})
    )
    z = jnp.array([0.7])
    assert float(on_line.log_prior(z)) == 0.0
    assert float(uniform.log_prior(z)) == pytest.approx(0.7)


@pytest.mark.parametrize("noise", [0.5, "free", "profiled"])
def test_gradients_are_differences_also_in_jit_and_vmap(noise):
    problem = decay_problem(0.1, noise=noise, priors={"b": Normal(0.5, 1.0)})
    z = jnp.asarray(problem.start) + 0.3
    density = lambda z: problem.log_density(z)
    slope = jax.jit(jax.grad(density))(z)
    h = 1e-5 * np.eye(z.size)
    many = jax.jit(jax.vmap(density))
    values = np.asarray(many(np.asarray(z) + np.concatenate([h, -h])))
    difference = (values[: z.size] - values[z.size :]) / 2e-5
    np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-7)
    # One at a time, with the problem as an argument.
    compiled = eqx.filter_jit(lambda problem, z: problem.log_density(z))
    alone = [float(compiled(problem, z + one)) for one in h]
    np.testing.assert_allclose(values[: z.size], alone, rtol=1e-13)


def test_least_squares_end_at_the_top_of_the_density():
    """For priors flat on the line, and for normal ones."""
    for priors in (dict(a=FLAT, b=FLAT), dict(a=FLAT, b=OnLine(Normal(0.0, 0.5))), 0.7):
        problem = decay_problem(0.2, priors=priors)
        found = fit(problem, starts=1, tolerance=1e-12)
        z = jnp.asarray(problem.on_lines(found.params))
        slope, curvature = jax.grad(problem.log_density), jax.hessian
        assert np.abs(slope(z)).max() < 1e-5
        assert np.abs(slope(jnp.asarray(problem.start))).max() > 1e-2
        assert np.linalg.eigvalsh(curvature(problem.log_density)(z)).max() < 0


def test_a_normal_prior_of_the_value_pulls_the_value():
    """Where p(y | θ) p(θ), without the slope of the transform, is largest."""
    apart = {"bounds": {"a": POSITIVE, "b": POSITIVE}}
    problem = decay_problem(0.2, priors={"b": Normal(2.0, 0.3)}, **apart)
    found = fit(problem, starts=1, tolerance=1e-12)
    z = jnp.asarray(problem.on_lines(found.params))
    slopes = lambda z: sum(
        t.log_slope(x) for t, x in zip(problem.transforms, z, strict=True)
    )
    in_value = lambda z: problem.log_density(z) - slopes(z)
    assert np.abs(jax.grad(in_value)(z)).max() < 1e-4
    assert np.abs(jax.grad(problem.log_density)(z)).max() > 0.5
    assert fit(decay_problem(0.2, **apart), starts=1)["b"] < found["b"] < 2.0


def test_covariances_are_those_of_laplace():
    """Inverse of minus the Hessian: of a line, and of any model that is exact."""
    flat = dict(a=FLAT, b=FLAT)
    straight = problem_of(start={"a": 0.0, "b": 0.0}, priors={"b": Normal(0.1, 0.2)})
    for problem in (straight, decay_problem(priors=flat)):
        found = fit(problem, starts=1, tolerance=1e-12)
        z = jnp.asarray(problem.on_lines(found.params))
        on_line = np.linalg.inv(-np.asarray(jax.hessian(problem.log_density)(z)))
        slope = np.diag(np.asarray(jax.jacobian(problem.natural)(z)))
        expected = slope[:, None] * on_line * slope
        np.testing.assert_allclose(found.covariance, expected, rtol=1e-6)


def test_what_is_not_finite_has_no_density():
    broken = problem_of(lambda p, x: jnp.where(p["a"] > 1, jnp.nan, p["a"]) * x)
    values = jax.vmap(broken.log_density)(jnp.array([[0.5], [1.5]]))
    assert np.isfinite(values[0]) and values[1] == -np.inf
    # Rounding takes the value to the end of its interval.
    assert decay_problem().log_density(jnp.array([60.0, 0.0])) == -np.inf


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise": 0.0}, r"noise must lie in \(0, inf\), got 0"),
        ({"noise": "known"}, "unknown noise 'known', expected one of profiled, free"),
        ({"priors": {"c": FLAT}}, "unknown parameter 'c': expected one of a"),
        ({"priors": {"a": 3.0}}, "prior of a must have a log_prob, .* got 3.0"),
        ({"priors": 0.0}, r"deviation must lie in \(0, inf\), got 0"),
    ],
)
def test_noises_and_priors_that_make_no_sense_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        problem_of(**change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"priors": {"a": Exponential()}}, "prior of a that is normal.* Exponential"),
        ({"priors": 1.0, "noise": "profiled"}, "a known noise .* noise profiled"),
    ],
)
def test_least_squares_refuse_what_is_no_sum_of_squares(change, words):
    problem = problem_of(bounds={"a": POSITIVE}, **change)
    assert np.isfinite(problem.log_density(jnp.asarray(problem.start)))
    with pytest.raises(ValueError, match=words):
        fit(problem, starts=1)
