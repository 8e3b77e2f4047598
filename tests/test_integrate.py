"""`integrate`: order, agreement of methods, errors that are honest, gradients."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_cases import METHODS, MODEL, everything, patchy_soil
from slow_cases import slow_but

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import (
    KINETICS,
    MichaelisMentenConstants,
)
from jaxsoc.solve import (
    Adaptive,
    IntegrationError,
    Pointwise,
    Steps,
    choose_method,
    heun,
    integrate,
    rk4,
    rodas3,
    rodas4,
)


@Pointwise
def logistic(t, x, r):
    return r * x * (1 - x) + 0.1 * jnp.cos(t)


@pytest.mark.parametrize(
    "stepper, order, longest",
    [(heun, 2, 2), (rodas3, 3, 5), (rk4, 4, 2), (rodas4, 4, 4)],
)
def test_order_of_convergence(stepper, order, longest):
    start, r = jnp.array([0.05, 0.3]), jnp.asarray(1.3)
    end = lambda method: (
        integrate(logistic, start, r, [0.0, 4.0], save=everything, method=method).final
    )
    exact = end(Adaptive(diffrax.Dopri8(), rtol=1e-13, atol=1e-14))
    steps = 2.0 ** -np.arange(longest, longest + 5)
    errors = [
        float(jnp.abs(end(Steps(dt, stepper=stepper)) - exact).max()) for dt in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.2


@pytest.mark.parametrize(
    "stepper, order, longest",
    [(heun, 2, 0.4), (rodas3, 3, 0.4), (rk4, 4, 0.4), (rodas4, 4, 1.6)],
)
def test_order_of_convergence_of_counted_steps(stepper, order, longest, rng):
    state, params = patchy_soil(rng)
    times = [0.0, 24.0, 48.0]
    end = lambda method: np.asarray(
        integrate(MODEL, state, params, times, method=method, rate=rate).final.co2
    )
    # no block so slow that the smallest number of steps is enough for it
    rate = lambda *problem: jnp.maximum(MODEL.fastest_rate(*problem), 0.5)
    counted = lambda courant, stepper: Steps(
        courant=courant, layout="whole", block=64, stepper=stepper
    )
    courants = longest * 2.0 ** -np.arange(4)
    exact = end(counted(0.01, rk4))
    errors = [np.abs(end(counted(c, stepper)) - exact).max() for c in courants]
    slope = np.polyfit(np.log(courants), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.2


@pytest.mark.parametrize("name", slow_but(METHODS.keys() - {"implicit"}, METHODS))
def test_all_methods_find_the_same_soil(name, rng):
    state, params = patchy_soil(rng)
    times = np.linspace(0.0, 240.0, 11)
    run_by = lambda name: integrate(
        MODEL, state, params, times, save=everything, method=METHODS[name]
    )
    reference, run = run_by("equal"), run_by(name)
    for ours, theirs in zip(run.values, reference.values, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    "name", slow_but(METHODS.keys() - {"implicit", "adaptive"}, METHODS)
)
def test_a_cell_alone_equals_a_cell_in_the_grid(name, rng):
    """Each cell by itself on the same steps, to 1e-12; adaptive steps to tolerance."""
    state, params = patchy_soil(rng, (6, 4))
    times = np.linspace(0.0, 48.0, 9)
    # one block each, so that the alone cell takes the steps of its block
    method = METHODS[name]
    rate = lambda t, s, p, i: jnp.full_like(s.substrate, 9.0)
    if name == "counted":
        method = Steps(courant=0.5, block=5)
    run = lambda state, params: integrate(
        MODEL, state, params, times, save=everything, method=method, rate=rate
    )
    grid = run(state, params)
    tolerance = 2e-7 if name == "adaptive" else 1e-12
    for index in [(0, 0), (3, 2), (5, 3)]:
        pick = lambda x, index=index: x[index][None]
        alone_params = TwoPoolParameters(jax.tree.map(pick, params.decomposition))
        alone = run(jax.tree.map(pick, state), alone_params)
        for one, many in zip(alone.values, grid.values, strict=True):
            np.testing.assert_allclose(
                one[:, 0], many[(slice(None), *index)], rtol=tolerance, atol=1e-13
            )


def test_a_cell_alone_equals_a_cell_among_faster_ones_to_the_error(rng):
    """Its neighbours set the steps of its block, which the result must not show."""
    state, params = patchy_soil(rng, (12, 10))
    times = np.linspace(0.0, 240.0, 41)
    method = Steps(courant=0.1, block=16)
    run = lambda *problem: (
        integrate(MODEL, *problem, times, save=everything, method=method).values
    )
    grid = run(state, params)
    rate = np.asarray(params.decomposition.rate)
    for index in (np.unravel_index(rate.argmin(), rate.shape), (3, 2), (7, 9)):
        pick = lambda x, index=index: x[index][None]
        own = TwoPoolParameters(jax.tree.map(pick, params.decomposition))
        for one, many in zip(run(jax.tree.map(pick, state), own), grid, strict=True):
            among = many[(slice(None), *index)]
            np.testing.assert_allclose(one[:, 0], among, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method", [Steps(0.4), pytest.param(Steps(courant=0.5), marks=pytest.mark.slow)]
)
def test_estimated_error_bounds_and_resembles_the_true_one(method, rng):
    state, params = patchy_soil(rng)
    times = np.linspace(0.0, 120.0, 6)
    run = integrate(MODEL, state, params, times, method=method, estimate_error=True)
    exact = integrate(MODEL, state, params, times, method=Steps(courant=0.02, block=32))
    for pool in range(3):
        true = np.abs(run.values.mean[pool] - exact.values.mean[pool]).max()
        estimate = float(run.error.mean[pool])
        assert true <= 2.5 * estimate + 1e-11
        assert estimate <= 20 * true + 1e-11


def test_the_method_is_chosen_from_the_problem(rng):
    state, params = patchy_soil(rng, (64, 64))
    times = np.linspace(0, 48, 9)
    rate = MODEL.fastest_rate
    assert choose_method(MODEL, state, params, times, rate=rate).courant == 0.5
    assert choose_method(MODEL, state, params, times).courant == 0.5
    uniform = TwoPoolParameters(MichaelisMentenConstants())
    even = jax.tree.map(lambda x: jnp.full_like(x, 2.0), state)
    assert choose_method(MODEL, even, uniform, times, rate=rate).courant is None
    # without a bound on the rates
    plain = Pointwise(lambda t, s, p: MODEL(t, s, p))
    assert isinstance(choose_method(plain, state, params, times), Adaptive)


def test_the_chosen_method_meets_its_tolerance(rng):
    state, params = patchy_soil(rng, (24, 24))
    times = np.linspace(0, 480, 81)
    exact = integrate(MODEL, state, params, times, method=Steps(courant=0.02))
    for tolerance in (1e-4, 1e-8):
        run = integrate(
            MODEL, state, params, times, rate=MODEL.fastest_rate, tolerance=tolerance
        )
        assert float(run.relative_error) <= tolerance
        for ours, theirs in zip(run.values.mean, exact.values.mean, strict=True):
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert error <= 2 * tolerance


def test_statistics_are_saved_by_default(rng):
    state, params = patchy_soil(rng)
    run = integrate(MODEL, state, params, [0.0, 6.0, 9.0], method=Steps(0.1))
    assert run.values.mean.substrate.shape == (3,)
    biomass = np.asarray(state.biomass)
    assert float(run.values.mean.biomass[0]) == pytest.approx(biomass.mean())
    assert float(run.values.variance.biomass[0]) == pytest.approx(biomass.var())
    assert run.final.substrate.shape == (30, 20)


def test_cells_keep_their_places_when_sorted(rng):
    state, params = patchy_soil(rng, (7, 13))
    method = Steps(courant=0.5, block=10)
    run = integrate(MODEL, state, params, [0.0, 6.0], save=everything, method=method)
    for pool, saved, final in zip(state, run.values, run.final, strict=True):
        np.testing.assert_array_equal(saved[0], pool)
        np.testing.assert_array_equal(saved[1], final)


@pytest.mark.slow
def test_forward_and_reverse_gradients_agree(rng):
    state, params = patchy_soil(rng, (5, 4))
    times = np.linspace(0.0, 24.0, 5)

    def respired(rate, method):
        constants = MichaelisMentenConstants(rate, params.decomposition.half_saturation)
        run = integrate(
            MODEL, state, TwoPoolParameters(constants), times, method=method
        )
        return run.values.mean.co2[-1]

    rate = jnp.asarray(params.decomposition.rate)
    forward = jax.jacfwd(respired)(rate, Steps(0.1))
    reverse = jax.grad(respired)(rate, Steps(0.1))
    np.testing.assert_allclose(forward, reverse, rtol=1e-10, atol=1e-14)
    counted = jax.jacfwd(respired)(rate, METHODS["counted"])
    np.testing.assert_allclose(counted, reverse, rtol=1e-4, atol=1e-8)
    adaptive = jax.grad(respired)(rate, Adaptive(rtol=1e-9, atol=1e-11))
    np.testing.assert_allclose(adaptive, reverse, rtol=1e-4, atol=1e-8)


def test_single_precision_is_kept_and_as_good_as_it_can_be(rng):
    state, params = patchy_soil(rng)
    times = np.linspace(0.0, 240.0, 11)
    method = Steps(0.1)
    double = integrate(MODEL, state, params, times, method=method)
    single = integrate(
        MODEL,
        jax.tree.map(lambda x: x.astype(jnp.float32), state),
        params,
        times,
        method=method,
    )
    assert single.values.mean.substrate.dtype == jnp.float32
    for a, b in zip(single.values.mean, double.values.mean, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() <= 2e-5 * np.abs(b).max()


@pytest.mark.slow
def test_members_are_a_vmap(rng):
    state, params = patchy_soil(rng, (5, 4))
    scale = jnp.array([1.0, 0.5])
    run = lambda factor: (
        integrate(
            MODEL,
            jax.tree.map(lambda x: x * factor, state),
            params,
            [0.0, 12.0, 24.0],
            method=Steps(0.2),
            throw=False,
        ).values.mean.co2
    )
    many = jax.vmap(run)(scale)
    for factor, one in zip(scale, many, strict=True):
        np.testing.assert_allclose(one, run(factor), rtol=1e-13)


@pytest.mark.parametrize(
    "times, problem",
    [
        ([0.0], "at least two"),
        ([[0.0, 1.0]], "at least two"),
        ([0.0, 2.0, 1.0], "2 followed by 1 at position 2"),
        ([0.0, 1.0, 1.0], "1 followed by 1"),
        ([0.0, np.nan], "must increase"),
    ],
)
def test_impossible_times_are_refused(times, problem, rng):
    state, params = patchy_soil(rng, (2, 2))
    with pytest.raises(ValueError, match=problem):
        integrate(MODEL, state, params, times)


def test_shapes_that_do_not_fit_are_refused(rng):
    state, params = patchy_soil(rng, (4, 5))
    with pytest.raises(ValueError, match="pools must have one shape"):
        integrate(MODEL, state._replace(co2=jnp.zeros(3)), params, [0.0, 1.0])
    wrong = TwoPoolParameters(MichaelisMentenConstants(np.full(7, 0.01)))
    with pytest.raises(ValueError, match=r"shape \(7,\) does not fit.*\(4, 5\)"):
        integrate(MODEL, state, wrong, [0.0, 1.0])
    with pytest.raises(ValueError, match="floating-point"):
        integrate(MODEL, jax.tree.map(lambda x: x.astype(int), state), params, [0, 1])
    with pytest.raises(ValueError, match="no arrays"):
        integrate(MODEL, (), params, [0.0, 1.0])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Steps(0.0),
        lambda: Steps(np.inf),
        lambda: Steps(np.nan),
        lambda: Steps(),
        lambda: Steps(courant=3.0),
        lambda: Steps(courant=0.5, block=0),
        lambda: Steps(1.0, layout="tiles"),
        lambda: Adaptive(rtol=0.0),
        lambda: Adaptive(atol=np.nan),
    ],
)
def test_impossible_methods_are_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()


def test_a_run_that_explodes_says_what_to_try():
    state, params = jnp.array([1.0]), jnp.asarray(-50.0)
    tendency = lambda t, x, r: r * x**3
    with pytest.raises(IntegrationError, match="smaller dt"):
        integrate(tendency, state, params, [0.0, 50.0], method=Steps(5.0))
    run = integrate(
        tendency, state, params, [0.0, 50.0], method=Steps(5.0), throw=False
    )
    assert not bool(run.sound)
    compiled = jax.jit(
        lambda x: (
            integrate(tendency, x, params, [0.0, 50.0], method=Steps(5.0)).values.mean
        )
    )
    with pytest.raises(Exception, match="smaller dt"):
        jax.block_until_ready(compiled(state))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_rate_without_a_bound_ends_the_run_with_a_sentence(bad, rng):
    """It must neither stop the clock nor run for ever."""
    state, params = patchy_soil(rng, (6, 6))
    rate = lambda t, s, p, interval: jnp.full_like(s.substrate, bad)
    with pytest.raises(ValueError, match="not finite in 36 of 36 cells"):
        integrate(MODEL, state, params, [0.0, 6.0], rate=rate)
    with pytest.raises(IntegrationError, match="has no bound"):
        integrate(
            MODEL, state, params, [0.0, 6.0], method=Steps(courant=0.5), rate=rate
        )


def test_a_solver_that_gives_up_is_reported_like_any_other_failure(rng):
    state, params = patchy_soil(rng, (3, 3))
    method = Adaptive(max_steps=3)
    with pytest.raises(IntegrationError, match="more steps than allowed"):
        integrate(MODEL, state, params, [0.0, 2400.0], method=method)
    run = integrate(MODEL, state, params, [0.0, 2400.0], method=method, throw=False)
    assert not bool(run.sound)


def test_a_tolerance_out_of_reach_is_said():
    state, params = jnp.array([0.3]), jnp.asarray(1.3)
    rate = lambda t, x, r, interval: jnp.full_like(x, 1e-3)
    with pytest.raises(IntegrationError, match="stays above the tolerance 1e-15"):
        integrate(logistic, state, params, [0.0, 40.0], rate=rate, tolerance=1e-15)


def test_substeps_take_the_bound_given_to_integrate(rng):
    state, params = patchy_soil(rng, (6, 6))
    times, rate = [0.0, 6.0], MODEL.fastest_rate
    counted = Steps(courant=0.5)
    given = integrate(MODEL, state, params, times, method=counted, rate=rate)
    known = integrate(MODEL, state, params, times, method=counted)
    np.testing.assert_array_equal(given.final.co2, known.final.co2)
    plain = Pointwise(lambda t, s, p: MODEL(t, s, p))
    with pytest.raises(ValueError, match="rate=model.fastest_rate"):
        integrate(plain, state, params, times, method=counted)


def test_no_choice_of_method_inside_grad(rng):
    state, params = patchy_soil(rng, (2, 2))
    choose = lambda x: integrate(
        MODEL,
        state._replace(substrate=state.substrate * x),
        params,
        [0.0, 1.0],
        rate=MODEL.fastest_rate,
    ).values.mean.co2[-1]
    with pytest.raises(ValueError, match="give `method`"):
        jax.grad(choose)(1.0)
    without_rate = lambda x: integrate(
        logistic, jnp.array([x]), jnp.asarray(1.3), [0.0, 1.0]
    ).values.mean[-1]
    with pytest.raises(ValueError, match="give `method`"):
        jax.grad(without_rate)(0.3)


# --- Gradients of respiration, with dead cells ----------------------------------------


@pytest.mark.parametrize(
    "name",
    slow_but(("michaelis_menten",), sorted(KINETICS)),
)
def test_gradients_of_respiration_for_every_constant_with_dead_cells(name, rng):
    """R on days 1, 5 and 20 by every number of the model, 30 % dead cells: 1e-6."""
    shape = (10, 10)
    kinetics = KINETICS[name]
    model = TwoPool(kinetics.law)
    biomass = rng.gamma(1.0, 1.2, shape)
    biomass.flat[rng.permutation(100)[:30]] = 0.0
    state = Pools(rng.uniform(0, 250, shape), biomass, np.zeros(shape))
    state = jax.tree.map(jnp.asarray, state)
    spread = 10 ** rng.uniform(-0.5, 0.5, shape)
    nominal = TwoPoolParameters(kinetics.constants())
    leaves, structure = jax.tree.flatten(nominal)
    base = jnp.asarray(leaves)

    def respiration(numbers):
        params = jax.tree.unflatten(structure, list(numbers))
        constants = jax.tree.map(lambda c: c * spread, params.decomposition)
        params = TwoPoolParameters(
            constants,
            params.mortality,
            params.carbon_use_efficiency,
            params.input,
        )
        mean = lambda t, s, p: jnp.mean(model.fluxes(t, s, p).respiration)
        run = integrate(
            model,
            state,
            params,
            np.array([0.0, 24.0, 120.0, 480.0]),
            save=mean,
            method=Steps(0.5),
        )
        return run.values

    respiration = jax.jit(respiration)
    slopes = np.asarray(jax.jacfwd(respiration)(base))
    reverse = np.asarray(jax.jacrev(respiration)(base))
    assert np.isfinite(slopes).all() and np.isfinite(reverse).all()
    np.testing.assert_allclose(slopes, reverse, rtol=1e-9, atol=1e-18)
    for i in range(base.size):
        scale = float(base[i])
        differences = []
        for h in (4e-4 * scale, 2e-4 * scale):
            step = jnp.zeros_like(base).at[i].set(h)
            ahead, behind = respiration(base + step), respiration(base - step)
            differences.append((ahead - behind) / (2 * h))
        # Richardson's extrapolation of central differences
        difference = np.asarray((4 * differences[1] - differences[0]) / 3)
        # on every day by itself; a slope that happens to vanish is measured by R / p
        size = np.maximum(np.abs(difference), 0.01 * np.abs(respiration(base)) / scale)
        assert (np.abs(slopes[:, i] - difference) <= 1e-6 * size).all()
