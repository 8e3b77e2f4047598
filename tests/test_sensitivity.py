"""Gradients by cells, constants and hyper-parameters: differences, modes, paper."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc import plots
from jaxsoc.experiments import (
    Design,
    Objective,
    Soil,
    cumulative_respiration,
    hyper_sensitivity,
    objective_of,
    patchy_soil,
    peak_respiration,
    remaining_substrate,
    sensitivity_map,
    time_of_peak,
)
from jaxsoc.experiments.objectives import interpolated_peak
from jaxsoc.experiments.sensitivity import resolved_step
from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS, LinearConstants
from jaxsoc.physics.mortality import LinearMortalityConstants
from jaxsoc.solve import IntegrationError, Steps, integrate
from jaxsoc.upscale import moments
from jaxsoc.upscale.hyper import (
    Heterogeneity,
    Patterns,
    draw_patterns,
    largest_substrate_variation,
    patchy_fields,
    soft_dead_zones,
)
from jaxsoc.upscale.spectral import correlation, spectral_field, with_dead_zones

TIMES = np.arange(0.0, 481.0, 24.0)
METHOD = Steps(6.0)
OBJECTIVES = [
    peak_respiration,
    time_of_peak,
    cumulative_respiration,
    remaining_substrate,
]


def patchy(name, cells=90, seed=7):
    rng = np.random.default_rng(seed)
    spread = lambda c: jnp.asarray(c * 10 ** rng.uniform(-0.4, 0.4, cells))
    constants = jax.tree.map(spread, KINETICS[name].constants())
    biomass = rng.gamma(1.0, 1.2, cells) * (rng.uniform(size=cells) > 0.3)
    state = Pools(*map(jnp.asarray, (rng.uniform(20, 250, cells), biomass)), None)
    state = state._replace(co2=jnp.zeros(cells))
    return Soil(TwoPool(KINETICS[name].law), state, TwoPoolParameters(constants))


def slope(value, h):
    """Central differences with two of Richardson's corrections."""
    central = [(value(h / n) - value(-h / n)) / (2 * h / n) for n in (1, 2, 4)]
    once = [(4 * b - a) / 3 for a, b in zip(central[:-1], central[1:], strict=True)]
    return (16 * once[1] - once[0]) / 15


def slope_at_the_end(value, h):
    """Forward differences of sixth order: below zero there is no biomass."""
    weights = np.array([-147, 360, -450, 400, -225, 72, -10]) / 60
    return sum(w * value(i * h) for i, w in enumerate(weights)) / h


def moved(soil, name, cell, h):
    """The soil with one cell of a field, or a number, moved by h."""
    pool = name in soil.state._fields
    where = lambda s: _pick(s.state if pool else s.params, name)
    value = jnp.asarray(where(soil))
    return eqx.tree_at(where, soil, value.at[cell].add(h) if value.ndim else value + h)


def _pick(tree, name):
    for part in name.split("."):
        tree = getattr(tree, part)
    return tree


class Case:
    """A soil, all objectives as one function, and the gradient of each by name."""

    def __init__(self, name):
        self.soil = patchy(name)
        self.function = jax.jit(self.values)
        params = jax.tree.map(jnp.asarray, self.soil.params)
        self.point = (self.soil.state, params)
        rows = jax.jit(jax.jacrev(self.values, argnums=(0, 1)))(*self.point)
        self.at, self.gradients = named(self.point), named(rows)

    def values(self, state, params):
        save = moments.of(self.soil.model.fluxes)
        run = integrate(self.soil.model, state, params, TIMES, save=save, method=METHOD)
        return jnp.stack([of.value(run.times, run.values) for of in OBJECTIVES])

    def __call__(self, soil):
        params = jax.tree.map(jnp.asarray, soil.params)
        return np.asarray(self.function(soil.state, params))


def named(point):
    paths = jax.tree_util.tree_flatten_with_path(point)[0]
    keys = [jax.tree_util.keystr(path[1:]).strip(".") for path, _ in paths]
    return {k: np.asarray(x) for k, (_, x) in zip(keys, paths, strict=True)}


