"""The figure of fits. `results` is the dataset of `jaxsoc.infer.fits_table`."""

import math
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .style import BLACK, LINES, styled, title

PANELS = 12  # on one page

_MANY = 60  # points, above which they are drawn small


@styled
def figure_fits(results: Any, page: int = 0) -> Figure:
    """Data and fits, one panel per series, `PANELS` of them on a page."""
    results = results.isel(series=slice(page * PANELS, (page + 1) * PANELS))
    count = results.sizes["series"]
    columns = min(3, count)
    rows = math.ceil(count / columns)
    wide = 3.4 if count > 1 else 5.0
    figure = Figure(figsize=(wide * columns + 0.6, 2.3 * rows + 0.9))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    for row, ax in enumerate(axes.flat[:count]):
        _panel(ax, results.isel(series=row))
        if row >= count - columns:
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
    size = 2.0 if np.isfinite(time).sum() > _MANY else 3.5
    dots = {"markersize": size, "markerfacecolor": "none", "markeredgewidth": 0.7}
    observed = factor * one.observed.values
    ax.plot(time, observed, "o", label="data", color=BLACK, zorder=3, **dots)
    for name, line in zip(one.kinetics.values, cycle(LINES)):
        predicted = factor * one.predicted.sel(kinetics=name).values
        ax.plot(time, predicted, label=title(str(name)), **line)
    best = one.r_squared.values
    said = ", ".join("–" if np.isnan(r) else f"{r:.3f}" for r in np.atleast_1d(best))
    ax.set_title(f"{one.series.values}\nR² {said}", fontsize=8.5)
    ax.set_ylabel(label)
