"""On an accelerator: the numbers of the processor beside it.

Skipped where JAX finds none. `JAXSOC_GPU_DRY=1` runs what is written for an accelerator
on the processor, which tries the tests and the programs, though not the card.
"""

import contextlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from column_cases import draws, sites

from jaxsoc import steady_state
from jaxsoc.models import (
    CLM5,
    COMPAS,
    Pools,
    TwoPool,
    TwoPoolParameters,
)
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import Sites, Steps, assume, integrate, map_members, map_sites
from jaxsoc.upscale import moments

pytestmark = pytest.mark.gpu

DRY = bool(os.environ.get("JAXSOC_GPU_DRY"))
MEMBERS, CELLS, SITES = (2, 500, 64) if DRY else (4, 5000, 4096)
TIMES = 24.0 * np.arange(6)
CLOSE = {"float32": 1e-5, "float64": 1e-11}


@pytest.fixture(scope="module", autouse=True)
def card():
    if jax.default_backend() == "cpu" and not DRY:
        pytest.skip("JAX finds no accelerator here: there are only processors")
    # Layers and steps that are written out take a processor long to optimise.
    jax.config.update("jax_disable_most_optimizations", DRY)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def on_both(function, *arguments):
    """What a program gives on the accelerator and on the processor beside it."""
    found = []
    for backend in (jax.default_backend(), "cpu"):
        device = jax.devices(backend)[0]
        written = assume("cuda") if DRY and not found else contextlib.nullcontext()
        with jax.default_device(device), written:
            placed = jax.device_put(arguments, device)
            found.append(jax.device_get(jax.jit(function)(*placed)))
    return found


def soils(rng, law, dtype):
    """Members of patchy soil, leaves leading by member."""
    kinetics, shape = KINETICS[law], (MEMBERS, CELLS)
    field = lambda low, high: jnp.asarray(rng.uniform(low, high, shape), dtype)
    spread = lambda c: jnp.asarray(c, dtype) * field(0.5, 2.0)
    params = TwoPoolParameters(jax.tree.map(spread, kinetics.constants()))
    by_member = lambda x: x if jnp.ndim(x) else jnp.full(MEMBERS, x, dtype)
    state = Pools(field(50.0, 250.0), field(0.5, 3.0), field(0.0, 1.0))
    return TwoPool(kinetics.law), state, jax.tree.map(by_member, params)


def deviations(values):
    """Standard deviation of every quantity, its largest over members and times."""
    pairs = {tuple(name.split(",")): c for name, c in values.covariance.items()}
    return {a: np.sqrt(np.max(c)) for (a, b), c in pairs.items() if a == b}


def assert_close(mine, theirs, tolerance):
    """Means in units of their largest, covariances of the standard deviations."""
    spread = deviations(theirs)
    for name, c in theirs.covariance.items():
        scale = np.prod([spread[part] for part in name.split(",")])
        off = np.max(np.abs(mine.covariance[name] - c)) / scale
        assert off < tolerance, (name, off)
    rest = lambda values: jax.tree.leaves(values._replace(covariance={}))
    for a, b in zip(rest(mine), rest(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)))


@pytest.mark.parametrize("dtype", list(CLOSE))
@pytest.mark.parametrize("law", list(KINETICS))
def test_ensembles_and_gradients_are_the_processors(rng, law, dtype):
    model, state, params = soils(rng, law, dtype)

    def peak(state, params):
        solved = integrate(
            model,
            state,
            params,
            TIMES,
            save=moments.of(model.fluxes),
            method=Steps(4.0, devices=1),
            throw=False,
        )
        return jnp.max(solved.values.flux.respiration), solved.values

    slope = lambda member: jax.value_and_grad(peak, has_aux=True)(*member)
    every = lambda *soils: map_members(slope, soils, devices=1)
    mine, theirs = on_both(every, state, params)
    ((_, values), gradient), ((_, expected), slopes) = mine, theirs
    assert_close(values, expected, CLOSE[dtype])
    assert np.max(np.abs(slopes.substrate)) > 0
    for a, b in zip(gradient[:2], slopes[:2], strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE[dtype] * np.max(np.abs(b)))


def test_cells_that_choose_their_steps_are_the_processors(rng):
    model, state, params = soils(rng, "michaelis_menten", "float64")

    def run(*soil):
        method = Steps(courant=0.05, devices=1)
        save = moments.of(model.fluxes)
        solved = integrate(model, *soil, TIMES, save=save, method=method, throw=False)
        return solved.values

    every = lambda *soils: map_members(lambda soil: run(*soil), soils, devices=1)
    # Blocks differ, and so do the steps that their cells take with the fastest.
    assert_close(*on_both(every, state, params), 1e-6)


@pytest.mark.parametrize("model", [CLM5, COMPAS])
def test_columns_are_the_processors(model):
    params, forcing = draws(model.parameters, SITES, seed=3), sites(SITES, seed=4)

    def stock(params, forcing):
        made = model(forcing)
        soil = made.organic_carbon(steady_state(made, params))
        return jnp.sum(soil * forcing.column.thickness), soil

    slope = jax.value_and_grad(stock, has_aux=True)
    every = lambda *given: map_sites(slope, *map(Sites.of, given), devices=1).leading()
    ((_, mine), slopes), ((_, theirs), expected) = on_both(every, params, forcing)
    assert np.isfinite(theirs).any()
    np.testing.assert_allclose(mine, theirs, rtol=1e-11)
    for a, b in zip(*map(jax.tree.leaves, (slopes, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(b)))
