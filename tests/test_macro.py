"""Equations for the moments of any model: exact given the moments, and closed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsoc.io import load_fields
from jaxsoc.models import Pools, TwoPool
from jaxsoc.models.two_pool import TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS, MultiplicativeConstants
from jaxsoc.solve import Steps, follow, integrate
from jaxsoc.upscale import ClosedMoments, moments
from jaxsoc.upscale.closures import CLOSURES, Higher, gaussian, log_normal

RATE = "decomposition.rate"


def equations(model, varying=(), closure=CLOSURES["zero_third"], order=2, dead=None):
    return ClosedMoments(model, varying, dead, closure, order)


def tendency(one, core, given):
    """d/dt of means and covariances."""
    found = eqx.filter_jit(one)(0.0, core, given)
    return one.pools(found, given), found.live[1]


def soil(kinetics="multiplicative", cells=400, spread=0.4):
    rng = np.random.default_rng(3)
    draw = lambda mean: jnp.asarray(mean * (1 + spread * rng.uniform(-1, 1, cells)))
    law = KINETICS[kinetics]
    constants = (
        [draw(2e-3)]
        if kinetics in ("linear", "multiplicative")
        else [
            draw(0.02),
            draw(6.0),
        ]
    )
    params = TwoPoolParameters(law.constants(*constants))
    params = jax.tree.map(jnp.asarray, params)
    return TwoPool(law.law), Pools(draw(4.0), draw(1.5), draw(0.3)), params


def deviations(state, params):
    fields = [state.substrate, state.biomass, *jax.tree.leaves(params.decomposition)]
    return jnp.stack([x - x.mean() for x in fields])


def true_moments(state, params):
    """A closure that knows: the moments of these cells."""
    x = deviations(state, params)
    third = jnp.einsum("ac,bc,dc->abd", x, x, x) / x.shape[1]
    fourth = jnp.einsum("ac,bc,dc,ec->abde", x, x, x, x) / x.shape[1]
    return lambda mean, covariance: Higher(third, fourth)


@pytest.mark.parametrize("kinetics", ["linear", "multiplicative"])
def test_given_the_moments_the_equations_are_exact(kinetics):
    model, state, params = soil(kinetics)
    one = equations(model, (RATE,), true_moments(state, params), order=3)
    core, given = one.initial(state, params)
    means, covariance = tendency(one, core, given)
    # The same, from the cells: d⟨x'y'⟩/dt = ⟨x' dy/dt⟩ + ⟨dx/dt y'⟩
    change = model(0.0, state, params)
    zero = jnp.zeros_like(state.substrate)
    moving = jnp.stack([change.substrate, change.biomass, zero])
    x = deviations(state, params)
    half = x @ moving.T / x.shape[1]
    exact = np.asarray(half + half.T)
    scale = np.abs(exact).max()
    assert np.abs(np.asarray(covariance) - exact).max() <= 1e-12 * scale
    for mean, field in zip(means, change, strict=True):
        assert float(mean) == pytest.approx(float(field.mean()), rel=1e-12)
    fluxes = one.fluxes(0.0, core, given)
    cells = model.fluxes(0.0, state, params)
    for name in fluxes._fields:
        exact = float(getattr(cells, name).mean())
        assert float(getattr(fluxes, name)) == pytest.approx(exact, rel=1e-12)


def test_the_published_equations_of_the_multiplicative_law():
    # Uniform k: cov(S,D) = k (B V_S + S C_SB + μ21), and the same for B with μ12.
    model, state, params = soil()
    k, m, Y = 2e-3, float(params.mortality.rate), float(params.carbon_use_efficiency)
    params = TwoPoolParameters(MultiplicativeConstants(k))
    params = jax.tree.map(jnp.asarray, params)
    one = equations(model, closure=log_normal)
    core, given = one.initial(state, params)
    S, B = map(float, core.live[0])
    (V_S, C), (_, V_B) = np.asarray(core.live[1])
    v, w, g = V_S / S**2, V_B / B**2, C / (S * B)
    mu21, mu12 = (2 * v * g + g**2 * (1 + v)) * S**2 * B, 0.0
    mu12 = (2 * w * g + g**2 * (1 + w)) * S * B**2
    with_S, with_B = k * (B * V_S + S * C + mu21), k * (S * V_B + B * C + mu12)
    _, found = tendency(one, core, given)
    assert float(found[0, 0]) == pytest.approx(-2 * with_S + 2 * m * C, rel=1e-12)
    off = Y * with_S - with_B - m * C + m * V_B
    assert float(found[0, 1]) == pytest.approx(off, rel=1e-12)
    assert float(found[1, 1]) == pytest.approx(2 * Y * with_B - 2 * m * V_B, rel=1e-12)


@pytest.mark.parametrize(
    "closure",
    [
        name if name == "log_normal" else pytest.param(name, marks=pytest.mark.slow)
        for name in CLOSURES
    ],
)
@pytest.mark.parametrize(
    "kinetics",
    ["michaelis_menten", pytest.param("eca", marks=pytest.mark.slow)],
)
def test_what_no_closure_may_break(kinetics, closure):
    """Z = Y S + B: dV_Z/dt = -2 (1-Y) m (Y C_SB + V_B), dC_kZ/dt = -(1-Y) m C_kB."""
    model, state, params = soil(kinetics)
    varying = (RATE, "decomposition.half_saturation")
    one = equations(model, varying, CLOSURES[closure], order=3)
    core, given = one.initial(state, params)
    assert given.quantities.names == ("substrate", "biomass", *varying)
    means, dP = tendency(one, core, given)
    P, dP = np.asarray(core.live[1]), np.asarray(dP)
    m, Y = float(params.mortality.rate), float(params.carbon_use_efficiency)
    V_Z = Y**2 * dP[0, 0] + 2 * Y * dP[0, 1] + dP[1, 1]
    expected = -2 * (1 - Y) * m * (Y * P[0, 1] + P[1, 1])
    scale = np.abs(dP[:2, :2]).max()
    assert abs(V_Z - expected) <= 1e-13 * scale
    for row in (2, 3):
        carbon = Y * dP[0, row] + dP[1, row]
        assert abs(carbon + (1 - Y) * m * P[1, row]) <= 1e-13 * np.abs(dP).max()
    assert np.abs(dP[2:, 2:]).max() == 0.0
    np.testing.assert_array_equal(dP, dP.T)
    assert float(sum(means)) == pytest.approx(float(params.input), rel=1e-10)


@given(st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6))
def test_log_normal_is_exact_for_log_normal_quantities(numbers):
    A = np.asarray(numbers).reshape(2, 3)
    sigma = A @ A.T  # covariance of the logarithms
    mean = np.array([2.0, 0.5])
    raw = lambda *i: (
        np.prod(mean[list(i)])
        * np.exp(sum(sigma[i[a], i[b]] for a in range(len(i)) for b in range(a)))
    )
    C = np.array([[raw(i, j) - mean[i] * mean[j] for j in (0, 1)] for i in (0, 1)])
    found = log_normal(jnp.asarray(mean), jnp.asarray(C))

    def central(*i):
        """Moment about the means, from the raw ones."""
        total = 0.0
        for chosen in np.ndindex(*(2,) * len(i)):
            kept = [q for q, c in zip(i, chosen, strict=True) if c]
            rest = [q for q, c in zip(i, chosen, strict=True) if not c]
            total += (raw(*kept) if kept else 1.0) * np.prod(-mean[rest])
        return total

    for i in np.ndindex(2, 2, 2):
        assert float(found.third[i]) == pytest.approx(central(*i), abs=1e-12)
    for i in np.ndindex(2, 2, 2, 2):
        assert float(found.fourth[i]) == pytest.approx(central(*i), abs=1e-12)


def test_third_moments_of_the_closures():
    mean, C = jnp.array([2.0, 0.5]), jnp.array([[0.8, 0.1], [0.1, 0.05]])
    (v, g), (_, w) = np.asarray(C) / np.outer(mean, mean)
    rows = {
        "zero_third": (0, 0, 0),
        "gaussian": (0, 0, 0),
        "power_two": (1.5 * v**2, (2 * v * g + g**2) / 2, (2 * w * g + g**2) / 2),
        "gamma": (2 * v**2, 2 / 3 * (2 * v * g + g**2), 2 / 3 * (2 * w * g + g**2)),
        "log_normal": (
            3 * v**2 + v**3,
            2 * v * g + g**2 + v * g**2,
            2 * w * g + g**2 + w * g**2,
        ),
    }
    assert set(rows) == set(CLOSURES)
    for name, (mu30, mu21, mu12) in rows.items():
        third = CLOSURES[name](mean, C).third
        expected = (mu30 * 8, mu21 * 2, mu12 * 0.5)
        found = [float(third[i]) for i in ((0, 0, 0), (0, 0, 1), (0, 1, 1))]
        assert found == pytest.approx(expected, rel=1e-14, abs=1e-16)
        np.testing.assert_allclose(third, jnp.swapaxes(third, 0, 2), rtol=1e-14)
        dead = CLOSURES[name](jnp.array([2.0, 0.0]), C.at[:, 1].set(0).at[1].set(0))
        assert all(bool(jnp.isfinite(x).all()) for x in dead)
    x = np.random.default_rng(0).multivariate_normal([0, 0], C, 400_000)
    fourth = np.einsum("ca,cb->ab", x**2, x**2) / len(x)
    expected = np.asarray(gaussian(mean, C).fourth)
    assert fourth[0, 1] == pytest.approx(expected[0, 0, 1, 1], rel=0.02)
    assert fourth[0, 0] == pytest.approx(expected[0, 0, 0, 0], rel=0.02)


def errors(series, reference):
    off = np.sqrt(np.mean((np.asarray(series) - np.asarray(reference)) ** 2))
    return off / np.sqrt(np.mean(np.asarray(reference) ** 2))


@pytest.mark.slow
def test_small_deviations_are_predicted():
    """The closed model errs in third order in them, the mean field in second."""
    times = np.arange(0, 1201, 48.0)
    rows = []
    for spread in (0.1, 0.05):
        model, state, params = soil(spread=spread)
        save = moments.of(model.fluxes)
        cells = integrate(model, state, params, times, save=save, method=Steps(6.0))
        one = equations(model, (RATE,))
        core, given = one.initial(state, params)
        found, finite = follow(one, core, given, times)
        assert bool(finite)
        point, _ = follow(model, one.pools(core, given), given.params, times)
        exact = cells.values.mean.substrate
        series = found.live[0][:, 0], point.substrate
        rows.append([errors(x, exact) for x in series])
    (closed, mean_field), (closer, closer_mean_field) = rows
    assert mean_field / closer_mean_field == pytest.approx(4, rel=0.15)
    assert closed / closer > 6 and closed < 0.05 * mean_field


@pytest.mark.slow
def test_gradients_are_differences():
    model, state, params = soil()
    one = equations(model, (RATE,))
    core, given = one.initial(state, params)
    times = np.array([0.0, 240.0])

    def end(scale):
        start = core._replace(live=(core.live[0], core.live[1] * scale))
        found, _ = follow(one, start, given, times)
        return found.live[0][-1, 0]

    difference = (end(1.001) - end(0.999)) / 0.002
    slope = jax.grad(end)(jnp.asarray(1.0))
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_dead_cells_are_taken_apart_exactly():
    model, state, params = soil()
    dead = np.arange(400) % 4 == 0
    state = state._replace(biomass=jnp.where(jnp.asarray(dead), 0.0, state.biomass))
    one = equations(model, (RATE,), dead="biomass")
    core, given = one.initial(state, params)
    assert float(given.share) == pytest.approx(0.75, rel=1e-14)
    times = np.array([0.0, 120.0, 240.0])
    found, finite = follow(one, core, given, times)
    assert bool(finite)
    # dS/dt = I without microbes, and nothing is respired.
    S0, I = float(core.dead[0]), float(params.input)
    np.testing.assert_allclose(found.dead[:, 0], S0 + I * times, rtol=1e-12)
    assert float(jnp.abs(found.dead[:, 1]).max()) == 0.0
    whole = one.fluxes(0.0, core, given)
    cells = model.fluxes(0.0, state, params)
    for name in whole._fields:
        exact = float(getattr(cells, name).mean())
        assert float(getattr(whole, name)) == pytest.approx(exact, rel=2e-3)


# Relative errors of R over 200 days, multiplicative law with uniform k; None: the run
# leaves the finite numbers, about the day given.
PUBLISHED = {
    "positive": {"zero_third": (None, 71), "power_two": 0.43, "log_normal": 0.48},
    "negative": {"zero_third": (None, 46), "power_two": 0.68, "log_normal": 0.67},
    "uncorrelated": {"zero_third": 0.58, "power_two": 0.47, "log_normal": 0.85},
}
LIVE = {
    "positive": {"zero_third": 0.074, "power_two": 0.079, "log_normal": 0.110},
    "negative": {"zero_third": 0.040, "power_two": 0.057, "log_normal": 0.069},
    "uncorrelated": {"zero_third": 0.198, "power_two": 0.358, "log_normal": 0.657},
}


# One of the three shows everything, the blow-up too; the others take long.
@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize(
    "correlation",
    [
        "negative",
        "positive",
        "uncorrelated",
    ],
)
def test_what_closures_do_on_the_published_fields(data, correlation):
    supplied = load_fields(data / "chakrawal_fields" / "scenario2.npz")
    substrate = jnp.asarray(supplied.substrate[correlation]).reshape(-1)
    biomass = jnp.asarray(supplied.biomass).reshape(-1)
    state = Pools(substrate, biomass, jnp.zeros_like(substrate))
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(MultiplicativeConstants()))
    model, times = TwoPool(), np.arange(0, 201) * 24.0
    save = moments.of(model.fluxes)
    cells = integrate(model, state, params, times, save=save, method=Steps(4.0))
    exact = cells.values.flux.respiration
    options = {"rtol": 1e-6, "atol": 1e-8, "max_steps": 4000}

    def respired(name, dead):
        one = equations(model, closure=CLOSURES[name], dead=dead)
        core, given = one.initial(state, params)
        found, finite = follow(one, core, given, times, **options)
        rate = lambda core: one.fluxes(0.0, core, given).respiration
        return np.asarray(jax.vmap(rate)(found)), bool(finite)

    for name, expected in PUBLISHED[correlation].items():
        series, _ = respired(name, None)
        if isinstance(expected, tuple):
            day = int(np.flatnonzero(~np.isfinite(series))[0])
            assert abs(day - expected[1]) <= 5
        else:
            assert errors(series, exact) == pytest.approx(expected, rel=0.1)
        series, finite = respired(name, "biomass")
        assert finite
        assert errors(series, exact) == pytest.approx(LIVE[correlation][name], rel=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m, s, p: equations(m, order=4), "order must be 2 or 3, got 4"),
        (
            lambda m, s, p: equations(m, ("rate",)).initial(s, p),
            "unknown parameter 'rate': the model has decomposition.rate, mortality",
        ),
        (
            lambda m, s, p: equations(m).initial(s, p),
            "decomposition.rate differs between cells, but this macro-scale model",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(*soil())


def test_zero_third_is_linear_in_the_covariance():
    model, state, params = soil()
    one = equations(model, (RATE,))
    core, given = one.initial(state, params)
    _, once = tendency(one, core, given)
    more = core._replace(live=(core.live[0], 2 * core.live[1]))
    _, twice = tendency(one, more, given)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-14)
