"""The figure of fits. `results` is the dataset of `jaxsoc.io.fits_to_dataset`."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import BLACK, LINES, styled, title

PANELS = 12  # on one figure

# What is drawn of a quantity: label, and factor from mgC/g or mgC/g/h.
_RATE = ("respiration\n(µgC g$^{-1}$ d$^{-1}$)", 24_000.0)
_DRAWN = {
    "substrate": ("substrate\n(mgC g$^{-1}$)", 1.0),
    "biomass": ("biomass\n(mgC g$^{-1}$)", 1.0),
    "co2": ("respired CO$_2$\n(mgC g$^{-1}$)", 1.0),
    "respiration": _RATE,
    "mean_rate": _RATE,
}
_MANY = 60  # points, above which they are drawn small


def figures_fits(results: Any) -> list[Figure]:
    """Data and fits, one panel per series, as many figures as it takes."""
    count = results.sizes["series"]
    return [
        _figure_fits(results.isel(series=slice(first, first + PANELS)))
        for first in range(0, count, PANELS)
    ]


@styled
def _figure_fits(results):
    count = results.sizes["series"]
    columns = min(3, count)
    rows = math.ceil(count / columns)
    wide = 3.4 if count > 1 else 5.0
    figure = Figure(figsize=(wide * columns + 0.6, 2.3 * rows + 0.9))
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, ax in enumerate(axes.flat):
        if row < count:
            _panel(ax, results.isel(series=row))
        else:
            ax.set_axis_off()
    for ax in axes.flat[max(0, count - columns) : count]:
        ax.set_xlabel("time (days)")
    _legend(figure, results)
    return figure


def _panel(ax, one):
    label, factor = _DRAWN[str(one.quantity.values)]
    time = one.time.values
    ax.plot(
        time,
        factor * one.observed.values,
        "o",
        color=BLACK,
        markersize=2.0 if np.isfinite(time).sum() > _MANY else 3.5,
        markerfacecolor="none",
        markeredgewidth=0.7,
        zorder=3,
    )
    for index, name in enumerate(one.kinetics.values):
        line = LINES[index % len(LINES)]
        ax.plot(time, factor * one.predicted.sel(kinetics=name).values, **line)
    best = one.r_squared.values
    said = ", ".join("–" if np.isnan(r) else f"{r:.3f}" for r in np.atleast_1d(best))
    ax.set_title(f"{one.series.values}\nR² {said}", fontsize=8.5)
    ax.set_ylabel(label)


def _legend(figure, results):
    points: dict[str, Any] = {
        "color": BLACK,
        "marker": "o",
        "linestyle": "",
        "mfc": "none",
    }
    handles = [Line2D([], [], label="data", markersize=4, **points)]
    for index, name in enumerate(results.kinetics.values):
        line = LINES[index % len(LINES)]
        handles.append(Line2D([], [], label=title(str(name)), **line))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
    )
