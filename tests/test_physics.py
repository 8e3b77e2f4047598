"""Units, safe arithmetic, parameters and the size of a cell."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsoc.physics import grids, safe, units
from jaxsoc.physics.kinetics import KINETICS, MichaelisMentenConstants
from jaxsoc.physics.months import mean_of
from jaxsoc.physics.mortality import (
    FEWEST,
    LinearMortalityConstants,
    PowerMortalityConstants,
    biomass_at,
    linear_mortality,
    power_mortality,
)
from jaxsoc.physics.parameters import declarations

positive = st.floats(1e-3, 1e3)


def test_published_cell_holds_the_published_carbon():
    grid = grids.CellGrid()
    assert grid.fgc_per_mgc_per_g == pytest.approx(units.FGC_PER_CELL, rel=1e-14)
    assert grid.cells == 10_000
    assert 1.2124e6 / grid.fgc_per_mgc_per_g == pytest.approx(5.878, rel=1e-4)


@given(positive, st.sampled_from(["mgC/g", "fgC/cell", "g/kg"]))
def test_decomposition_does_not_depend_on_the_unit_of_carbon(amount, unit):
    """k S B has the unit of S per hour, whatever the unit of S, B and k."""
    factor = units.FGC_PER_CELL
    carbon = units.conversion_factor(unit, "mgC/g", fgc_per_mgc_per_g=factor)
    rate_unit = "1/h/(fgC/cell)" if unit == "fgC/cell" else "1/h/(mgC/g)"
    rate = units.conversion_factor(rate_unit, "1/h/(mgC/g)", fgc_per_mgc_per_g=factor)
    outside = 2e-5 * amount * (3 * amount)
    inside = (rate * 2e-5) * (carbon * amount) * (carbon * 3 * amount)
    assert inside == pytest.approx(carbon * outside, rel=1e-13)


def test_unknown_unit_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown units 'lb/acre'.*mgC/g.*fgC/cell"):
        units.conversion_factor("lb/acre", "mgC/g", fgc_per_mgc_per_g=1.0)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.3, 2.0, 3.0])
def test_power_is_the_power_with_finite_slopes_at_zero(exponent):
    x = jnp.array([0.0, 1e-6, 0.3, 7.0])
    value, slopes = (
        safe.power(x, exponent),
        jax.vmap(jax.grad(safe.power, argnums=(0, 1)), in_axes=(0, None))(x, exponent),
    )
    np.testing.assert_allclose(value, np.asarray(x) ** exponent, rtol=1e-14)
    assert all(np.isfinite(slope).all() for slope in slopes)
    expected = exponent * np.asarray(x[1:]) ** (exponent - 1)
    np.testing.assert_allclose(slopes[0][1:], expected, rtol=1e-13)
    assert slopes[0][0] == (1.0 if exponent == 1 else 0.0)


# XLA takes numbers below the normal ones for zero.
@given(*2 * [st.floats(-10, 10, allow_subnormal=False)])
def test_ratio_is_the_quotient_or_zero(x, y):
    value = float(safe.ratio(x, y))
    assert value == (0.0 if y == 0 else pytest.approx(x / y))
    assert np.isfinite(jax.grad(safe.ratio, argnums=(0, 1))(x, 0.0)).all()


@given(positive, positive)
def test_power_mortality_with_exponent_one_is_linear(biomass, rate):
    nonlinear = power_mortality(biomass, PowerMortalityConstants(rate, 1.0))
    linear = linear_mortality(biomass, LinearMortalityConstants(rate))
    assert float(nonlinear) == pytest.approx(float(linear), rel=1e-13)


below_one = st.floats(0.01, 0.99)
# Mortality, its slope and its curvature.
LAW = [
    jax.jit(power_mortality),
    jax.jit(jax.grad(power_mortality)),
    jax.jit(jax.grad(jax.grad(power_mortality))),
]


@given(st.floats(1.0, 1e7), positive, below_one)
def test_mortality_is_a_power_down_to_few_microbes(times, rate, exponent):
    biomass, constants = FEWEST * times, PowerMortalityConstants(rate, exponent)
    expected = rate * biomass**exponent
    assert float(power_mortality(biomass, constants)) == pytest.approx(
        expected, rel=1e-13
    )
    assert float(biomass_at(expected, constants)) == pytest.approx(biomass, rel=1e-10)


@settings(max_examples=20)
@given(st.just(0.0) | st.floats(1e-9, 1.0), below_one)
def test_mortality_of_few_microbes_is_concave_with_a_finite_slope(share, exponent):
    constants = PowerMortalityConstants(1.0, exponent)
    law = lambda b: LAW[0](b, constants)
    slope, curvature = (lambda b, f=f: f(b, constants) for f in LAW[1:])
    biomass, per = share * FEWEST, FEWEST ** (exponent - 1)
    # Between the straight line from the origin and the power.
    assert per * biomass * (1 - 1e-14) <= float(law(biomass))
    assert float(law(biomass)) <= biomass**exponent * (1 + 1e-14)
    assert float(law(-biomass)) == pytest.approx(-(2 - exponent) * per * biomass)
    assert exponent * per * 0.999 <= float(slope(biomass))
    assert float(slope(biomass)) <= (2 - exponent) * per * (1 + 1e-14)
    assert float(curvature(biomass)) <= 0
    assert float(slope(0.0)) == pytest.approx((2 - exponent) * per, rel=1e-13)
    # One slope on both sides of where the power begins.
    sides = [float(slope(FEWEST * (1 + off))) for off in (-1e-9, 0.0)]
    np.testing.assert_allclose(sides, exponent * per, rtol=3e-7)
    if share > 0:
        back = biomass_at(law(biomass), constants)
        assert float(back) == pytest.approx(biomass, rel=1e-13)
        h = 1e-6 * biomass
        change = (law(biomass + h) - law(biomass - h)) / (2 * h)
        if biomass + h < FEWEST:
            assert float(slope(biomass)) == pytest.approx(float(change), rel=1e-7)


@given(positive, st.floats(1.0, 3.0))
def test_exponents_from_one_on_are_powers_however_few(biomass, exponent):
    constants = PowerMortalityConstants(0.1, exponent)
    few = 1e-6 * biomass
    expected = pytest.approx(0.1 * few**exponent, rel=1e-13)
    assert float(power_mortality(few, constants)) == expected
    assert float(biomass_at(0.1 * few**exponent, constants)) == pytest.approx(
        few, rel=1e-12
    )


def monthly(angle, rate):
    return {"wave": jnp.sin(angle) * rate, "rate": rate**2, "none": None}


@pytest.fixture
def year(rng):
    return jnp.asarray(rng.uniform(0, 6, 12)), jnp.asarray(rng.uniform(1, 2, (12, 5)))


def test_means_over_months_are_those_with_derivatives_and_batches(year):
    total = lambda found: jnp.sum(found["wave"] ** 2) + jnp.sum(found["rate"] ** 3)
    mine = lambda *x: total(mean_of(monthly, *x))

    def plain(*x):
        found = jax.vmap(monthly)(*x)
        return total(jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found))

    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x, x - 1]), year)
    both = (0, 1)
    for of in (
        lambda f: f(*year),
        lambda f: jax.jit(jax.grad(f, both))(*year),
        lambda f: jax.jit(lambda *x: jax.jvp(f, x, x))(*year),
        lambda f: jax.jit(jax.vmap(jax.grad(f, both)))(*many),
        lambda f: jax.jit(jax.vmap(f, (0, None)))(many[0], year[1]),
    ):
        for one, other in zip(
            *map(jax.tree.leaves, (of(mine), of(plain))), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
    assert mean_of(monthly, *year)["none"] is None


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("cuda", False)])
def test_months_are_a_loop_on_a_cpu_alone(year, platform, loops):
    loss = lambda *x: jnp.sum(mean_of(monthly, *x)["wave"] ** 2)
    angles, rates = year
    many = lambda *x: jax.vmap(jax.grad(loss), (None, -1))(*x)
    for function in (lambda *x: loss(angles, rates[:, 0]), jax.grad(loss), many):
        lowered = jax.jit(function).trace(*year).lower(lowering_platforms=(platform,))
        assert ("stablehlo.while" in lowered.as_text()) == loops


CLASSES = {entry.constants for entry in KINETICS.values()} | {
    LinearMortalityConstants,
    PowerMortalityConstants,
}


@pytest.mark.parametrize("cls", sorted(CLASSES, key=lambda c: c.__name__))
def test_every_parameter_is_declared_once_with_unit_bounds_and_meaning(cls):
    declared = declarations(cls)
    assert [d.name for d in declared] == [f.name for f in dataclasses.fields(cls)]
    for d in declared:
        assert d.unit and d.meaning
        assert d.bounds.contains(np.array(d.default))
        for outside in (-1.0, 0.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"{d.name}.*must lie in"):
                cls(**{d.name: outside})


def test_error_names_value_bounds_unit_and_cells():
    field = np.full((3, 4), 2.0)
    field[1, 2] = -7.5
    with pytest.raises(
        ValueError,
        match=r"half_saturation .*\(0, inf\) mgC/g, got -7.5 \(place 2, 3; 1 of 12",
    ):
        MichaelisMentenConstants(half_saturation=field)


def test_parameters_survive_transformations():
    constants = MichaelisMentenConstants()
    total = lambda c: c.rate * c.half_saturation
    slopes = jax.jit(jax.grad(total))(jax.tree.map(jnp.asarray, constants))
    assert slopes.rate == 25.0 and slopes.half_saturation == 0.018


def test_damkohler_number_of_the_papers_example_and_its_warning(recwarn):
    # 50 µm, 1e-11 m²/s, turnover of a day: 250 s against 86 400 s
    number = grids.damkohler_number(1 / 24)
    assert float(number) == pytest.approx(250 / 86_400, rel=1e-12)
    grids.warn_unless_well_mixed(float(number), 0.0, edge=50.0)
    assert not recwarn.list
    large = float(grids.damkohler_number(1 / 24, edge=500.0))
    with pytest.warns(grids.NotWellMixedWarning, match="500 µm.*0.29 in it.*25 %"):
        grids.warn_unless_well_mixed(large, 0.25, edge=500.0, case="it")


@pytest.mark.parametrize(
    "options", [{"edge": 0.0}, {"bulk_density": -1.0}, {"shape": (0, 3)}]
)
def test_impossible_cells_are_refused(options):
    with pytest.raises(ValueError, match=r"edge|density|shape"):
        grids.CellGrid(**options)
