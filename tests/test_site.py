"""The forcing of a site: each choice does what it says, and many are as one by one."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc import steady_state
from jaxsoc.models import CLM5, CLM5Parameters
from jaxsoc.physics import climate
from jaxsoc.physics.allocation import root_profile
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.forcing import NO_PERMAFROST
from jaxsoc.physics.site import Site, idealised_site
from jaxsoc.physics.site_forcing import Choices, forcing_of, production

MONTH = np.arange(1, 13)
YEAR = 5 + 14 * np.cos(2 * np.pi * (MONTH - 7) / 12)
RAIN = np.full(12, 60.0)
KNOWN = {"latitude": 50.0, "sand": 45.0, "clay": 20.0, "land_cover": 5}
LEVELS = np.stack([YEAR + 1, 0.8 * YEAR + 1])
WATER = np.full((2, 12), 0.25)


def site(air=YEAR, rain=RAIN, **known):
    return Site(air, rain, **{**KNOWN, **known})


def soil(choices=None, **known):
    return forcing_of(site(**known), choices or Choices())


NONE = np.full((2, 12), np.nan)


def of_levels(temperature=NONE, water=NONE, **known):
    return site(soil_temperature=temperature, soil_water=water, **known)


SITES = (
    of_levels(),
    of_levels(air=YEAR - 15, land_cover=18, npp=120.0, npp_casa=50.0),
    of_levels(mean_annual_temperature=-7.0, land_cover=12, latitude=-30.0),
    of_levels(LEVELS, WATER, soil_class=2, depth_to_bedrock=0.9, npp_cesm=80.0),
    of_levels(water=WATER),
    of_levels(LEVELS - 10),
)


def test_many_sites_are_as_one_by_one():
    choices = Choices(npp="mean", active_layer="soil_temperature")
    found = forcing_of(jax.tree.map(lambda *x: jnp.stack(x), *SITES), choices)
    for place, one in enumerate(SITES):
        alone = forcing_of(one, choices)
        for a, b in zip(*map(jax.tree.leaves, (alone, found)), strict=True):
            assert np.allclose(a, b[place], rtol=1e-12, atol=1e-12)
            assert np.all(np.isfinite(a))


@pytest.mark.slow
def test_a_level_that_was_not_measured_is_made_from_the_climate():
    without, part = soil(), forcing_of(of_levels(water=WATER))
    assert np.allclose(without.temperature, part.temperature, atol=1e-12)
    assert not np.allclose(without.water, part.water, atol=0.1)


def test_one_number_serves_all_of_many_sites():
    many = Site(np.stack([YEAR, YEAR]), np.stack([RAIN, RAIN]), **KNOWN)
    assert many.sand.shape == many.land_cover.shape == many.npp.shape == (2,)


@pytest.mark.slow
def test_it_drives_a_column():
    with jax.disable_jit():
        model = CLM5(soil())
    found = steady_state(model, CLM5Parameters())
    assert np.all(model.organic_carbon(found) > 0)


def test_soil_is_that_of_the_air_where_nothing_covers_it():
    bare = soil(Choices(surface="none")).temperature
    wave = climate.damped_wave(YEAR, CLM5_COLUMN.nodes) + 273.15
    assert np.allclose(bare, wave, atol=1e-12)
    frost, snow = (soil(Choices(surface=s)).temperature for s in ("frost", "snow"))
    assert np.all(frost.mean(axis=1) > bare.mean(axis=1))
    assert not np.allclose(frost, snow)
    none = forcing_of(site(rain=np.full(12, 1e-9)), Choices()).temperature
    assert np.allclose(none.mean(axis=1), bare.mean(axis=1) + 1.055, atol=1e-6)


def test_the_mean_of_the_site_shifts_the_air():
    colder = soil(mean_annual_temperature=-1.0, air=YEAR + 20)
    direct = soil(air=YEAR - 6)
    off = direct.temperature - colder.temperature
    snow = climate.Insulation()
    assert np.allclose(off, snow.offset - snow.site_offset, atol=1e-10)
    kept = soil(Choices(site_mean=False), mean_annual_temperature=-1.0)
    assert np.allclose(kept.temperature, soil().temperature, atol=1e-12)


@pytest.mark.slow
def test_permafrost_and_its_depth_are_two_choices():
    cold = site(air=YEAR - 12)
    thaw = float(climate.thawing_depth(YEAR - 12))
    depth = lambda **said: float(forcing_of(cold, Choices(**said)).active_layer[0])
    assert depth() == pytest.approx(thaw)
    # Below snow the mean of the soil is above that of the air.
    assert depth(permafrost="soil") == NO_PERMAFROST
    bare = {"surface": "none", "permafrost": "soil"}
    assert depth(**bare) == pytest.approx(thaw)
    other = depth(**bare, active_layer="soil_temperature")
    assert 0 < other < NO_PERMAFROST and other != pytest.approx(thaw)
    assert float(soil().active_layer[0]) == NO_PERMAFROST


def test_all_litter_lies_on_top_of_soil_that_never_thaws():
    frozen = soil(air=YEAR - 40)
    assert frozen.frozen
    assert np.all(frozen.profile[:, 0] == 1)


@pytest.mark.slow
def test_roots_and_wood_follow_the_land_cover():
    forest, tundra = soil(land_cover=1), soil(land_cover=18)
    assert np.allclose(forest.profile[2], root_profile(0.976, CLM5_COLUMN))
    assert np.allclose(tundra.profile[2], root_profile(0.914, CLM5_COLUMN))
    assert forest.litter[0].sum() > 0 == tundra.litter[0].sum()
    assert soil(Choices(profile="parameter")).profile is None


@pytest.mark.slow
def test_litter_of_a_year_is_the_production_by_whatever_months():
    peak = tuple(float(x) for x in np.eye(12)[9])
    found = soil(Choices(litter_months=peak), npp=321.0)
    assert np.isclose(found.litter.sum(), 321.0)
    assert np.all(found.litter[:, :9] == 0)
    assert np.isclose(soil(npp=321.0).litter.sum(), 321.0)
    cut = soil(Choices(harvest=0.5), npp=321.0, land_cover=12)
    assert np.isclose(cut.litter.sum(), 160.5)


def test_production_is_as_chosen_and_the_sites_own_first():
    one = site(npp_casa=200.0, npp_cesm=800.0)
    by = lambda one, npp: float(production(one, Choices(npp=npp)))
    miami = by(one, "miami")
    assert miami == pytest.approx(float(climate.miami(YEAR.mean(), 720.0)))
    assert (by(one, "casa"), by(one, "cesm")) == (200.0, 800.0)
    assert by(one, "mean") == pytest.approx((miami * 200 * 800) ** (1 / 3))
    assert by(site(npp_casa=200.0), "mean") == pytest.approx((miami * 200) ** 0.5)
    assert by(site(), "mean") == pytest.approx(miami) == by(site(), "cesm")
    assert by(site(npp=50.0, npp_casa=200.0), "casa") == 50.0


def test_measured_soil_comes_before_the_climate():
    found = soil(soil_temperature=LEVELS, soil_water=WATER, soil_class=2)
    made = climate.from_levels(LEVELS, CLM5_COLUMN.nodes, climate.damped_wave)
    assert np.allclose(found.temperature, made + 273.15, atol=1e-12)
    warm = LEVELS.min(axis=0) > 0
    assert np.allclose(found.water[:2, warm], 0.4711, atol=5e-5)
    other = soil(soil_temperature=LEVELS, soil_water=WATER, soil_class=0)
    assert np.allclose(other.water[:2, warm], 0.5235, atol=5e-5)


@pytest.mark.slow
def test_what_the_user_has_takes_its_place():
    warm = np.full((20, 12), 290.0)
    litter = (1.0, 2.0, 3.0, 4.0)
    own = {"temperature": warm, "water": 0.3, "active_layer": 1.0, "bedrock": 7.0}
    found = forcing_of(site(), **own, litter=litter, oxygen=0.5)
    assert np.array_equal(found.temperature, warm)
    assert np.all(found.water == 0.3) and np.all(found.active_layer == 1)
    assert np.all(found.bedrock == 7) and np.all(found.oxygen == 0.5)
    assert np.allclose(found.litter.sum(axis=1), litter)
    # Frozen soil holds no water for decomposers.
    frozen = forcing_of(site(), temperature=np.full((20, 12), 263.15))
    assert np.all(frozen.water == 0.01)
    with pytest.raises(ValueError, match=r"water must lie in \[0, 1\], got 3"):
        forcing_of(site(), water=3.0)
    with pytest.raises(ValueError, match="temperature must lie in .* got 20"):
        forcing_of(site(), temperature=20.0)


@pytest.mark.slow
def test_arrays_of_many_sites_take_their_place_too():
    many, depth = jax.tree.map(lambda *x: jnp.stack(x), *SITES[:3]), np.arange(1.0, 4)
    every = lambda value, *shape: np.full((3, *shape), value)
    own = {
        "temperature": every(280.0, 20, 12),
        "water": every(0.4, 20, 12),
        "litter": every(10.0, 4, 12),
        "profile": every(0.05, 4, 20),
        "bedrock": every(9.0),
        "sand": every(30.0, 20),
    }
    found = forcing_of(many, active_layer=depth, **own)
    assert np.array_equal(found.active_layer[:, 0], depth)
    assert all(np.all(getattr(found, n) == x.flat[0]) for n, x in own.items())
    with pytest.raises(ValueError, match=r"active_layer must lead by site, 3 .*\(2,\)"):
        forcing_of(many, active_layer=depth[:2])
    with pytest.raises(ValueError, match=r"active_layer must lie in .* got -1"):
        forcing_of(many, active_layer=-depth)


@pytest.mark.parametrize(
    ("sentence", "known"),
    [
        (r"latitude must lie in \[-90, 90\] degrees north, got 95", {"latitude": 95.0}),
        (r"latitude must lie .* got nan", {"latitude": np.nan}),
        (r"air_temperature must lie .* got 264.15 .* kelvin", {"air": YEAR + 273.15}),
        (r"air_temperature must be 12 months .*\(11,\)", {"air": YEAR[:11]}),
        (
            "precipitation has no value in March, October",
            {"rain": np.where(np.isin(MONTH, (3, 10)), np.nan, RAIN)},
        ),
        (
            r"precipitation must lie in \[0, inf\) mm per month, got -60",
            {"rain": -RAIN},
        ),
        (r"sand \+ clay must lie in \[0, 100.5\] %, got 120", {"clay": 75.0}),
        (r"sand must lie in \[0, 100\] %, got 145", {"sand": 145.0}),
        (r"land_cover must lie in \[0, 18\], got 19, IGBP", {"land_cover": 19}),
        ("land_cover must be a whole number, got 2.5", {"land_cover": 2.5}),
        (r"npp must lie in \(0, inf\) gC m⁻² yr⁻¹, got 0", {"npp": 0.0}),
        (r"npp_casa must lie in .* got -3", {"npp_casa": -3.0}),
        (
            r"mean_annual_temperature .* got 280.*kelvin",
            {"mean_annual_temperature": 280.0},
        ),
        ("soil_temperature must be 2 levels x 12", {"soil_temperature": YEAR}),
        (
            "soil_temperature has no value in January",
            {"soil_temperature": np.where(MONTH == 1, np.nan, LEVELS)},
        ),
        (r"soil_water must lie in \[0, 1\] .* got 25", {"soil_water": 100 * WATER}),
        (
            r"depth_to_bedrock must lie in \(0, inf\) m, got -1",
            {"depth_to_bedrock": -1},
        ),
        ("npp must be a number, got 'much'", {"npp": "much"}),
    ],
)
def test_a_site_that_cannot_be_is_refused(sentence, known):
    with pytest.raises(ValueError, match=sentence) as caught:
        site(**known)
    assert "\n" not in str(caught.value)


def test_of_many_sites_the_one_is_named():
    gap = np.stack([RAIN, np.where(MONTH == 4, np.nan, RAIN)])
    with pytest.raises(ValueError, match="precipitation of site 2 has no .* April"):
        Site(np.stack([YEAR, YEAR]), gap, **KNOWN)
    many = Site(np.stack([YEAR, YEAR]), np.stack([RAIN, RAIN]), 50.0, clay=20.0,
                sand=np.array([45.0, np.nan]))  # fmt: skip
    with pytest.raises(ValueError, match="sand and clay of site 2 are not known"):
        forcing_of(many)
    lone = site(sand=np.nan)
    given = forcing_of(lone, Choices(texture=(45.0, 20.0)))
    assert np.array_equal(given.water, soil().water)


def test_choices_are_checked_and_can_be_written():
    for name in ("surface", "permafrost", "active_layer", "npp", "profile"):
        # In tests the words of a type are checked before the sentence can be said.
        with pytest.raises((ValueError, TypeError), match="'other'"):
            Choices(**{name: "other"})
    with pytest.raises(ValueError, match="litter_months must be 12 shares"):
        Choices(litter_months=(1.0,))
    with pytest.raises(ValueError, match=r"harvest .* got 2"):
        Choices(harvest=2.0)
    assert hash(Choices()) == hash(Choices())
    written = json.loads(json.dumps(dataclasses.asdict(Choices(npp="mean"))))
    assert written["npp"] == "mean" and len(written["insulation"]) == 6


def test_an_idealised_site_is_colder_and_more_seasonal_poleward():
    lows = [idealised_site(lat) for lat in (0.0, 30.0, 60.0)]
    means = [float(s.air_temperature.mean()) for s in lows]
    ranges = [float(np.ptp(s.air_temperature)) for s in lows]
    assert means == sorted(means, reverse=True) and ranges == sorted(ranges)
    south = idealised_site(-45.0).air_temperature
    assert np.allclose(south, np.roll(idealised_site(45.0).air_temperature, 6))
    assert lows[0].label == "idealised climate by latitude"
    with pytest.raises(ValueError, match="latitude must lie .* got 95"):
        idealised_site(95.0)
    assert forcing_of(idealised_site(64.8)).temperature.shape == (20, 12)
