"""Numbers of closures: their gradients, how they are fitted, kept and guarded."""

import dataclasses
import json
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import slow_but

from jaxsoc.io import closure_from_json, closure_to_json, load_closure, save_closure
from jaxsoc.models import Pools, TwoPool
from jaxsoc.models.two_pool import TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS, MultiplicativeConstants
from jaxsoc.physics.mortality import power_mortality
from jaxsoc.upscale import (
    TRACKS,
    Examples,
    FittedClosure,
    OutsideFittedRange,
    closure,
    errors,
    fit_closure,
)
from jaxsoc.upscale.catalogue import FITTED
from jaxsoc.upscale.fields import TRANSIENT, Generator, draw_noise, transient_biomass
from jaxsoc.upscale.training import respiration

TIMES = np.array([0.0, 100.0, 200.0, 400.0])
RATE = ("decomposition.rate",)
MODEL = TwoPool()


def cores(count=4, cells=40, k=2e-3):
    """Patchy soils, a quarter of the cells without biomass, as they respire."""
    rng = np.random.default_rng(5)
    draw = lambda mean: mean * (1 + 0.6 * rng.uniform(-1, 1, (count, cells)))
    level = 1 + 0.1 * rng.uniform(-1, 1, (count, 1))
    biomass = np.where(np.arange(cells) < 0.25 * cells, 0.0, draw(1.5) * level)
    state = Pools(draw(4.0) * level, biomass, np.zeros((count, cells)))
    params = TwoPoolParameters(MultiplicativeConstants(draw(k)))
    whole = lambda x: np.broadcast_to(x, (count,)) if np.ndim(x) == 0 else x
    return state, jax.tree.map(lambda x: jnp.asarray(whole(x)), params)


def answered(truth, state, params, times=TIMES):
    """Examples whose answer a closure knows."""
    one = lambda s, p: respiration(truth, s, p, jnp.asarray(times), 4)
    found = jax.jit(jax.vmap(one))(*jax.tree.map(jnp.asarray, (state, params)))
    return Examples(state, params, times, np.asarray(found))


@cache
def well_mixed(k=2e-3):
    plain = closure("effective_multiplicative", MODEL, RATE)
    return eqx.tree_at(lambda c: c.log_constants, plain, jnp.log(jnp.array([k])))


@cache
def known():
    """Cores that respire as if well mixed, with k = 2e-3."""
    return answered(well_mixed(), *cores())


OPTIONS = {
    "learned": {"width": 3, "depth": 1},
    "representative_cells": {"groups": 3},
    "representative_statistics": {"groups": 2, "members": 2},
}


@cache
def made(name):
    """With numbers that no fit has chosen."""
    plain = closure(name, MODEL, RATE, known(), **OPTIONS.get(name, {}))
    rng = np.random.default_rng(0)
    moved = lambda x: x + jnp.asarray(0.2 * rng.normal(size=x.shape))
    return jax.tree.map(lambda x: moved(x) if eqx.is_inexact_array(x) else x, plain)


def one_core(number=0):
    pick = lambda x: jnp.asarray(x)[number]
    return jax.tree.map(pick, (known().state, known().params))


# --- Gradients ---

# Of one kind with the others, which take as long to compile.
QUICKEST = ("learned", "effective_eca", "representative_cells")


def slopes_agree(function, at, tolerance=1e-6):
    """Gradient of a function of one vector against differences of fourth order."""
    step, unit = 1e-4, np.eye(at.size)
    values = jax.jit(jax.vmap(function))
    at_step = lambda h: np.asarray(values(np.asarray(at) + h * unit))
    near, far = at_step(step) - at_step(-step), at_step(2 * step) - at_step(-2 * step)
    difference = (8 * near - far) / (12 * step)
    slope = np.asarray(jax.jit(jax.grad(function))(at))
    assert np.abs(slope).max() > 0
    assert np.abs(slope - difference).max() <= tolerance * np.abs(slope).max()


