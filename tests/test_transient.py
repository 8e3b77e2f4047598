"""Soil columns through years that change."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from column_cases import dense_form
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns import Change, Content, given_years, spin_up, transient
from jaxsoc.columns.radiocarbon import steady_radiocarbon
from jaxsoc.columns.seasons import MONTH, periodic_state
from jaxsoc.columns.stepping import STEPS, stretch
from jaxsoc.columns.transient import yearly
from jaxsoc.models import CLM5, COMPAS, COMPAS_INDICATIVE, MIMICS
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import Forcing, forcing_of_sites, idealised
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.site import idealised_site
from jaxsoc.physics.site_forcing import forcing_of

COARSE = SoilColumn((0.1, 0.3, 0.6, 1.0))
MODELS = {"clm5": CLM5, "compas": COMPAS, "mimics": MIMICS}
ORDERS = {"backward_euler": 1, "second_order": 2}
YEARS = 4


def soil(kind, forcing=None):
    model = MODELS[kind](idealised(column=COARSE) if forcing is None else forcing)
    params = COMPAS_INDICATIVE if kind == "compas" else model.parameters()
    return model, jax.tree.map(jnp.asarray, params)


def warming(years=YEARS, first=0):
    """Warmer and with more litter from year to year, and back again."""
    year = np.arange(first, first + years)
    return Change(3.0 * np.sin(year), 1.0 + 0.8 * np.cos(2.0 * year))


def total(pools):
    return float(sum(jnp.sum(x * COARSE.thickness) for x in pools))


def sky(years=YEARS, first=0):
    """An atmosphere whose radiocarbon comes and goes."""
    return 700.0 * np.sin(0.7 * np.arange(first, first + years)) ** 2


def imbalance(start, run):
    """What came in less what left and stayed, per all carbon there ever was."""
    yearly = lambda x: 365.0 * float(np.sum(np.asarray(x) @ COARSE.thickness))
    came, left = yearly(run.saved.input.carbon), yearly(run.saved.respired.carbon)
    held = total(start)
    # Where nothing was and nothing came, nothing may be.
    return abs(came - left - (total(run.end.carbon) - held)) / ((held + came) or 1.0)


def floats(low, high, *shape):
    return arrays(float, shape, elements=st.floats(low, high, allow_subnormal=False))


def or_nothing(low, high, *shape):
    """Numbers of any size between two, or exactly none."""
    sizes = st.floats(np.log10(low), np.log10(high)).map(lambda x: 10.0**x)
    return arrays(float, shape, elements=st.one_of(st.just(0.0), sizes))


def cases(kind):
    """Numbers of pools, climate and changes that have nothing to do with each other."""
    layers, pools = COARSE.layers, len(MODELS[kind].pools._fields)
    return st.fixed_dictionaries(
        {
            "temperature": floats(250.0, 310.0, layers, 12),
            "water": or_nothing(1e-12, 1.0, layers, 12),
            "litter": or_nothing(1e-3, 500.0, 4, 12),
            "active_layer": arrays(
                float, 12, elements=st.sampled_from([0.0, 1.0, 3.5])
            ),
            "bedrock": st.integers(1, layers).map(float),
            "carbon": or_nothing(1e-6, 1e4, pools, layers),
            "radiocarbon": or_nothing(1e-6, 1e4, pools, layers),
            "warming": floats(-30.0, 30.0, YEARS),
            "factor": or_nothing(1e-3, 10.0, YEARS),
            "atmosphere": floats(-900.0, 900.0, YEARS),
        }
    )


def years_and_months(model, months):
    """What is saved of a year: one function, so that all runs are one program."""
    return yearly(model, months), months.end


def run_of(kind, case, **how):
    """How far the carbon of a run of a case is from closing; none is negative."""
    names = ("temperature", "water", "litter", "active_layer", "bedrock")
    forcing = Forcing(**{name: case[name] for name in names}, column=COARSE)
    model, params = soil(kind, forcing)
    start = Content(*(model.pools(*case[n]) for n in ("carbon", "radiocarbon")))
    run = transient(
        *(model, params, start),
        changes=Change(case["warming"], case["factor"]),
        atmosphere=case["atmosphere"],
        save=years_and_months,
        **how,
    )
    of_years, of_months = run.saved
    for x in jax.tree.leaves((of_months, run.end)):
        assert float(jnp.min(x)) >= 0.0
    return imbalance(start.carbon, run._replace(saved=of_years))


@pytest.mark.parametrize("kind", slow_but(["clm5"], MODELS))
@pytest.mark.parametrize("method", ORDERS)
def test_steps_are_of_their_order(kind, method):
    model, params = soil(kind)
    start = jax.tree.map(lambda x: 1.5 * x, steady_state(model, params))
    around = model.surroundings(params)
    length = 10 * MONTH

    @jax.jit
    def run(count):
        now, h = stretch(model, params, around, None), length / count
        step = lambda _, state: STEPS[method](now, state, h).end
        return jax.lax.fori_loop(0, count.astype(int), step, Content(start)).carbon

    if kind == "clm5":
        M, b = dense_form(model, params)
        rest = np.linalg.solve(M, b)
        gone = np.concatenate(start) - rest
        exact = rest + scipy.linalg.expm(-length * np.asarray(M)) @ gone
    else:
        fine = [np.concatenate(run(jnp.asarray(count))) for count in (2560.0, 5120.0)]
        exact = fine[1] + (fine[1] - fine[0]) / (2 ** ORDERS[method] - 1)
    counts = [80.0, 160.0, 320.0]
    found = [np.concatenate(run(jnp.asarray(count))) for count in counts]
    errors = [np.abs((x - exact) / exact).max() for x in found]
    order = np.log2(errors[-2] / errors[-1])
    assert order == pytest.approx(ORDERS[method], abs=0.2), errors


@pytest.mark.parametrize("kind", slow_but(["clm5"], MODELS))
def test_it_goes_on_where_it_stopped(kind):
    model, params = soil(kind)
    start = steady_state(model, params)
    aged = Content(start, steady_radiocarbon(model, params, start))
    run = lambda start, years, first: transient(
        *(model, params, start),
        changes=warming(years, first),
        atmosphere=sky(years, first),
    )
    whole = run(aged, 2 * YEARS, 0)
    first = run(aged, YEARS, 0)
    second = run(first.end, YEARS, YEARS)
    same = lambda x, y: np.testing.assert_array_equal(x, y)
    jax.tree.map(same, whole.end, second.end)
    join = lambda x, y: jnp.concatenate([x, y])
    jax.tree.map(same, whole.saved, jax.tree.map(join, first.saved, second.saved))
    for now, then in ((whole.end.carbon, start), whole.end):
        moved = np.stack(now) / np.stack(then)
        assert np.abs(moved - 1).max() > 0.01
    assert imbalance(start, whole) <= 1e-13


@pytest.mark.parametrize("kind", slow_but(["clm5"], MODELS))
@pytest.mark.parametrize("method", ORDERS)
@pytest.mark.parametrize("examples", slow_but([50], [50, 500]))
def test_no_forcing_makes_a_pool_negative(kind, method, examples):
    @settings(max_examples=examples)
    @given(cases(kind))
    def check(case):
        assert run_of(kind, case, method=method) <= 1e-12

    check()


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_no_forcing_makes_a_pool_negative_in_steps_by_error(kind):
    @settings(max_examples=20)
    @given(cases(kind))
    def check(case):
        how = {"method": "second_order", "tolerance": 1e-2}
        assert run_of(kind, case, **how) <= 1e-12

    check()


def test_where_nothing_changes_it_tends_to_the_steady_state():
    same = Forcing(280.0, 0.6, (60.0, 180.0, 240.0, 120.0), column=COARSE)
    model, params = soil("clm5", same)
    rest = steady_state(model, params)
    never = Change(np.zeros(YEARS), np.ones(YEARS))
    state = Content(jax.tree.map(lambda x: 2 * x, rest))
    for _ in range(10):
        state = transient(model, params, state, changes=never).end
    M, _ = dense_form(model, params)
    once = np.linalg.inv(np.eye(len(M)) + MONTH * np.asarray(M))
    flat = np.concatenate(rest)
    exact = flat + np.linalg.matrix_power(once, 480) @ flat
    np.testing.assert_allclose(np.concatenate(state.carbon), exact, rtol=1e-11)
    assert np.all(np.concatenate(state.carbon) < 2 * flat)


def test_a_year_can_be_given_by_itself():
    model, params = soil("clm5")
    start = steady_state(model, params)
    climate = model.forcing
    warm, more = warming()
    given = forcing_of_sites(
        {
            "temperature": warm[:, None, None] + climate.temperature[None],
            "water": np.stack([climate.water] * YEARS),
            "litter": more[:, None, None] * climate.litter[None],
            "oxygen": np.stack([climate.oxygen] * YEARS),
            "nitrogen": np.stack([climate.nitrogen] * YEARS),
            "active_layer": np.stack([climate.active_layer] * YEARS),
            "sand": np.stack([climate.sand] * YEARS),
        },
        column=COARSE,
    )
    one = transient(model, params, start, changes=Change(warm, more))
    other = transient(model, params, start, changes=given, change=given_years)
    for x, y in zip(one.end.carbon, other.end.carbon, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("method", ORDERS)
@pytest.mark.parametrize("kind", MODELS)
def test_gradients_are_those_of_differences(kind, method):
    """Of a century, by all numbers of a model; of MIMICS, whose steps search, less."""
    years = 4 if kind == "mimics" else 100
    model, params = soil(kind)
    start = steady_state(model, params)
    names = [d.name for d in declarations(type(params))]

    @jax.jit
    def stock(params, warm):
        changes = Change(warm * np.ones(years), 1.2 * np.ones(years))
        run = transient(model, params, start, changes=changes, method=method)
        carbon = model.organic_carbon(run.end.carbon)
        return jnp.sum((carbon - model.organic_carbon(start)) * COARSE.thickness)

    warm = jnp.asarray(2.0)
    gradient, by_warmth = jax.jit(jax.grad(stock, argnums=(0, 1)))(params, warm)
    found = [float(getattr(params, n) * getattr(gradient, n)) for n in names]
    found.append(float(warm * by_warmth))
    # All numbers, each a little more and a little less, in one program.
    at = np.array([-3, -2, -1, 1, 2, 3])
    changed = 1 + 1e-3 * at[:, None, None] * np.eye(len(found))
    flat = changed.reshape(-1, len(found))
    many = {n: getattr(params, n) * flat[:, i] for i, n in enumerate(names)}
    every = eqx.tree_at(
        lambda p: [getattr(p, n) for n in names], params, [many[n] for n in names]
    )
    stocks = jax.jit(jax.vmap(stock))(every, warm * flat[:, -1])
    weights = np.array([-1, 9, -45, 45, -9, 1]) / 60e-3
    expected = weights @ np.asarray(stocks).reshape(len(at), -1)
    # What hardly matters is a difference of nearly equal numbers.
    least = 1e-9 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=least)


@pytest.mark.slow
def test_gradients_of_runs_in_segments_are_those_of_differences():
    model, params = soil("clm5")
    start = steady_state(model, params)

    @jax.jit
    def stock(warm):
        changes = Change(warm * np.ones(150), np.ones(150))
        run = transient(model, params, start, changes=changes)
        return jnp.sum(model.organic_carbon(run.end.carbon) * COARSE.thickness)

    warm, h = jnp.asarray(2.0), 1e-3
    at = lambda k: stock(warm + k * h) - stock(warm - k * h)
    expected = (8 * at(1) - at(2)) / (12 * h)
    found = jax.jit(jax.grad(stock))(warm)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_many_sites_are_each_its_own(kind):
    model, params = soil(kind)
    start = steady_state(model, params)
    warm = jnp.asarray([0.0, 1.0, 4.0])
    one = lambda w: (
        transient(
            *(model, params, start), changes=Change(jnp.full(YEARS, w), jnp.ones(YEARS))
        ).end.carbon
    )
    many = jax.jit(jax.vmap(one, out_axes=-1))(warm)
    for place, w in enumerate(warm):
        for x, y in zip(many, one(w), strict=True):
            np.testing.assert_allclose(x[:, place], y, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("method", ORDERS)
@pytest.mark.parametrize("kind", MODELS)
def test_carbon_is_kept_for_millennia(kind, method):
    model, params = soil(kind)
    start = steady_state(model, params)
    run = transient(model, params, start, changes=warming(3000), method=method)
    assert imbalance(start, run) <= 1e-12


@pytest.mark.slow
def test_long_runs_in_segments_are_those_in_parts():
    model, params = soil("clm5")
    start = steady_state(model, params)
    whole = transient(model, params, start, changes=warming(150))
    first = transient(model, params, start, changes=warming(100))
    second = transient(model, params, first.end, changes=warming(50, 100))
    assert whole.saved.end.carbon.s1.shape == (150, COARSE.layers)
    jax.tree.map(np.testing.assert_array_equal, whole.end, second.end)


@pytest.mark.slow
def test_a_century_is_that_of_the_matrix_exponential():
    same = Forcing(280.0, 0.6, (60.0, 180.0, 240.0, 120.0), column=COARSE)
    model, params = soil("clm5", same)
    rest = steady_state(model, params)
    M, _ = dense_form(model, params)
    flat = np.concatenate(rest)
    for share, years, limit in ((1.0, 100, 1e-6), (1e-4, 10, 1e-2)):
        start = jax.tree.map(lambda x, s=share: (1 + s) * x, rest)
        run = transient(model, params, start, years=years, method="second_order")
        grown = scipy.linalg.expm(-365.0 * years * np.asarray(M))
        exact = flat + share * (grown @ flat)
        error = np.abs(np.concatenate(run.end.carbon) / exact - 1).max()
        assert error <= limit * share


@pytest.mark.slow
@pytest.mark.parametrize("method", ORDERS)
def test_its_own_year_tends_to_the_exact_one(method):
    model, params = soil("clm5")
    exact = np.concatenate(periodic_state(model, params).start)
    flat, unpack = jax.flatten_util.ravel_pytree(steady_state(model, params))
    errors = []
    for steps in (1, 2, 4):
        end = lambda x, steps=steps: jax.flatten_util.ravel_pytree(
            transient(
                *(model, params, unpack(x)), years=1, steps=steps, method=method
            ).end.carbon
        )[0]
        slopes, there = jax.jacfwd(end)(flat), end(flat)
        fixed = flat + np.linalg.solve(np.eye(flat.size) - slopes, there - flat)
        again = end(jnp.asarray(fixed))
        assert np.abs(again / fixed - 1).max() <= 1e-10
        errors.append(np.abs(fixed / exact - 1).max())
    order = np.log2(errors[-2] / errors[-1])
    assert order == pytest.approx(ORDERS[method], abs=0.2), errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_steps_are_as_long_as_their_error_allows(kind):
    model, params = soil(kind)
    start = jax.tree.map(lambda x: 1.5 * x, steady_state(model, params))
    run = lambda **how: transient(
        *(model, params, start), years=1, method="second_order", **how
    )
    exact = np.concatenate(run(steps=200).end.carbon)
    errors, scale = [], exact + 1e-3 * exact.max()
    for tolerance in (1e-2, 1e-4):
        found = run(tolerance=tolerance)
        errors.append(np.max(np.abs(np.concatenate(found.end.carbon) - exact) / scale))
        assert errors[-1] <= 5 * tolerance
        assert imbalance(start, found) <= 1e-12
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.slow
def test_steps_by_error_go_on_and_have_gradients():
    model, params = soil("clm5")
    start = steady_state(model, params)
    how = {"method": "second_order", "tolerance": 1e-3}
    run = lambda start, years, first: transient(
        model, params, start, changes=warming(years, first), **how
    )
    whole, first = run(start, 2 * YEARS, 0), run(start, YEARS, 0)
    second = run(first.end, YEARS, YEARS)
    jax.tree.map(np.testing.assert_array_equal, whole.end, second.end)

    @jax.jit
    def stock(warm):
        changes = Change(warm * jnp.ones(2), jnp.ones(2))
        run = transient(model, params, start, changes=changes, **how)
        carbon = model.organic_carbon(run.end.carbon)
        return jnp.sum((carbon - model.organic_carbon(start)) * COARSE.thickness)

    warm, h = jnp.asarray(2.0), 1e-4
    expected = (stock(warm + h) - stock(warm - h)) / (2 * h)
    # The gradient is that of the steps that were taken.
    found = jax.jit(jax.grad(stock))(warm)
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("kind", slow_but(["clm5"], MODELS))
@pytest.mark.parametrize("method", slow_but(["backward_euler"], ORDERS))
def test_a_spun_up_column_stays_as_it_is(kind, method):
    model, params = soil(kind)
    rest = steady_state(model, params)
    start = spin_up(model, params, rest, method=method, delta=-20.0)
    sky = np.full((3, 12), -20.0)
    run = transient(model, params, start, atmosphere=sky, method=method)
    for before, after in zip(
        jax.tree.leaves(start), jax.tree.leaves(run.end), strict=True
    ):
        np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)
    moved = np.stack(start.carbon) / np.stack(rest)
    assert 1e-4 < np.abs(moved - 1).max() < 5
    nothing = spin_up(model, params, jax.tree.map(lambda x: np.nan * x, rest))
    assert np.all(np.isnan(np.stack(nothing.carbon)))


@pytest.mark.slow
def test_mimics_is_spun_up_in_the_cold():
    # Where no wood falls; what there is none of would decompose in a million years.
    model = MIMICS(forcing_of(idealised_site(70.0)))
    params = jax.tree.map(jnp.asarray, model.parameters())
    start = spin_up(model, params, steady_state(model, params))
    run = transient(model, params, start, years=1)
    for before, after in zip(start.carbon, run.end.carbon, strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-12 * before.max())


def test_what_makes_no_run_is_refused():
    model, params = soil("clm5")
    start = CLM5.pools(*jnp.ones((7, COARSE.layers)))
    run = lambda start=start, **more: transient(model, params, start, **more)
    with pytest.raises(ValueError, match=r"number of years, got neither"):
        run()
    with pytest.raises(ValueError, match=r"one number of years, got \[2, 3\]"):
        run(years=2, changes=Change(np.zeros(3), np.ones(3)))
    with pytest.raises(ValueError, match="unknown method 'euler'"):
        run(years=1, method="euler")
    with pytest.raises(ValueError, match="tolerance must lie in .* got -1"):
        run(years=1, tolerance=-1.0)
    with pytest.raises(ValueError, match="tolerance is for the method 'second_order'"):
        run(years=1, tolerance=1e-3)
    with pytest.raises(ValueError, match="steps in a month must be 1 or more, got 0"):
        run(years=1, steps=0)
    with pytest.raises(ValueError, match=r"s1 at the start must lie in .* got -1"):
        run(start._replace(s1=-start.s1), years=1)
    with pytest.raises(ValueError, match=r"expected s2 of 4 layers .* shape \(3,\)"):
        run(start._replace(s2=jnp.ones(3)), years=1)
    with pytest.raises(ValueError, match="the factor of litter must lie in"):
        run(changes=Change(np.zeros(2), np.array([1.0, -0.5])))
    with pytest.raises(ValueError, match="got an atmosphere and a start without"):
        run(atmosphere=np.zeros(2))
    with pytest.raises(ValueError, match="got no atmosphere and a start with radio"):
        run(Content(start, start), years=2)
