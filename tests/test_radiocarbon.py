"""Radiocarbon that goes with the carbon of a column."""

from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from column_cases import dense_form
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns import (
    Content,
    age_density,
    delta,
    mean_ages,
    radiocarbon_by_age,
    steady_radiocarbon,
    transient,
)
from jaxsoc.columns import stepping as stepping
from jaxsoc.columns.network import network, tracer_flows
from jaxsoc.columns.radiocarbon import DECAY
from jaxsoc.columns.seasons import MONTH
from jaxsoc.io import atmosphere
from jaxsoc.io.atmosphere import FIRST, LAST
from jaxsoc.models import CLM5, COMPAS, COMPAS_INDICATIVE, MIMICS, CLM5Parameters
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised

COARSE = SoilColumn((0.1, 0.3, 0.6, 1.0))
MODELS = {"clm5": CLM5, "compas": COMPAS, "mimics": MIMICS}
FAST, SLOW, PASSED_ON = 0.3 / 365, 0.02 / 365, 0.4


class Pools(NamedTuple):
    fast: jax.Array
    slow: jax.Array


class TwoPools(AbstractColumnModel):
    """Rates that feel nothing; layers that exchange nothing where nothing thaws."""

    pools = Pools
    processes: ClassVar = {"fast": "fast", "slow": "slow"}
    linear: ClassVar = frozenset(("fast", "slow"))
    litter: ClassVar = ("fast", "fast", "fast", "fast")
    soil: ClassVar = ("fast", "slow")
    parameters: ClassVar = CLM5Parameters
    mixed = frozenset()

    def fluxes(self, pools, environment, params):
        still = 0.0 * environment.soil
        return {
            "fast": (FAST + still) * pools.fast,
            "slow": (SLOW + still) * pools.slow,
        }

    def transfers(self, params):
        return {("slow", "fast"): PASSED_ON}


def two_pools():
    even = np.full((4, 4), 0.25)
    forcing = Forcing(
        *(280.0, 0.6, (60.0, 180.0, 240.0, 120.0)),
        active_layer=0.0,
        profile=even,
        column=COARSE,
    )
    return TwoPools(forcing), jax.tree.map(jnp.asarray, CLM5Parameters())


def soil(kind):
    model = MODELS[kind](idealised(column=COARSE))
    params = COMPAS_INDICATIVE if kind == "compas" else model.parameters()
    return model, jax.tree.map(jnp.asarray, params)


def test_a_pool_at_rest_is_that_of_the_closed_form():
    model, params = two_pools()
    rest = steady_state(model, params)
    found = steady_radiocarbon(model, params, rest, delta=-20.0)
    fast = 0.98 * FAST / (FAST + DECAY)
    slow = fast * SLOW / (SLOW + DECAY)
    np.testing.assert_allclose(found.fast / rest.fast, fast, rtol=1e-10)
    np.testing.assert_allclose(found.slow / rest.slow, slow, rtol=1e-10)
    permil = delta(found, rest)
    np.testing.assert_allclose(permil.slow, 1000 * (slow - 1), rtol=1e-10)
    assert np.all(np.isnan(delta(0.0 * found.fast, 0.0 * rest.fast)))


def test_a_steady_ratio_is_the_laplace_transform_of_the_ages():
    model, params = soil("clm5")
    rest = steady_state(model, params)
    found = np.concatenate(steady_radiocarbon(model, params, rest))
    M, b = dense_form(model, params)
    # Of the density of ages e^(-M a) b / X: each mode has its own transform.
    rates, modes = np.linalg.eig(np.asarray(M))
    shares = np.linalg.solve(modes, np.asarray(b))
    transform = lambda s: (modes @ (shares / (rates + s))).real
    np.testing.assert_allclose(transform(0.0), np.concatenate(rest), rtol=1e-10)
    np.testing.assert_allclose(found, transform(DECAY), rtol=1e-10)


def test_ages_sum_to_the_carbon_and_carry_its_radiocarbon():
    model, params = two_pools()
    rest = steady_state(model, params)
    ages = np.linspace(0.0, 2000.0, 20001)
    density = age_density(model, params, ages)
    for pool, of_ages in zip(rest, density, strict=True):
        np.testing.assert_allclose(np.trapezoid(of_ages, ages, axis=0), pool, rtol=1e-4)
    mean = mean_ages(model, params).layers
    for pool, of_ages, age in zip(rest, density, mean, strict=True):
        found = np.trapezoid(of_ages * ages[:, None], ages, axis=0) / pool
        np.testing.assert_allclose(found, age, rtol=1e-4)
    never = radiocarbon_by_age(model, params, np.zeros(5))
    steady = steady_radiocarbon(model, params, rest)
    same = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12)
    jax.tree.map(same, never, steady)
    sky = atmosphere("north", 1950, 1989).mean(axis=1)
    start = Content(rest, steady_radiocarbon(model, params, rest, delta=sky[0]))
    run = transient(
        *(model, params, start), atmosphere=sky, method="second_order", steps=8
    )
    found = radiocarbon_by_age(model, params, sky)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6)
    jax.tree.map(close, found, run.end.radiocarbon)
    compas, others = soil("compas")
    with pytest.raises(ValueError, match="COMPAS is not linear"):
        age_density(compas, others, ages)


