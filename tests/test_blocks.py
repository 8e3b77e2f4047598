"""Blocks of cells, merged, on several devices, and its gradients."""

import itertools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import (
    Steps,
    integrate,
    reductions,
    rk4,
    rodas3,
)
from jaxsoc.solve.blocks import layout
from jaxsoc.solve.statistics import Statistics, Watch
from jaxsoc.upscale import moments

TRIPLE = ("substrate", "biomass", "decomposition.rate")
TIMES = np.arange(0.0, 241.0, 24.0)


def patchy(name, cells, dtype=np.float64, seed=3):
    rng = np.random.default_rng(seed)
    spread = lambda c: c * 10 ** rng.uniform(-0.4, 0.4, cells)
    constants = jax.tree.map(spread, KINETICS[name].constants())
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), TwoPoolParameters(constants))
    biomass = rng.gamma(1.0, 1.2, cells) * (rng.uniform(size=cells) > 0.3)
    state = Pools(rng.uniform(20, 250, cells), biomass, np.zeros(cells))
    state = jax.tree.map(lambda x: jnp.asarray(x, dtype), state)
    return TwoPool(KINETICS[name].law), state, params


def worst(one, other):
    gap = lambda a, b: float(jnp.max(jnp.abs(a - b)) / (1e-300 + jnp.max(jnp.abs(b))))
    return max(jax.tree.leaves(jax.tree.map(gap, one, other)))


@given(st.integers(1, 5000), st.sampled_from([64, 256]), st.integers(1, 8))
def test_a_layout_holds_every_cell_once(cells, target, devices):
    plan = layout(cells, target, devices)
    assert plan.devices * plan.blocks * plan.size + plan.rest == cells
    assert plan.rest == cells or plan.size % 8 == 0
    if cells >= 2 * target * devices:
        assert target / 2 <= plan.size <= 2 * target
        assert plan.blocks * plan.size + plan.rest <= cells / devices + 4 * target


@pytest.mark.parametrize("cells", [1, 15, 16, 17, 64, 700])
def test_reductions_are_numpys(cells):
    values = np.random.default_rng(cells).normal(size=cells)
    array = jnp.asarray(values)
    assert float(reductions.mean(array)) == pytest.approx(values.mean(), abs=1e-15)
    assert float(reductions.smallest(array)) == values.min()
    assert float(reductions.largest(array)) == values.max()