@pytest.fixture(scope="module")
def saturating():
    return Case("michaelis_menten")


def check_differences(case, rows):
    dead = int(jnp.argmin(case.soil.state.biomass))
    assert float(case.soil.state.biomass[dead]) == 0.0
    worst = 0.0
    for field, cell in [(f, dead if c == "dead" else c) for f, c in rows]:
        x, gradients = case.at[field], case.gradients[field]
        here = float(x if cell is None else x[cell]) or float(x.mean())
        step = 2e-4 if cell == dead else 3e-4 if cell is None else 0.01
        h = step * here
        move = lambda e, field=field, cell=cell: case(moved(case.soil, field, cell, e))
        at_the_end = (field, cell) == ("biomass", dead)
        slopes = (slope_at_the_end if at_the_end else slope)(move, h)
        for of, row, expected in zip(OBJECTIVES, gradients, slopes, strict=True):
            got = float(row if cell is None else row[cell])
            # Relative to the slope, or to what rounding of the value leaves of it.
            scale = max(abs(expected), 1e-2 * float(np.abs(row).max()))
            gap = abs(got - expected) / scale
            assert gap <= 1e-6, (of.name, field, cell, got, expected)
            worst = max(worst, gap)
    return worst


def test_gradients_by_cells_and_constants_are_differences(saturating):
    fields = ("substrate", "biomass", "decomposition.rate")
    rows = [(field, cell) for field in fields for cell in ("dead", 11, 89)]
    numbers = ("mortality.rate", "carbon_use_efficiency", "input")
    rows += [("decomposition.half_saturation", 11), *((name, None) for name in numbers)]
    assert check_differences(saturating, rows) > 0


@pytest.mark.slow
def test_so_are_those_of_another_kinetics():
    rows = [("biomass", "dead"), ("decomposition.rate", 5), ("mortality.rate", None)]
    assert check_differences(Case("multiplicative"), rows) > 0


@pytest.mark.slow
def test_a_map_is_the_gradient(saturating):
    found = sensitivity_map(saturating.soil, TIMES, method=METHOD)
    row = OBJECTIVES.index(peak_respiration)
    values = saturating(saturating.soil)
    assert found.value == pytest.approx(values[row], rel=1e-12)
    assert set(found.at) == set(found.gradient) == set(saturating.at) - {"co2"}
    for name, gradient in found.gradient.items():
        expected = saturating.gradients[name][row]
        gap = np.abs(gradient - expected).max()
        assert gap <= 1e-10 * np.abs(expected).max(), name
    assert not np.any(saturating.gradients["co2"])


def test_reverse_is_forward_for_any_direction(saturating):
    rng = np.random.default_rng(1)
    scaled = lambda x: x * rng.uniform(0.1, 0.3, x.shape)
    push = jax.tree.map(scaled, saturating.point)
    _, forward = jax.jvp(saturating.function, saturating.point, push)
    directions = named(push)
    for row, expected in enumerate(forward):
        dots = [np.sum(g[row] * directions[n]) for n, g in saturating.gradients.items()]
        assert sum(dots) == pytest.approx(float(expected), rel=1e-10), row


def test_linear_kinetics_have_the_gradient_on_paper():
    # Without mortality and input: R(t) = (1 - Y) k S₀ exp(-k t), by cell.
    cells, Y, t_end = 64, 0.31, 240.0
    rng = np.random.default_rng(5)
    S, k = rng.uniform(20, 250, cells), 1.6e-3 * 10 ** rng.uniform(-0.3, 0.3, cells)
    params = TwoPoolParameters(
        LinearConstants(jnp.asarray(k)), LinearMortalityConstants(1e-300), Y, 0.0
    )
    state = Pools(jnp.asarray(S), jnp.ones(cells), jnp.zeros(cells))
    soil = Soil(TwoPool(KINETICS["linear"].law), state, params)
    last = Objective(lambda times, saved: saved.flux.respiration[-1], "R", "mgC/g/h")
    times = np.linspace(0.0, t_end, 11)
    found = sensitivity_map(soil, times, of=last, tolerance=1e-10)
    decay = np.exp(-k * t_end)
    R = (1 - Y) * k * S * decay
    near = lambda got, expected: np.testing.assert_allclose(got, expected, rtol=1e-8)
    near(found.value, R.mean())
    near(found.gradient["substrate"], (1 - Y) * k * decay / cells)
    near(found.gradient["decomposition.rate"], R * (1 / k - t_end) / cells)
    near(found.gradient["carbon_use_efficiency"], -R.mean() / (1 - Y))
    assert found.gradient["biomass"].max() < 1e-300
    # The input adds (1 - Y) (1 - exp(-k t)) to R.
    near(found.gradient["input"], (1 - Y) * (1 - decay).mean())
    # R is proportional to S₀, and each cell counts by its share of R.
    near(found.elasticity["substrate"], R / R.mean())
    near(found.elasticity["substrate"].mean(), 1.0)


