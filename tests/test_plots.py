"""Figures: axes with units, legends, every case drawn."""

import numpy as np
import pytest

from jaxsoc import plots
from jaxsoc.experiments import Design, Supplied, draw_member, run
from jaxsoc.io import to_dataset
from jaxsoc.physics.grids import CellGrid
from jaxsoc.plots import style


@pytest.fixture(scope="module")
def results():
    design = Design(
        kinetics=("multiplicative", "linear"),
        grid=CellGrid((16, 16)),
        duration=96.0,
        every=12.0,
    )
    return design, to_dataset(run(design))


def drawn(figure):
    return [ax for ax in figure.axes if ax.axison]


def test_pools_show_every_case_with_units_and_a_legend(results):
    _, dataset = results
    figure = plots.figure_pools(dataset, "multiplicative")
    axes = drawn(figure)
    assert len(axes) == 9
    # three correlations and the control; uniform pools and the control
    assert [len(ax.lines) for ax in axes[:3]] == [4, 2, 4]
    assert all("mgC g" in axes[i].get_ylabel() for i in (0, 3, 6))
    assert all(ax.get_xlabel() == "time (days)" for ax in axes[6:])
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        "positive",
        "negative",
        "uncorrelated",
        "uniform pools",
        "homogeneous",
    ]
    values = dataset["substrate"].sel(
        kinetics="multiplicative", heterogeneity="full", correlation="negative"
    )
    np.testing.assert_array_equal(axes[2].lines[1].get_ydata(), values.values[0])


def test_split_adds_up_in_every_panel(results):
    _, dataset = results
    figure = plots.figure_split(dataset, "multiplicative")
    axes = drawn(figure)
    assert len(axes) == 7
    for ax in axes:
        total, mean_field, higher = (line.get_ydata() for line in ax.lines[:3])
        np.testing.assert_allclose(mean_field + higher, total, rtol=1e-12)
        assert ax.get_xlabel() == "time (days)"
    assert len(figure.legends[0].get_texts()) == 3


def test_specific_respiration_against_substrate(results):
    _, dataset = results
    axes = drawn(plots.figure_specific_respiration(dataset))
    assert len(axes) == 6
    assert axes[0].get_ylabel() == "SGR = R / B (h$^{-1}$)"
    assert "substrate" in axes[-1].get_xlabel()
    # of multiplicative kinetics, the homogeneous soil is a straight line (Fig. 9)
    S, rate = axes[0].lines[-2].get_data()
    np.testing.assert_allclose(rate / S, 0.69 * 7.45e-10 * 206_250, rtol=1e-12)


def test_fields_and_parameters(results):
    design, _ = results
    member = draw_member(design)
    figure = plots.figure_fields(
        np.asarray(member.fields.biomass), member.fields.substrate
    )
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(titles) == 4 and "dead cells" in titles[0]
    assert figure.axes[0].get_xlabel() == "x (mm)"
    rate = member.constants["multiplicative"].rate, 1.5e-4, "1/h/(mgC/g)"
    figure = plots.figure_parameters({"multiplicative": {"rate": rate}})
    (ax,) = drawn(figure)
    assert ax.get_xlabel() == "rate (1/h/(mgC/g))"
    heights = [patch.get_height() for patch in ax.patches]
    assert sum(heights) == pytest.approx(100)


def test_fields_of_one_axis_and_of_three_are_drawn():
    for shape in ((2,), (3, 4, 5)):
        field = np.arange(np.prod(shape), dtype=float).reshape(shape)
        figure = plots.figure_fields(field, {"given": field, "even": field * 0 + 1})
        assert "r = 1.00" in figure.axes[1].get_title()
        assert "uniform" in figure.axes[2].get_title()


@pytest.mark.slow
def test_controls_that_differ_are_all_drawn():
    supplied = Supplied(
        np.full((4, 4), 1.0), {"poor": np.eye(4) + 1, "rich": 50 * np.eye(4) + 1}
    )
    design = Design(kinetics=("multiplicative",), duration=48.0, every=12.0)
    figure = plots.figure_pools(to_dataset(run(design, supplied)), "multiplicative")
    biophysical = drawn(figure)[0]
    assert len(biophysical.lines) == 4  # two soils and a control of each


def test_long_runs_are_drawn_in_years(results):
    _, dataset = results
    long = dataset.assign_coords(time=dataset.time * 1000)
    axes = drawn(plots.figure_pools(long, "linear"))
    assert axes[-1].get_xlabel() == "time (years)"
    assert axes[0].lines[0].get_xdata()[-1] == pytest.approx(4000 / 365)


def test_lines_differ_in_dashes_and_not_in_colour_alone():
    lines = list(style.CORRELATION_LINES.values())
    assert len({line["linestyle"] for line in lines}) == 3
    assert len({line["color"] for line in lines}) == 3


def test_saved_picture_is_whole_or_absent(results, tmp_path):
    _, dataset = results
    figure = plots.figure_specific_respiration(dataset)
    path = plots.save_figure(figure, tmp_path / "r.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