@pytest.mark.slow
@settings(max_examples=6)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_moments_of_parts_merge_into_those_of_the_whole(sizes):
    model, state, params = patchy("michaelis_menten", sum(sizes))
    save = moments.of(model.fluxes, third=(TRIPLE,))
    whole = save(0.0, state, params)
    ends = np.cumsum([0, *sizes])
    cut = lambda tree, a, b: jax.tree.map(lambda x: x[a:b] if x.ndim else x, tree)
    parts = [
        save(0.0, cut(state, a, b), cut(params, a, b))
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *parts)
    merged = save.merge(stacked, jnp.asarray(sizes) / sum(sizes))
    merged = save.finish(0.0, merged, params)
    for name, value in whole.covariance.items():
        x, y = name.split(",")
        scale = float(whole.covariance[f"{x},{x}"] * whole.covariance[f"{y},{y}"])
        assert abs(float(merged.covariance[name] - value)) <= 1e-13 * scale**0.5
    (third,) = whole.third.values()
    spread = np.prod([float(whole.covariance[f"{n},{n}"]) ** 0.5 for n in TRIPLE])
    assert abs(float(merged.third[",".join(TRIPLE)] - third)) <= 1e-12 * spread
    for pick in ("mean", "parameter_mean", "flux", "mean_field_flux", "minimum"):
        assert worst(getattr(merged, pick), getattr(whole, pick)) < 1e-13


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(1, marks=pytest.mark.slow),
        7,
        pytest.param(1000, marks=pytest.mark.slow),
        pytest.param(5003, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("devices", [1, None])
def test_fused_is_the_whole_grid(cells, devices):
    model, state, params = patchy("multiplicative", cells)
    save = moments.of(model.fluxes, third=(TRIPLE,))
    run = lambda method: integrate(
        model, state, params, TIMES, save=save, method=method, estimate_error=True
    )
    fused, plain = (
        run(Steps(3.0, devices=devices)),
        run(Steps(3.0, layout="whole")),
    )
    assert worst(fused.final, plain.final) < 1e-12
    assert worst(fused.values.mean, plain.values.mean) < 1e-12
    assert worst(fused.values.flux, plain.values.flux) < 1e-12
    assert worst(fused.values.covariance, plain.values.covariance) < 1e-11
    error, other = float(fused.relative_error), float(plain.relative_error)
    assert error == pytest.approx(other, rel=1e-3)


def test_shape_and_order_of_cells_are_kept():
    model, state, params = patchy("michaelis_menten", 40 * 30)
    grid = lambda tree: jax.tree.map(lambda x: x.reshape(40, 30) if x.ndim else x, tree)
    method = Steps(4.0, courant=0.5)
    run = lambda state, params: integrate(
        model, state, params, TIMES, save=Statistics(), method=method
    )
    line, square = run(state, params), run(grid(state), grid(params))
    assert square.final.substrate.shape == (40, 30)
    assert worst(square.final, grid(line.final)) == 0.0
    assert worst(square.values, line.values) == 0.0


@pytest.mark.slow
def test_blocks_with_their_own_steps_agree_with_a_tight_run():
    model, state, params = patchy("michaelis_menten", 3000)
    save = Statistics()
    tight = integrate(model, state, params, TIMES, method=Steps(0.1))
    method = Steps(24.0, courant=0.2)
    fused = integrate(
        model, state, params, TIMES, save=save, method=method, estimate_error=True
    )
    assert float(fused.relative_error) < 1e-6
    assert worst(fused.values.mean, tight.values.mean) < 1e-6
    other = integrate(
        model,
        state,
        params,
        TIMES,
        method=Steps(courant=0.2, block=256, layout="whole"),
    )
    assert worst(fused.values.mean, other.values.mean) < 1e-6


@pytest.mark.slow
def test_what_cannot_be_merged_is_not_laid_out_in_blocks():
    model, state, params = patchy("multiplicative", 600)
    run = lambda save: integrate(model, state, params, TIMES, save=save)
    merged, fields = run(Statistics()), run(lambda t, state, params: state.substrate)
    for mean, field in zip(merged.values.mean.substrate, fields.values, strict=True):
        assert float(mean) == pytest.approx(float(field.mean()), rel=1e-5)
    method = Steps(1.0, layout="blocks")
    with pytest.raises(ValueError, match="AbstractStatistic such as moments.of"):
        integrate(model, state, params, TIMES, save=lambda *_: 0.0, method=method)


@pytest.mark.parametrize("options", [{"dt": 0.0}, {"dt": 1.0, "courant": 3.0}])
def test_impossible_steps_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        Steps(**options)


def test_a_rate_without_bounds_ends_the_run_as_not_finite():
    model, state, params = patchy("multiplicative", 600)
    rate = lambda t, state, params, interval: jnp.full_like(state.substrate, jnp.nan)
    solution = integrate(
        model, state, params, TIMES, method=Steps(courant=0.5), rate=rate, throw=False
    )
    assert not bool(solution.sound)


def test_single_precision_stays_within_a_hundred_thousandth():
    single = patchy("multiplicative", 10_000, np.float32)
    model, state, params = patchy("multiplicative", 10_000)
    save = moments.of(model.fluxes)
    run = lambda model, state, params: integrate(
        model, state, params, TIMES, save=save, method=Steps(2.0)
    )
    fine, coarse = run(model, state, params), run(*single)
    assert coarse.values.flux.respiration.dtype == jnp.float32
    widened = jax.tree.map(lambda x: x.astype(float), coarse.values)
    assert worst(widened.flux, fine.values.flux) < 1e-5
    # Two-pass in every block and merged by differences: no digits cancel.
    assert worst(widened.covariance, fine.values.covariance) < 1e-5


def test_implicit_steps_are_stable_where_explicit_ones_are_not():
    # Rates of 6/h: steps of 2 h are far outside what RK4 can take.
    constants = KINETICS["michaelis_menten"].constants(
        jnp.asarray(0.6), jnp.asarray(10.0)
    )
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(constants))
    state = Pools(jnp.full(300, 2.0), jnp.linspace(50.0, 100.0, 300), jnp.zeros(300))
    model, times = TwoPool(KINETICS["michaelis_menten"].law), [0.0, 480.0]
    run = lambda stepper, dt: integrate(
        model, state, params, times, method=Steps(dt, stepper=stepper), throw=False
    )
    exact = run(rk4, 0.05)
    assert bool(exact.sound)
    implicit, explicit = run(rodas3, 2.0), run(rk4, 2.0)
    assert not bool(explicit.sound) or worst(explicit.final, exact.final) > 1.0
    assert worst(implicit.final, exact.final) < 1e-2
    total = sum(implicit.final)
    expected = sum(state) + params.input * 480.0
    np.testing.assert_allclose(total, expected, rtol=1e-13)


