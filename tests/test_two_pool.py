"""The two-pool model: conservation, steady states, stability, bounds on its rates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from slow_cases import slow_but

from jaxsoc import stability, steady_state
from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import (
    KINETICS,
    ECAConstants,
    MichaelisMentenConstants,
    MultiplicativeConstants,
    michaelis_menten,
    multiplicative,
)
from jaxsoc.physics.mortality import PowerMortalityConstants, power_mortality
from jaxsoc.physics.units import HOURS_PER_DAY, HOURS_PER_YEAR
from jaxsoc.solve import Steps, heun, integrate, rodas3

NAMES = sorted(KINETICS)
amount = st.floats(0, 500, allow_subnormal=False)


def soil(name):
    return TwoPool(KINETICS[name].law), TwoPoolParameters(KINETICS[name].constants())


def nonlinear(name, exponent):
    model = TwoPool(KINETICS[name].law, power_mortality)
    mortality = PowerMortalityConstants(0.0003, exponent)
    return model, TwoPoolParameters(KINETICS[name].constants(), mortality)


@pytest.mark.parametrize("name", NAMES)
@given(S=amount, B=amount)
def test_carbon_is_conserved_in_every_cell(name, S, B):
    """d(S + B + CO2)/dt = I and d(Y S + B)/dt = Y I - (1 - Y) T, for every law."""
    for model, params in (soil(name), nonlinear(name, 1.5)):
        state = Pools(S, B, 3.0)
        change, fluxes = model(0.0, state, params), model.fluxes(0.0, state, params)
        Y, I = params.carbon_use_efficiency, params.input
        scale = 1e-14 * (1 + float(fluxes.decomposition + fluxes.mortality))
        assert abs(float(sum(change)) - I) <= scale
        left = float(Y * change.substrate + change.biomass)
        assert abs(left - float(Y * I - (1 - Y) * fluxes.mortality)) <= scale


@pytest.mark.parametrize("exponent", [None, 0.7, 2.0])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_changes_at_the_steady_state(name, exponent):
    model, params = soil(name) if exponent is None else nonlinear(name, exponent)
    state = steady_state(model, params)
    change = model(0.0, state, params)
    assert abs(float(change.substrate)) < 1e-16 + 1e-13 * params.input
    assert abs(float(change.biomass)) < 1e-16 + 1e-13 * params.input
    assert float(change.co2) == pytest.approx(params.input, rel=1e-13)


@pytest.mark.parametrize(
    "name, substrate",
    [
        ("multiplicative", 5.878),
        ("michaelis_menten", 1.3208),
        ("inverse_michaelis_menten", 2.1415),
    ],
)
def test_steady_states_of_the_default_soil(name, substrate):
    state = steady_state(*soil(name))
    assert float(state.substrate) == pytest.approx(substrate, abs=5e-5 * 10)
    assert float(state.biomass) == pytest.approx(0.972457, abs=5e-7)


@pytest.mark.parametrize("name", NAMES)
def test_users_own_law_finds_the_same_steady_state_and_slopes(name):
    model, params = soil(name)
    own = TwoPool(lambda S, B, c: model.decomposition(S, B, c))
    found = lambda model: lambda p: steady_state(model, p).substrate
    params = jax.tree.map(jnp.asarray, params)
    assert float(found(own)(params)) == pytest.approx(
        float(found(model)(params)), rel=1e-12
    )
    slopes = [jax.tree.leaves(jax.grad(found(m))(params)) for m in (own, model)]
    size = np.abs(slopes[1]).max()
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-9, atol=1e-12 * size)


def test_users_own_law_by_cell(rng):
    fields = MichaelisMentenConstants(
        rng.uniform(0.01, 0.05, (3, 4)), rng.uniform(1, 40, (3, 4))
    )
    own = TwoPool(lambda S, B, c: michaelis_menten(S, B, c))
    params = TwoPoolParameters(fields)
    np.testing.assert_allclose(
        steady_state(own, params).substrate,
        steady_state(TwoPool(michaelis_menten), params).substrate,
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", ["michaelis_menten", "eca", "quadratic"])
def test_no_steady_state_where_decomposition_cannot_keep_up(name):
    """Y k ≤ m: refused with what was received, outside and inside jit."""
    model = TwoPool(KINETICS[name].law)
    cls = MichaelisMentenConstants if name == "michaelis_menten" else ECAConstants
    params = TwoPoolParameters(cls(rate=0.00028 / 0.31))
    with pytest.raises(ValueError, match=r"Y k > m.*Y 0.31, rate 0.00090.*0.00028"):
        steady_state(model, params)
    own = TwoPool(lambda S, B, c: model.decomposition(S, B, c))
    with pytest.raises(ValueError, match="no steady state"):
        steady_state(own, params)
    with pytest.raises(Exception, match="no steady state"):
        jax.jit(lambda p: steady_state(model, p))(jax.tree.map(jnp.asarray, params))


def test_no_steady_state_without_input():
    model, _ = soil("multiplicative")
    params = TwoPoolParameters(KINETICS["multiplicative"].constants(), input=0.0)
    with pytest.raises(ValueError, match="without input: got input 0"):
        steady_state(model, params)


# Eigenvalues (1/h), e-fold of the amplitude (d) and period (yr) of section 1.
STABILITY = {
    "multiplicative": (-7.471e-5, 1.5260e-4, 557.7, 4.700),
    "michaelis_menten": (-3.158e-4, 1.493e-4, 131.9, 4.80),
    "inverse_michaelis_menten": (-2.178e-4, 1.783e-4, 191.3, 4.02),
}


@pytest.mark.reference
@pytest.mark.parametrize("name", STABILITY)
def test_linear_stability_of_the_steady_state(name):
    model, params = soil(name)
    found = stability(model, params)
    eigenvalue = found.eigenvalues[0]
    real, imaginary, efold, period = STABILITY[name]
    assert eigenvalue.real == pytest.approx(real, rel=3e-4)
    assert abs(eigenvalue.imag) == pytest.approx(imaginary, rel=3e-4)
    assert found.damping_time / HOURS_PER_DAY == pytest.approx(efold, rel=5e-4)
    assert found.period / HOURS_PER_YEAR == pytest.approx(period, rel=1.2e-3)


@pytest.mark.reference
def test_small_perturbations_swing_with_the_published_period_and_decay():
    """Scenario 1, multiplicative: 4.70 yr and 1.53 yr, to 1 %, from the swings."""
    model, params = soil("multiplicative")
    star = steady_state(model, params)
    state = Pools(
        jnp.asarray([1.001 * star.substrate]),
        jnp.asarray([star.biomass]),
        jnp.asarray([0.0]),
    )
    times = np.arange(0.0, 20 * HOURS_PER_YEAR + 1, 6.0)
    run = integrate(
        model,
        state,
        params,
        times,
        save=lambda t, s, p: s.substrate[0],
        rate=model.fastest_rate,
        tolerance=1e-9,
    )
    swing = np.asarray(run.values) - float(star.substrate)
    crossings = np.flatnonzero(np.diff(np.sign(swing)))
    # where the straight line between two samples crosses zero
    fraction = swing[crossings] / (swing[crossings] - swing[crossings + 1])
    zeros = times[crossings] + 6.0 * fraction
    period = 2 * np.diff(zeros[:6]).mean() / HOURS_PER_YEAR
    extremes = [
        np.abs(swing[a:b]).max() for a, b in zip(crossings, crossings[1:], strict=False)
    ]
    decay = np.log(extremes[0] / extremes[3]) / 3
    efold = period / 2 / decay
    assert period == pytest.approx(4.700, rel=0.01)
    assert efold == pytest.approx(1.53, rel=0.01)


@pytest.mark.parametrize("name", slow_but(["michaelis_menten"], NAMES))
def test_bound_on_the_rates_holds_along_the_run(name, rng):
    """The eigenvalues of every cell's Jacobian stay below what the model promised."""
    model, _ = soil(name)
    shape = (40,)
    constants = jax.tree.map(
        lambda c: c * 10 ** rng.uniform(-1, 1, shape), KINETICS[name].constants()
    )
    params = TwoPoolParameters(constants)
    state = Pools(rng.uniform(0, 300, shape), rng.uniform(0, 5, shape), np.zeros(shape))
    state = jax.tree.map(jnp.asarray, state)
    times = np.linspace(0, 480, 41)
    keep = lambda t, s, p: s
    rate = model.fastest_rate
    run = integrate(model, state, params, times, save=keep, rate=rate)

    def spectrum(S, B, constants):
        params = TwoPoolParameters(constants)
        tendency = lambda x: jnp.stack(model(0.0, Pools(x[0], x[1], 0.0), params)[:2])
        return jax.jacfwd(tendency)(jnp.stack([S, B]))

    for first, after in zip(range(40), range(1, 41), strict=True):
        begin, end = (
            jax.tree.map(lambda x, i=i: x[i], run.values) for i in (first, after)
        )
        bound = np.asarray(rate(times[first], begin, params, 12.0))
        for moment in (begin, end):
            matrices = jax.vmap(spectrum)(moment.substrate, moment.biomass, constants)
            fastest = np.abs(np.linalg.eigvals(np.asarray(matrices))).max(axis=-1)
            assert (fastest <= bound * (1 + 1e-12)).all()


