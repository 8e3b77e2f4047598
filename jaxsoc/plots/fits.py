"""The figure of fits. `results` is the dataset of `jaxsoc.infer.fits_table`."""

import math
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, LINES, styled, title

PANELS = 12  # on one figure

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
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _panel(ax, one):
    quantity, time = str(one.quantity.values), one.time.values
    if quantity in ("respiration", "mean_rate"):
        label, factor = "respiration\n(µgC g$^{-1}$ d$^{-1}$)", 24_000.0
    else:
        drawn = quantity.replace("co2", "respired CO$_2$")
        label, factor = f"{drawn}\n(mgC g$^{{-1}}$)", 1.0
    ax.plot(
        time,
        factor * one.observed.values,
        "o",
        label="data",
        color=BLACK,
        markersize=2.0 if np.isfinite(time).sum() > _MANY else 3.5,
        markerfacecolor="none",
        markeredgewidth=0.7,
        zorder=3,
    )
    for name, line in zip(one.kinetics.values, cycle(LINES)):
        predicted = factor * one.predicted.sel(kinetics=name).values
        ax.plot(time, predicted, label=title(str(name)), **line)
    best = one.r_squared.values
    said = ", ".join("–" if np.isnan(r) else f"{r:.3f}" for r in np.atleast_1d(best))
    ax.set_title(f"{one.series.values}\nR² {said}", fontsize=8.5)
    ax.set_ylabel(label)
