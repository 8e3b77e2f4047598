"""Laws that every macro-scale model of a soil core keeps, whatever its numbers."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_cases import slow_but

from jaxsoc.io import load_fields
from jaxsoc.models import Pools, TwoPool
from jaxsoc.models.two_pool import TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS, MultiplicativeConstants
from jaxsoc.solve import Steps, follow, integrate
from jaxsoc.upscale import (
    TRACKS,
    ClosedMoments,
    Examples,
    FunctionsOfMeans,
    RealisabilityError,
    RepresentativeCells,
    closure,
    moments,
    predict,
    state_count,
)
from jaxsoc.upscale.closures import Higher

CONSTANTS = {
    "multiplicative": (2e-3,),
    "michaelis_menten": (0.02, 6.0),
    "inverse_michaelis_menten": (0.01, 3.0),
}
VARYING = {
    name: ("decomposition.rate", "decomposition.half_saturation")[: len(values)]
    for name, values in CONSTANTS.items()
}
# The others show the same, and take long to compile.
KINDS = [
    "multiplicative",
    pytest.param("michaelis_menten", marks=pytest.mark.slow),
    pytest.param("inverse_michaelis_menten", marks=pytest.mark.slow),
]
# Closures of one class read the same.
ALIKE = ("gaussian", "power_two", "gamma", "log_normal", "prescribed_moments")
ALIKE += tuple(n for n in TRACKS if n.startswith("effective") and n[10:] != "eca")
NAMES = list(TRACKS)
# An effective law other than the cells' own is another model.
OWN = [
    pytest.param(n, k, marks=[pytest.mark.slow] * bool(place))
    for place, k in enumerate(CONSTANTS)
    for n in TRACKS
    if not n.startswith("effective") or n == f"effective_{k}"
]
READERS = slow_but(TRACKS.keys() - set(ALIKE), TRACKS)


def soil(kinetics="multiplicative", *, cells=60, dead=0.25, spread=0.6, seed=3):
    """A soil in which all differs between cells, the first ones without biomass."""
    rng = np.random.default_rng(seed)
    draw = lambda mean: mean * (1 + spread * rng.uniform(-1, 1, cells))
    law = KINETICS[kinetics]
    biomass = np.where(np.arange(cells) < dead * cells, 0.0, draw(1.5))
    pools = draw(4.0), biomass, draw(0.3)
    constants = law.constants(*[jnp.asarray(draw(c)) for c in CONSTANTS[kinetics]])
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(constants))
    return TwoPool(law.law), Pools(*map(jnp.asarray, pools)), params


def uniform(kinetics="multiplicative", cells=60):
    model, _, params = soil(kinetics)
    full = lambda x: jnp.full(cells, x)
    constants = KINETICS[kinetics].constants(*map(full, CONSTANTS[kinetics]))
    params = eqx.tree_at(lambda p: p.decomposition, params, constants)
    return model, Pools(full(4.0), full(1.5), full(0.3)), params


def example(state, params):
    """What representative cells start from."""
    lead = lambda x: np.asarray(x)[None]
    state, params = jax.tree.map(lead, (state, params))
    return Examples(state, params, np.zeros(1), np.zeros((1, 1)))


OPTIONS = {
    "learned": {"width": 4},
    "representative_cells": {"groups": 4},
    "representative_statistics": {"groups": 3, "members": 2},
}


@cache
def made(name, kinetics="multiplicative", *, seed=0, size=0.3, **options):
    """A closure by its name, with numbers that no fit has chosen."""
    model, state, params = soil(kinetics)
    examples = example(state, params)
    options = OPTIONS.get(name, {}) | options
    plain = closure(name, model, VARYING[kinetics], examples, **options)
    if name.startswith("effective"):
        return plain
    return perturbed(plain, seed, size)


def perturbed(plain, seed, size):
    rng = np.random.default_rng(seed)
    moved = lambda x: x + jnp.asarray(size * rng.normal(size=x.shape))
    return jax.tree.map(lambda x: moved(x) if eqx.is_inexact_array(x) else x, plain)


@eqx.filter_jit
def _at(one, state, params, t):
    core, known = one.initial(state, params)
    change, fluxes = one(t, core, known), one.fluxes(t, core, known)
    return one.pools(core, known), one.pools(change, known), fluxes, known.params


def at_start(one, state, params, t=0.0):
    """Mean pools, their tendencies, fluxes and mean parameters as a core starts."""
    return _at(one, state, params, jnp.asarray(t))


@eqx.filter_jit
def run(one, state, params, times, steps):
    return predict(one, state, params, times, steps=steps, throw=False)


def close(found, expected, tolerance=1e-12):
    """In units of the largest of a tuple: small differences of fluxes are one too."""
    found, expected = map(np.asarray, (found, expected))
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def cell_means(tree):
    return [float(jnp.mean(x)) for x in tree]


# --- What holds for all of them ---


@pytest.mark.parametrize("kinetics", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_carbon_is_balanced_and_means_are_kept(name, kinetics):
    model, state, params = soil(kinetics)
    one = made(name, kinetics)
    pools, change, fluxes, means = at_start(one, state, params)
    close(pools, cell_means(state))
    scale = float(fluxes.decomposition)
    assert scale > 0
    assert abs(float(sum(change)) - float(params.input)) <= 1e-12 * scale
    Y = float(params.carbon_use_efficiency)
    assert float(change.co2) == pytest.approx(float(fluxes.respiration), rel=1e-12)
    assert float(fluxes.growth) == pytest.approx(Y * scale, rel=1e-12)
    # Nothing knows what time it is.
    later = at_start(one, state, params, 9e9)
    jax.tree.map(np.testing.assert_array_equal, (change, fluxes), later[1:3])
    alive = np.asarray(state.biomass) > 0
    for mean, field in zip(
        jax.tree.leaves(means), jax.tree.leaves(params), strict=True
    ):
        # Constants of dead cells are never used.
        field = field[alive] if one.dead and field.ndim else field
        assert float(mean) == pytest.approx(float(jnp.mean(field)), rel=1e-13)


@pytest.mark.parametrize(("name", "kinetics"), OWN)
def test_a_uniform_soil_is_the_model_at_a_point(name, kinetics):
    model, state, params = uniform(kinetics)
    one = made(name, kinetics)
    if name.startswith("effective"):
        logs = np.log(CONSTANTS[kinetics])
        one = eqx.tree_at(lambda c: c.log_constants, one, jnp.asarray(logs))
    _, change, fluxes, _ = at_start(one, state, params)
    close(change, cell_means(model(0.0, state, params)))
    close(fluxes, cell_means(model.fluxes(0.0, state, params)))


def test_carbon_is_balanced_over_a_run():
    model, state, params = soil()
    times = np.array([0.0, 120.0, 480.0])
    found = run(made("representative_cells"), state, params, times, 8)
    total = np.asarray(sum(found.pools))
    expected = total[0] + float(params.input) * times
    np.testing.assert_allclose(total, expected, rtol=1e-13)
    assert float(found.pools.co2[-1]) > 2 * float(found.pools.co2[0])


# --- Dead cells, and kinds of cells ---


def distributed(model, state, params, times, dt):
    run = integrate(
        model,
        state,
        params,
        times,
        save=moments.of(model.fluxes),
        method=Steps(dt),
    )
    return run.values


@pytest.mark.parametrize("kinetics", KINDS)
def test_dead_cells_apart_are_exact(kinetics):
    model, state, params = soil(kinetics, cells=12)
    alike = np.arange(12) >= 3
    same = lambda x: jnp.where(jnp.asarray(alike), x[5], x) if x.ndim else x
    state, params = jax.tree.map(same, (state, params))
    assert len(set(state.substrate.tolist())) == 4
    times = np.array([0.0, 200.0, 400.0])
    cells = distributed(model, state, params, times, 2.0)
    found = run(made("two_strata", kinetics), state, params, times, 100)
    close(found.fluxes, cells.flux)
    for pool, mean in zip(found.pools, cells.mean, strict=True):
        close(pool, mean)
    # As if well mixed, the same soil respires differently.
    mixed = run(made("mean_field", kinetics), state, params, times, 100)
    off = mixed.fluxes.respiration[-1] / cells.flux.respiration[-1]
    assert abs(float(off) - 1) > 0.01


@pytest.mark.parametrize("kinetics", KINDS)
def test_as_many_cells_as_kinds_are_exact(kinetics):
    """Soil of three kinds of cells, sharply distinct: the distributed run itself."""
    kinds = np.repeat([0, 1, 2, 3], [7, 10, 20, 23])  # the first is dead
    model, state, params = soil(kinetics, cells=4)
    pick = lambda chosen: jax.tree.map(
        lambda x: x[chosen] if x.ndim else x, (state, params)
    )
    one = closure(
        "representative_cells",
        model,
        VARYING[kinetics],
        example(*pick(np.array([1, 2, 3]))),
        groups=3,
    )
    sharp = lambda c: (c.log_sharpness, c.move)
    far = jnp.full(one.centre.shape, 5.0), one.move + 0.7
    one = eqx.tree_at(sharp, one, far)
    state, params = pick(kinds)
    times = np.array([0.0, 240.0])
    cells = distributed(model, state, params, times, 2.0)
    found = run(one, state, params, times, 120)
    # Rounding of the variances within, by the root, is in the places.
    close(found.fluxes.respiration, cells.flux.respiration, 1e-7)
    for pool, mean in zip(found.pools, cells.mean, strict=True):
        close(pool, mean, 1e-7)
    # One cell fewer is not enough.
    fewer = jax.tree.map(
        lambda x: x[:2] if eqx.is_array(x) and x.shape[:1] == (3,) else x, one
    )
    off = run(fewer, state, params, times, 120).fluxes.respiration[-1]
    assert abs(float(off / cells.flux.respiration[-1]) - 1) > 1e-4


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("representative")])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), size=st.floats(0.0, 4.0))
def test_weights_and_stocks_are_possible_whatever_the_numbers(name, seed, size):
    _, state, params = soil()
    moved = perturbed(made(name), seed, size)
    pools, share, weights, live = _description(moved, state, params)
    assert float(weights.min()) >= 0 and float(live.min()) >= 0
    assert float(weights.sum()) == pytest.approx(1.0, rel=1e-13)
    assert float(share) == pytest.approx(0.75, rel=1e-13)
    close(pools, cell_means(state))


@eqx.filter_jit
def _description(one, state, params):
    core, known = one.initial(state, params)
    return one.pools(core, known), known.share, known.detail[0], core.live


@settings(max_examples=25)
@given(
    powers=st.lists(st.floats(-1.0, 3.0), min_size=2, max_size=2),
    change=st.lists(st.floats(0.01, 5.0), min_size=2, max_size=2),
)
def test_covariances_as_functions_of_means_are_possible(powers, change):
    C = np.asarray(_covariance(jnp.asarray(powers), jnp.asarray(change)))
    np.testing.assert_allclose(C, C.T, rtol=1e-14)
    deviation = np.sqrt(np.diag(C))
    least = np.linalg.eigvalsh(C / np.outer(deviation, deviation))[0]
    assert least >= -1e-12
    relative = np.asarray(change) ** np.asarray(powers)
    start = np.asarray(_covariance(jnp.asarray(powers), jnp.ones(2)))
    expected = np.sqrt(np.diag(start))[:2] * relative
    np.testing.assert_allclose(deviation[:2], expected, rtol=1e-10)


@jax.jit
def _covariance(powers, change):
    model, state, params = soil()
    one = FunctionsOfMeans(model, VARYING["multiplicative"], powers=powers)
    core, known = one.initial(state, params)
    return one.covariance(core.live * change, known)


# --- The second order ---


@pytest.mark.slow
def test_with_the_moments_of_the_cells_closed_moments_are_exact():
    """Cubic in k, S and B: nothing is left out at order 3."""
    model, state, params = soil()
    alive = np.asarray(state.biomass) > 0
    x = jnp.stack([state.substrate, state.biomass, params.decomposition.rate])
    x = x[:, alive] - x[:, alive].mean(axis=1, keepdims=True)
    third = jnp.einsum("ac,bc,dc->abd", x, x, x) / x.shape[1]
    fourth = jnp.einsum("ac,bc,dc,ec->abde", x, x, x, x) / x.shape[1]
    known = lambda mean, covariance: Higher(third, fourth)
    one = ClosedMoments(model, VARYING["multiplicative"], closure=known, order=3)
    core, given = one.initial(state, params)
    tendency, change = model(0.0, state, params), eqx.filter_jit(one)(0.0, core, given)
    close(one.pools(change, given), cell_means(tendency))
    moving = jnp.stack([tendency.substrate, tendency.biomass, jnp.zeros(60)])[:, alive]
    half = x @ moving.T / x.shape[1]
    close(change.live[1], half + half.T)
    # At order 2 the fluxes miss the term in f'''.
    second = ClosedMoments(model, VARYING["multiplicative"], closure=known)
    off = second.fluxes(0.0, core, given).respiration
    exact = float(jnp.mean(model.fluxes(0.0, state, params).respiration))
    assert abs(float(off) / exact - 1) > 1e-4


# --- Runs ---


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["representative_cells", pytest.param("power_two", marks=pytest.mark.slow)]
)
def test_a_batch_is_its_members(name):
    times = np.array([0.0, 48.0, 240.0])
    soils = [soil(seed=seed)[1:] for seed in range(3)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *soils)
    one = made(name)
    single = lambda s, p: run(one, s, p, times, 4)
    batch = jax.jit(jax.vmap(single))(*stacked)
    alone = [single(*member) for member in soils]
    alone = jax.tree.map(lambda *xs: np.stack(xs), *alone)
    assert not np.allclose(*alone.fluxes.respiration[:2], rtol=1e-3)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12)
    jax.tree.map(close, batch, alone)


@pytest.mark.slow
def test_equal_steps_are_of_fourth_order_and_agree_with_the_others():
    _, state, params = soil()
    one = made("two_strata")
    core, known = one.initial(state, params)
    times = np.array([0.0, 200.0, 600.0])
    at_end = lambda **how: follow(one, core, known, times, **how)[0].live[-1]
    end = lambda **how: jax.jit(lambda: at_end(**how))()
    exact = end(rtol=1e-12, atol=1e-14)
    off = [float(jnp.abs(end(steps=n) - exact).max()) for n in (8, 16, 32)]
    orders = np.log2(np.asarray(off[:-1]) / np.asarray(off[1:]))
    assert orders == pytest.approx([4, 4], abs=0.35)
    np.testing.assert_allclose(end(steps=64), end(), rtol=1e-6)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        end(steps=0)


# --- What a soil can be ---


def harsh():
    """Dead zones, patches of microbes, substrate where they are not."""
    rng = np.random.default_rng(1)
    biomass = np.where(rng.uniform(size=200) < 0.4, 0.0, rng.lognormal(0.0, 1.0, 200))
    substrate = 100 * np.exp(-biomass)
    params = TwoPoolParameters(MultiplicativeConstants(1e-3))
    state = Pools(jnp.asarray(substrate), jnp.asarray(biomass), jnp.zeros(200))
    return TwoPool(), state, jax.tree.map(jnp.asarray, params)


TIMES = 24.0 * np.arange(0, 61, 2)


@pytest.mark.parametrize("name", slow_but([], ["zero_third", "power_two"]))
def test_a_run_that_leaves_the_possible_says_so(name):
    model, state, params = harsh()
    one = closure(name, model, dead=None)
    quiet = run(one, state, params, TIMES, 12)
    day = float(quiet.left) / 24
    assert 0 < day <= 60
    words = (
        rf"^ClosedMoments \({name}\) leaves what a soil can be on day {day:.1f}: "
        r"(\w+ of live cells|variance of \w+|V V - C² of \w+ and \w+|respiration) "
        r"is -\S+; "
        r"try the same with dead cells apart \(dead='biomass'\), or representative "
        r"cells, which cannot leave it$"
    )
    with pytest.raises(RealisabilityError, match=words):
        predict(one, state, params, TIMES, steps=12)
    # Before that day all is possible, and representative cells stay so.
    before = quiet.times < quiet.left
    for series in (*quiet.pools, *quiet.fluxes):
        assert float(series[before].min()) >= 0
    cells = closure("representative_cells", model, (), example(state, params), groups=4)
    found = run(cells, state, params, TIMES, 12)
    assert not np.isfinite(float(found.left))
    assert float(min(x.min() for x in (*found.pools, *found.fluxes))) >= 0


def test_a_run_that_leaves_the_numbers_says_so():
    model, state, params = soil()
    fast = eqx.tree_at(lambda p: p.decomposition.rate, params, jnp.full(60, 2e3))
    one = closure("two_strata", model, VARYING["multiplicative"])
    with pytest.raises(RealisabilityError, match=r"on day 2\.0: .*; try repres"):
        predict(one, state, fast, TIMES[:3], steps=1)
    quiet = run(one, state, fast, TIMES[:3], 1)
    assert float(quiet.left) == 48.0


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize(("correlation", "day"), [("positive", 71), ("negative", 46)])
def test_zero_third_moments_blow_up_on_the_published_fields(data, correlation, day):
    supplied = load_fields(data / "chakrawal_fields" / "scenario2.npz")
    substrate = jnp.asarray(supplied.substrate[correlation]).reshape(-1)
    biomass = jnp.asarray(supplied.biomass).reshape(-1)
    state = Pools(substrate, biomass, jnp.zeros_like(substrate))
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(MultiplicativeConstants()))
    times = 24.0 * np.arange(0, 101)
    one = closure("zero_third", TwoPool(), dead=None)
    found = run(one, state, params, times, 96)
    lost = np.flatnonzero(~np.isfinite(np.asarray(found.fluxes.respiration)))[0]
    assert abs(int(lost) - day) <= 5
    assert 0 < float(found.left) <= 24 * lost
    with pytest.raises(RealisabilityError, match="try the same with dead cells apart"):
        predict(one, state, params, times, steps=96)
    apart = run(closure("zero_third", TwoPool()), state, params, times, 96)
    assert np.isfinite(np.asarray(apart.fluxes.respiration)).all()


# --- What is read of a field ---


def reflected(state, params):
    """Another soil of the same means and covariances: live cells about their mean."""
    alive = state.biomass > 0
    weight = alive.astype(float) / jnp.sum(alive, dtype=float)

    def turned(x):
        if not x.ndim:
            return x
        dead = jnp.mean(x, where=~alive)
        return jnp.where(alive, 2 * (x @ weight) - x, dead)

    biomass = jnp.where(alive, turned(state.biomass), 0.0)
    state, params = jax.tree.map(turned, (state, params))
    return state._replace(biomass=biomass), params


def known_of(one):
    """All that a core and its description hold, as one vector."""

    def function(state, params):
        core, known = one.initial(state, params)
        held = jax.tree.leaves((core, known.params, known.share, known.detail))
        return jnp.concatenate([jnp.ravel(x) for x in held])

    return function


@pytest.mark.parametrize("name", READERS)
def test_statistics_closures_read_few_numbers(name):
    """As many as they say: no more directions of a field change what they know."""
    kinetics = "michaelis_menten"  # two pools and two constants that differ
    model, state, params = soil(kinetics)
    options = {"groups": 5, "members": 3} if name.endswith("statistics") else {}
    options = {"groups": 8} if name == "representative_cells" else options
    one = made(name, kinetics, **options)
    function = known_of(one)
    constants = params.decomposition
    fields = (state.substrate, state.biomass, constants.rate, constants.half_saturation)

    def scaled(relative):
        S, B, k, K = (x * r for x, r in zip(fields, relative, strict=True))
        constants = KINETICS[kinetics].constants(k, K)
        changed = eqx.tree_at(lambda p: p.decomposition, params, constants)
        return function(state._replace(substrate=S, biomass=B), changed)

    slope = np.asarray(jax.jit(jax.jacrev(scaled))(jnp.ones((4, 60))))
    slope = slope.reshape(-1, 240)
    size = np.linalg.norm(slope, axis=1, keepdims=True)
    slope = slope / np.where(size > 0, size, 1.0)
    rank = int((np.linalg.svd(slope, compute_uv=False) > 1e-9).sum())
    said = one.numbers_read()
    if TRACKS[name] == "field":
        assert said is None and rank > 20
        return
    # The share of live cells is read as well, and has no slope.
    assert said <= 20 and 2 <= rank <= said - (one.dead is not None)


@pytest.mark.parametrize("name", READERS)
def test_statistics_closures_cannot_tell_fields_of_the_same_statistics(name):
    _, state, params = soil()
    function = jax.jit(known_of(made(name)))
    first = np.asarray(function(state, params))
    if name == "representative_statistics":
        rng = np.random.default_rng(0)
        alive = np.flatnonzero(np.asarray(state.biomass) > 0)
        order = np.arange(60)
        order[alive] = rng.permutation(alive)
        rate = params.decomposition.rate[order]
        other = state, eqx.tree_at(lambda p: p.decomposition.rate, params, rate)
    else:
        other = reflected(state, params)
    second = np.asarray(function(*other))
    if TRACKS[name] == "field":
        assert np.abs(second - first).max() > 0.01 * np.abs(first).max()
    else:
        np.testing.assert_allclose(second, first, rtol=1e-9, atol=1e-13)


@pytest.mark.slow
def test_sizes_of_the_states():
    sizes = {"two_strata": 2, "log_normal": 2 + 9, "representative_cells": 2 * 4}
    _, state, params = soil()
    for name, live in sizes.items():
        core, _ = made(name).initial(state, params)
        assert state_count(core) == live + 2 + 1


# --- Moments of a user's own ---

MEAN, COVARIANCE = Pools(4.0, 1.5, 0.0), np.diag([1.0, 0.2])


def own_moments(mean=MEAN, covariance=COVARIANCE):
    model, _, params = soil()
    one = ClosedMoments(model)
    return one, *one.from_moments(mean, covariance, jax.tree.map(jnp.mean, params))


def test_a_core_of_ones_own_runs():
    one, core, given = own_moments()
    found, finite = follow(one, core, given, TIMES[:3], steps=4)
    assert bool(finite)
    assert float(one.pools(core, given).substrate) == 4.0
    assert float(found.live[0][-1, 0]) < 4.0


def test_moments_of_ones_own_are_those_of_the_cells():
    model, state, params = soil(dead=0.0)
    one = ClosedMoments(model, VARYING["multiplicative"])
    fields = jnp.stack([*state[:2], params.decomposition.rate])
    means = jax.tree.map(jnp.mean, (state, params))
    found = one.from_moments(means[0], np.cov(fields, ddof=0), means[1])
    expected = one.initial(state, params)
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    jax.tree.map(near, found, expected)


@pytest.mark.parametrize(
    ("mean", "covariance", "words"),
    [
        (MEAN, np.eye(3), "covariance must be 2 x 2, along substrate, biomass, got 3"),
        (MEAN, 1.0, "covariance must be 2 x 2, along substrate, biomass, got one numb"),
        (MEAN, [[1.0, 0.4], [0.1, 1.0]], "symmetric, got 0.4 and 0.1 for substrate an"),
        (MEAN, [[1.0, 3.0], [3.0, 1.0]], "semi-definite, got a smallest eigenvalue of"),
        (MEAN, [[-1.0, 0.0], [0.0, 1.0]], "semi-definite, got a smallest eigenvalue o"),
        (MEAN, [[np.nan, 0.0], [0.0, 1.0]], "covariance must be finite, got NaN"),
        (MEAN._replace(biomass=-1.0), COVARIANCE, "mean biomass must be one number fr"),
        (
            MEAN._replace(biomass=np.array([1.0, 2.0])),
            COVARIANCE,
            "mean biomass must be one num",
        ),
    ],
)
def test_moments_that_no_soil_has_are_refused(mean, covariance, words):
    with pytest.raises(ValueError, match=words) as refused:
        own_moments(mean, np.asarray(covariance))
    assert "\n" not in str(refused.value)


def test_a_wrong_number_of_moments_is_refused():
    model, state, params = soil()
    varying = VARYING["multiplicative"]
    one = ClosedMoments(model, varying)
    core, given = one.initial(state, params)
    small = core._replace(live=(core.live[0], core.live[1][:2, :2]))
    words = "covariance must be 3 x 3, along substrate, biomass, decomposition.rate, g"
    with pytest.raises(ValueError, match=words):
        one(0.0, small, given)
    with pytest.raises(ValueError, match=words):
        one.fluxes(0.0, small, given)
    flat = lambda mean, covariance: Higher(jnp.zeros((2,) * 3), jnp.zeros((2,) * 4))
    words = "third moments of the closure must be 3 x 3 x 3, along substrate, biomass"
    with pytest.raises(ValueError, match=words):
        ClosedMoments(model, varying, closure=flat)(0.0, core, given)
    third = lambda mean, covariance: Higher(jnp.zeros((3,) * 3), jnp.zeros((2,) * 4))
    with pytest.raises(ValueError, match="fourth moments of the closure must be 3 x 3"):
        ClosedMoments(model, varying, closure=third, order=3)(0.0, core, given)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda m: closure("mean", m),
            "unknown closure 'mean', expected one of mean_f",
        ),
        (lambda m: closure("representative_cells", m), "starts from training cores: n"),
        (
            lambda m: made("two_strata", dead="fungi"),
            "unknown pool 'fungi' that dead c",
        ),
        (lambda m: closure("two_strata", m, ("rate",)), "unknown parameter 'rate': th"),
        (lambda m: closure("two_strata", m), "decomposition.rate differs between cell"),
        (
            lambda m: made("representative_cells", groups=0),
            "groups must be at least 1, got 0",
        ),
        (
            lambda m: RepresentativeCells(m, (), *[None] * 5, np.zeros((2, 1)), "all"),
            "unknown reads 'all', expected one of field, statistics",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    model, state, params = soil()
    with pytest.raises(ValueError, match=words):
        make(model).initial(state, params)
