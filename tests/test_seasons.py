"""The state of a soil column that a year of months brings back."""

import functools

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns import seasons
from jaxsoc.columns.microbial_year import STEPS
from jaxsoc.columns.network import flows, network
from jaxsoc.columns.seasons import MONTH, Seasonal, periodic_state, step_year
from jaxsoc.models import (
    CLM5,
    COMPAS,
    COMPAS_INDICATIVE,
    CLM5Parameters,
    COMPASParameters,
)
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.solve import Steps, integrate
from jaxsoc.solve.periodic import move_linear

COARSE = SoilColumn((0.1, 0.3, 0.6, 1.0))
KINDS = {"clm5": (CLM5, CLM5Parameters), "compas": (COMPAS, COMPASParameters)}


# Compiled once for each kind of model, whatever drives it.
solve = periodic_state
step = step_year


def soil(kind, **forcing):
    model, parameters = KINDS[kind]
    params = jax.tree.map(jnp.asarray, parameters())
    return model(idealised(column=COARSE, **forcing)), params


@pytest.fixture(scope="module")
def found():
    """The periodic state of each model in a coarse column, where it is asked for."""

    @functools.cache
    def one(kind):
        model, params = soil(kind)
        return model, params, solve(model, params)

    return one


def furthest(found, expected):
    """Largest difference of a pool, relative to the largest of that pool."""
    shares = [
        np.abs(x - y).max() / np.abs(y).max()
        for x, y in zip(found, expected, strict=True)
    ]
    return max(map(float, shares))


def test_the_exponential_is_exact_at_any_rate():
    rates = jnp.concatenate([jnp.zeros(1), jnp.logspace(-8, 6, 400)])
    solve = lambda shift, right: right.astype(complex) / (shift + rates.astype(complex))
    moved = move_linear(solve, jnp.ones_like(rates), 2.0)
    z = -2.0 * rates
    grown = np.expm1(z[1:]) / z[1:]
    # Of dx/dt = 1 - k x from nought.
    error = np.abs(moved.change[1:] - 2 * grown)
    assert np.all(error <= 2e-13 / rates[1:] + 1e-15)
    assert np.abs(moved.change[1:] / (2 * grown) - 1)[:100].max() <= 3e-12
    assert float(moved.change[0]) == pytest.approx(2.0, rel=1e-14)
    assert float(moved.excess[0]) == pytest.approx(1.0, rel=1e-9)
    # Mass: what came in less what was lost on the mean is what is left.
    balance = 2 * (1 - rates * moved.excess) - moved.change
    assert np.abs(balance).max() <= 1e-13


def test_a_month_is_that_of_the_dense_exponential():
    model, params = soil("clm5", active_layer=1.0)
    july = eqx.tree_at(lambda m: m.forcing, model, model.forcing.month(0))
    around = july.surroundings(params)
    rng = np.random.default_rng(1)
    start = model.pools(*jnp.asarray(rng.uniform(10, 1000, (7, COARSE.layers))))
    flat, unpack = jax.flatten_util.ravel_pytree(start)
    tendency = lambda x: jax.flatten_util.ravel_pytree(
        july.tendency(unpack(x), around, params)
    )[0]
    M, b = np.array(jax.jacfwd(tendency)(flat)), np.array(tendency(0 * flat))
    wide = np.zeros((2 * flat.size + 1,) * 2)
    n = flat.size
    # x, its integral and one that stays one.
    wide[:n, :n], wide[n : 2 * n, :n], wide[:n, -1] = M, np.eye(n), b
    grown = scipy.linalg.expm(wide * MONTH) @ np.concatenate([flat, 0 * flat, [1.0]])
    net = network(model, params)
    numbers = flows(net, july, around, params)
    zero = jnp.zeros(COARSE.layers)
    slope = net.apply(numbers, start._asdict())
    slope = {k: slope[k] + around.source.get(k, zero) for k in slope}
    moved = move_linear(lambda s, r: net.solve(numbers, s, r), slope, MONTH)
    end = model.pools(**{k: getattr(start, k) + moved.change[k] for k in slope})
    mean = model.pools(**{k: getattr(start, k) + moved.excess[k] for k in slope})
    assert furthest(end, unpack(jnp.asarray(grown[:n]))) <= 1e-12
    assert furthest(mean, unpack(jnp.asarray(grown[n : 2 * n] / MONTH))) <= 1e-11