@pytest.mark.parametrize("exponent", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(
    "method",
    [
        Steps(2.0),
        Steps(2.0, stepper=heun),
        Steps(0.5, stepper=rodas3),
        Steps(courant=0.5),
    ],
    ids=["rk4", "heun", "rodas3", "by rate"],
)
def test_no_biomass_falls_below_zero_by_a_small_exponent(exponent, method, rng):
    """Cells that die out, with mortality that does not fade with them."""
    alive = rng.random(60) < 0.9
    biomass = jnp.asarray(10 ** rng.uniform(-5, 0, 60) * alive)
    substrate = jnp.asarray(rng.uniform(0, 2, 60) * (rng.random(60) < 0.7))
    model = TwoPool(michaelis_menten, power_mortality)
    constants = PowerMortalityConstants(2.8e-4, exponent)
    params = TwoPoolParameters(MichaelisMentenConstants(), constants, input=0.0)
    run = integrate(
        model,
        Pools(substrate, biomass, jnp.zeros(60)),
        params,
        np.linspace(0.0, 4800.0, 25),
        save=lambda t, state, params: state,
        method=method,
        rate=model.fastest_rate,
    )
    carbon = np.asarray(substrate + biomass)
    assert np.all(np.asarray(run.values.biomass) >= -1e-15 * carbon)
    assert np.all(np.asarray(run.values.substrate) >= -1e-15 * carbon)
    assert np.any(np.asarray(run.values.biomass)[-1][alive] < 1e-9)
    np.testing.assert_allclose(
        sum(run.values), np.broadcast_to(carbon, (25, 60)), rtol=1e-12
    )


def test_few_microbes_at_rest_are_where_growth_meets_mortality():
    params = TwoPoolParameters(
        MultiplicativeConstants(),
        PowerMortalityConstants(2.8e-4, 0.5),
        input=jnp.array([1e-7, 1e-6, 1e-5, 1e-4]),
    )
    model = TwoPool(multiplicative, power_mortality)
    rest = steady_state(model, params)
    assert np.asarray(rest.biomass < 1e-4).tolist() == [True, True, False, False]
    change = model(0.0, rest, params)
    for pool in (change.substrate, change.biomass):
        assert np.max(np.abs(pool) / params.input) < 1e-12