@pytest.mark.slow
def test_implicit_steps_have_gradients_in_both_modes():
    model, state, params = patchy("michaelis_menten", 40)
    function = peak(model, Steps(4.0, stepper=rodas3))
    gradient = jax.grad(function)(state, params)
    direction = jax.tree.map(lambda x: 0.1 * x, state)
    _, forward = jax.jvp(lambda s: function(s, params), (state,), (direction,))
    dots = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, direction)
    assert float(forward) == pytest.approx(float(sum(dots)), rel=1e-10)
    tight = jax.grad(peak(model, Steps(1.0)))(state, params)
    assert worst(gradient, tight) < 1e-3


# --- Gradients ----------------------------------------------------------------------


def peak(model, method, times=TIMES):
    """Peak respiration as a function of fields and numbers."""
    save = moments.of(model.fluxes)

    def function(state, params):
        solution = integrate(model, state, params, times, save=save, method=method)
        return jnp.max(solution.values.flux.respiration)

    return function


@pytest.mark.parametrize(
    "cells, dt",
    [
        pytest.param(5, 0.5, marks=pytest.mark.slow),
        (5, 24.0),
        pytest.param(700, 3.0, marks=pytest.mark.slow),
    ],
)
def test_reverse_forward_and_whole_grid_agree(cells, dt):
    # The three steps put save times, one or none, between the ends of a segment.
    model, state, params = patchy("michaelis_menten", cells)
    function = peak(model, Steps(dt))
    gradient = jax.grad(function, argnums=(0, 1))(state, params)
    plain = jax.grad(peak(model, Steps(dt, layout="whole")), argnums=(0, 1))(
        state, params
    )
    assert worst(gradient, plain) < 1e-10
    direction = jax.tree.map(lambda x: 0.3 * x, (state, params))
    _, forward = jax.jvp(function, (state, params), direction)
    dots = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, direction)
    reverse = sum(jax.tree.leaves(dots))
    assert float(forward) == pytest.approx(float(reverse), rel=1e-10)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_gradients_by_single_cells_and_numbers_are_differences():
    model, state, params = patchy("multiplicative", 400)
    function = peak(model, Steps(3.0))
    by_state, by_params = jax.grad(function, argnums=(0, 1))(state, params)
    dead = int(jnp.argmin(state.biomass))
    assert float(state.biomass[dead]) == 0.0
    for cell in (dead, 17, 399):
        for pool in ("substrate", "biomass"):
            move = lambda h, cell=cell, pool=pool: state._replace(
                **{pool: getattr(state, pool).at[cell].add(h)}
            )
            value = lambda h, move=move: float(function(move(h), params))
            found = float(getattr(by_state, pool)[cell])
            # No cell has less than nothing: from there on, differences go one way.
            alive = float(getattr(state, pool)[cell]) > 0.05
            central = central_slope if alive else forward_slope
            scale = function(state, params) / 400
            assert_is_slope(found, value, 0.05, scale, central)
    where = lambda p: p.mortality.rate
    mortality = float(where(params))
    value = lambda h: float(
        function(state, eqx.tree_at(where, params, jnp.asarray(mortality + h)))
    )
    found = float(where(by_params))
    assert_is_slope(found, value, 0.05 * mortality, found * mortality)


