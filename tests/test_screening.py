"""Which profiles are used, and what that does to the sample."""

import numpy as np
import pytest
from profile_cases import profiles_of
from scipy import stats

from jaxsoc.io import load_profiles
from jaxsoc.observe import coverage, screen, screening_effects, shapes
from jaxsoc.observe.screening import SHAPES, flags

GRID = "grid_mat_c", "grid_map_mm"


def climates(warmth, rain):
    """Profiles of three layers at places with these climates."""
    covariates = dict(zip(GRID, np.broadcast_arrays(warmth, rain), strict=True))
    densities = [[3.0, 2.0, 1.0]] * len(covariates[GRID[0]])
    return profiles_of(densities, covariates=covariates)


def test_reasons_are_counted_and_the_kept_fail_none():
    many = profiles_of(
        [[3.0, 2.0, 1.0], [3.0, 2.0], [3.0, 2.0, 1.0], [1.0], [3.0, 2.0, np.nan]],
        [[0.2, 0.4, 0.5], [0.3, 0.6], [0.1, 0.2, 0.3], [0.2], [0.1, 0.3, 0.6]],
        wet=[True, False, False, False, False],
    )
    found = screen(many)
    few, shallow = found.reasons
    assert found.counts == {few: 3, shallow: 3}
    assert found.alone == {few: 1, shallow: 1}
    assert found.kept.name.tolist() == ["p0"]
    assert found.passes.tolist() == [True, False, False, False, False]
    assert screen(many, fewest_layers=1, deepest=0.0).passes.all()
    assert len(screen(many, without=("wet",)).kept) == 0
    weighed = np.where(many.profile == 0, "measured", "filled")
    named = profiles_of([[1.0] * 3] * 2, bulk_density_from=weighed[[0, 1, 2, 3, 3, 3]])
    assert screen(named, measured_bulk_density=True).passes.tolist() == [True, False]