def test_the_network_solves_what_it_applies():
    model, params = soil("clm5", active_layer=1.0)
    net = network(model, params)
    numbers = flows(net, model, model.surroundings(params), params)
    right = {name: jnp.linspace(1.0, 2.0, COARSE.layers) for name in net.pools}
    shift = jnp.asarray(0.01 - 0.02j)
    x = net.solve(numbers, shift, right)
    parts = [net.apply(numbers, jax.tree.map(f, x)) for f in (jnp.real, jnp.imag)]
    for name in net.pools:
        applied = np.asarray(parts[0][name]) + 1j * np.asarray(parts[1][name])
        back = complex(shift) * np.asarray(x[name]) - applied
        assert np.abs(back - np.asarray(right[name])).max() <= 1e-13


@pytest.mark.slow
def test_the_published_case():
    # § 11 of the reference: independent stepping with exact exponentials.
    model = CLM5(idealised())
    found = solve(model, CLM5Parameters())
    share = model.forcing.column.share_above((0.3, 1.0, 2.0, 8.6))
    mean = share @ model.organic_carbon(found.mean)
    expected = [10548.810, 22277.373, 30669.671, 75859.021]
    assert np.abs(mean - np.array(expected)).max() <= 6e-4
    first = share[:2] @ model.organic_carbon(found.start)
    assert np.abs(first - np.array([10548.334, 22276.908])).max() <= 6e-4
    for drift, pool in zip(found.drift, found.mean, strict=True):
        assert float(drift) <= 1e-12 * float(share[-1] @ pool)


@pytest.mark.parametrize("kind", slow_but(["clm5"], KINDS))
def test_one_more_year_moves_nothing(kind, found):
    model, params, year = found(kind)
    again, mean = step(model, params, year.start)
    assert furthest(again, year.start) <= 1e-12
    assert furthest(mean, year.mean) <= 1e-12
    stock = lambda x: float(jnp.sum(x * COARSE.thickness))
    for drift, pool in zip(year.drift, year.mean, strict=True):
        assert float(drift) <= 1e-12 * stock(pool)
    # It is no fixed point by doing nothing, and the seasons are felt.
    moved, _ = step(model, params, jax.tree.map(lambda x: 2 * x, year.start))
    assert furthest(moved, again) >= 1e-3
    assert furthest(year.mean, year.start) >= 1e-5


@pytest.mark.parametrize("kind", slow_but(["clm5"], KINDS))
def test_without_seasons_it_is_the_steady_state(kind):
    model, params = soil(kind)
    same = Forcing(280.0, 0.6, (60.0, 180.0, 240.0, 120.0), sand=45.0, column=COARSE)
    model = eqx.tree_at(lambda m: m.forcing, model, same)
    year = solve(model, params)
    steady = steady_state(model, params)
    assert furthest(year.start, steady) <= 1e-12
    assert furthest(year.mean, steady) <= 1e-12


def test_what_comes_in_is_respired(found):
    model, params, year = found("clm5")
    stock = lambda x: float(jnp.sum(x * COARSE.thickness))
    respired, gained = 0.0, 0.0
    for month in range(12):
        now = eqx.tree_at(lambda m: m.forcing, model, model.forcing.month(month))
        around = now.surroundings(params)
        pools = jax.tree.map(lambda x, i=month: x[i], year.monthly_mean)
        own = MONTH * stock(now.respiration(pools, around, params))
        came = MONTH * stock(sum(around.source.values()))
        first, last = (
            sum(stock(x[m % 12]) for x in year.monthly) for m in (month, month + 1)
        )
        # Within each month, too.
        assert own + last - first == pytest.approx(came, abs=1e-9)
        respired, gained = respired + own, gained + came
    assert gained == pytest.approx(600.0, rel=1e-12)
    assert respired == pytest.approx(gained, rel=1e-12)


@pytest.mark.slow
def test_shorter_steps_change_nothing(found):
    model, params, year = found("compas")
    ends = (0.0, *STEPS)
    middles = [0.5 * (a + b) for a, b in zip(ends, ends[1:], strict=False)]
    fine, _ = seasons._periodic(model, params, steps=tuple(sorted([*STEPS, *middles])))
    carbon = [model.organic_carbon(one.mean) for one in (year, fine)]
    assert np.abs(carbon[0] / carbon[1] - 1).max() <= 1e-10
    assert furthest(year.mean, fine.mean) <= 3e-7
    assert furthest(year.mean, fine.mean) > 0


