"""`jaxsoc column`: a place, a file of profiles, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jaxsoc.cli.column_config import ColumnConfig
from jaxsoc.cli.options import read_config
from jaxsoc.io.columns import STATES
from jaxsoc.physics.climate import Bucket, Insulation
from jaxsoc.physics.site_forcing import Choices

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


@pytest.mark.slow
def test_years_are_found_of_all_models(jaxsoc, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSOC_DATA", raising=False)
    place = ("--lat", 45, "--lon", 7, "--periodic", "--no-figures", "--out", tmp_path)
    code, _, errors = jaxsoc("column", *place)
    assert code == 0, errors
    with xr.open_dataset(tmp_path / "column.nc") as found:
        assert (found.periodic_state.values == STATES.index("found")).all()
        months = found.monthly_soil_organic_carbon.isel(place=0)
        rest = found.soil_organic_carbon.isel(place=0)
        assert months.sizes["month"] == 12
        assert (months.std("month").sum("layer") > 0).all()
        # Seasons move the mean of the year, but not by much.
        shares = months.mean("month").sum("layer") / rest.sum("layer")
        np.testing.assert_allclose(shares, 1.0, atol=0.3)


def test_files_that_a_configuration_names_lie_beside_it(tmp_path):
    (tmp_path / "a").mkdir()
    config = tmp_path / "a" / "c.toml"
    config.write_text("profiles = 'soil.csv'\nclimate = 'tas.nc'\nout = 'here'\n")
    found = read_config(config, {}, ColumnConfig)
    assert found.profiles == tmp_path / "a" / "soil.csv"
    assert found.climate == tmp_path / "a" / "tas.nc"
    # Results lie where the command is given.
    assert found.out == Path("here")


def test_every_choice_of_the_forcing_can_be_made_in_a_file(tmp_path):
    config = tmp_path / "c.toml"
    months = [0.1] * 8 + [0.05] * 4
    config.write_text(
        f"[forcing]\nlitter_months = {months}\nthaw = 0.02\nbucket_depth = 0.4\n"
        "insulation_offset = 0.5\nwater_damping = 0.3\n"
    )
    made = read_config(config, {}, ColumnConfig).forcing.made()
    assert made == replace(
        Choices(),
        litter_months=tuple(months),
        thaw=0.02,
        bucket=Bucket(depth=0.4),
        insulation=Insulation(offset=0.5),
        water_damping=0.3,
        texture=(45.0, 20.0),
    )


@pytest.mark.parametrize(
    "options, said",
    [
        ((), "no place is given: use --lat and --lon, or --profiles FILE"),
        (("--lat", 3), "only lat is given"),
        (("--lat", 95, "--lon", 0), "latitude must lie in"),
        (("--lat", 5, "--lon", 0, "--years", 9, "--warming", 280), "warming must lie"),
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