@pytest.mark.slow
def test_a_uniform_shift_is_the_sum_over_cells():
    soil = patchy("michaelis_menten", 600)  # several blocks
    found = sensitivity_map(soil, TIMES, method=METHOD)
    function = objective_of(soil.model, METHOD, TIMES, peak_respiration)
    params = jax.tree.map(jnp.asarray, soil.params)

    def shifted(by):
        S, B, k = by
        state = soil.state._replace(
            substrate=soil.state.substrate + S, biomass=soil.state.biomass + B
        )
        rate = params.decomposition.rate + k
        where = lambda p: p.decomposition.rate
        return function(state, eqx.tree_at(where, params, rate))

    expected = jax.jacfwd(shifted)(jnp.zeros(3))
    for name, slope in zip(
        ("substrate", "biomass", "decomposition.rate"), expected, strict=True
    ):
        assert found.gradient[name].sum() == pytest.approx(float(slope), rel=1e-10)


@pytest.mark.slow
def test_a_uniform_number_is_the_sum_of_the_same_number_by_cell():
    soil = patchy("multiplicative", 50)
    by_cell = jnp.full(50, soil.params.mortality.rate)
    where = lambda s: s.params.mortality.rate
    one, each = soil, eqx.tree_at(where, soil, by_cell)
    one, each = (sensitivity_map(s, TIMES, method=METHOD) for s in (one, each))
    total, cells = (s.gradient["mortality.rate"] for s in (one, each))
    assert cells.shape == (50,)
    assert cells.sum() == pytest.approx(float(total), rel=1e-10)
    of_all = each.elasticity["mortality.rate"].mean()
    assert of_all == pytest.approx(float(one.elasticity["mortality.rate"]), rel=1e-10)


def test_names_units_and_shapes_are_those_of_the_soil():
    soil = patchy("multiplicative", 30)
    square = lambda x: x.reshape(5, 6) if jnp.ndim(x) else x
    state, params = jax.tree.map(square, (soil.state, soil.params))
    found = sensitivity_map(Soil(soil.model, state, params), TIMES, method=METHOD)
    assert found.gradient["decomposition.rate"].shape == (5, 6)
    assert found.gradient["input"].shape == ()
    assert set(found.at) == set(found.units)
    assert found.unit == "mgC/g/h"
    assert found.units["decomposition.rate"] == "1/h/(mgC/g)"
    assert found.units["biomass"] == "mgC/g"
    assert all(np.isfinite(g).all() for g in found.gradient.values())


# --- Objectives and steps -----------------------------------------------------------


@pytest.mark.slow
def test_a_peak_is_found_exactly_and_an_end_is_an_end():
    times = jnp.asarray([0.0, 1.0, 2.5, 3.0, 7.0])
    time, height = interpolated_peak(times, 4.0 - 0.3 * (times - 2.2) ** 2)
    assert (float(time), float(height)) == pytest.approx((2.2, 4.0), rel=1e-14)
    for sign, end in ((-1.0, 0.0), (1.0, 7.0)):
        time, height = interpolated_peak(times, 1.0 + sign * times)
        assert (float(time), float(height)) == (end, 1.0 + sign * end)
    for values in (1.0 - times, jnp.ones(5), jnp.asarray([0.0, 1, 1, 0, 0])):
        for which in (0, 1):
            by = jax.grad(lambda v, which=which: interpolated_peak(times, v)[which])
            assert bool(jnp.isfinite(by(values)).all())
    pair = interpolated_peak(times[:2], jnp.asarray([1.0, 3.0]))
    assert (float(pair[0]), float(pair[1])) == (1.0, 3.0)


