"""Runs that are wrong are refused, or say so: coupling, stability, signs, digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from point_cases import METHODS, MODEL, patchy_soil
from slow_cases import slow_but

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics import kinetics
from jaxsoc.physics.kinetics import Kinetics, MichaelisMentenConstants
from jaxsoc.solve import (
    AbstractPointwise,
    AbstractStatistic,
    AbstractStocks,
    Adaptive,
    IntegrationError,
    Pointwise,
    Steps,
    heun,
    integrate,
    rodas3,
    rodas4,
)
from jaxsoc.solve.pointwise import local_growth, local_rate


def diffusing(t, x, d):
    """Carbon that diffuses along a ring of cells, and decays."""
    return d * (jnp.roll(x, 1) - 2 * x + jnp.roll(x, -1)) - 0.1 * x


EVERY_METHOD = {
    **METHODS,
    "in blocks": Steps(0.05, layout="blocks"),
    "blocks of a size": Steps(0.05, block=16),
    "counted": Steps(courant=0.1),
    "counted in blocks": Steps(courant=0.1, block=16),
    "of order 4, implicit": Steps(0.05, stepper=rodas4),
    "chosen": None,
}
NEEDS_CELLS_APART = {
    *("in blocks", "blocks of a size", "counted in blocks"),
    *("implicit in a cell", "of order 4, implicit", "implicit"),
}


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_coupled_cells_are_the_same_by_every_method_or_refused(name):
    """1,000 cells in a ring: exact by discrete Fourier modes."""
    start = jnp.zeros(1000).at[::50].set(1.0)
    d, times = jnp.asarray(2.0), np.array([0.0, 1.0, 3.0])
    rate = lambda t, x, d, interval: jnp.full_like(x, 4 * d + 0.1)
    run = lambda: integrate(
        diffusing, start, d, times, method=EVERY_METHOD[name], rate=rate
    )
    if name in NEEDS_CELLS_APART:
        with pytest.raises(ValueError, match="couples no cells"):
            run()
        return
    waves = 2 * np.pi * np.arange(1000) / 1000
    decay = np.exp((2 * 2.0 * (np.cos(waves) - 1) - 0.1) * times[-1])
    exact = np.fft.ifft(np.fft.fft(start) * decay).real
    np.testing.assert_allclose(run().final, exact, atol=2e-7)


class Decay(AbstractStocks):
    """dx/dt = -r x, stocks that may be coupled."""

    def __call__(self, t, x, r):
        return -r * x


def test_a_stock_below_zero_ends_the_run_with_its_name_and_time(rng):
    state, params = patchy_soil(rng)
    with pytest.raises(IntegrationError, match="substrate of a cell is -.*at time"):
        integrate(MODEL, state, params, [0.0, 48.0, 96.0], method=Steps(24.0))
    run = lambda dt, stepper: integrate(
        *(Decay(), jnp.ones(3), jnp.asarray(1.0), [0.0, 3.0]),
        method=Steps(dt, stepper=stepper),
    )
    assert bool(run(0.5, heun).sound)

    @jax.jit
    def hurried(state):
        times = np.array([0.0, 48.0, 96.0])
        return integrate(MODEL, state, params, times, method=Steps(24.0)).final.co2

    with pytest.raises(Exception, match="below zero"):
        jax.block_until_ready(hurried(state))


def test_steps_beyond_stability_are_said():
    """Oscillating about a steady state within what a tolerance allows."""
    decay = Pointwise(lambda t, x, r: -r * (x - 1.0))
    run = lambda dt: integrate(
        *(decay, jnp.full(4, 1 + 1e-9), jnp.asarray(1.0), [0.0, 12.0]),
        method=Steps(dt),
        estimate_error=True,
    )
    assert bool(run(2.0).sound)
    with pytest.raises(IntegrationError, match="3 at time 0, at most 2.78.* is stable"):
        run(3.0)


def test_an_error_in_one_cell_is_seen():
    """The means hide it: one stiff cell of 10,000."""
    rate = np.full(10_000, 1e-3)
    rate[17] = 0.4
    params = TwoPoolParameters(MichaelisMentenConstants(rate, np.full(10_000, 20.0)))
    fill = lambda x: jnp.full(10_000, x)
    state, times = Pools(fill(100.0), fill(1.0), fill(0.0)), [0.0, 120.0]
    run = integrate(
        *(MODEL, state, params, times),
        method=Steps(1.0, stepper=rodas3),
        estimate_error=True,
        throw=False,
    )
    exact = integrate(MODEL, state, params, times, method=Steps(courant=0.05)).final
    gaps = [jnp.abs(a - b).max() for a, b in zip(run.final, exact, strict=True)]
    true = float(max(gaps)) / 100
    assert true > 20 * float(run.relative_error)
    assert float(run.cell_error) >= true / 3


@pytest.mark.parametrize("pool", ["substrate", "co2"])
@pytest.mark.parametrize("value", [-1e-3, np.nan])
def test_stocks_that_are_none_are_refused(pool, value, rng):
    state, params = patchy_soil(rng, (3, 3))
    bad = state._replace(**{pool: getattr(state, pool).at[1, 1].set(value)})
    words = rf"{pool} must be finite.*got {value:g} \(1 of"
    with pytest.raises(ValueError, match=words):
        integrate(MODEL, bad, params, [0.0, 1.0])


@pytest.mark.parametrize("tolerance", [0.0, -1.0, np.nan])
def test_a_tolerance_must_be_positive(tolerance, rng):
    state, params = patchy_soil(rng, (2, 2))
    with pytest.raises(ValueError, match="tolerance must be positive, got"):
        integrate(MODEL, state, params, [0.0, 1.0], tolerance=tolerance)


@pytest.mark.parametrize(
    "times, rate, method",
    [
        ([0.0, 24.0], 1e10, None),
        ([0.0, 24e15], 0.01, None),
        ([0.0, 1e9], 0.01, Steps(1.0)),
    ],
)
def test_steps_that_run_away_are_refused_with_their_number(times, rate, method, rng):
    state, _ = patchy_soil(rng, (3, 3))
    params = TwoPoolParameters(MichaelisMentenConstants(rate=rate))
    with pytest.raises(ValueError, match=r"e\+\d+ steps, more than 1e\+08"):
        integrate(MODEL, state, params, times, method=method)


def holling_iii(S, B, c):
    return c.rate * B * S**2 / (c.half_saturation**2 + S**2)


@pytest.mark.parametrize("registered", slow_but([True], [False, True]))
def test_a_law_that_is_not_concave_has_a_bound_too(registered, rng, monkeypatch):
    """Holling III is steepest between no substrate and what there is."""
    if registered:
        own = Kinetics(holling_iii, MichaelisMentenConstants)
        laws = {**kinetics.KINETICS, "holling_iii": own}
        monkeypatch.setattr(kinetics, "KINETICS", laws)
    model, cells = TwoPool(holling_iii), 200
    constants = MichaelisMentenConstants(
        10 ** rng.uniform(-2, -0.5, cells), 10 ** rng.uniform(0, 1.5, cells)
    )
    params = TwoPoolParameters(constants)
    S, B = jnp.asarray(rng.uniform(50, 250, cells)), jnp.asarray(rng.gamma(1, 5, cells))
    state = Pools(S, B, 0.0 * S)
    bound = np.asarray(model.fastest_rate(0.0, state, params, 24.0))
    most = params.carbon_use_efficiency * S + B
    steepest = np.zeros(cells)
    for share in np.geomspace(1e-6, 1, 400):
        law = lambda S: holling_iii(S, most, constants)
        slope = jax.jvp(law, (share * S,), (jnp.ones_like(S),))[1]
        steepest = np.maximum(steepest, np.asarray(slope))
    assert (bound >= steepest).all()
    times = np.linspace(0, 240, 11)
    run = integrate(model, state, params, times)
    exact = integrate(model, state, params, times, method=Steps(courant=0.1))
    assert float(jnp.abs(run.final.co2 - exact.final.co2).max()) < 1e-3 * 250


def test_times_far_from_zero_are_times_since_the_first_in_32_bits(rng):
    state, params = patchy_soil(rng)
    single = jax.tree.map(lambda x: x.astype(jnp.float32), state)
    run = lambda start: integrate(
        *(MODEL, single, params, start + np.linspace(0.0, 48.0, 5)),
        rate=MODEL.fastest_rate,
    )
    near, far = run(0.0), run(1e9)
    assert far.final.co2.dtype == jnp.float32
    np.testing.assert_array_equal(far.final.co2, near.final.co2)


def test_times_made_inside_jit_are_for_forward_mode(rng):
    state, params = patchy_soil(rng, (3, 3))

    @jax.jit
    def respired(scale):
        times = jnp.arange(0.0, 25.0, 12.0)
        start = state._replace(substrate=scale * state.substrate)
        run = integrate(MODEL, start, params, times, method=Steps(0.5))
        return run.values.mean.co2[-1]

    known = integrate(MODEL, state, params, [0.0, 12.0, 24.0], method=Steps(0.5))
    assert float(respired(1.0)) == pytest.approx(float(known.values.mean.co2[-1]))
    assert np.isfinite(jax.jacfwd(respired)(1.0))
    with pytest.raises(Exception, match="times as NumPy arrays"):
        jax.grad(respired)(1.0)


def test_a_cell_at_rest_does_not_hide_an_unstable_one():
    decay = Pointwise(lambda t, x, r: -r * x)
    too_low = lambda t, x, r, interval: 0.01 * r
    with pytest.raises(IntegrationError, match="explicit|beyond stability"):
        integrate(
            *(decay, jnp.ones(2), jnp.array([0.0, 100.0]), [0.0, 1.0, 2.0]),
            method=Steps(courant=0.5),
            rate=too_low,
            estimate_error=True,
        )


def test_a_slope_without_bound_says_nothing_of_a_step():
    falls = lambda t, x, r: -r * jnp.sqrt(x)
    found = local_rate(falls, 0.0, jnp.array([0.0, 1.0]), jnp.asarray(3.0))
    np.testing.assert_allclose(found, [0.0, 1.5], rtol=1e-12)


class Clock(AbstractStatistic):
    """The time, in a form that blocks are merged from, by both ways to it."""

    def __call__(self, t, state, params):
        return {"seen": t * jnp.ones(()), "finished": 0.0 * t}

    def merge(self, values, shares):
        return jax.tree.map(lambda x: x[0], values)

    def finish(self, t, values, params):
        return values | {"finished": t * jnp.ones(())}


@pytest.mark.parametrize(
    "method",
    [Steps(0.1), Steps(0.1, layout="whole"), Steps(courant=0.1), Adaptive()],
)
def test_what_is_saved_is_given_the_time_of_the_run(method):
    """Not that since its first save time, in which the steps are counted."""
    decay = Pointwise(lambda t, x, r: -r * x)
    times = np.array([10.0, 11.0, 13.0])
    run = integrate(
        *(decay, jnp.ones(300), jnp.asarray(1.0), times),
        method=method,
        rate=lambda t, x, r, interval: r * jnp.ones_like(x),
        save=Clock(),
    )
    np.testing.assert_allclose(run.values["seen"], times)
    if isinstance(method, Steps) and method.layout is None:
        np.testing.assert_allclose(run.values["finished"], times)


class Leak(AbstractPointwise):
    """dx/dt = -k x, with the constant in the tendency."""

    k: jax.Array

    def __call__(self, t, x, params):
        return -self.k * x


def test_constants_inside_a_tendency_have_gradients_or_a_sentence():
    run = lambda k, tendency=Leak, **how: jnp.sum(
        integrate(tendency(k), jnp.ones(2), (), np.array([0.0, 1.0]), **how).final
    )
    slope = jax.grad(lambda k: run(k, method=Steps(0.1)))(1.0)
    assert float(slope) == pytest.approx(-2 * np.exp(-1), abs=1e-5)
    closed = lambda k: lambda t, x, params: -k * x
    for tendency in (Leak, closed):
        with pytest.raises(ValueError, match="cannot be chosen inside jit"):
            jax.jit(lambda k, made=tendency: run(k, made))(1.0)


def test_times_inside_jit_are_looked_at_too():
    run = lambda times, **how: integrate(
        *(Leak(jnp.ones(())), jnp.ones(2), (), times), method=Steps(0.1), **how
    )
    for times in (jnp.ones(1), jnp.ones((2, 2))):
        with pytest.raises(ValueError, match="at least two numbers, got shape"):
            jax.jit(lambda t: run(t).final)(times)
    backwards = jax.jit(lambda t: run(t, throw=False).sound)(jnp.array([1.0, 0.0]))
    assert not bool(backwards)
    end = jax.jit(lambda end: run([0.0, end]).final)(1.0)
    np.testing.assert_allclose(end, np.exp(-1), atol=1e-6)
    with pytest.raises(ValueError, match=r"1e\+11 steps, more than 1e\+08"):
        jax.jit(lambda x: integrate(decay_of, x, (), [0.0, 1.0], method=Steps(1e-11)))(
            jnp.ones(2)
        )


def decay_of(t, x, params):
    return -x


@pytest.mark.parametrize("how", [{}, {"estimate_error": True}])
def test_a_negative_start_inside_jit_is_not_sound(how):
    """However well the stock recovers."""
    fed = lambda x: integrate(
        *(Fed(), x, (), np.array([0.0, 10.0])), method=Steps(0.1), throw=False, **how
    )
    for start, sound in ((-1.0, False), (1.0, True)):
        run = jax.jit(lambda x: (fed(x).sound, fed(x).final))(jnp.asarray(start))
        assert bool(run[0]) == sound and float(run[1]) == pytest.approx(1, abs=1e-3)


class Swinging(AbstractStocks):
    """x = 2 cos t - 1, negative in the middle of a period."""

    def __call__(self, t, x, params):
        return 0.0 * x - 2 * jnp.sin(t)


@pytest.mark.parametrize("method", [Steps(0.01), Adaptive()])
def test_a_coupled_stock_that_is_negative_in_between_is_not_sound(method):
    run = integrate(
        *(Swinging(), jnp.ones(2), (), np.linspace(0, 2 * np.pi, 5)),
        method=method,
        estimate_error=True,
        throw=False,
    )
    assert not bool(run.sound) and run.soundness.stiffness is None
    assert float(run.final.min()) == pytest.approx(1.0, abs=1e-6)


class Fed(AbstractStocks):
    """dx/dt = 1 - x."""

    def __call__(self, t, x, params):
        return 1.0 - x


def test_coupled_cells_take_parameters_of_any_shape():
    """As the exchange between them, which is given to them as it is."""
    M = jnp.array([[-1.0, 0.5, 0.0], [0.0, -1.0, 0.2], [0.3, 0.0, -1.0]])
    weights = jnp.ones((2, 1, 3))
    tendency = lambda t, x, given: given[0] @ x * jnp.mean(given[1])
    run = integrate(tendency, jnp.ones(3), (M, weights), [0.0, 2.0])
    np.testing.assert_allclose(run.final, jax.scipy.linalg.expm(2 * M).sum(1), 1e-6)


@pytest.mark.parametrize("rate", [1.0, 1e7, 1e12])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_growth_in_a_step_is_distinguished_from_decay_at_any_rate(rate, sign):
    """a' = -r a + 0.3 r b, b' = 0.5 r a - r b, and the same backwards."""

    def coupled(t, x, r):
        return {"a": r * (0.3 * x["b"] - x["a"]), "b": r * (0.5 * x["a"] - x["b"])}

    one = {"a": jnp.ones(1), "b": jnp.ones(1)}
    found = local_growth(coupled, 0.0, one, sign * rate, jnp.full(1, 50.0))
    found = float(found[0])
    if rate == 1.0:
        # The eigenvalues are -1 ± √0.15.
        slowest = -50 * sign * (1 - sign * np.sqrt(0.15))
        assert found == pytest.approx(slowest, abs=1.0)
    assert found < -20 if sign > 0 else found > 50
