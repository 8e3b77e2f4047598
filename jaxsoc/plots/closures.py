"""The figure of closures. `results` is the dataset of `experiments.forecasts`."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from . import style
from .style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, title

_ALL_CELLS = style.line(BLACK, linewidth=2.6)
_NULL = style.line(GREY, (0, (6, 2)), linewidth=1.2)
# Colour and dashes tell them apart, and the usual closures look alike everywhere.
_USUAL = {
    "mean_field": style.CONTROL_LINE,
    "two_strata": style.line(SKY, "-."),
    "log_normal": style.line(PURPLE, (0, (5, 1, 1, 1))),
    "functions_of_means": style.line(GREEN, (0, (3, 1, 1, 1, 1, 1))),
    "learned": style.line(ORANGE, "--"),
    "representative_statistics": style.line(BLUE, (0, (5, 1.5))),
    "representative_cells": style.line(VERMILION, (0, (2.5, 1))),
}
_OTHERS = tuple(
    style.line(colour, dashes, linewidth=1.1)
    for dashes in ((0, (1, 1)), "-", (0, (8, 1, 1, 1)))
    for colour in (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY)
)
_DECADES = 300.0  # of errors in a panel, above which only powers of ten are named
_HEADROOM = 1.15  # times the largest rate: a closure that runs away leaves the panel


@style.styled
def figure_closures(results: Any, core: int = 0) -> Figure:
    """What closures predict of a core, and their errors on all cores.

    Left: respiration over time, all cells, mean field and closures. Right, where
    respiration is known: the error of every core (dots) and the median (bar), with the
    null, the mean of the training cores, as a line. A closure whose run left what a
    soil can be has no error.

    **Arguments:** `core`: place of the one that is drawn over time.
    """
    known = bool(np.isfinite(results.distributed.values).any())
    lines = closure_lines(style.names(results, "closure"))
    figure = Figure(figsize=(10.2 if known else 6.6, 4.3))
    ratios = (1.25, 1) if known else (1,)
    left, *right = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[
        0
    ]
    for ax in right:
        _errors(ax, results, lines)
    _over_time(left, results.isel(core=core), lines)
    called = {"all cells (distributed)": _ALL_CELLS} if known else {}
    called |= {title(name): line for name, line in lines.items()}
    if "null_error" in results:
        called["null: mean of training cores"] = _NULL
    style.legend_below(figure, called, ncols=4 if known else 2, handlelength=3.4)
    said = [results.attrs[name] for name in ("heterogeneity", "correlation")]
    law = f"{title(str(results.attrs['kinetics']))} kinetics"
    figure.suptitle(", ".join([law, *filter(None, said)]))
    return figure


def closure_lines(names: list[str]) -> dict[str, style.Line]:
    """Line styles of closures by name, no two alike."""
    more = iter(_OTHERS * (1 + len(names) // len(_OTHERS)))
    return {name: _USUAL.get(name) or next(more) for name in names}


def _over_time(ax, one, lines):
    time, whole = one.time.values, one.distributed.values
    drawn = [whole]
    for name, line in lines.items():
        values = one.respiration.sel(closure=name).values
        ax.plot(time, values, **line)
        if np.isnan(values).any():
            # A cross where the run left what a soil can be, if it ever was that.
            at = np.flatnonzero(np.isfinite(values))[-1:]
            ax.plot(time[at], values[at], "x", color=line["color"], ms=7, mew=2)
        elif name == "mean_field" or not np.isfinite(whole).any():
            drawn.append(values)
    # Under the others, so that a closure that is right can be seen on it.
    ax.plot(time, whole, zorder=1.9, **_ALL_CELLS)
    finite = [np.nanmax(v) for v in drawn if np.isfinite(v).any()]
    ax.set_ylim(0, _HEADROOM * max(finite) if finite else None)
    ax.set(xlim=(time[0], time[-1]), xlabel="time (days)")
    ax.set_ylabel(style.label("respiration R", one.respiration))
    ax.set_title(f"core {one.core.values}")


def _errors(ax, results, lines):
    percent, left = 100 * results.error.values, results.left.values
    gone, middle = np.isfinite(left).any(axis=1), np.median(percent, axis=1)
    names = list(lines)
    # Best on top, those without an error at the bottom.
    order = sorted(range(len(names)), key=lambda i: (gone[i], middle[i]))
    for place, i in enumerate(order):
        color = lines[names[i]]["color"]
        if gone[i]:
            many = np.isfinite(left[i]).sum()
            said = f"left on day {np.nanmin(left[i]):.3g} ({many} cores)"
            across, box = ax.get_yaxis_transform(), {"fc": "white", "ec": "none"}
            how = {"va": "center", "ha": "right", "bbox": box | {"pad": 1.0}}
            ax.text(0.98, place, said, color=color, transform=across, **how)
            continue
        row = np.maximum(percent[i], 1e-6)
        ax.plot(row, np.full(row.size, place), "o", color=color, ms=4, alpha=0.6)
        ax.plot(max(middle[i], 1e-6), place, "|", color=color, ms=17, mew=2.4)
    if "mean_field" in names:
        thin = style.CONTROL_LINE | {"linewidth": 1.2}
        ax.axvline(middle[names.index("mean_field")], **thin)
    if "null_error" in results:
        ax.axvline(100 * np.median(results.null_error.values), **_NULL)
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    few = (1, 2, 5) if high / low < _DECADES else (1,)
    ax.xaxis.set_major_locator(LogLocator(subs=few, numticks=20))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(names)), [title(names[i]) for i in order])
    ax.set_ylim(len(names) - 0.4, -0.6)
    cores = f"{results.sizes['core']} cores"
    ax.set(title=cores, xlabel="error: RMSE / peak of R (%)")