@pytest.mark.parametrize(
    "name",
    slow_but(QUICKEST[-1:], FITTED),
)
def test_gradients_are_differences(name):
    """By every number that a fit moves, and by every constant of the model."""
    one, (state, params) = made(name), one_core()
    free, fixed = eqx.partition(one, eqx.is_inexact_array)
    vector, rebuilt = jax.flatten_util.ravel_pytree(free)
    leaves, tree = jax.tree.flatten(params)
    weight = jnp.array([1.0, 0.5, -2.0, 1.5])

    def respired(x):
        """Numbers of the closure, then logarithms of factors of the constants."""
        factors = jnp.exp(x[vector.size :])
        changed = [leaf * f for leaf, f in zip(leaves, factors, strict=True)]
        moved = jax.tree.unflatten(tree, changed)
        now = eqx.combine(rebuilt(x[: vector.size]), fixed)
        return jnp.vdot(weight, respiration(now, state, moved, jnp.asarray(TIMES), 3))

    slopes_agree(respired, jnp.concatenate([vector, jnp.zeros(len(leaves))]))


@pytest.mark.parametrize(
    "name",
    [
        "representative_cells",
        pytest.param("two_strata", marks=pytest.mark.slow),
        pytest.param("learned", marks=pytest.mark.slow),
    ],
)
def test_gradients_by_the_fields_are_finite(name):
    one, (state, params) = made(name), one_core()

    def respired(state, params):
        return respiration(one, state, params, jnp.asarray(TIMES), 2).sum()

    slope = jax.jit(jax.grad(respired, argnums=(0, 1)))(state, params)
    for leaf in jax.tree.leaves(slope):
        assert bool(jnp.isfinite(leaf).all())
    dead = np.asarray(state.biomass) == 0
    assert dead.sum() == 10
    # What lies in dead cells is not respired.
    assert np.abs(np.asarray(slope[0].substrate)[dead]).max() == 0.0
    assert np.abs(np.asarray(slope[0].substrate)[~dead]).max() > 0


# --- Fits ---

QUICK = {"validation": 0.0, "batch": 4, "every": 10, "solver_steps": 4}


def test_a_known_constant_is_found_and_the_error_falls():
    start = well_mixed(5e-3)
    said = []
    made, history = fit_closure(
        start,
        known(),
        steps=80,
        learning_rate=0.1,
        progress=lambda *x: said.append(x),
        **QUICK,
    )
    k = float(made.constants.rate)
    assert k == pytest.approx(2e-3, rel=1e-3)
    assert history.validation[0] > 0.1
    assert history.validation.min() < 1e-3 * history.validation[0]
    kept = int(np.flatnonzero(history.steps == history.best)[0])
    assert history.validation[kept] == history.validation.min()
    assert history.stopped == "all steps taken"
    assert said[0][:2] == (0, 80) and said[-1] == (80, 80, "all steps taken")
    assert float(start.constants.rate) == pytest.approx(5e-3)


def test_a_fit_at_the_truth_stays_there_and_stops_early():
    made, history = fit_closure(
        well_mixed(), known(), steps=400, patience=20, learning_rate=1e-3, **QUICK
    )
    assert history.stopped == "no improvement in 20 steps"
    assert history.steps.tolist() == [0, 10, 20] and history.best == 0
    assert float(made.constants.rate) == pytest.approx(2e-3, rel=1e-14)


def test_cores_that_are_exact_do_not_stop_the_others():
    some = known()._replace(respiration=known().respiration.copy())
    some.respiration[1:] *= 0.7
    made, history = fit_closure(
        well_mixed(), some, steps=30, learning_rate=0.03, **QUICK
    )
    assert history.validation.min() < 0.9 * history.validation[0]