def test_a_peak_moves_smoothly_across_saved_times():
    times = jnp.asarray([0.0, 1.0, 2.0, 3.5, 4.0, 5.0])
    bell = lambda centre: jnp.exp(-((times - centre) ** 2) / 2)
    curve = jax.vmap(lambda centre: jnp.stack(interpolated_peak(times, bell(centre))))
    centres = jnp.linspace(1.2, 3.8, 2601)
    found = np.asarray(jax.jit(curve)(centres))
    assert np.abs(np.diff(found[:, 1])).max() < 1e-3
    assert np.abs(np.diff(found[:, 0]) - 1e-3).max() < 2e-3
    assert np.abs(np.diff(found[:, 1], 2)).max() < 1e-5
    saved = np.asarray(jax.vmap(lambda centre: bell(centre).max())(centres))
    assert np.abs(found[:, 1] - 1).max() < 0.5 * np.abs(saved - 1).max()


@pytest.mark.slow
def test_the_curve_is_nearer_to_the_true_peak_than_the_saved_times():
    soil = patchy("michaelis_menten")
    fine = np.arange(0.0, 481.0, 0.5)
    value = lambda of, times: float(
        objective_of(soil.model, Steps(0.5), times, of)(*soil[1:])
    )
    truth = value(peak_respiration, fine)
    smooth = abs(value(peak_respiration, TIMES) - truth)
    largest = lambda times, saved: jnp.max(saved.flux.respiration)
    saved = abs(value(Objective(largest, "R", "mgC/g/h"), TIMES) - truth)
    assert smooth < saved
    assert abs(value(time_of_peak, TIMES) - value(time_of_peak, fine)) < 6.0


@pytest.mark.slow
def test_the_step_is_short_enough_for_every_cell():
    soil = patchy("michaelis_menten", 60)
    dt = resolved_step(soil, TIMES)
    run = lambda dt: integrate(*soil, TIMES, method=Steps(dt)).final
    found, truth = run(dt), run(dt / 16)
    carbon = sum(truth)
    for one, other in zip(found, truth, strict=True):
        assert float(jnp.max(jnp.abs(one - other) / carbon)) < 1e-5
    tight = sensitivity_map(soil, TIMES, method=Steps(dt / 8))
    chosen = sensitivity_map(soil, TIMES)
    assert chosen.method.dt == dt
    for name, gradient in tight.gradient.items():
        gap = np.abs(chosen.gradient[name] - gradient).max()
        assert gap <= 1e-4 * np.abs(gradient).max()


@pytest.mark.slow
def test_a_tolerance_out_of_reach_ends_in_a_sentence():
    soil = patchy("multiplicative", 4)
    with pytest.raises(IntegrationError, match="above the tolerance 0"):
        resolved_step(soil, [0.0, 1.0], tolerance=0.0)


# --- Hyper-parameters ---------------------------------------------------------------

SMALL = Design(
    kinetics=("michaelis_menten",), grid=CellGrid((24, 24)), duration=480.0, every=24.0
)
HERE = Heterogeneity(variation=0.12, correlation=0.4, dead_fraction=0.27, decades=1.1)
FIELDS = {"mean_substrate": 121.0, "mean_biomass": 1.2, "mean_rate": 0.018}


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    return draw_patterns(jax.random.key(2), (24, 24))


