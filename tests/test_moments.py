"""Moments over cells: definitions, closed forms, and the exact identities of 4.1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import slow_but

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import Steps, integrate
from jaxsoc.upscale import moments

RATE, HALF = "decomposition.rate", "decomposition.half_saturation"
TRIPLE = ("substrate", "biomass", RATE)


def patchy(rng, name, *, heterogeneous=True, cells=300):
    nominal = KINETICS[name].constants()
    spread = lambda c: c * 10 ** rng.uniform(-0.6, 0.6, cells)
    constants = jax.tree.map(spread, nominal) if heterogeneous else nominal
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(constants))
    biomass = rng.gamma(1.0, 1.2, cells) * (rng.uniform(size=cells) > 0.3)
    state = Pools(rng.uniform(0, 250, cells), biomass, np.zeros(cells))
    return TwoPool(KINETICS[name].law), jax.tree.map(jnp.asarray, state), params


def test_moments_are_numpys(rng):
    model, state, params = patchy(rng, "michaelis_menten")
    found = moments.of(model.fluxes, third=(TRIPLE,))(0.0, state, params)
    data = {
        "substrate": state.substrate,
        "biomass": state.biomass,
        RATE: params.decomposition.rate,
        HALF: params.decomposition.half_saturation,
    }
    data = {name: np.asarray(values) for name, values in data.items()}
    names = list(data)
    matrix = np.cov(np.stack(list(data.values())), bias=True)
    for i, a in enumerate(names):
        for j, b in enumerate(names[i:], start=i):
            value = float(found.covariance[moments.pair_name(a, b)])
            assert value == pytest.approx(matrix[i, j], rel=1e-12, abs=1e-15)
    s, b, k = (data[n] - data[n].mean() for n in TRIPLE)
    third = float(found.third[moments.pair_name(*TRIPLE)])
    assert third == pytest.approx((s * b * k).mean(), rel=1e-12)
    assert float(found.mean.substrate) == pytest.approx(data["substrate"].mean())
    assert float(found.parameter_mean[RATE]) == pytest.approx(data[RATE].mean())
    assert float(found.minimum.biomass) == 0.0
    D = np.asarray(model.fluxes(0.0, state, params).decomposition)
    assert float(found.flux.decomposition) == pytest.approx(D.mean(), rel=1e-14)


def test_uniform_quantities_have_no_deviations(rng):
    model, state, params = patchy(rng, "michaelis_menten", heterogeneous=False)
    found = moments.of(model.fluxes, third=(TRIPLE,))(0.0, state, params)
    assert found.third == {}
    assert not any(RATE in name for name in found.covariance)
    alone = jax.tree.map(lambda x: x[:1], state)
    single = moments.of(model.fluxes)(0.0, alone, params)
    assert all(float(value) == 0 for value in single.covariance.values())
    assert float(single.higher_order_flux.respiration) == 0


def test_linear_decomposition_needs_the_covariance_with_its_constant_alone(rng):
    model, state, params = patchy(rng, "linear")
    found = moments.of(model.fluxes)(0.0, state, params)
    covariance = float(found.covariance[moments.pair_name("substrate", RATE)])
    missing = float(found.higher_order_flux.decomposition)
    assert missing == pytest.approx(covariance, rel=1e-12)


def multiplicative_terms(saved):
    """k C_SB + B C_kS + S C_kB + mean(κ s b): all that a mean field leaves out."""
    C = lambda a, b: saved.covariance.get(moments.pair_name(a, b), 0.0)
    S, B = saved.mean.substrate, saved.mean.biomass
    k = saved.parameter_mean[RATE]
    return (
        k * C("substrate", "biomass")
        + B * C("substrate", RATE)
        + S * C("biomass", RATE)
        + saved.third.get(moments.pair_name(*TRIPLE), 0.0)
    )


@pytest.mark.parametrize("heterogeneous", slow_but([False], [False, True]))
def test_multiplicative_respiration_closes_exactly_at_every_instant(rng, heterogeneous):
    model, state, params = patchy(rng, "multiplicative", heterogeneous=heterogeneous)
    saver = moments.of(model.fluxes, third=(TRIPLE,))
    times = np.linspace(0, 2400, 101)
    run = integrate(model, state, params, times, save=saver, method=Steps(2.0))
    saved = run.values
    total = (1 - 0.31) * multiplicative_terms(saved) + saved.mean_field_flux.respiration
    np.testing.assert_allclose(total, saved.flux.respiration, rtol=1e-12)
    if not heterogeneous:
        share = np.abs(saved.higher_order_flux.respiration / saved.flux.respiration)
        assert share.max() > 0.1  # the check would not see a vanishing difference


@pytest.mark.parametrize("name", sorted(KINETICS))
def test_closure_free_identity_at_every_instant(rng, name):
    """dV_Z/dt = -2 (1-Y) m (Y C_SB + V_B) and dcov(k,Z)/dt = -(1-Y) m C_kB, any law.

    Z = Y S + B does not feel decomposition. The left side is the derivative of the
    moments along the tendency itself.
    """
    model, state, params = patchy(rng, name)
    saver = moments.of(model.fluxes)
    Y, m = params.carbon_use_efficiency, params.mortality.rate

    def both_sides(t, state, params):
        measure = lambda state: saver(t, state, params).covariance
        C, change = jax.jvp(measure, (state,), (model(t, state, params),))
        key = moments.pair_name
        SS, SB, BB = (
            key("substrate", "substrate"),
            key("substrate", "biomass"),
            key("biomass", "biomass"),
        )
        variance = Y**2 * change[SS] + 2 * Y * change[SB] + change[BB]
        size = Y**2 * jnp.abs(change[SS]) + 2 * Y * jnp.abs(change[SB])
        quality = Y * change[key("substrate", RATE)] + change[key("biomass", RATE)]
        quality_size = Y * jnp.abs(change[key("substrate", RATE)])
        return {
            "variance": (variance, -2 * (1 - Y) * m * (Y * C[SB] + C[BB]), size),
            "quality": (
                quality,
                -(1 - Y) * m * C[key("biomass", RATE)],
                quality_size,
            ),
        }

    times = np.linspace(0, 2400, 51)
    run = integrate(model, state, params, times, save=both_sides, method=Steps(0.5))
    for left, right, size in run.values.values():
        scale = np.maximum(np.abs(right), size)
        assert (np.abs(left - right) <= 1e-12 * scale).all()
        assert np.abs(right).max() > 0


def test_saver_is_the_same_for_the_same_model():
    """So that runs of one model share one compilation."""
    model = TwoPool(KINETICS["eca"].law)
    assert moments.of(model.fluxes) == moments.of(model.fluxes)