@pytest.mark.slow
def test_a_killed_fit_goes_on_where_it_was(tmp_path):
    options = QUICK | {"steps": 30, "batch": 2, "validation": 0.25}
    start = well_mixed(5e-3)
    whole, history = fit_closure(start, known(), **options)
    path = tmp_path / "fit"

    def killed(done, total, what):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_closure(start, known(), checkpoint=path, progress=killed, **options)
    seen = []
    note = lambda done, total, what: seen.append(done)
    again, later = fit_closure(
        start, known(), checkpoint=path, progress=note, **options
    )
    assert seen[0] == 20
    np.testing.assert_array_equal(again.log_constants, whole.log_constants)
    for now, then in zip(later[:4], history[:4], strict=True):
        np.testing.assert_array_equal(now, then)
    # Other batches end elsewhere: the seed is what makes these two equal.
    other, _ = fit_closure(start, known(), seed=1, **options)
    assert not np.array_equal(other.log_constants, whole.log_constants)
    words = "fit is not the checkpoint of this fit: remove it, or name another"
    with pytest.raises(ValueError, match=words):
        fit_closure(made("effective_eca"), known(), checkpoint=path, **options)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=words):
        fit_closure(start, known(), checkpoint=path, **options)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"examples": 0}, "no training cores: `examples` is empty"),
        ({"validation": 0}, "no cores to validate on: `validation` is empty"),
        ({"validation": 1.0}, r"validation must lie in \[0, 1\), got 1"),
        ({"validation": -0.1}, r"validation must lie in \[0, 1\), got -0.1"),
        ({"batch": 0}, "must be positive, got 0, 400, 20 and 0.03"),
        ({"steps": 0}, "batch, steps, every and learning_rate must be positive"),
        ({"every": 0}, "batch, steps, every and learning_rate must be positive"),
        ({"learning_rate": np.nan}, "learning_rate must be positive"),
        ({"closure": "two_strata"}, "MeanField has no number that a fit may move"),
    ],
)
def test_impossible_fits_are_refused(change, words):
    examples, none = known(), known().part(np.arange(0))
    options = dict(change)
    if "examples" in options:
        options.pop("examples")
        examples = none
    if options.get("validation") == 0 and isinstance(options["validation"], int):
        options["validation"] = none
    start = made(options.pop("closure", "effective_eca"))
    with pytest.raises(ValueError, match=words) as refused:
        fit_closure(start, examples, **options)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_measured_series_is_fitted():
    """Nothing is known of respiration when the fields were: that does not matter."""
    state, params = one_core()
    times = np.array([24.0, 100.0, 250.0])
    whole = np.append(0.0, times)
    values = np.array(respiration(well_mixed(), state, params, jnp.asarray(whole), 4))
    values[2] = np.nan  # and one sample was lost
    series = Examples.measured(state, params, times, values[1:])
    assert series.cores == 1 and series.times.tolist() == whole.tolist()
    assert np.isnan(series.respiration[0]).tolist() == [True, False, True, False]
    made, history = fit_closure(
        well_mixed(4e-3), series, steps=150, learning_rate=0.1, **QUICK
    )
    assert float(made.constants.rate) == pytest.approx(2e-3, rel=0.01)
    assert np.isfinite(history.validation).all()


@pytest.mark.parametrize(
    ("times", "values", "words"),
    [
        ([1.0, 2.0], [1.0], "one value per time is needed, got .2,. times and .1,. va"),
        ([1.0], [1.0], "one value per time is needed"),
        ([2.0, 1.0], [1.0, 1.0], "times must increase, from zero hours or later"),
        ([-1.0, 1.0], [1.0, 1.0], "times must increase, from zero hours or later"),
        ([0.0, 1.0], [np.nan, np.nan], "no respiration is known: none of 2 values is"),
        ([0.0, 1.0], [0.0, 0.0], "no respiration is known: none of 2 values is finit"),
    ],
)
def test_series_that_say_nothing_are_refused(times, values, words):
    with pytest.raises(ValueError, match=words):
        Examples.measured(*one_core(), times, values)


def test_errors_are_of_what_is_known():
    observed = np.array([[np.nan, 2.0, 1.0, 0.0]])
    predicted = np.array([[5.0, 2.0, 1.6, 0.0]])
    expected = np.sqrt(0.36 / 3) / 2
    assert float(errors(predicted, observed)[0]) == pytest.approx(expected, rel=1e-14)


# --- Kept as numbers, and used within what they know ---


@cache
def fitted(name):
    return FittedClosure.on(name, "multiplicative", made(name), known())


@pytest.mark.parametrize("name", FITTED)
def test_a_file_keeps_every_number(name, tmp_path):
    one = fitted(name)
    text = json.dumps(closure_to_json(one, {"note": "a test"}), allow_nan=False)
    again = closure_from_json(json.loads(text))
    assert (again.name, again.kinetics, again.names) == (name, one.kinetics, one.names)
    before, after = (eqx.partition(x.closure, eqx.is_array) for x in (one, again))
    assert jax.tree.structure(before[0]) == jax.tree.structure(after[0])
    for x, y in zip(*map(jax.tree.leaves, (before[0], after[0])), strict=True):
        np.testing.assert_allclose(y, x, rtol=1e-11)
    assert again.closure.dead == one.closure.dead
    np.testing.assert_array_equal(again.lowest, one.lowest)
    assert load_closure(save_closure(one, tmp_path / "c.json")).names == one.names


