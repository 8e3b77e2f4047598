"""Programs for an accelerator: the same numbers, without a processor's habits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import (
    LayeredSystem,
    Sites,
    Steps,
    accelerated,
    assume,
    integrate,
    map_members,
    map_sites,
    reductions,
    solve_layered,
)
from jaxsoc.upscale import moments

BARRIER, REDUCTION, LOOP = (
    "stablehlo." + name for name in ("optimization_barrier", "reduce(", "while")
)


def written(platform, function, *arguments) -> str:
    """The program for a platform, as it is handed to the compiler."""
    with assume(platform):
        traced = jax.jit(function).trace(*arguments)
        return traced.lower(lowering_platforms=(platform,)).as_text()


def soil(rng, cells=416):
    law = KINETICS["michaelis_menten"]
    field = lambda low, high: jnp.asarray(rng.uniform(low, high, cells))
    constants = jax.tree.map(lambda c: c * field(0.5, 2.0), law.constants())
    state = Pools(field(50.0, 250.0), field(0.5, 3.0), field(0.0, 1.0))
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(constants))
    return TwoPool(law.law), state, params


def test_the_platform_is_the_default_devices_or_what_is_assumed():
    for platform, expected in (("cuda", True), ("cpu", False)):
        with assume(platform):
            assert accelerated() is expected
    with jax.default_device(jax.devices("cpu")[0]):
        assert not accelerated()
        with assume("cuda"):
            assert accelerated()
    with jax.default_device("cpu"):
        assert not accelerated()
    assert accelerated() is (jax.default_backend() != "cpu")


def test_a_compiled_function_serves_both():
    seen = []

    @jax.jit
    def mean(x):
        seen.append(accelerated())
        return reductions.mean(x)

    for platform in ("cpu", "cuda", "cpu", "cuda"):
        with assume(platform):
            assert float(mean(jnp.arange(64.0))) == 31.5
    assert seen == [False, True]


@pytest.mark.parametrize("cells", [7, 208])
def test_reductions_are_the_same_numbers_and_derivatives(rng, cells):
    x = jnp.asarray(rng.normal(size=cells))
    many = jnp.asarray(rng.normal(size=(3, cells)))

    @jax.jit
    def everything(x):
        mean = lambda x: reductions.mean(x**3)
        every = (reductions.mean, reductions.smallest, reductions.largest)
        forward = jax.jvp(mean, (x,), (jnp.sin(x),))
        return [f(x) for f in every], forward, [jax.grad(f)(x) for f in (mean, *every)]

    found = {}
    for platform in ("cpu", "cuda"):
        with assume(platform):
            found[platform] = everything(x), jax.vmap(everything)(many)
    for one, other in zip(*map(jax.tree.leaves, found.values()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-16)
    (mean, *_), (value, tangent), (slope, *_) = found["cuda"][0]
    x = np.asarray(x)
    assert float(mean) == pytest.approx(np.mean(x), rel=1e-14)
    assert float(value) == pytest.approx(np.mean(x**3), rel=1e-14)
    np.testing.assert_allclose(slope, 3 * x**2 / cells, rtol=1e-14)
    assert float(tangent) == pytest.approx(float(slope @ np.sin(x)), rel=1e-13)


def test_moments_for_an_accelerator_are_plain_reductions(rng):
    model, state, params = soil(rng)
    save = moments.of(model.fluxes)
    values = jax.tree.leaves(jax.eval_shape(save, 0.0, state, params))
    text = written("cuda", save, 0.0, state, params)
    assert BARRIER not in text
    assert 1 < text.count(REDUCTION) <= len(values)
    # The same for a processor holds what an accelerator must be spared.
    assert written("cpu", save, 0.0, state, params).count(BARRIER) >= len(values) / 2


@pytest.mark.parametrize("gradient", [False, True])
def test_a_run_for_an_accelerator_holds_no_barrier(rng, gradient):
    model, state, params = soil(rng)
    times = 24.0 * np.arange(4)

    def run(state, params):
        save, method = moments.of(model.fluxes), Steps(4.0, block=416, devices=1)
        solved = integrate(
            model, state, params, times, save=save, method=method, throw=False
        )
        return jnp.max(solved.values.flux.respiration), solved.values

    program = jax.grad(run, has_aux=True) if gradient else run
    text = written("cuda", program, state, params)
    assert BARRIER not in text


@pytest.mark.parametrize(
    "method", [Steps(4.0), pytest.param(Steps(courant=0.1), marks=pytest.mark.slow)]
)
def test_a_run_for_an_accelerator_is_the_one_for_a_processor(rng, method):
    """The same numbers and derivatives; at their own pace, to the error of both."""
    model, state, params = soil(rng)
    times = 24.0 * np.arange(4)

    def run(scale):
        start = state._replace(substrate=scale * state.substrate)
        save = moments.of(model.fluxes)
        solved = integrate(
            model, start, params, times, save=save, method=method, throw=False
        )
        return solved.values.flux.respiration, solved.final

    found = {}
    for platform in ("cpu", "cuda"):
        with assume(platform):
            found[platform] = jax.jit(lambda x: jax.jvp(run, (x,), (x,)))(1.0)
    tolerance = 1e-12 if method.courant is None else 1e-6
    for one, other in zip(*map(jax.tree.leaves, found.values()), strict=True):
        scale = float(jnp.max(jnp.abs(one)))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


def layered(rng, layers=7, unknowns=2):
    number = lambda: jnp.asarray(rng.uniform(0.1, 1.0, layers))
    every = range(unknowns)
    rows = tuple(
        tuple(number() + 2.0 if i == j else -0.3 * number() for j in every)
        for i in every
    )
    ends = number().at[0].set(0.0), number().at[-1].set(0.0)
    return LayeredSystem(rows, *ends), tuple(number() for _ in every)


def test_layers_are_written_out_for_an_accelerator(rng):
    system, right = layered(rng)
    loss = lambda system, right: sum(map(jnp.sum, solve_layered(system, right)))
    slope = jax.value_and_grad(loss, argnums=(0, 1))
    found = {}
    for platform in ("cpu", "cuda"):
        with assume(platform):
            found[platform] = jax.jit(slope)(system, right)
    for one, other in zip(*map(jax.tree.leaves, found.values()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-15)
    assert LOOP not in written("cuda", slope, system, right)
    assert LOOP in written("cpu", slope, system, right)


def test_sites_for_an_accelerator_lie_in_few_blocks():
    size = lambda count: Sites.of(np.zeros(count)).blocks.shape
    with assume("cuda"):
        assert [size(n) for n in (1, 300, 65_536)] == [(1, 1), (1, 300), (1, 65_536)]
        assert size(70_001) == (2, 35_001)
        double = jax.jit(lambda x: map_sites(lambda x: 2 * x, Sites.of(x)))
        np.testing.assert_array_equal(
            double(jnp.arange(300.0)).leading(), 2 * np.arange(300.0)
        )
    assert size(300) == (2, 256) or accelerated()


def test_members_taken_together_are_each_by_itself(rng):
    model, state, params = soil(rng, cells=48)
    members = jnp.asarray(rng.uniform(0.5, 2.0, 5))

    def one(factor):
        start = state._replace(substrate=factor * state.substrate)
        method = Steps(courant=0.5)
        times = 24.0 * np.arange(3)
        solved = integrate(model, start, params, times, method=method, throw=False)
        return solved.values, solved.steps

    def spread(devices, together):
        every = lambda m: map_members(one, m, devices=devices, together=together)
        return jax.tree.leaves(jax.jit(every)(members))

    leaves_of = jax.jit(lambda factor: jax.tree.leaves(one(factor)))
    alone = [jnp.stack(leaves) for leaves in zip(*map(leaves_of, members), strict=True)]
    for way in ((1, None), (1, 3), (2, 100)):
        for a, b in zip(alone, spread(*way), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        map_members(one, members, together=0)


def test_members_for_an_accelerator_are_one_batch():
    every = lambda members: map_members(jnp.sin, members, devices=1)
    assert LOOP not in written("cuda", every, jnp.ones((6, 3)))
    assert LOOP in written("cpu", every, jnp.ones((6, 3)))