@pytest.mark.slow
def test_dissolved_carbon_is_as_exact_as_the_rest():
    """Where it follows fast litter, at the ends of months: 2.5e-6 off with 8 steps."""
    model, params = COMPAS(idealised(column=COARSE)), COMPAS_INDICATIVE
    tight = tuple((i + 1) / 64 for i in range(64))
    year = solve(model, params)
    fine, _ = seasons._periodic(model, params, steps=(0.001, 0.004, *tight))
    for one, other in ((year.start, fine.start), (year.mean, fine.mean)):
        np.testing.assert_allclose(one.doc, other.doc, rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, names",
    [
        ("clm5", ("q10", "tau_s2", "bioturbation", "f_s2_s1", "beta")),
        pytest.param(
            "compas",
            ("q10", "tau_l2", "tau_death", "half_saturation_uptake", "cue"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_gradients_are_those_of_differences(kind, names, found):
    model, params, _ = found(kind)

    @jax.jit
    def stock(params):
        carbon = model.organic_carbon(periodic_state(model, params).mean)
        return jnp.sum(carbon * COARSE.thickness)

    gradient = jax.jit(jax.grad(stock))(params)
    for name in names:
        value = getattr(params, name)
        at = lambda x, name=name: eqx.tree_at(lambda p: getattr(p, name), params, x)
        # Richardson: the error of the central difference is of fourth order.
        central = [
            (stock(at(value * (1 + h))) - stock(at(value * (1 - h)))) / (2 * h * value)
            for h in (2e-3, 1e-3)
        ]
        slope = (4 * central[1] - central[0]) / 3
        assert float(getattr(gradient, name)) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize(
    "kind", ["clm5", pytest.param("compas", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_many_sites_are_each_its_own(kind, found):
    model, params, year = found(kind)
    many = jax.tree.map(lambda x: x * jnp.asarray([1.0, 1.02, 0.98]), params)
    one = lambda p: periodic_state(model, p).mean
    mean = jax.jit(jax.vmap(one, in_axes=-1, out_axes=-1))(many)
    assert furthest(jax.tree.map(lambda x: x[:, 0], mean), year.mean) <= 1e-11
    assert furthest(jax.tree.map(lambda x: x[:, 1], mean), year.mean) >= 1e-3


@pytest.mark.slow
def test_layers_that_nothing_reaches_stay_empty():
    model, params = soil("compas", active_layer=0.0)
    year = solve(model, params)
    for pool in year.mean:
        assert float(pool[0]) > 0 and np.all(np.asarray(pool[1:]) == 0)


def test_mixed_microbes_are_refused():
    model, params = soil("compas")
    mixed = COMPAS(model.forcing, mixes_soil=True)
    with pytest.raises(ValueError, match="mixed microbial pools has no periodic state"):
        periodic_state(mixed, params)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_integrator_comes_back_to_it(kind, found):
    model, params, year = found(kind)
    seasonal = Seasonal(model)

    def field(t, state, year):
        pools, _ = state
        return seasonal(t, pools, year), pools

    @jax.jit
    def month(t, pools):
        # The month of the middle, so that no step ends in the next one.
        constant = lambda s, state, year: field(t + 0.5 * MONTH, state, year)
        return diffrax.diffeqsolve(
            diffrax.ODETerm(constant),
            diffrax.Kvaerno5(),
            0.0,
            MONTH,
            1e-4,
            (pools, jax.tree.map(jnp.zeros_like, pools)),
            seasonal.year(params),
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-9),
            max_steps=10000,
        ).ys

    pools = year.start
    for number in range(12):
        starts = jax.tree.map(lambda x, i=number: x[i], year.monthly)
        # Dissolved carbon, the fastest, is that exact; the steps' error is all of it.
        assert furthest(pools, starts) <= 1e-6
        carbon = [model.organic_carbon(one) for one in (pools, starts)]
        assert furthest(carbon[:1], carbon[1:]) <= 1e-8
        pools, total = jax.tree.map(lambda x: x[-1], month(number * MONTH, pools))
        means = jax.tree.map(lambda x, i=number: x[i], year.monthly_mean)
        assert furthest(jax.tree.map(lambda x: x / MONTH, total), means) <= 1e-6
    assert furthest(pools, year.start) <= 1e-6


@pytest.mark.slow
def test_it_can_be_stepped_with_integrate_and_is_never_negative():
    """The way out where microbes are mixed, which the refusal names."""
    model, params = soil("clm5")
    seasonal, start = Seasonal(model), steady_state(model, params)
    run = lambda start: integrate(
        *(seasonal, start, seasonal.year(params), np.array([0.0, 31.0, 62.0])),
        method=Steps(1.0),
    )
    years = model.organic_carbon(run(start).final) / model.organic_carbon(start)
    assert np.all(np.abs(years - 1) < 0.1) and np.any(years != 1)
    for tendency in (run, lambda x: integrate(model, x, params, [0.0, 1.0])):
        with pytest.raises(ValueError, match="cwd must be finite and not negative"):
            tendency(start._replace(cwd=-start.cwd))