def test_a_kept_closure_predicts_the_same():
    state, params = one_core()
    one = fitted("representative_statistics")
    again = closure_from_json(json.loads(json.dumps(closure_to_json(one))))
    run = eqx.filter_jit(lambda c: respiration(c, state, params, jnp.asarray(TIMES), 4))
    np.testing.assert_allclose(run(again.closure), run(one.closure), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "options", "what"),
    [
        ("prescribed_moments", {"powers": 0.0}, "powers"),
        ("power_two", {"order": 3}, "order"),
        ("power_two", {"closure": lambda mean, covariance: None}, "closure"),
        (
            "two_strata",
            {"model": TwoPool(mortality=power_mortality)},
            "model.mort",
        ),
    ],
)
def test_what_a_file_cannot_hold_is_not_lost_in_silence(name, options, what):
    plain = closure(name, MODEL, RATE)
    own = dataclasses.replace(plain, **options)
    kept = FittedClosure.on(name, "multiplicative", plain, known())
    assert closure_from_json(closure_to_json(kept)).closure == plain
    one = dataclasses.replace(kept, closure=own)
    with pytest.raises(ValueError, match=f"cannot hold {what}.* of one's own"):
        closure_to_json(one)


def test_dead_cells_are_remembered():
    apart = closure("effective_eca", MODEL, RATE, dead="biomass")
    one = FittedClosure.on("effective_eca", "multiplicative", apart, known())
    content = closure_to_json(one)
    assert closure_from_json(content).closure.dead == "biomass"
    content.pop("dead")  # as files were before
    assert closure_from_json(content).closure.dead is None


@pytest.mark.slow
def test_soils_unlike_those_of_the_fit_are_named():
    one = fitted("effective_eca")
    state, params = one_core(1)
    assert all(float(x) == 0.0 for x in one.novelty(state, params).values())
    plain = one.predict(state, params, TIMES, steps=2)  # a warning is an error here
    twice = state._replace(substrate=2 * state.substrate)
    with pytest.warns(OutsideFittedRange, match="mean substrate is .* widths outside"):
        far = one.predict(twice, params, TIMES, steps=2)
    assert float(far.fluxes.respiration[0]) > float(plain.fluxes.respiration[0])
    wet = eqx.tree_at(lambda p: p.input, params, 3 * params.input)
    with pytest.warns(OutsideFittedRange, match="effective_eca is used .*: input is"):
        one.predict(state, wet, TIMES, steps=2)
    assert float(one.novelty(state, wet)["input"]) > 1


def test_other_kinetics_are_refused():
    one = fitted("effective_eca")
    one.check(MODEL, RATE)
    words = "fitted for multiplicative kinetics, got a soil of eca"
    with pytest.raises(ValueError, match=words) as refused:
        one.check(TwoPool(KINETICS["eca"].law), RATE)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="got pools, mortality.rate"):
        one.check(MODEL, ("mortality.rate",))


def test_every_closure_with_numbers_is_listed():
    with_numbers = {
        name
        for name in TRACKS
        if any(map(eqx.is_inexact_array, jax.tree.leaves(made(name))))
    }
    assert with_numbers == set(FITTED)


# --- Soils with more or fewer dead cells ---

MEANS = {"mean_substrate": 121.0, "mean_biomass": 1.2}


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.15, pytest.param(-0.15, marks=pytest.mark.slow)])
def test_the_share_of_dead_cells_moves_as_asked(shift):
    key, shape = jax.random.key(3), (40, 40)
    draw = lambda g: g(key, TRANSIENT, shape, ("positive",), **MEANS)
    plain, moved = draw(Generator()), draw(Generator(dead_shift=shift))
    share = lambda fields: float(jnp.mean(fields.biomass == 0))
    assert share(moved) - share(plain) == pytest.approx(shift, abs=1.5 / 1600)
    for fields in (plain, moved):
        assert float(fields.biomass.mean()) == pytest.approx(1.2, rel=1e-12)
        assert float(fields.substrate["positive"].mean()) == pytest.approx(121.0)
    # Without one, the fields are what the recipe makes of its noise.
    noise = draw_noise(jax.random.fold_in(key, 0), shape, TRANSIENT.crops)
    recipe = jax.jit(lambda n: transient_biomass(n, 1.2, TRANSIENT.largest_substrate))(
        noise
    )
    np.testing.assert_allclose(plain.biomass, recipe, rtol=1e-12)
    zero = draw(Generator(dead_shift=0.0))
    jax.tree.map(np.testing.assert_array_equal, zero, plain)