def central_slope(value, h):
    """Central differences with Richardson's correction."""
    central = lambda h: (value(h) - value(-h)) / (2 * h)
    return (4 * central(h / 2) - central(h)) / 3


def forward_slope(value, h):
    """Forward differences, their errors of order 1 to 4 taken off."""
    row = [(value(h / 2**n) - value(0.0)) / (h / 2**n) for n in range(5)]
    for order in range(1, 5):
        steps = itertools.pairwise(row)
        row = [(2**order * fine - coarse) / (2**order - 1) for coarse, fine in steps]
    return row[0]


def assert_is_slope(found, value, h, scale, differences=central_slope):
    """Against differences."""
    slope = differences(value, h)
    assert abs(found - slope) * h <= 1e-6 * abs(float(scale)) + 1e-6 * abs(slope) * h


@pytest.mark.slow
def test_forward_gradients_through_blocks_with_their_own_steps():
    model, state, params = patchy("michaelis_menten", 700)
    method = Steps(24.0, courant=0.3)
    tight = peak(model, Steps(0.5))
    direction = jax.tree.map(lambda x: 0.1 * x, (state, params))
    _, found = jax.jvp(peak(model, method), (state, params), direction)
    _, expected = jax.jvp(tight, (state, params), direction)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
def test_memory_of_a_gradient_grows_with_the_root_of_the_steps():
    model, state, params = patchy("multiplicative", 2560)

    def temporary(steps):
        times = np.linspace(0.0, 1200.0, 11)
        function = peak(model, Steps(1200.0 / steps, devices=1), times)
        compiled = jax.jit(jax.grad(function)).lower(state, params).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    few, many = temporary(100), temporary(6400)
    assert many < 16 * few  # √64 = 8; storing every step would be 64


# --- Cores --------------------------------------------------------------------------

STARTED = """
import jax
jax.numpy.zeros(3).block_until_ready()
from jaxsoc.solve import use_all_cores
use_all_cores(2)
"""
FRESH = """
import os
os.environ["XLA_FLAGS"] = "--xla_cpu_prefer_vector_width=128"
from jaxsoc.solve import use_all_cores
print(use_all_cores(2), use_all_cores(2))
import jax
print(len(jax.devices()), os.environ["XLA_FLAGS"].count("vector_width"))
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_cores_must_be_asked_for_before_jax_starts():
    failed = python(STARTED)
    assert failed.returncode == 1
    assert "must be called before JAX computes anything" in failed.stderr
    fine = python(FRESH)
    assert fine.stdout.split() == ["2", "2", "2", "1"], fine.stderr


def test_a_number_of_cores_must_be_positive():
    from jaxsoc.solve import use_all_cores

    with pytest.raises(ValueError, match="at least 1, got 0"):
        use_all_cores(0)


def test_means_and_variances_merge():
    model, state, params = patchy("multiplicative", 1000)
    run = lambda method: integrate(model, state, params, TIMES, method=method).values
    assert worst(run(Steps(3.0)), run(Steps(3.0, layout="whole"))) < 1e-12
    assert len(Watch(lowest=False)(0.0, state, params).means) == 3
