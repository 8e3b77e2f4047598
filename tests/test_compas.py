"""COMPAS: closed form, feasibility, exact consequences, and the known numbers."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from column_cases import draws, sites, stocks, unthawed

from jaxsoc import steady_state
from jaxsoc.columns import barrier, feasibility, most_feasible, soil_per_microbes
from jaxsoc.columns.steady import upstream
from jaxsoc.models import (
    CLM5,
    COMPAS,
    COMPAS_INDICATIVE,
    CLM5Parameters,
    COMPASParameters,
)
from jaxsoc.models.compas import EFOLDING
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.parameters import from_unit, outside_prior
from jaxsoc.solve import Adaptive, integrate

REFERENCE = idealised()
MIDDLE = from_unit(COMPASParameters, jnp.full(23, 0.5), published=True)
STILL = idealised(active_layer=0.0)
READINGS = ("proda_v22", "own")
YEAR = 365.0
# How the released program averages its scalars, which the known numbers rest on.
OF_MEANS = "product_of_means"
close = lambda *digits: pytest.approx(np.array(digits), rel=1e-6)


def column(model, profile):
    return float(jnp.sum(profile * model.forcing.column.thickness))


def unmixed(**forcing):
    """A column without mixing that still has litter in every layer."""
    made = idealised(active_layer=3.5, **forcing)
    quiet = COMPASParameters(bioturbation=1e-30, cryoturbation=1e-30)
    return COMPAS(made), quiet


@pytest.mark.parametrize(
    ("reading", "layer", "metre"),
    [
        (
            "proda_v22",
            (12.84573, 20683.95, 29.07040, 16630.41),
            (5.7077, 1098.8562, 1.5444, 7650.7556),
        ),
        (
            "own",
            (12.84573, 20683.95, 68.94651, 6651.450),
            (5.7077, 1098.8562, None, 3039.6551),
        ),
    ],
)
def test_the_middle_of_the_priors_has_the_known_steady_state(reading, layer, metre):
    model = COMPAS(REFERENCE, OF_MEANS, enzyme_turnover=reading)
    pools = steady_state(model, MIDDLE)
    assert np.array([pool[0] for pool in pools[4:]]) == close(*layer)
    for pool, known in zip(pools[4:], metre, strict=True):
        if known is not None:
            assert stocks(model, pool)[1] == pytest.approx(known, abs=6e-5)
    litter = [column(model, pool) for pool in pools[:4]]
    assert np.array(litter) == close(695.73406, 33.20410, 211.56021, 100.21273)


def test_the_default_has_the_known_steady_state():
    model, params = COMPAS(REFERENCE, OF_MEANS), COMPASParameters()
    pools = steady_state(model, params)
    top = np.array([pool[0] for pool in pools[4:]])
    assert top == pytest.approx(
        np.array([3.7249, 2475.3725, 5.6258, 36728.6356]), abs=6e-5
    )
    found = stocks(model, model.organic_carbon(pools))
    assert found == pytest.approx(
        np.array([8844.877, 16585.294, 18724.649, 19065.097]), abs=6e-4
    )
    assert float(soil_per_microbes(model, pools)) == pytest.approx(22.42, abs=5e-3)


def test_both_column_models_average_their_scalars_alike():
    params = COMPASParameters()
    compas = COMPAS(REFERENCE).environment(params)
    clm5 = CLM5(REFERENCE).environment(CLM5Parameters(efolding=EFOLDING))
    assert params.q10 == CLM5Parameters().q10
    for one, other in zip(compas, clm5, strict=True):
        np.testing.assert_array_equal(one, other)


def test_margins_have_the_known_numbers():
    model = lambda reading: COMPAS(REFERENCE, OF_MEANS, enzyme_turnover=reading)
    found = {r: feasibility(model(r), MIDDLE) for r in READINGS}
    for reading, known in zip(READINGS, (2.457004, 3.320614), strict=True):
        assert float(found[reading].assimilation[0]) == pytest.approx(
            3.748095, abs=6e-7
        )
        assert float(found[reading].decomposition[0]) == pytest.approx(known, abs=6e-7)


@pytest.fixture(
    scope="module", params=["own", pytest.param("proda_v22", marks=pytest.mark.slow)]
)
def many(request):
    """1,000 published draws in the reference column: pools, feasibility, tendencies."""
    model = COMPAS(REFERENCE, OF_MEANS, enzyme_turnover=request.param)

    def one(params):
        around = model.surroundings(params)
        pools = steady_state(model, params)
        fluxes = model.fluxes(pools, around.environment, params)
        lost = jnp.sum(
            model.respiration(pools, around, params) * model.forcing.column.thickness
        )
        change = model.tendency(pools, around, params)
        ratio = soil_per_microbes(model, pools)
        return pools, feasibility(model, params), change, fluxes, lost * YEAR, ratio

    params = draws(COMPASParameters, 1000, seed=3, published=True)
    return request.param, jax.jit(jax.vmap(one))(params)


def test_all_pools_are_positive_where_both_margins_are(many):
    reading, (pools, found, change, fluxes, lost, ratio) = many
    least = np.minimum(found[0].min(axis=1), found[1].min(axis=1))
    # The driest draws may be singular: see the floors.
    known = np.isfinite(least)
    assert known.mean() > 0.99
    feasible = least > 0
    positive = (np.stack(pools) >= 0).all(axis=(0, 2))
    missing = np.isnan(np.stack(pools)).all(axis=(0, 2))
    np.testing.assert_array_equal(feasible[known], positive[known])
    np.testing.assert_array_equal(missing, ~positive)
    share, ample = (0.77, 0.21) if reading == "proda_v22" else (0.92, 0.25)
    assert feasible.mean() == pytest.approx(share, abs=0.04)
    assert (feasible & (ratio >= 10)).mean() == pytest.approx(ample, abs=0.04)
    np.testing.assert_allclose(lost[feasible], 600.0, rtol=1e-12)


def test_the_closed_form_is_at_rest(many):
    _, (pools, found, change, fluxes, lost, ratio) = many
    feasible = np.minimum(found[0].min(axis=1), found[1].min(axis=1)) > 0
    for pool in ("doc", "mic", "enz", "msoc"):
        off = np.abs(getattr(change, pool)) / fluxes[pool]
        assert np.max(off[feasible]) <= 1e-13


@pytest.mark.parametrize(
    "kinetics",
    [
        "michaelis_menten",
        pytest.param("inverse_michaelis_menten", marks=pytest.mark.slow),
        pytest.param("multiplicative", marks=pytest.mark.slow),
        pytest.param("eca", marks=pytest.mark.slow),
    ],
)
def test_newton_finds_the_closed_form(kinetics):
    """With soil that mixing would move, where nothing is mixed."""
    forcing, params = unthawed(), MIDDLE
    closed = steady_state(COMPAS(forcing, kinetics=kinetics), params)
    model = COMPAS(forcing, kinetics=kinetics, mixes_soil=True)
    for away in (0.3, 3.0):
        start = jax.tree.map(lambda pool, away=away: pool * away, closed)
        found = steady_state(model, params, start=start)
        for one, other in zip(found, closed, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.slow
def test_a_perturbed_layer_returns_at_the_linearised_rate():
    """Eigenvalues of the four pools of a layer, against stepping from 1 % away."""
    model, params = COMPAS(REFERENCE), COMPASParameters()
    pools = steady_state(model, params)
    around = model.surroundings(params)
    layer = 4
    at = lambda tree: jax.tree.map(lambda leaf: leaf[layer], tree)
    inflow = at({k: v for k, v in _inflow(model, around, params, pools).items()})
    here = at(around.environment)

    def tendency(t, soil, params):
        named = dict(zip(model.soil, soil, strict=True))
        whole = at(pools)._replace(**named)
        fluxes = model.fluxes(whole, here, params)
        made = {name: inflow.get(name, 0.0) - fluxes[name] for name in model.soil}
        for (receiver, process), share in model.transfers(params).items():
            if process in model.soil:
                made[receiver] = made[receiver] + share * fluxes[process]
        return jnp.stack([made[name] for name in model.soil])

    rest = jnp.stack([getattr(at(pools), name) for name in model.soil])
    J = np.asarray(jax.jacfwd(lambda x: tendency(0.0, x, params))(rest))
    values, vectors = np.linalg.eig(J)
    assert np.max(values.real) < 0
    slow = np.argmax(values.real)
    direction = np.real(vectors[:, slow])
    direction = direction / np.max(np.abs(direction / rest))
    begin = rest + 0.01 * jnp.asarray(direction)
    rate = -values[slow].real
    assert abs(values[slow].imag) < 1e-12 * rate
    times = np.linspace(0.0, 1.0 / rate, 5)
    run = integrate(
        lambda t, x, p: tendency(t, x, p), begin, params, times,
        save=lambda t, x, p: x,
        method=Adaptive(diffrax.Kvaerno5(), rtol=1e-9, atol=1e-9),
    )  # fmt: skip
    states = run.values
    left = (np.asarray(states) - np.asarray(rest)[None]) @ np.linalg.pinv(vectors).T[
        :, slow
    ].real
    # Linear to first order in the perturbation of 1 %.
    np.testing.assert_allclose(left / left[0], np.exp(-rate * times), rtol=0.02)


def _inflow(model, around, params, pools):
    return upstream(model, around, params)[1]


def test_substrates_do_not_feel_how_much_comes_in():
    few, much = (
        COMPAS(idealised(litter=np.array([60.0, 180, 240, 120]) * f)) for f in (1, 3)
    )
    params = COMPASParameters()
    one, three = steady_state(few, params), steady_state(much, params)
    for name, factor in (("doc", 1), ("msoc", 1), ("mic", 3), ("enz", 3)):
        np.testing.assert_allclose(
            getattr(three, name), factor * getattr(one, name), rtol=1e-14
        )


def test_substrates_follow_scalar_times_half_saturation():
    model, params = unmixed()
    warm, _ = unmixed(warmth=13.0)
    base, heated = (steady_state(m, params) for m in (model, warm))
    x = [m.environment(params).soil for m in (model, warm)]
    for name in ("doc", "msoc"):
        np.testing.assert_allclose(
            getattr(heated, name) / getattr(base, name), x[1] / x[0], rtol=1e-11
        )
    twice = eqx.tree_at(
        lambda p: (p.half_saturation_uptake, p.half_saturation_decomposition),
        params,
        (800.0, 1.6e6),
    )
    other = steady_state(model, twice)
    for name, factor in (("doc", 2), ("msoc", 2), ("mic", 1), ("enz", 1)):
        np.testing.assert_allclose(
            getattr(other, name), factor * getattr(base, name), rtol=1e-13
        )


def test_warming_raises_mineral_carbon_as_known():
    params = from_unit(COMPASParameters, jnp.full(23, 0.5), published=True)
    warm = lambda w: COMPAS(idealised(warmth=w), OF_MEANS, enzyme_turnover="proda_v22")
    pools = [steady_state(warm(w), params).msoc for w in (8.0, 13.0)]
    known = [1.456, 1.448, 1.441, 1.435, 1.430]
    np.testing.assert_allclose((pools[1] / pools[0])[:5], known, atol=6e-4)


def test_far_from_saturation_kinetics_are_multiplicative():
    far = eqx.tree_at(
        lambda p: (
            p.half_saturation_uptake, p.half_saturation_decomposition,
            p.tau_uptake, p.tau_decomposition,
        ),
        COMPASParameters(),
        (400.0 * 1e6, 8e5 * 1e6, 0.011 / 1e6, 2e-4 / 1e6),
    )  # fmt: skip
    limit = steady_state(
        COMPAS(REFERENCE, kinetics="multiplicative"), COMPASParameters()
    )
    found = steady_state(COMPAS(REFERENCE), far)
    for one, other in zip(found, limit, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    nowhere = feasibility(
        COMPAS(REFERENCE, kinetics="multiplicative"), COMPASParameters()
    )
    assert np.all(np.isinf(np.stack(nowhere)))


def test_mixing_the_soil_keeps_carbon():
    model, params = COMPAS(REFERENCE, mixes_soil=True), COMPASParameters()
    pools = steady_state(model, params)
    around = model.surroundings(params)
    lost = column(model, model.respiration(pools, around, params)) * YEAR
    assert lost == pytest.approx(600.0, rel=1e-12)
    change = model.tendency(pools, around, params)
    fluxes = model.fluxes(pools, around.environment, params)
    for name in model.soil:
        assert np.max(np.abs(getattr(change, name)) / fluxes[name]) < 1e-12
    still = steady_state(COMPAS(REFERENCE), params)
    assert np.max(np.abs(pools.msoc / still.msoc - 1)) > 0.01


def test_a_layer_without_litter_holds_nothing():
    model = COMPAS(STILL)
    pools = steady_state(model, COMPASParameters())
    assert np.all(np.stack(pools)[:, 1:] == 0)
    found = feasibility(model, COMPASParameters())
    assert np.all(np.isinf(np.stack(found)[:, 1:]))
    assert np.isfinite(float(barrier(found)))


INFEASIBLE = COMPASParameters(tau_death=0.001, cue=0.02)


@pytest.mark.slow
def test_the_barrier_has_a_slope_on_both_sides():
    model = COMPAS(REFERENCE)
    for params, sign in ((INFEASIBLE, 1), (COMPASParameters(), 0)):
        value = float(barrier(feasibility(model, params)))
        slopes = jax.grad(lambda p: barrier(feasibility(model, p)))(params)
        steep = float(slopes.tau_death)
        assert np.isfinite(jax.tree.leaves(slopes)).all()
        assert (value > 100 and steep < 0) if sign else value < 1e-6


def test_no_steady_state_is_said_with_layer_and_feasibility():
    with pytest.raises(ValueError, match=r"layer \d+ \(.*assimilation.*feasibility -"):
        steady_state(COMPAS(REFERENCE), INFEASIBLE)
    pools = jax.jit(lambda p: steady_state(COMPAS(REFERENCE), p))(INFEASIBLE)
    assert np.isnan(np.stack(pools)).all()
    assert np.min(feasibility(COMPAS(REFERENCE), INFEASIBLE)) < 0


def test_a_search_that_finds_nothing_says_so():
    model = COMPAS(REFERENCE, mixes_soil=True)
    with pytest.raises(ValueError, match="no steady state of COMPAS was found: .*doc"):
        steady_state(model, INFEASIBLE)


def test_unknown_kinetics_are_refused():
    with pytest.raises(ValueError, match="unknown kinetics 'monod', expected.*linear"):
        COMPAS(REFERENCE, kinetics="monod")


def indicative_sites(**options):
    of = lambda w, a: COMPAS(idealised(warmth=w, active_layer=a), **options)
    return [of(*site) for site in ((-4.0, 1.0), (8.0, 3.5), (22.0, 3.5))]


def test_the_indicative_set_is_far_from_the_edge():
    assert outside_prior(COMPAS_INDICATIVE) == ()
    for model in indicative_sites():
        pools = steady_state(model, COMPAS_INDICATIVE)
        assert np.min(feasibility(model, COMPAS_INDICATIVE)) > 1.8
        assert float(soil_per_microbes(model, pools)) > 45


@pytest.mark.slow
def test_the_indicative_set_is_what_the_search_finds():
    # The set was found with the scalars that the published program averages.
    found = most_feasible(indicative_sites(averaging="product_of_means"))
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(COMPAS_INDICATIVE), strict=True
    ):
        assert float(one) == pytest.approx(float(other), rel=6e-3)


def test_a_search_needs_a_column():
    with pytest.raises(ValueError, match="at least one column"):
        most_feasible([])


@pytest.mark.slow
def test_many_sites_are_each_by_itself():
    params, forcing = draws(COMPASParameters, 5, seed=4), sites(5, seed=4)
    solve = lambda p, f: steady_state(COMPAS(f), p)
    together = jax.vmap(solve)(params, forcing)
    for i in range(5):
        pick = lambda tree, i=i: jax.tree.map(lambda leaf: leaf[i], tree)
        one = jax.jit(solve)(pick(params), pick(forcing))
        for a, b in zip(pick(together), one, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_where_nothing_decomposes_and_nothing_is_there_nothing_flows():
    model, params = COMPAS(idealised()), COMPAS_INDICATIVE
    around = model.surroundings(params).environment
    none = jnp.zeros(20)
    still = around._replace(soil=none, litter=none)

    def flux(pools):
        flows = model.fluxes(pools, still, params)
        return sum(jnp.sum(x) for x in flows.values())

    for held in (0.0, 5.0):
        pools = model.pools(*[none + held] * 8)
        value, slopes = jax.jit(jax.value_and_grad(flux))(pools)
        assert value == 0.0 and all(np.isfinite(x).all() for x in slopes)