@pytest.mark.parametrize("kind", slow_but(["clm5"], MODELS))
def test_a_modern_atmosphere_without_decay_keeps_all_modern(kind, monkeypatch):
    monkeypatch.setattr(stepping, "DECAY", 0.0)
    model, params = soil(kind)
    pools = jax.tree.map(lambda x: 1.5 * x, steady_state(model, params))
    warm = model.surroundings(params)

    @jax.jit
    def run(start, ratio):
        now = stepping.stretch(model, params, warm, ratio)
        step = lambda _, state: stepping.second_order(now, state, MONTH).end
        return jax.lax.fori_loop(0, 240, step, start)

    end = run(Content(pools, pools), jnp.ones(()))
    for permil in delta(end.radiocarbon, end.carbon):
        assert np.abs(permil).max() <= 1e-10 * 1000
    moved = np.stack(end.carbon) / np.stack(pools)
    assert np.abs(moved - 1).max() > 0.1
    # It is felt.
    bomb = run(Content(pools, pools), jnp.asarray(1.5))
    permil = np.stack(delta(bomb.radiocarbon, bomb.carbon))
    assert permil.max() > 200 and permil.min() > 0 and permil.max() <= 500 + 1e-7


def test_the_bomb_goes_through_two_pools_as_in_an_integrator():
    model, params = two_pools()
    years = atmosphere("north", 1955, 1974)
    rest = steady_state(model, params)
    start = Content(rest, steady_radiocarbon(model, params, rest, delta=-20.0))
    run = transient(
        *(model, params, start),
        atmosphere=years,
        method="second_order",
        steps=64,
    )
    litter = float(model.surroundings(params).source["fast"][0])
    M = np.array([[-FAST - DECAY, 0.0], [PASSED_ON * FAST, -SLOW - DECAY]])
    y = np.array([pool[0] for pool in start.radiocarbon])
    for month, ratio in enumerate(years.ravel() / 1000 + 1):
        fed = np.array([ratio * litter, 0.0])
        slope = lambda t, y, fed=fed: M @ y + fed
        span = (0.0, MONTH)
        found = scipy.integrate.solve_ivp(
            *(slope, span, y), method="DOP853", rtol=1e-13, atol=1e-9
        )
        y = found.y[:, -1]
        if month % 12 == 11:
            ours = jax.tree.map(
                lambda x, at=month // 12: x[at, 0], run.saved.end.radiocarbon
            )
            np.testing.assert_allclose(np.stack(ours), y, rtol=1e-8)
    peak = delta(run.saved.respired.radiocarbon, run.saved.respired.carbon)
    assert 100 < float(peak.max()) < years.max()


@pytest.mark.slow
@pytest.mark.parametrize("method", stepping.STEPS)
@pytest.mark.parametrize("kind", MODELS)
def test_radiocarbon_is_kept_and_decays(kind, method):
    model, params = soil(kind)
    rest = steady_state(model, params)
    start = Content(rest, steady_radiocarbon(model, params, rest))
    years = np.linspace(0.0, 500.0, 3000)
    run = transient(model, params, start, atmosphere=years, method=method)
    whole = lambda x: float(np.sum(np.asarray(x) @ COARSE.thickness))
    column = lambda pools: sum(whole(x) for x in pools)
    spans = run.saved
    for content in ("carbon", "radiocarbon"):
        of = lambda x, c=content: getattr(x, c)
        came, left = 365 * whole(of(spans.input)), 365 * whole(of(spans.respired))
        if content == "radiocarbon":
            left += 365 * DECAY * column(of(spans.mean))
        held = column(of(start))
        change = column(of(run.end)) - held
        assert abs(came - left - change) <= 1e-12 * (held + came), content
    permil = np.stack(delta(run.end.radiocarbon, run.end.carbon))
    assert permil.max() > 300


@pytest.mark.parametrize("kind", MODELS)
def test_rates_of_next_to_nothing_are_numbers(kind):
    # No water in one layer: what its microbes leave there is next to nothing.
    wet = idealised(column=COARSE)
    dry = eqx.tree_at(lambda f: f.water, wet, jnp.asarray(wet.water).at[2].set(0.0))
    model = MODELS[kind](dry)
    params = COMPAS_INDICATIVE if kind == "compas" else model.parameters()
    around, net = model.surroundings(params), network(model, params, tracer=True)
    run = jax.jit(lambda X: tracer_flows(net, model, around, params, X))
    for size in (1e-100, 1e-160, 1e-231, 1e-320, 0.0):
        every = jnp.full(COARSE.layers, size)
        found = run(model.pools(*(every for _ in model.pools._fields)))
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(found)), size


def test_the_atmosphere_is_that_of_its_zone():
    text = (Path(stepping.__file__).parents[1] / "io/atmosphere.csv").read_text()
    years = [line.split(",")[0] for line in text.splitlines() if line[:1].isdigit()]
    assert (int(float(years[0])), int(float(years[-1]))) == (FIRST, LAST)
    north = atmosphere("north", 1840, 2015)
    assert north.shape == (176, 12)
    assert np.all(north[:10] == -2.3)
    # In the middle of a year, between June and July, the mean of the year.
    assert north[1963 - 1840].max() > 600
    assert north[-1, -1] == 13.8 and 0 < atmosphere("south", 2015, 2015)[0, 0] < 30
    assert atmosphere("south", 1964, 1964).max() < north[1964 - 1840].min()
    with pytest.raises(ValueError, match="unknown zone 'west'"):
        atmosphere("west", 1950, 1960)
    with pytest.raises(ValueError, match=r"known to 2015: .* got 2010 to 2020"):
        atmosphere("north", 2010, 2020)
    with pytest.raises(ValueError, match=r"got 1960 to 1950"):
        atmosphere("north", 1960, 1950)
