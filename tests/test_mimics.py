"""MIMICS in a column: the published model, its laws, and steady states of draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns.steady import steady_pools
from jaxsoc.models.mimics import DENSITY, MIMICS, MIMICSPools
from jaxsoc.models.mimics_parameters import MIMICSParameters
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.parameters import (
    declarations,
    from_unit,
    from_vector,
    outside_prior,
    to_vector,
)
from jaxsoc.physics.units import HOURS_PER_DAY

TWO = SoilColumn((0.15, 0.30))
SHALLOW = SoilColumn((0.1, 0.3, 0.7))
# At 15 °C, 30 % clay, 200 gC m⁻² yr⁻¹, lignin:N 20, mgC cm⁻³; computed once by ODEs
# over 20 000 years and Newton's method in another program.
STEADY = {
    "litm": 3.79921084e-01,
    "lits": 1.63110769e00,
    "micr": 8.43406227e-02,
    "mick": 8.64945046e-02,
    "somp": 3.84740537e00,
    "somc": 8.64361504e-01,
    "soma": 2.06226065e00,
}
# The change at a state, mgC cm⁻³ h⁻¹, by the same program.
AT = dict(litm=1.0, lits=2.0, micr=0.1, mick=0.2, somp=3.0, somc=4.0, soma=0.5)
CHANGE = {
    "litm": -9.75810662e-05,
    "lits": -4.40164600e-05,
    "micr": 6.49925346e-06,
    "mick": -1.57659660e-05,
    "somp": 2.20894194e-05,
    "somc": -3.12498023e-05,
    "soma": 1.15345283e-04,
}
RESPIRED = 1.20782839e-04


def site(
    *, litter=200.0, metabolic=0.59, wood=0.0, temperature=288.15, column=TWO, thaws=0.0
):
    """One soil of the published model: alike in all layers and months."""
    rest = litter * (1 - metabolic) - wood
    even = column.thickness / column.bottom[-1]
    return Forcing(
        temperature,
        1.0,
        (wood, litter * metabolic, 0.7 * rest, 0.3 * rest),
        active_layer=thaws,
        profile=np.broadcast_to(even, (4, column.layers)),
        column=column,
    )


def published(clay=30.0, **others):
    options = {"immigration": 0.0, "turnover_limits": (1.0, 1.0)}
    return MIMICS(site(**others), clay=clay, **options)


PARAMS = MIMICSParameters(efolding=np.inf)
solved = jax.jit(steady_state)


def numbers(**changed):
    """As arrays, so that programs compiled for one serve for others."""
    return jax.tree.map(
        jnp.asarray, MIMICSParameters(**{"efolding": np.inf, **changed})
    )


@pytest.mark.reference
@pytest.mark.parametrize("immigration", slow_but([0.0], [0.0, 1e-10]))
def test_steady_state_is_that_of_the_published_model(immigration):
    model = MIMICS(site(), clay=30.0, immigration=immigration)
    found = solved(model, numbers())
    for name, stock in STEADY.items():
        own = np.asarray(getattr(found, name)) / DENSITY
        np.testing.assert_allclose(own, stock, rtol=1e-8, err_msg=name)
    assert np.all(np.asarray(found.cwd) == 0)


@pytest.mark.reference
def test_tendency_and_respiration_are_those_of_the_published_model():
    model = MIMICS(site(), clay=30.0, immigration=0.0)
    state = MIMICSPools(
        cwd=jnp.zeros(2), **{k: jnp.full(2, DENSITY * v) for k, v in AT.items()}
    )
    found = model(0.0, state, PARAMS)
    for name, change in CHANGE.items():
        own = np.asarray(getattr(found, name)) / DENSITY / HOURS_PER_DAY
        np.testing.assert_allclose(own, change, rtol=1e-7, err_msg=name)
    respired = model.respiration(state, model.surroundings(PARAMS), PARAMS)
    own = np.asarray(respired) / DENSITY / HOURS_PER_DAY
    np.testing.assert_allclose(own, RESPIRED, rtol=1e-8)


def ratios(changed, base):
    return {
        name: np.asarray(own / other)
        for name, own, other in zip(
            base._fields[1:], changed[1:], base[1:], strict=True
        )
    }


def agree(found, expected):
    for name, ratio in found.items():
        np.testing.assert_allclose(
            ratio, expected.get(name, 1.0), rtol=1e-10, err_msg=name
        )


@pytest.mark.slow
def test_twice_the_litter_is_twice_the_microbes_and_no_more_food():
    base = solved(published(), numbers())
    more = solved(published(litter=400.0), numbers())
    agree(ratios(more, base), dict(micr=2.0, mick=2.0, somp=2.0))


def test_food_follows_its_half_saturation_alone():
    base = solved(published(), numbers())
    found = ratios(solved(published(), numbers(ko_micr=8.0, ko_mick=8.0)), base)
    agree(found, dict(somc=2.0))
    found = ratios(solved(published(), numbers(km_factor=13.0)), base)
    agree(found, dict.fromkeys(("litm", "lits", "somc", "soma"), 1.3))


def test_clay_protects_and_leaves_litter_and_microbes_alone():
    base = solved(published(30.0), numbers())
    found = ratios(solved(published(60.0), numbers()), base)
    protected = found.pop("somp")
    assert np.all(protected > 1.5)
    soma = np.exp(2 * (np.sqrt(0.6) - np.sqrt(0.3)))
    agree(found, dict(soma=soma))


def test_litter_past_the_limits_changes_the_turnover_no_more():
    model = lambda litter: MIMICS(site(litter=litter), clay=30.0)
    death = lambda litter: model(litter).environment(PARAMS).death_micr[0]
    assert float(death(200.0) / death(100.0)) == pytest.approx(1.2)
    assert float(death(150.0) / death(100.0)) == pytest.approx(1.2)
    assert float(death(10.0) / death(100.0)) == pytest.approx(0.8)
    assert float(death(121.0) / death(100.0)) == pytest.approx(1.1)


def test_a_month_knows_the_litter_of_its_year():
    monthly = np.outer([0.0, 60.0, 30.0, 10.0], np.arange(12) / 66)
    year = eqx.tree_at(lambda f: f.litter, site(), jnp.asarray(monthly))
    whole = MIMICS(year, clay=30.0).environment(PARAMS)
    for month in (0, 6):  # none comes in the first of them
        # A month is its own only one.
        model = MIMICS(year.month(month).month(0), clay=30.0)
        now = model.environment(PARAMS)
        np.testing.assert_allclose(now.death_micr, whole.death_micr, rtol=1e-14)
        np.testing.assert_allclose(now.death_mick, whole.death_mick, rtol=1e-14)
        assert float(model.metabolic) == pytest.approx(0.6, rel=1e-14)
        came = 12 / 365 * np.sum(monthly[:, month])
        source = model.source(PARAMS).values()
        daily = sum(float(b @ TWO.thickness) for b in source)
        assert daily == pytest.approx(came, rel=1e-12)
    none = site(litter=0.0)
    assert float(MIMICS(none, clay=30.0).metabolic) == 0.0
    slope = jax.grad(lambda f: MIMICS(f, clay=30.0).metabolic, allow_int=True)(none)
    assert np.all(np.isfinite(slope.litter))


def test_coarse_wood_counts_as_structural_litter():
    plain = solved(published(), numbers())
    options = {"immigration": 0.0, "turnover_limits": (1.0, 1.0)}
    woody = MIMICS(site(wood=50.0), clay=30.0, **options)
    # Structural litter that comes from wood does not pass by the microbes.
    same = numbers(f_lits_somc=0.0)
    found, base = solved(woody, same), solved(published(), same)
    agree(ratios(found, base), {})
    assert np.all(np.asarray(found.cwd) > 0)
    assert abs(float(plain.somc[0] / base.somc[0]) - 1) > 1e-3


def test_averages_over_the_year_differ_as_they_say():
    forcing = idealised(column=SHALLOW)
    T = np.asarray(forcing.temperature) - 273.15
    wet = np.asarray(forcing.water * forcing.oxygen)
    fast = np.exp(0.063 * T + 5.47) * 8e-6 * 24 * np.exp(-SHALLOW.nodes / 0.5)[:, None]
    of_product = MIMICS(forcing).environment(MIMICSParameters())
    np.testing.assert_allclose(of_product.speed, (fast * wet).mean(1), rtol=1e-13)
    of_means = MIMICS(forcing, averaging="product_of_means")
    of_means = of_means.environment(MIMICSParameters())
    mean = np.exp(0.063 * (T.mean(1) - T[:, 0])) * fast[:, 0]
    np.testing.assert_allclose(of_means.speed, mean * wet.mean(1), rtol=1e-13)
    assert np.all(of_product.half_lits > of_means.half_lits)
    ratio = np.asarray(of_product.half_lits / of_means.half_lits)
    known = np.exp(0.027 * T).mean(1) / np.exp(0.027 * T.mean(1))
    np.testing.assert_allclose(ratio, known, rtol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_carbon_is_neither_made_nor_lost(seed):
    rng = np.random.default_rng(seed)
    model = MIMICS(idealised(column=SHALLOW), clay=jnp.asarray(rng.uniform(0, 80, 3)))
    places = rng.uniform(size=len(declarations(MIMICSParameters)))
    params = from_unit(MIMICSParameters, jnp.asarray(places))
    state = MIMICSPools(*jnp.asarray(np.exp(rng.normal(4, 3, (8, 3)))))
    around = model.surroundings(params)
    assert float(around.exchange.below[0]) > 0
    dz = SHALLOW.thickness
    # Rounding is that of the largest terms, the fluxes.
    fluxes = model.fluxes(state, around.environment, params)
    scale = float(sum(jnp.sum(flux * dz) for flux in fluxes.values()))
    moved = sum(
        float(jnp.sum(jnp.abs(x * dz * around.exchange.diagonal))) for x in state
    )
    change = float(sum(jnp.sum(x * dz) for x in model.tendency(state, around, params)))
    came = float(sum(jnp.sum(b * dz) for b in around.source.values()))
    left = float(jnp.sum(model.respiration(state, around, params) * dz))
    assert came == pytest.approx(float(jnp.sum(model.forcing.litter) / 365), rel=1e-12)
    assert abs(change - (came - left)) <= 1e-12 * (scale + moved + came)
    assert (
        min(
            float(jnp.min(share))
            for share in map(jnp.asarray, model.transfers(params).values())
        )
        >= 0
    )


def drawn(column, number):
    """Steady states of draws of the priors, with what they respire and leave over."""
    model = MIMICS(idealised(column=column), clay=jnp.full(column.layers, 20.0))
    count = len(declarations(MIMICSParameters))
    places = jnp.asarray(np.random.default_rng(1).uniform(size=(count, number)))
    draw = jax.vmap(lambda u: from_unit(MIMICSParameters, u), in_axes=-1, out_axes=-1)

    @jax.jit
    def solve(params):
        around = model.surroundings(params)
        state = steady_pools(model, around, params)
        dz = model.forcing.column.thickness
        total = lambda x: jnp.sum(x * dz)
        came = sum(total(b) for b in around.source.values())
        left = total(model.respiration(state, around, params))
        fluxes = model.fluxes(state, around.environment, params)
        size = {p: around.source.get(p, jnp.zeros_like(dz)) for p in state._fields}
        for process, flux in fluxes.items():
            donor = model.processes[process]
            size[donor] = size[donor] + flux
        change = model.tendency(state, around, params)
        off = jnp.stack(
            [
                jnp.abs(c) / (s + around.exchange.diagonal * x)
                for c, s, x in zip(change, size.values(), state, strict=True)
            ]
        )
        return state, left / came, jnp.max(off)

    params = draw(places)
    batch = jax.jit(jax.vmap(solve, in_axes=-1, out_axes=-1))
    return model, params, batch(params)


@pytest.mark.parametrize(
    ("column", "number"),
    [
        pytest.param(SHALLOW, 100, marks=pytest.mark.slow),
        pytest.param(CLM5_COLUMN, 192, marks=pytest.mark.slow),
    ],
)
def test_newton_converges_for_draws_of_the_priors(column, number):
    model, params, (states, respired, residual) = drawn(column, number)
    sound = np.isfinite(np.asarray(states.soma)).all(axis=0)
    assert sound.mean() >= 0.99
    for pool in states:
        assert np.all(np.asarray(pool)[:, sound] > 0)
    assert np.all(np.asarray(residual)[sound] <= 1e-12)
    np.testing.assert_allclose(np.asarray(respired)[sound], 1.0, rtol=1e-12)
    # Some draws leave one kind of microbes no living.
    few = np.asarray(states.micr / states.mick)[0, sound]
    assert np.any(few < 1e-6) and np.any(few > 1e6)
    assert np.any((few > 0.1) & (few < 10))
    for place in (0, 5):
        state = solved(model, jax.tree.map(lambda x, i=place: x[..., i], params))
        for name, own, all_ in zip(state._fields, state, states, strict=True):
            np.testing.assert_allclose(own, all_[:, place], rtol=1e-9, err_msg=name)


def test_long_integrations_end_at_the_steady_state():
    """Of three draws; many in the column of CLM5 are in `test_mimics_states`."""
    model = MIMICS(site(), clay=30.0)

    @jax.jit
    def change(state, params):
        return jnp.stack(model(0.0, MIMICSPools(*state), params))

    slopes = jax.jit(jax.jacfwd(lambda y, p: change(y.reshape(8, 2), p).ravel()))
    count = len(declarations(MIMICSParameters))
    for places in np.random.default_rng(1).uniform(size=(3, count)):
        params = from_unit(MIMICSParameters, jnp.asarray(places))
        found = np.stack(solved(model, params))
        run = solve_ivp(
            lambda _, y, p=params: np.asarray(change(y.reshape(8, 2), p)).ravel(),
            (0.0, 1e9),
            np.ones(16),
            method="BDF",
            jac=lambda _, y, p=params: np.asarray(slopes(jnp.asarray(y), p)),
            rtol=1e-6,
            atol=1e-9,
        )
        end = run.y[:, -1].reshape(8, 2)
        np.testing.assert_allclose(found, end, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_gradients_by_parameters_clay_and_litter_are_slopes():
    forcing, clay = idealised(column=SHALLOW), jnp.full(3, 25.0)
    # Litter that changes the turnover, between the limits.
    litter = jnp.asarray((20.0, 50.0, 30.0, 10.0))

    def stock(values, clay, litter):
        monthly = jnp.broadcast_to(litter[:, None] / 12, (4, 12))
        here = eqx.tree_at(lambda f: f.litter, forcing, monthly)
        model = MIMICS(here, clay=clay)
        state = solved(model, from_vector(MIMICSParameters, values))
        return jnp.log(jnp.sum(model.organic_carbon(state) * SHALLOW.thickness))

    at = (to_vector(MIMICSParameters()), clay, litter)
    found = jax.grad(stock, argnums=(0, 1, 2))(*at)
    names = [d.name for d in declarations(MIMICSParameters)]
    labels = (names, ["clay"] * 3, ["litter"] * 4)
    for which, (slopes, known) in enumerate(zip(found, labels, strict=True)):
        for i, name in enumerate(known):
            step = 1e-4 * float(at[which][i])
            moved = lambda h, w=which, i=i: stock(
                *(a.at[i].add(h) if k == w else a for k, a in enumerate(at))
            )
            # Fourth order, so that rounding is the larger error.
            one, two = moved(step) - moved(-step), moved(2 * step) - moved(-2 * step)
            slope = float(8 * one - two) / (12 * step)
            size = step * 1e4
            assert float(slopes[i]) * size == pytest.approx(
                slope * size, rel=1e-6, abs=1e-8
            ), name


def test_a_kind_that_cannot_live_becomes_few():
    # Much metabolic litter starves the oligotrophs.
    params = numbers()
    rich = solved(MIMICS(site(metabolic=0.95), clay=30.0), params)
    poor = solved(MIMICS(site(metabolic=0.75), clay=30.0), params)
    assert 0 < float(rich.mick[0]) < 1e-6 * float(rich.micr[0])
    assert float(poor.mick[0]) > 0.1 * float(poor.micr[0])


@pytest.mark.slow
def test_there_is_no_steady_state_where_no_microbes_can_live():
    # Vmax too low for their turnover: litter piles up.
    found = solved(MIMICS(site(), clay=30.0), numbers(vmax_factor=1e-8))
    assert np.all(np.isnan(np.asarray(found.litm)))


def test_clay_that_is_none_is_refused_and_defaults_lie_in_their_priors():
    with pytest.raises(ValueError, match=r"clay must lie in \[0, 100\] %, got 130"):
        MIMICS(site(), clay=130.0)
    assert outside_prior(MIMICSParameters()) == ()
    with pytest.raises(ValueError, match="efolding"):
        MIMICSParameters(efolding=-1.0)
