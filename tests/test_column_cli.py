"""`jaxsoc column`: a place, a file of profiles, and what is refused."""

import numpy as np
import pytest
import xarray as xr

# Two profiles, of which one is too shallow: as many places as the other test has, so
# that both share a program.
HEADINGS = "profile_id,lat,lon,depth_top_cm,depth_bottom_cm,soc_g_kg,bulk_density_g_cm3"
ROWS = [
    f"{name},{lat},{lon},{top},{top + 20},{content},1.3"
    for name, lat, lon in [("north", 64, -147)]
    for top, content in zip((0, 20, 40), (40, 20, 10), strict=True)
] + ["shallow,45,7,0,20,30,1.2"]


@pytest.fixture
def quick(jaxsoc, tmp_path, monkeypatch):
    """Runs the command without published data, and without figures."""
    monkeypatch.delenv("JAXSOC_DATA", raising=False)

    def run(*options):
        out = tmp_path / "out"
        common = ("--out", out, "--no-figures", "--model", "clm5")
        code, printed, errors = jaxsoc("column", *options, *common)
        return code, printed, errors, out / "column.nc"

    return run


@pytest.fixture
def profiles(tmp_path):
    path = tmp_path / "mine.csv"

    def write(rows=ROWS, headings=HEADINGS):
        path.write_text("\n".join([headings, *rows]) + "\n")
        return path

    return write


@pytest.mark.slow
def test_a_place_has_a_column_whose_climate_is_called_idealised(quick):
    code, printed, errors, file = quick("--lat", 64.8, "--lon=-147.7")
    assert code == 0, errors
    assert "idealised climate by latitude" in printed
    with xr.open_dataset(file) as found:
        assert found.sizes["place"] == 1 and list(found.model.values) == ["clm5"]
        assert found.steady_state.values == 2
        assert abs(found.carbon_balance_error.values).max() <= 1e-12
        assert "idealised" in found.attrs["climate"]
        assert found.lat.values == 64.8


def test_profiles_have_a_misfit_each_and_the_others_a_reason(quick, profiles):
    code, printed, errors, file = quick("--profiles", profiles())
    assert code == 0, errors
    assert "1 of 2 profiles left out: fewer than 3 layers" in printed
    with xr.open_dataset(file) as found:
        assert list(found.profile.values) == ["north"]
        assert "idealised" in found.attrs["climate"]
        assert found.misfit_layers.values == 3
        observed = found.observed_carbon.values
        np.testing.assert_allclose(observed[:3], [52e3, 26e3, 13e3])
        own = found.modelled_carbon.values[0, :3]
        square = ((own - observed[:3]) ** 2).sum()
        spread = ((observed[:3] - observed[:3].mean()) ** 2).sum()
        for score in (found.misfit_nse.values[0, 0], found.pooled_nse.values[0]):
            np.testing.assert_allclose(score, 1 - square / spread)


def test_years_are_refused_of_models_without_them_before_any_is_solved(
    jaxsoc, tmp_path, monkeypatch
):
    def solved(*given, **options):
        raise AssertionError("solved")

    monkeypatch.delenv("JAXSOC_DATA", raising=False)
    monkeypatch.setattr("jaxsoc.experiments.comparison.columns_at_sites", solved)
    place = ("--lat", 5, "--lon", 7, "--periodic", "--out", tmp_path)
    code, _, errors = jaxsoc("column", *place)
    assert code == 2 and "MIMICS with mixed microbial pools has no periodic" in errors


@pytest.mark.parametrize(
    "options, said",
    [
        ((), "no place is given: use --lat and --lon, or --profiles FILE"),
        (("--lat", 3), "only lat is given"),
        (("--lat", 95, "--lon", 0), "latitude must lie in"),
        (("--lat", 5, "--lon", 0, "--model", "clm6"), "did you mean 'clm5'"),
        (("--lat", 5, "--lon", 0, "--skip-bad"), "skip_bad is given without profiles"),
        (("--profiles", "none.csv"), "no such file: 'none.csv'"),
        (("--profiles", "none.csv", "--sand", 3), "sand tell of one place"),
    ],
)
def test_what_does_not_fit_is_refused(jaxsoc, options, said):
    code, _, errors = jaxsoc("column", *options, "--dry-run")
    assert code == 2 and said in errors


@pytest.mark.parametrize(
    "row, said",
    [
        ("bad,95,7,0,20,30,1.2", "lat is 95 in row 5"),
        ("bad,45,7,0,20,-3,1.2", "soc_g_kg is -3 in row 5"),
        ("bad,45,7,0,20,much,1.2", "soc_g_kg is 'much' in row 5"),
    ],
)
def test_rows_that_are_wrong_are_named_or_skipped(quick, profiles, row, said):
    path = profiles([*ROWS, row])
    code, _, errors, _ = quick("--profiles", path, "--dry-run")
    assert code == 2 and said in errors and "mine.csv" in errors
    code, printed, _, _ = quick("--profiles", path, "--dry-run", "--skip-bad")
    assert code == 0 and "at 1 place" in printed


def test_profiles_without_a_position_are_not_placed(quick, profiles):
    lone = [",".join((name, "", "", *rest)) for name, _, _, *rest in
            (row.split(",") for row in ROWS[:3])]  # fmt: skip
    more = [row.replace("north", "other") for row in lone]
    code, printed, _, _ = quick("--profiles", profiles([*ROWS, *more]), "--dry-run")
    assert code == 0 and "1 of 2 profiles left out: no latitude" in printed
    code, _, errors, _ = quick("--profiles", profiles(lone), "--dry-run")
    assert code == 2 and "mine.csv" in errors and "no latitude and longitude" in errors