def test_a_profile_that_begins_too_deep_is_told():
    many = profiles_of([[3.0, 2.0, 1.0]] * 2, top=[0.1, 0.2, 0.4, 0.0, 0.2, 0.4])
    assert screen(many, surface=0.05).passes.tolist() == [False, True]
    assert screen(many, surface=0.1).passes.all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fewest_layers": 0}, r"fewest_layers must lie in \[1, inf\), got 0"),
        ({"deepest": -1.0}, r"deepest must lie in \[0, inf\) m, got -1"),
        ({"without": ("rural",)}, "unknown flags rural: expected urban, peat or wet"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        screen(profiles_of([[1.0]]), **options)


def test_shapes():
    monotone, below, zigzag = SHAPES
    cases = {
        (3, 2, 1): monotone,
        (3, 3, 1): monotone,
        (1, 3, 2): below,
        (1, 2, 3): below,
        (3, 1, 2): zigzag,
        (1, 3, 2, 2.5): zigzag,
        (1, 2, 3, 1): below,
        (2, np.nan, 1): monotone,
        (2,): "",
    }
    found = shapes(profiles_of([np.array(one, float) for one in cases]))
    assert found.tolist() == list(cases.values())


def test_a_shape_is_that_of_its_profile_alone(rng):
    many = profiles_of([rng.uniform(size=rng.integers(1, 6)) for _ in range(200)])
    alone = [shapes(one)[0] for one in many[:40]]
    assert shapes(many)[:40].tolist() == alone
    assert set(SHAPES) <= set(shapes(many))


def test_flags_see_what_was_recorded():
    cover = ["Poor fen", "fenced pasture", "Urban lawn", "woodyWetlands", "", ""]
    soil = ["", "", "", "", "Typic Histoturbels", "Gelisol Histel Hemistel"]
    found = flags(profiles_of([[1.0]] * 6, land_cover=cover, soil=soil))
    assert found["peat"].tolist() == [True, False, False, False, False, True]
    assert found["urban"].tolist() == [False, False, True, False, False, False]
    assert found["wet"].tolist() == [True, False, False, True, False, False]
    thick = profiles_of([[1.0] * 3] * 2, content=[120.0, 120, 1, 120, 1, 1])
    assert flags(thick)["peat"].tolist() == [True, False]


def test_coverage_is_weighted_by_area():
    land = np.array([-10.0, 12.0, 12.0, np.nan]), np.array([100.0, 700.0, 2500.0, 1.0])
    area = np.array([1.0, 2.0, 5.0, 100.0])
    found = coverage(climates([12.0, 13.0, np.nan], 600.0), *land, area)
    assert found.covered == pytest.approx(2 / 8)
    assert found.land.sum() == pytest.approx(1)
    assert found.profiles.sum() == 2
    assert found.unknown == 1
    everywhere = climates([-10.0, 12.0, 12.0], [100.0, 700.0, 2500.0])
    assert coverage(everywhere, *land, area).covered == pytest.approx(1)
    assert coverage(everywhere, *land, area, fewest=2).covered == 0
    with pytest.raises(ValueError, match="of the same cells, got shapes"):
        coverage(everywhere, *land, area[:2])
    with pytest.raises(ValueError, match="no land with a climate"):
        coverage(everywhere, *land, 0 * area)


def test_what_the_site_gives_of_its_climate_comes_first():
    one = profiles_of(
        [[1.0]] * 2,
        temperature=[20.0, np.nan],
        covariates=dict(zip(GRID, ([5.0, 5.0], [10.0, 10.0]), strict=True)),
    )
    assert one.climate()[0].tolist() == [20.0, 5.0]
    assert one.climate(own=False)[0].tolist() == [5.0, 5.0]


def test_a_planted_bias_is_found_and_chance_is_not(rng):
    warmth, rain = rng.uniform(-8, 28, 2000), rng.uniform(100, 2400, 2000)
    many = climates(warmth, rain)
    by_chance = screening_effects(many, rng.uniform(size=2000) < 0.6)
    assert by_chance[0].p > 0.05
    dry = rain < 250
    planted = rng.uniform(size=2000) < np.where(dry, 0.35, 0.6)
    found = screening_effects(many, planted)
    assert (found[0].by, found[0].group) == ("precipitation", "below 250 mm")
    assert found[0].p < 1e-3
    assert found[0].share == pytest.approx(planted[dry].mean())
    of_depth = [one for one in found if one.by == "depth"]
    assert [one.p for one in of_depth] == [1.0]
    with pytest.raises(ValueError, match="of 2000 profiles, got an array of shape"):
        screening_effects(many, planted[:3])


def test_the_test_is_fishers(rng):
    many = profiles_of([[1.0]] * 60, land_cover=["forest"] * 25 + ["grassland"] * 35)
    passes = rng.uniform(size=60) < np.where(many.land_cover == "forest", 0.3, 0.6)
    by = lambda profiles: {"land cover": profiles.land_cover}
    for one in screening_effects(many, passes, by):
        here, others = many.land_cover == one.group, many.land_cover != one.group
        table = [[(x & y).sum() for y in (passes, ~passes)] for x in (here, others)]
        exact = stats.fisher_exact(table).pvalue
        assert one.p == pytest.approx(min(1.0, 2 * exact), rel=1e-9)


def test_coverage_of_the_world_by_real_profiles(data):
    grid = np.load(data / "global_grids" / "climate_0p5deg_annual.npz")
    land = grid["land"] & grid["valid"]
    warmth = np.where(land, grid["mat_c"] / 100, np.nan)
    rain = np.where(land, grid["map_mm"], np.nan)
    area = np.broadcast_to(np.cos(np.deg2rad(grid["lat"]))[:, None], land.shape)
    sodah = load_profiles(data / "sodah" / "layers.csv.gz").profiles
    found = screen(sodah, measured_bulk_density=True)
    before = coverage(sodah, warmth, rain, area, own=False).covered
    after = coverage(found.kept, warmth, rain, area, own=False)
    assert 0.3 < after.covered < before < 0.95
    assert after.profiles.sum() == 386
