"""Maps and profiles: every site and value is drawn, with units and a legend."""

from pathlib import Path

import numpy as np
import pytest

from jaxsoc import plots
from jaxsoc.plots import places

BOUNDS = (0.0, 0.1, 0.4, 1.0)
OBSERVED = (np.array([0.0, 0.3]), np.array([0.3, 0.8]), np.array([20e3, 8e3]))
MODELS = {
    "CLM5": np.array([30e3, 12e3, 4e3]),
    "COMPAS": np.full(3, np.nan),
    "MIMICS": np.array([25e3, 9e3, 7e3]),
}


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_the_coastline_is_of_the_world_and_small():
    line = places.coastline()
    known = line[~np.isnan(line[:, 0])]
    assert line.dtype == np.float32 and len(known) > 5000
    assert np.all(np.abs(known) <= [180, 90])
    # Land and sea of which there is no doubt: the coasts nearest to them.
    away = lambda lon, lat: np.min(np.hypot(*(known - np.float32([lon, lat])).T))
    assert away(-9.5, 38.7) < 1 and away(151.3, -33.8) < 1 and away(-150, 0) > 15
    path = Path(places.__file__).with_name("coastline.npz")
    assert path.stat().st_size <= 60_000
    with np.load(path) as file:
        assert "Natural Earth" in str(file["provenance"])


def test_sites_are_drawn_where_they_are(tmp_path):
    values = np.array([1.0, 10.0, np.nan, 0.0])
    lat, lon = [64.8, -10.0, 0.0, 50.0], [212.3, 20.0, 100.0, -60.0]
    label = "soil carbon (kgC m$^{-2}$)"
    figure = plots.figure_sites(lat, lon, values, label=label, log=True)
    ax, scale = figure.axes
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), [[-147.7, 64.8], [20.0, -10.0]])
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), [100.0, -60.0])
    assert scale.get_xlabel() == label and texts(ax.get_legend()) == ["no value"]
    assert ax.get_ylabel() == "latitude (°N)"
    assert plots.save_figure(figure, tmp_path / "sites.png").stat().st_size > 20_000


def test_sets_differ_in_colour_and_shape_and_numbers_in_size():
    sets, numbers = ["raca", "sodah", "raca"], [1, 4, 16]
    figure = plots.figure_sites([1, 2, 3], [4, 5, 6], sets=sets, numbers=numbers)
    first, second = figure.axes[0].collections
    assert texts(figure.legends[0]) == ["raca (2)", "sodah (1)"]
    assert not np.array_equal(first.get_facecolor(), second.get_facecolor())
    assert len(first.get_paths()[0]) != len(second.get_paths()[0])
    assert first.get_sizes()[0] < second.get_sizes()[0] < first.get_sizes()[1]


def test_a_field_is_drawn_from_west_to_east():
    field = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, np.nan, 8.0]])
    lon = [0.0, 90.0, 180.0, 270.0]
    figure = plots.figure_map([-30.0, 30.0], lon, field, label="NPP (gC)")
    ax, scale = figure.axes
    (mesh,) = ax.collections
    drawn = mesh.get_array()
    np.testing.assert_array_equal(drawn[0], [3.0, 4.0, 1.0, 2.0])
    assert np.ma.getmaskarray(np.ma.masked_invalid(drawn))[1].tolist() == [
        *(True, False, False, False)
    ]
    assert scale.get_xlabel() == "NPP (gC)"
    plots.figure_map([-30.0, 30.0], lon, 0 * field, log=True)  # none above zero


def test_a_profile_is_drawn_beside_what_was_observed():
    title = "64.8 °N, 147.7 °W, idealised climate"
    figure = plots.figure_profiles(BOUNDS, {title: (MODELS, {"observed": OBSERVED})})
    (ax,) = figure.axes
    assert ax.get_title() == title and ax.get_ylabel() == "depth (m)"
    assert "kgC m" in ax.get_xlabel() and ax.get_ylim() == (2.0, 0.0)
    assert texts(figure.legends[0]) == [*MODELS, "observed"]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [30.0, 12.0, 4.0])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.05, 0.25, 0.7])
    bars = [(p.get_y(), p.get_height(), p.get_width()) for p in ax.patches]
    np.testing.assert_allclose(bars, [(0.0, 0.3, 20.0), (0.3, 0.5, 8.0)])
    assert [text.get_text() for text in ax.texts] == ["no steady state:\nCOMPAS"]
    dashes = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(dashes) == 3


def test_many_profiles_fill_pages():
    panels = {f"profile {i}": (MODELS, {"observed": OBSERVED}) for i in range(14)}
    first = plots.figure_profiles(BOUNDS, panels)
    assert [ax.get_title() for ax in first.axes] == [*panels][:12]
    second = plots.figure_profiles(BOUNDS, panels, page=1, log=True)
    assert [ax.get_title() for ax in second.axes] == [*panels][12:]
    assert second.axes[0].get_xscale() == "log"


def test_observed_and_modelled_values_meet_on_one_line(rng):
    observed = rng.lognormal(9, 1, 30)
    modelled = {"CLM5": 2 * observed, "COMPAS": np.where(observed > 8e3, 8e3, np.nan)}
    scores = {"CLM5": "NSE 0.31"}
    figure = plots.figure_observed_modelled(observed, modelled, scores=scores)
    left, right = figure.axes
    x, y = left.collections[0].get_offsets().T
    np.testing.assert_allclose(y, 2 * x)
    np.testing.assert_allclose(np.sort(x), np.sort(1e-3 * observed))
    assert texts(left.get_legend()) == ["30 values\nNSE 0.31", "1 : 1"]
    assert texts(right.get_legend())[0] == f"{int(np.sum(observed > 8e3))} values"
    assert left.get_xlabel().startswith("observed carbon density (kgC")
    assert left.get_xscale() == left.get_yscale() == "log"


@pytest.mark.parametrize("longitude", [-180.0, 180.0, 359.9])
def test_longitudes_run_once_around(longitude):
    figure = plots.figure_sites([0.0], [longitude])
    assert -180 <= figure.axes[0].collections[0].get_offsets()[0, 0] < 180
