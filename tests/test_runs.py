"""Columns at many places through time: `runs_at_sites`, its table, and the command."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxsoc import steady_state
from jaxsoc.columns import Change, delta, given_years, spin_up, transient
from jaxsoc.experiments import runs_at_sites
from jaxsoc.io import Places, atmosphere, load_changes, runs_table, to_dataset, zones
from jaxsoc.models import CLM5
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import idealised

COARSE = SoilColumn((0.1, 0.3, 0.6, 1.0))
YEARS = 3
CHANGES = Change(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 1.5]))


@pytest.fixture(scope="module")
def model():
    base = idealised(column=COARSE)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), base)
    warm = both.temperature + jnp.array([0.0, 6.0])[:, None, None]
    return CLM5(eqx.tree_at(lambda f: f.temperature, both, warm))


@pytest.fixture(scope="module")
def sky():
    return atmosphere("north", 1962, 1961 + YEARS)


@pytest.fixture(scope="module")
def found(model, sky):
    return runs_at_sites(model, changes=CHANGES, atmosphere=sky)


def test_sites_run_as_each_by_itself(model, sky, found):
    one, params = jax.tree.map(lambda x: x[1], model), model.parameters()
    start = spin_up(one, params, steady_state(one, params), delta=sky[0].mean())
    run = transient(one, params, start, changes=CHANGES, atmosphere=sky)
    soil = jax.vmap(one.organic_carbon)
    carbon, ratio = soil(run.saved.end.carbon), soil(run.saved.end.radiocarbon)
    held = jax.tree.map(lambda x: x[1], found.held)
    np.testing.assert_allclose(held.soil_organic_carbon[1:], carbon, rtol=1e-11)
    np.testing.assert_allclose(held.soil_delta[1:], delta(ratio, carbon), atol=1e-8)
    first = one.organic_carbon(start.carbon)
    np.testing.assert_allclose(held.soil_organic_carbon[0], first, rtol=1e-11)
    np.testing.assert_allclose(
        found.passed.litter[1] / found.passed.litter[1, 0], CHANGES.litter, rtol=1e-12
    )
    assert np.abs(found.balance_error).max() <= 1e-12 and found.found.all()
    # Bomb carbon is respired before it is soil.
    assert found.passed.respired_delta[1, -1] > held.stock_delta[-1, 0] > 0


@pytest.mark.slow
def test_sites_go_on_from_where_they_ended(model, sky, found):
    start = None
    for year in (slice(0, 1), slice(1, YEARS)):
        changes = jax.tree.map(lambda x, y=year: x[y], CHANGES)
        part = runs_at_sites(model, changes=changes, start=start, atmosphere=sky[year])
        here = slice(1 + year.start, 1 + year.stop)
        for whole, own in zip(found.held, part.held, strict=True):
            np.testing.assert_allclose(own[:, 1:], whole[:, here], rtol=1e-11)
        start = part.end
    assert not part.spun_up.any() and part.found.all()
    with pytest.raises(ValueError, match="a start and changes of 2 sites"):
        runs_at_sites(model, years=1, start=jax.tree.map(lambda x: x[:1], part.end))


@pytest.mark.slow
def test_every_year_of_every_site_can_be_given(model):
    years = lambda x: np.stack([np.asarray(x)] * YEARS, axis=1)
    given = jax.tree.map(years, model.forcing)
    found = runs_at_sites(model, changes=given, change=given_years)
    still = found.held.soil_organic_carbon
    np.testing.assert_allclose(still[:, 1:], still[:, :-1], rtol=1e-10)
    warm = eqx.tree_at(lambda f: f.temperature, given, given.temperature + 3.0)
    found = runs_at_sites(model, changes=warm, change=given_years).held
    known = runs_at_sites(model, changes=Change(np.full(YEARS, 3.0), np.ones(YEARS)))
    np.testing.assert_allclose(found.soil_stock, known.held.soil_stock, rtol=1e-11)


@pytest.mark.slow
def test_where_nothing_changes_nothing_does(model):
    still = runs_at_sites(model, years=YEARS).held.soil_organic_carbon
    np.testing.assert_allclose(still[:, 1:], still[:, :-1], rtol=1e-10)


@pytest.mark.slow
def test_a_place_without_a_start_has_no_run(model):
    none = eqx.tree_at(
        lambda m: m.forcing.temperature,
        model,
        model.forcing.temperature.at[0].set(jnp.nan),
    )
    found = runs_at_sites(none, years=YEARS, changes=CHANGES)
    assert found.found.tolist() == [False, True]
    assert np.isnan(found.held.soil_stock[0]).all()
    assert np.isfinite(found.held.soil_stock[1]).all()


def test_a_table_has_calendar_years_and_units(found):
    places = Places.of("place", lat=[60.0, 5.0], lon=[10.0, 20.0])
    table = to_dataset(runs_table({"clm5": found}, places, 1962))
    assert table.year.values.tolist() == [1961, 1962, 1963, 1964]
    assert table.run_soil_stock.dims == ("model", "place", "year", "stock_depth")
    assert table.run_soil_delta.attrs["units"] == "1e-3"
    assert np.isnan(table.run_respired.sel(year=1961)).all()
    last = table.run_pool_stock.sel(year=1964, model="clm5").isel(place=1)
    np.testing.assert_array_equal(last, found.held.pool_stock[1, -1])
    counted = runs_table({"clm5": found}, places)
    assert counted.coordinates["year"][1].tolist() == [0, 1, 2, 3]


def test_changes_are_read_and_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "future.csv"

    def load(text):
        path.write_text(text)
        return load_changes(path)

    years, changes = load("year,warming_k\n2001,0.5\n2002,1\n")
    assert years.tolist() == [2001, 2002]
    assert changes.warming.tolist() == [0.5, 1.0] and changes.litter.tolist() == [1, 1]
    for text, said in (
        ("year\n2001\n", "expected a column year, and warming_k or litter_factor"),
        ("year,warming_k\n2001,1\n2003,1\n", "got year 2003 in row 2"),
        ("year,warming_k\n2001.5,1\n", "got year 2001.5 in row 1"),
        ("year,litter_factor\n2001,-1\n", "litter_factor must lie in .* got -1 in row"),
        ("year,warming_k\n2001,280\n", r"warming_k must lie in .* got 280 in row 1"),
        ("year,warming_k\n2001,much\n", "warming_k is 'much' in row 1"),
        ("year,warming_k\n", "future.csv has no rows"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            load(text)
        assert "future.csv" in str(caught.value)


def test_zones_are_those_of_latitudes():
    assert zones([64.8, 30.0, -5.0, -30.1]).tolist() == [
        *("north", "tropics", "tropics", "south")
    ]


@pytest.fixture
def column(jaxsoc, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSOC_DATA", raising=False)

    def call(*options):
        place = ("--lat", 64.8, "--lon=-147.7", "--model", "clm5", "--out", tmp_path)
        return *jaxsoc("column", *place, *options), tmp_path

    return call


@pytest.mark.slow
def test_a_place_warms_and_is_drawn(column):
    code, printed, errors, out = column(
        *("--years", 4, "--warming", 4, "--litter", 2, "--ramp", 2),
        *("--radiocarbon", "--until", 1854),
    )
    assert code == 0, errors
    assert "1849 to 1854" in printed
    with xr.open_dataset(out / "column.nc") as found:
        assert found.year.values.tolist() == [1849, 1850, 1851, 1852, 1853, 1854]
        # Years without change come first, from 1850 on.
        assert found.run_warming.values[1:].tolist() == [0, 2, 4, 4, 4]
        assert found.run_litter_factor.values[1:].tolist() == [1, 1.5, 2, 2, 2]
        assert np.abs(found.run_balance_error).max() <= 1e-12
        assert -10 < found.run_atmosphere_delta.values[0, 4] < 0
        soil = found.run_soil_stock.values[0, 0, :, -1]
        np.testing.assert_allclose(soil[1], soil[0], rtol=1e-9)
    for name in ("run", "radiocarbon", "radiocarbon_profiles"):
        assert (out / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--warming", 3), "warming is of a run: say of how many --years"),
        (("--until", 1990), "until is of a run"),
        (("--years", 0), "years"),
        (("--years", 5, "--litter", -1), "litter"),
        (("--radiocarbon", "--until", 2030), "radiocarbon is known to 2015"),
        (("--years", 5, "--until", 3), "a run of 5 years cannot end in 3"),
        (("--radiocarbon", "--until", 1700), "cannot end in 1700"),
        (("--changes", "none.csv"), "no such file: 'none.csv'"),
        (("--changes", "none.csv", "--warming", 3), "warming and changes both tell"),
    ],
)
def test_runs_that_do_not_fit_are_refused(column, options, said):
    code, _, errors, _ = column(*options, "--dry-run")
    assert code == 2 and said in errors, errors
    assert errors.count("\n") == 1


def dated_profiles(folder, places):
    """A file of profiles with radiocarbon: names, latitudes and years of sampling."""
    rows = [
        f"{name},{lat},10,{year},{top},{top + 20},{20 - top / 10},1.3,{100 - 5 * top}"
        for name, lat, year in places
        for top in (0, 20, 40)
    ]
    columns = "lat,lon,year,depth_top_cm,depth_bottom_cm,soc_g_kg,bulk_density_g_cm3"
    path = folder / "mine.csv"
    path.write_text("\n".join((f"profile_id,{columns},d14c_permil", *rows)) + "\n")
    return path


@pytest.mark.slow
def test_of_many_places_the_middle_is_shown(jaxsoc, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSOC_DATA", raising=False)
    places = [(f"p{at}", 10 + at, 1990) for at in range(13)]
    path = dated_profiles(tmp_path, places)
    code, printed, errors = jaxsoc(
        *("column", "--profiles", path, "--model", "clm5", "--radiocarbon"),
        *("--until", 1980, "--years", 20, "--warming", 2, "--out", tmp_path),
    )
    assert code == 0, errors
    assert "middle of all places" in printed and "nan" not in printed
    with xr.open_dataset(tmp_path / "column.nc") as found:
        # Sampled after the run: compared with its last year.
        assert set(found.observed_year.values) == {1980}
    for name in ("run", "radiocarbon", "radiocarbon_profiles", "radiocarbon_observed"):
        assert (tmp_path / f"{name}.png").exists()


@pytest.mark.slow
def test_radiocarbon_stands_beside_what_was_measured(jaxsoc, tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSOC_DATA", raising=False)
    places = ("north", 50, 1996), ("south", -40, 2009)
    path = dated_profiles(tmp_path, places)
    code, _, errors = jaxsoc(
        *("column", "--profiles", path, "--model", "clm5", "--radiocarbon"),
        *("--out", tmp_path),
    )
    assert code == 0, errors
    with xr.open_dataset(tmp_path / "column.nc") as found:
        assert found.observed_year.values.tolist() == [1996, 2009]
        own = found.run_soil_delta.sel(model="clm5").isel(profile=1).sel(year=2009)
        said = found.modelled_radiocarbon.sel(model="clm5").values[3]
        assert own.values[:6].min() <= said <= own.values[:6].max()
        off = found.modelled_radiocarbon[0] - found.observed_radiocarbon
        np.testing.assert_allclose(found.radiocarbon_bias[0], off.mean(), rtol=1e-12)
    for name in ("radiocarbon_profiles", "radiocarbon_observed"):
        assert (tmp_path / f"{name}.png").exists()