@pytest.mark.slow
def test_gradients_by_hyper_parameters_are_differences_in_both_modes(patterns):
    of = peak_respiration
    options = {"of": of, "patterns": patterns, "method": METHOD, "edge": 0.2}
    forward = hyper_sensitivity(SMALL, HERE, **options)

    @jax.jit
    def value(heterogeneity):
        soil = patchy_soil(SMALL, patterns, heterogeneity, edge=0.2)
        run = objective_of(soil.model, METHOD, SMALL.times, of)
        return run(soil.state, jax.tree.map(jnp.asarray, soil.params))

    point = jax.tree.map(lambda x: jnp.asarray(x, float), HERE)
    backward = jax.grad(value)(point)
    assert forward.value == pytest.approx(float(value(point)), rel=1e-12)
    for name, got in forward.gradient.items():
        assert float(getattr(backward, name)) == pytest.approx(float(got), rel=1e-10)
        at = lambda h, name=name: float(
            value(dataclasses.replace(point, **{name: getattr(point, name) + h}))
        )
        expected = slope(at, 2e-4 if name == "dead_fraction" else 4e-3)
        assert float(got) == pytest.approx(expected, rel=1e-6), name


@pytest.mark.slow
def test_elasticities_of_numbers_are_plain_ones(patterns):
    found = hyper_sensitivity(SMALL, HERE, patterns=patterns, method=METHOD)
    for name, elasticity in found.elasticity.items():
        expected = found.gradient[name] * getattr(HERE, name) / found.value
        assert float(elasticity) == pytest.approx(float(expected), rel=1e-12)
    assert found.units["decades"] == "decades"


def test_fields_have_the_numbers_that_they_are_asked_for(patterns):
    S, B, k = patchy_fields(patterns, HERE, **FIELDS)
    assert float(S.mean()) == pytest.approx(121.0, rel=1e-13)
    assert float(B.mean()) == pytest.approx(1.2, rel=1e-13)
    assert float(k.mean()) == pytest.approx(0.018, rel=1e-13)
    assert float(S.std() / S.mean()) == pytest.approx(0.12, rel=1e-12)
    assert float(correlation(S, B)) == pytest.approx(0.4, rel=1e-12)
    assert float(jnp.log10(k.max() / k.min())) == pytest.approx(1.1, abs=0.01)
    assert float((B == 0).mean()) == pytest.approx(0.27 - 0.025, abs=0.02)


def test_no_width_and_no_variation_are_uniform_fields(patterns):
    calm = Heterogeneity(variation=0.0, correlation=0.0, dead_fraction=0.0, decades=0.0)
    S, _, k = patchy_fields(patterns, calm, **FIELDS)
    assert float(jnp.ptp(S)) == 0.0
    assert float(jnp.ptp(k)) < 1e-15
    wide = lambda w: dataclasses.replace(calm, decades=w)
    rate = lambda w: patchy_fields(patterns, wide(w), **FIELDS).rate / 0.018
    slope = jax.jacfwd(rate)(0.0)
    u = patterns.uniform
    np.testing.assert_allclose(slope, np.log(10) * (u - u.mean()), atol=1e-12)


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_soft_dead_zones_tend_to_sharp_ones(fraction):
    biomass = jnp.exp(spectral_field(jax.random.key(0), (20, 20)) * 5)
    sharp = with_dead_zones(biomass, fraction)
    soft = lambda edge: soft_dead_zones(biomass, fraction, edge=edge)
    gap = lambda edge: float(jnp.abs(soft(edge) - sharp).mean())
    np.testing.assert_allclose(soft(1e-9), sharp, rtol=1e-14)
    assert gap(0.2) >= 3 * gap(0.02) >= 0
    for edge in (0.2, 0.02):
        assert float(soft(edge).mean()) == pytest.approx(float(biomass.mean()))


def test_what_cannot_be_is_refused_in_one_line(patterns):
    with pytest.raises(ValueError, match="edge must lie in"):
        soft_dead_zones(patterns.biomass, 0.3, edge=0.0)
    with pytest.raises(ValueError, match=r"correlation .* must lie in \(-1, 1\)"):
        Heterogeneity(correlation=1.0)
    with pytest.raises(ValueError, match="makes cells negative: at most"):
        hyper_sensitivity(SMALL, Heterogeneity(variation=3.0), patterns=patterns)
    with pytest.raises(ValueError, match="two axes of at least 2"):
        draw_patterns(jax.random.key(0), (5, 1))


