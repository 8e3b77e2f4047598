"""Fields of a site's forcing: laws and limits, then the numbers of the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc.models import CLM5Parameters
from jaxsoc.physics import climate, soil_water
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import NO_PERMAFROST
from jaxsoc.physics.land_cover import LAND_COVER, litter_types, root_beta

MONTH = np.arange(1, 13)
NODES = CLM5_COLUMN.nodes
YEAR = 5 + 14 * np.cos(2 * np.pi * (MONTH - 7) / 12)
RAIN = 50 + 20 * np.sin(2 * np.pi * MONTH / 12)


def test_a_wave_keeps_its_mean_and_is_itself_at_the_depth_where_it_is_known(rng):
    year = rng.normal(5, 10, 12)
    found = climate.damped_wave(year, np.array([0.0, 0.3, 2.0, 50.0]))
    assert np.allclose(found[0], year, atol=1e-12)
    assert np.allclose(found.mean(axis=1), year.mean(), atol=1e-12)
    assert np.allclose(found[3], year.mean(), atol=1e-8)


def test_a_wave_solves_the_heat_equation_below_its_depth():
    d, z = 2.1, np.linspace(0.0, 3.0, 7)
    wave = lambda k: np.cos(2 * np.pi * k * (MONTH - 4) / 12)
    for k in (1, 2, 5):
        a = np.sqrt(k) * z[:, None] / d
        lagged = np.cos(2 * np.pi * k * (MONTH - 4) / 12 - a)
        found = climate.damped_wave(wave(k), z, d)
        assert np.allclose(found, np.exp(-a) * lagged, atol=1e-12)


def test_two_levels_are_themselves_at_their_depths_and_linear_between(rng):
    levels = rng.normal(0, 5, (2, 12))
    depths = np.array([0.01, 0.035, 0.105, 0.175, 0.2])
    found = climate.from_levels(levels, depths, climate.damped_wave)
    assert np.allclose(found[:2], levels[0])
    assert np.allclose(found[2], levels.mean(axis=0))
    assert np.allclose(found[3], levels[1], atol=1e-12)
    below = climate.damped_wave(levels[1], np.array([0.025]))
    assert np.allclose(found[4:], below, atol=1e-12)


def by_many_years(kept, gained, capacity, years=400):
    S, months = capacity / 3, list(zip(kept, gained, strict=True))
    for _ in range(years):
        year = [S := np.clip(k * S + g, 0, capacity) for k, g in months]
    return np.array(year)


def test_a_store_is_what_many_years_come_to(rng):
    for seasonal in (0.0, 30.0, 90.0):
        kept = rng.uniform(0.9, 1, 12)
        gained = seasonal * np.cos(2 * np.pi * MONTH / 12) + rng.normal(2, 4, 12)
        found = climate.periodic_store(kept, gained, 100.0)
        assert np.allclose(found, by_many_years(kept, gained, 100.0), atol=1e-9)


@pytest.mark.parametrize("net", [-3.0, 0.1])
def test_snow_that_all_is_kept_of_melts_away_or_fills_the_store(net):
    gained = net + 20 * np.cos(2 * np.pi * MONTH / 12)
    found = climate.periodic_store(np.ones(12), gained, 100.0)
    expected = by_many_years(np.ones(12), gained, 100.0)
    assert np.allclose(found, expected, atol=1e-9)
    assert (found.min() == 0) == (net < 0)


@pytest.mark.slow
def test_snow_gives_back_what_fell():
    fallen = climate.snow(YEAR - 8, RAIN)
    assert fallen.water.max() > 50
    assert np.isclose(fallen.liquid.sum(), RAIN.sum(), rtol=1e-12)
    assert np.all(fallen.liquid[YEAR - 8 <= 0] == 0)
    warm = climate.snow(YEAR + 20, RAIN)
    assert np.all(warm.water == 0)
    assert np.array_equal(warm.liquid, RAIN)


def test_ice_that_never_melts_wets_no_soil():
    fallen = climate.snow(YEAR - 40, RAIN)
    assert np.all(fallen.liquid == 0)
    assert np.allclose(fallen.water, climate.SNOW_MOST)


def test_snow_keeps_frost_from_the_soil_and_nothing_else():
    snow = jnp.linspace(0.0, 60.0, 12)
    passes = climate.frost_passes(snow)
    assert passes[0] == 1
    assert np.all(np.diff(passes) < 0)
    assert passes[-1] > climate.Insulation().least
    cold = climate.surface_temperature(YEAR - 15, passes, 0.0)
    frost = YEAR - 15 < 0
    assert np.array_equal(cold[~frost], (YEAR - 15)[~frost])
    assert np.all((cold[frost] >= (YEAR - 15)[frost]) & (cold[frost] < 0))
    bare = climate.surface_temperature(YEAR, jnp.ones(12), 0.0)
    assert np.array_equal(bare, YEAR)


def test_daylight_makes_evaporation():
    equator = climate.potential_evaporation(np.full(12, 20.0), 0.0)
    assert np.allclose(equator, 29.8 * 12 * 2.338 / 293.2 * 365 / 12, rtol=1e-3)
    north, south = (
        climate.potential_evaporation(np.full(12, 20.0), lat) for lat in (60.0, -60.0)
    )
    assert 5 <= np.argmax(north) <= 6
    assert np.argmin(south) == np.argmax(north)
    polar = climate.potential_evaporation(np.full(12, 20.0), 85.0)
    assert polar.min() == 0
    assert np.isclose(polar.max(), 2 * equator[0])


def test_a_bucket_is_between_wilting_and_full_and_wetter_with_more_rain():
    soil = soil_water.texture(45.0, 20.0)
    evaporation = climate.potential_evaporation(YEAR + 10, 45.0)
    theta = [climate.bucket_water(r * RAIN, evaporation, soil) for r in (0, 0.5, 1, 50)]
    dry, wet = (
        soil_water.clapp_hornberger_water(p, soil)
        for p in (-1.5, climate.Bucket().wettest)
    )
    assert np.allclose(theta[0], dry)
    assert np.allclose(theta[3], wet)
    assert np.all((theta[0] < theta[1]) & (theta[1] < theta[2]) & (theta[2] <= wet))


def test_a_bucket_that_neither_fills_nor_dries_balances_its_year():
    soil, bucket = soil_water.texture(45.0, 20.0), climate.Bucket(depth=50.0)
    rain, evaporation = np.full(12, 30.0), np.full(12, 80.0)
    theta = climate.bucket_water(rain, evaporation, soil, bucket)
    dry = soil_water.clapp_hornberger_water(-1.5, soil)
    full = soil_water.clapp_hornberger_water(bucket.wettest, soil)
    share = rain.sum() / (bucket.evaporation * evaporation.sum())
    assert np.allclose((theta - dry) / (full - dry), share)


def test_water_curves_invert_and_rise(rng):
    soil = soil_water.texture(rng.uniform(5, 90), rng.uniform(3, 10))
    theta = jnp.linspace(0.1, 0.35, 30)
    potential = soil_water.clapp_hornberger(theta, soil)
    back = soil_water.clapp_hornberger_water(potential, soil)
    assert np.allclose(back, theta, rtol=1e-12)
    assert np.all(np.diff(potential) > 0)
    for number in range(1, 8):
        assert np.all(np.diff(soil_water.van_genuchten(theta, number)) > 0)


def test_frost_leaves_little_water_and_never_more():
    T = jnp.array([-10.0, -1.0, -1e-9, 0.0, 10.0])
    dry, wet = (soil_water.frozen_potential(jnp.full(5, p), T) for p in (-100.0, -0.01))
    assert np.all(dry == -100)
    assert np.all(np.diff(wet) >= 0)
    assert np.all(wet[2:] == -0.01)


def test_the_water_scalar_is_log_linear_between_its_ends():
    W = lambda p, floor=0.0: soil_water.decomposition_water(jnp.asarray(p), floor)
    assert W(-0.0001) == 1
    assert W(-5.0) == 0
    assert W(-5.0, 0.01) == 0.01
    assert np.isclose(W(-np.sqrt(2 * 0.002)), 0.5)


def test_thaw_goes_as_the_root_of_degree_days():
    one, four = (climate.thawing_depth(np.full(12, T)) for T in (1.0, 4.0))
    assert np.isclose(one, 0.017 * np.sqrt(365.0))
    assert np.isclose(four, 2 * one)
    assert climate.thawing_depth(np.full(12, -1.0)) == 0
    slope = jax.grad(climate.thawing_depth)(jnp.full(12, -1.0))
    assert np.all(slope == 0)


def test_the_active_layer_of_a_straight_profile_is_where_it_crosses_zero():
    for depth in (0.5, 1.7, 5.0):
        straight = np.outer(depth - NODES, np.linspace(-1, 1, 12))
        straight[:, :6] = -1.0  # but for the warm half of the year all is frozen
        found = climate.thawed_depth(straight, CLM5_COLUMN)
        assert np.isclose(found, depth, atol=1e-12)
    warm, cold = (np.full((20, 12), T) for T in (1.0, -1.0))
    assert climate.thawed_depth(warm, CLM5_COLUMN) == NO_PERMAFROST
    assert climate.thawed_depth(cold, CLM5_COLUMN) == 0


def test_bedrock_lies_in_the_layer_that_reaches_it():
    layer = lambda z: float(climate.bedrock_layer(z, CLM5_COLUMN))
    assert [layer(z) for z in (0.01, 0.4, 0.48, 0.481, 1.2, 50.0)] == [
        6,
        6,
        6,
        7,
        9,
        20,
    ]
    assert layer(np.nan) == 20
    assert climate.bedrock_layer(0.01, SoilColumn((0.5, 1.0))) == 1


def test_a_shift_moves_the_mean_alone():
    found = climate.shifted(YEAR, 1.5)
    assert np.isclose(found.mean(), 1.5)
    assert np.allclose(found - found.mean(), YEAR - YEAR.mean())
    assert np.allclose(climate.shifted(YEAR, np.nan), YEAR)


def test_production_is_limited_by_warmth_or_by_water():
    assert climate.miami(20.0, 0.0) == 0
    assert np.isclose(climate.miami(20.0, 1e6), 1350 / (1 + np.exp(1.315 - 2.38)))
    assert np.isclose(climate.miami(50.0, 600.0), 1350 * (1 - np.exp(-0.3984)))


@pytest.mark.parametrize("number", LAND_COVER)
def test_litter_is_all_of_the_production(number):
    found = litter_types(500.0, number)
    assert np.isclose(found.sum(), 500.0)
    assert np.isclose(found[0], 500 * LAND_COVER[number].wood)
    assert np.allclose(found[1:] / found[1:].sum(), (0.25, 0.5, 0.25))
    left = 0.4 if number in (12, 14) else 1.0
    assert np.isclose(litter_types(500.0, number, harvest=0.4).sum(), left * 500)


def test_customary_parameters_follow_plants_and_sand():
    forest = CLM5Parameters.customary(45.0, 1)
    assert forest.beta == 0.976
    assert np.isclose(forest.f_s1_s2, 0.520)
    assert np.isclose(forest.f_s1_s3, 0.004)
    assert CLM5Parameters.customary(45.0, 1, boreal=True).beta == 0.943
    assert CLM5Parameters.customary(np.linspace(20, 80, 20), 10).f_s1_s2.shape == (20,)
    with pytest.raises(ValueError, match=r"land_cover must lie in \[0, 18\], got 19"):
        CLM5Parameters.customary(45.0, 19)
    with pytest.raises(ValueError, match=r"sand must lie in \[0, 100\] %, got 450"):
        CLM5Parameters.customary(450.0, 1)


def test_boreal_plants_never_root_deeper():
    classes = np.array(list(LAND_COVER))
    assert np.all(root_beta(classes, True) <= root_beta(classes))
    assert root_beta(4, True) == 0.943
    assert root_beta(7, True) == 0.914


@pytest.mark.slow
def test_gradients_of_a_climate_are_those_of_small_changes(rng):
    @jax.jit
    def summed(T):
        fallen = climate.snow(T, RAIN)
        passes = climate.frost_passes(fallen.water)
        below = climate.damped_wave(climate.surface_temperature(T, passes), NODES)
        soil = soil_water.texture(45.0, 20.0)
        evaporation = climate.potential_evaporation(T, 50.0)
        theta = climate.bucket_water(fallen.liquid, evaporation, soil)
        return jnp.sum(below * jnp.arange(20.0)[:, None]) + 1e3 * jnp.sum(theta**2)

    direction, h = rng.normal(size=12), 1e-5
    _, slope = jax.jvp(summed, (jnp.asarray(YEAR),), (jnp.asarray(direction),))
    ends = [summed(YEAR + sign * h * direction) for sign in (1, -1)]
    assert np.isclose(slope, (ends[0] - ends[1]) / (2 * h), rtol=1e-6)


# Numbers of one other implementation.
def test_the_wave_of_the_reference():
    level = 10 + 10 * np.cos(2 * np.pi * (MONTH - 7) / 12)
    found = climate.damped_wave(level, np.array([1.06 - 0.175]))[0]
    expected = (
        *(4.0130, 3.4731, 4.6822, 7.3161, 10.6692, 13.8430),
        *(15.9870, 16.5269, 15.3178, 12.6839, 9.3308, 6.1570),
    )
    assert np.allclose(found, expected, atol=5e-5)


def test_the_potentials_of_the_reference():
    expected = {1: (-0.0089, 0.7839), 2: (-0.0772, 0.4711), 4: (-5.016, 0.0)}
    potentials = {
        expected[n]: soil_water.van_genuchten(jnp.asarray(0.25), n) for n in expected
    }
    soil = soil_water.texture(45.0, 20.0)
    potentials[-0.0538, 0.5235] = soil_water.clapp_hornberger(jnp.asarray(0.25), soil)
    for (potential, W), found in potentials.items():
        assert np.isclose(found, potential, rtol=7e-3 if W > 0.7 else 1e-3)
        assert np.isclose(soil_water.decomposition_water(found, 0.0), W, atol=5e-5)
    frozen = soil_water.frozen_potential(jnp.asarray(-0.01), jnp.asarray(-1.0))
    assert np.isclose(frozen, -1.226, atol=5e-4)


@pytest.mark.slow
def test_the_curves_of_era5_return_its_wilting_points_and_field_capacities():
    wilting = (0.059, 0.151, 0.133, 0.279, 0.335, 0.267)
    field = (0.244, 0.347, 0.383, 0.448, 0.541, 0.663)
    for number, (dry, wet) in enumerate(zip(wilting, field, strict=True), 1):
        theta = np.linspace(0.03, 0.75, 7201)
        potential = np.asarray(soil_water.van_genuchten(theta, number))
        found = np.interp((-1.5, -0.01), potential, theta)
        assert np.allclose(found, (dry, wet), atol=6.5e-3)
