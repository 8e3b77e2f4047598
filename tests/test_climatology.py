"""Climate by place: grids, datasets and tables; what is missing is said, not filled."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from jaxsoc.io import climatology_from_dataset, load_climatology
from jaxsoc.physics.site_forcing import Choices, forcing_of

MONTH = np.arange(1, 13)
YEAR = 5 + 14 * np.cos(2 * np.pi * (MONTH - 7) / 12)


def dataset(**changed):
    """A grid of 2 x 3 cells, one of which has no climate."""
    rng = np.random.default_rng(0)
    air = 280 + rng.normal(0, 5, (12, 2, 3))
    air[:, 0, 0] = np.nan
    rain = rng.uniform(1e-5, 1e-4, (12, 2, 3))
    dims, place = ("month", "lat", "lon"), ("lat", "lon")
    variables = {
        "tas": (dims, air, {"units": "K"}),
        "pr": (dims, rain, {"units": "kg m-2 s-1"}),
        "sand": (place, np.full((2, 3), 0.4), {"units": "1"}),
        "npp": (place, np.full((2, 3), 0.3), {"units": "kgC m-2 yr-1"}),
    }
    coords = {"month": MONTH, "lat": [50.0, 51.0], "lon": [10.0, 11.0, 12.0]}
    return xr.Dataset(variables | changed, coords)


def rows(**changed):
    table = {
        "month": MONTH,
        "latitude": 50.0,
        "longitude": 10.0,
        "tas (K)": YEAR + 273.15,
    }
    return pd.DataFrame(table | {"pr (mm/month)": 60.0, "sand": 45.0} | changed)


def written(tmp_path, table):
    table.to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def test_units_are_those_of_a_site():
    given = dataset()
    found = climatology_from_dataset(given).at(51.0, 12.0)
    there = given.sel(lat=51.0, lon=12.0)
    assert np.allclose(found.air_temperature, there.tas - 273.15)
    assert np.allclose(found.precipitation, there.pr * 86400 * 365 / 12)
    assert np.isclose(found.sand, 40) and np.isclose(found.npp, 300)
    assert np.isnan(found.clay) and found.land_cover == 0
    assert found.climate_distance == 0


def test_a_cell_without_climate_is_not_taken_and_the_distance_is_said():
    climatology = climatology_from_dataset(dataset())
    found = climatology.at(50.0, 10.1)
    arc = 6371.0088 * np.radians(0.9) * np.cos(np.radians(50))
    assert found.climate_distance == pytest.approx(arc, rel=1e-3)
    assert np.isclose(climatology.distance(50.0, 10.1), found.climate_distance)
    sentence = r"no climate within 50 km of latitude 50, longitude 10.1: .* 64 km away"
    with pytest.raises(ValueError, match=sentence):
        climatology.at(50.0, 10.1, within=50.0)
    with pytest.raises(ValueError, match=r"latitude -30, .* \(1 of 2 places\)"):
        climatology.at([51.0, -30.0], [11.0, 11.0])


def test_the_nearest_cell_lies_across_the_date_line():
    wide = dataset().assign_coords(lon=[179.5, 0.0, 90.0], lat=[0.0, 1.0])
    found = climatology_from_dataset(wide)
    assert found.distance(1.0, -179.5) == pytest.approx(111.2, rel=1e-3)
    assert found.distance(1.0, 359.9) < 12


def test_many_places_are_as_one_by_one_and_known_things_come_first():
    climatology = climatology_from_dataset(dataset())
    latitude, longitude = np.array([50.2, 51.4]), np.array([11.9, 10.2])
    many = climatology.at(latitude, longitude, sand=[np.nan, 70.0], clay=10.0)
    for place, (lat, lon) in enumerate(zip(latitude, longitude, strict=True)):
        one = climatology.at(lat, lon)
        assert np.array_equal(many.air_temperature[place], one.air_temperature)
        assert many.climate_distance[place] == one.climate_distance
    assert np.allclose(many.sand, (40, 70)) and np.all(many.clay == 10)


def test_years_are_averaged_and_sites_need_no_grid():
    years = pd.date_range("2001-01-01", periods=36, freq="MS")
    rng = np.random.default_rng(1)
    air = rng.normal(10, 5, (36, 2))
    variables = {
        "t": (
            ("time", "place"),
            air,
            {"units": "degC", "standard_name": "air_temperature"},
        ),
        "pr": (("time", "place"), np.ones((36, 2)), {"units": "mm/day"}),
        "lat": ("place", [10.0, 20.0]),
        "lon": ("place", [30.0, 30.0]),
    }
    given = xr.Dataset(variables, {"time": years})
    found = climatology_from_dataset(given).at(20.0, 30.0)
    assert np.allclose(found.air_temperature, air[:, 1].reshape(3, 12).mean(axis=0))
    assert np.allclose(found.precipitation, 365 / 12)
    fewer = given.isel(time=slice(0, 10))
    with pytest.raises(ValueError, match="dataset: t lacks November, December"):
        climatology_from_dataset(fewer)


def test_a_file_is_read_back(tmp_path):
    dataset().to_netcdf(tmp_path / "grid.nc", engine="h5netcdf")
    found = load_climatology(tmp_path / "grid.nc").at(51.0, 12.0)
    direct = climatology_from_dataset(dataset()).at(51.0, 12.0)
    assert np.array_equal(found.air_temperature, direct.air_temperature)
    times = pd.date_range("2001-01-01", periods=12, freq="MS")
    timed = dataset().rename(month="time").assign_coords(time=times)
    timed.to_netcdf(tmp_path / "time.nc", engine="h5netcdf")
    found = load_climatology(tmp_path / "time.nc").at(51.0, 12.0)
    assert np.array_equal(found.air_temperature, direct.air_temperature)


def test_a_table_of_sites_is_read(tmp_path):
    both = pd.concat([rows(), rows(latitude=-20.0, **{"tas (K)": 300.0})])
    shuffled = both.sample(frac=1, random_state=0)
    found = load_climatology(written(tmp_path, shuffled)).at(
        [50.0, -20.0], [10.0, 10.0]
    )
    assert np.allclose(found.air_temperature[0], YEAR)
    assert np.allclose(found.air_temperature[1], 26.85)
    assert np.allclose(found.precipitation, 60) and np.all(found.sand == 45)
    assert found.label == "own.csv"


def test_what_was_measured_in_the_soil_takes_the_place_of_the_climate(tmp_path):
    levels = {
        "tsoil_0_7cm_c": np.linspace(1.0, 12.0, 12),
        "stl2 (K)": np.full(12, 280.15),
        "vwc_0_7cm": 0.3,
        "swvl2": np.linspace(0.2, 0.4, 12),
    }
    years = [rows(year=year, **levels) for year in (2001, 2002)]
    years[1]["tsoil_0_7cm_c"] += 2.0
    table = pd.concat([*years, rows(latitude=-20.0, year=2001)])
    found = load_climatology(written(tmp_path, table)).at([50.0, -20.0], [10.0, 10.0])
    np.testing.assert_allclose(
        found.soil_temperature[0], [np.linspace(2.0, 13.0, 12), np.full(12, 7.0)]
    )
    np.testing.assert_allclose(found.soil_water[0, 1], np.linspace(0.2, 0.4, 12))
    assert np.isnan(found.soil_temperature[1]).all()
    forcing = forcing_of(found, Choices(texture=(45.0, 20.0)))
    at = np.searchsorted(forcing.column.nodes, 0.175)
    # At a depth that was measured it is what was measured, where it was.
    assert float(np.ptp(forcing.temperature[0, at])) < 1.0
    assert float(np.ptp(forcing.temperature[1, at])) > 5.0
    lost = table.drop(columns="stl2 (K)")
    with pytest.raises(ValueError, match="soil_temperature_2 is missing"):
        load_climatology(written(tmp_path, lost))


def test_the_published_soils_of_era5_are_read(data):
    path = data / "srdb_respiration" / "era5_monthly_forcing.csv.gz"
    found = load_climatology(path)
    table = pd.read_csv(path)
    sites = table.groupby(["lat", "lon"], sort=False)
    assert len(found.climate.latitude) == len(sites)
    (lat, lon), own = next(iter(sites))
    site = found.at(lat, lon, sand=40.0, clay=20.0)
    means = own.groupby("month")[["tsoil_0_7cm_c", "tsoil_7_28cm_c"]].mean().T
    np.testing.assert_allclose(site.soil_temperature, means, rtol=1e-12)
    forcing = forcing_of(site)
    assert np.isfinite(forcing.temperature).all() and np.isfinite(forcing.water).all()


@pytest.mark.parametrize(
    ("sentence", "table"),
    [
        (
            "own.csv has no column precipitation or pr",
            rows().drop(columns="pr (mm/month)"),
        ),
        (
            "own.csv has no column precipitation or pr.*found .*, rain mm per month,",
            rows().rename(columns={"pr (mm/month)": "rain\nmm per\n\tmonth"}),
        ),
        ("own.csv: the site at 50, 10 lacks March", rows().drop(index=2)),
        (
            "row for each of 12 months, got 13, the month of row 13",
            rows().iloc[[*range(12), 4]],
        ),
        (
            r"own.csv: latitude must lie in \[-90, 90\] degrees north, got 95 in row 1",
            rows(latitude=95.0),
        ),
        (
            r"own.csv: air_temp.* \[-90, 60\] °C, got 2.* in row 1; kelvin",
            rows().rename(columns={"tas (K)": "tas (degC)"}),
        ),
        (
            "own.csv: air_temperature is empty in row 5",
            rows(**{"tas (K)": np.where(MONTH == 5, np.nan, 280)}),
        ),
        (
            "'tas .furlong.' is in unknown units, expected one of degC",
            rows().rename(columns={"tas (K)": "tas (furlong)"}),
        ),
        ("own.csv: pr .mm/month. is 'wet' in row 1", rows(**{"pr (mm/month)": "wet"})),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, sentence, table):
    with pytest.raises(ValueError, match=sentence) as caught:
        load_climatology(written(tmp_path, table))
    assert "\n" not in str(caught.value)


def test_celsius_that_are_kelvin_are_refused(tmp_path):
    table = rows().rename(columns={"tas (K)": "tas"})
    with pytest.raises(ValueError, match="air_temperature must lie in .* kelvin need"):
        load_climatology(written(tmp_path, table)).at(50.0, 10.0)


@pytest.mark.parametrize(
    ("sentence", "given"),
    [
        (
            "grid: no variable air_temperature or tas: found npp",
            dataset().drop_vars("tas"),
        ),
        ("grid: no coordinate latitude", dataset().rename(lat="breadth")),
        (
            "grid: pr has unknown units 'in', expected one of 'mm month-1'",
            dataset(pr=(("month", "lat", "lon"), np.ones((12, 2, 3)), {"units": "in"})),
        ),
        (
            "grid: tas has no units",
            dataset(tas=(("month", "lat", "lon"), np.ones((12, 2, 3)))),
        ),
        ("grid: tas lacks August", dataset().drop_sel(month=8)),
        (
            "grid: tas has the dimensions lat, lon, expected month or time",
            dataset(tas=(("lat", "lon"), np.ones((2, 3)), {"units": "K"})),
        ),
        (
            r"grid: latitude must lie in \[-90, 90\] .* got 95",
            dataset().assign_coords(lat=[50.0, 95.0]),
        ),
        ("grid: no cell has a climate", dataset().where(dataset().lat > 60)),
        (
            "grid: month must be months from 1 to 12",
            dataset().assign_coords(month=MONTH - 1),
        ),
        (
            "grid: tas has 11 entries along month, which has no values",
            dataset().isel(month=slice(11)).drop_vars("month"),
        ),
    ],
)
def test_a_dataset_that_cannot_be_read_is_refused(sentence, given):
    with pytest.raises(ValueError, match=sentence):
        climatology_from_dataset(given, name="grid")


def test_no_file_is_said(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSOC_DATA", raising=False)
    with pytest.raises(ValueError, match="no climatology: set JAXSOC_DATA"):
        load_climatology()
    with pytest.raises(ValueError, match="no such file: .*absent.csv"):
        load_climatology(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="no such file: .*climate_1deg_monthly.npz"):
        load_climatology(tmp_path)


def test_the_published_grids(data):
    climatology = load_climatology(data / "global_grids")
    fairbanks = climatology.at(64.8, -147.7)
    assert -6 < fairbanks.air_temperature.mean() < 0
    assert 150 < fairbanks.precipitation.sum() < 500
    assert fairbanks.climate_distance < 80 and fairbanks.sand > 0
    with pytest.raises(ValueError, match="no climate within 300 km of latitude 0, "):
        climatology.at(0.0, -30.0)


def test_production_that_is_hidden_is_flagged(data):
    sites = pd.read_csv(data / "srdb_respiration" / "annual.csv.gz")
    sites = sites[sites.grid_clim_dist_km < 100].drop_duplicates("site_id")
    climatology = load_climatology(data)
    found = climatology.at(sites.lat.to_numpy(), sites.lon.to_numpy())
    # That file's cells are those of our nearest ones with production.
    known = np.isfinite(sites.grid_npp_gC_m2_yr.to_numpy())
    hidden, there = np.asarray(found.npp_hidden), np.asarray(found.npp_casa)
    assert 0 < np.sum(hidden == 1) < np.sum(hidden == 0)
    same = np.isclose(there, sites.grid_npp_gC_m2_yr, rtol=1e-3)
    assert np.mean(same[known]) > 0.95
    assert np.all(
        found.npp_distance[hidden == 1] > found.npp_distance[hidden == 0].min()
    )