def test_the_largest_variation_empties_one_cell(patterns):
    most = largest_substrate_variation(patterns, HERE)
    full = dataclasses.replace(HERE, variation=most)
    S = patchy_fields(patterns, full, **FIELDS).substrate
    assert abs(float(S.min())) < 1e-12


@pytest.mark.slow
def test_scenario_one_starts_at_its_steady_state_inside_a_gradient(patterns):
    design = Design(
        scenario=1,
        kinetics=("multiplicative",),
        grid=CellGrid((24, 24)),
        duration=96.0,
        every=24.0,
    )
    found = hyper_sensitivity(
        design, HERE, kinetics="multiplicative", patterns=patterns, method=METHOD
    )
    assert all(np.isfinite(g) for g in found.gradient.values())


# --- Memory and figures -------------------------------------------------------------


def full_grid(cells=10_000, steps=5000):
    soil = patchy("michaelis_menten", cells)
    times = np.linspace(0.0, 4800.0, 201)
    save = moments.of(soil.model.fluxes)
    method = Steps(4800.0 / steps, devices=1)

    def function(state, params):
        run = integrate(soil.model, state, params, times, save=save, method=method)
        return peak_respiration.value(run.times, run.values)

    params = jax.tree.map(jnp.asarray, soil.params)
    return jax.jit(jax.grad(function, argnums=(0, 1))), (soil.state, params)


@pytest.mark.slow
def test_ten_thousand_cells_and_five_thousand_steps_fit_in_a_gibibyte():
    gradient, arguments = full_grid()
    memory = gradient.lower(*arguments).compile().memory_analysis()
    assert memory is not None
    total = (
        memory.temp_size_in_bytes
        + memory.argument_size_in_bytes
        + memory.output_size_in_bytes
    )
    assert total <= 2**30


@pytest.mark.slow
def test_ten_thousand_cells_and_five_thousand_steps_run():
    gradient, arguments = full_grid()
    for leaf in jax.tree.leaves(gradient(*arguments)):
        assert bool(jnp.isfinite(leaf).all())


def test_maps_show_every_field_with_its_gradient_and_units():
    rng = np.random.default_rng(0)
    fields = {"substrate": rng.uniform(size=(8, 12)), "biomass": np.ones((8, 12))}
    gradients = {"substrate": rng.normal(size=(8, 12)), "biomass": np.zeros((8, 12))}
    units = {"substrate": "mgC/g", "biomass": "mgC/g"}
    figure = plots.figure_sensitivity(fields, gradients, units)
    figure.canvas.draw()
    maps = [ax for ax in figure.axes if ax.images]
    assert len(maps) == 4
    shown = maps[2].images[0]
    np.testing.assert_allclose(shown.get_array(), 96 * gradients["substrate"])
    assert shown.norm.vmin == -shown.norm.vmax
    assert maps[2].images[0].get_extent() == [0, 0.6, 0, 0.4]
    labels = {ax.get_ylabel() for ax in figure.axes}
    assert {"mgC g$^{-1}$", "h$^{-1}$", "y (mm)"} <= labels
    with pytest.raises(ValueError, match="every field needs its gradient"):
        plots.figure_sensitivity(fields, {}, units)


def test_units_of_gradients_cancel():
    from jaxsoc.plots.sensitivity import _per

    assert _per("mgC/g/h", "1/h") == "mgC g$^{-1}$"
    assert _per("mgC/g/h", "1/h/(mgC/g)") == "mgC$^{2}$ g$^{-2}$"
    assert _per("mgC/g", "mgC/g") == "dimensionless"
    assert _per("h", "mgC/g") == "h g mgC$^{-1}$"


def test_bars_show_every_effect_largest_on_top():
    figure = plots.figure_effects({"dead_fraction": -0.2, "correlation": 0.1})
    (ax,) = figure.axes
    assert [bar.get_width() for bar in ax.patches] == [0.1, -0.2]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["correlation of S and B", "dead fraction"]
