"""The figure of a budget. `results` is the dataset of `experiments.budgets`."""

from functools import partial
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from . import style
from .figures import alike, time_axis
from .style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, title

_TERMS = 8  # drawn by themselves; the others are summed
_SMALL = 0.02  # of the largest rate in the figure: not worth a line of its own
_MOST = 3.0  # times the rates: what a series that runs away may take of a panel

_RATES = ("exact", "mean_field")
_EXACT = style.line(BLACK, linewidth=2.0)
_REMAINDER = style.line(GREY, linewidth=2.6)
_OTHERS = style.line(GREY, (0, (1, 1)))
_SUMS = (
    style.line(PURPLE, "--", linewidth=1.9),
    style.line(SKY, "-.", linewidth=1.9),
    style.line(GREEN, (0, (5, 1, 1, 1, 1, 1)), linewidth=1.9),
)
_PUBLISHED = style.line(ORANGE, (0, (1, 1.2)))
# Colour and dashes tell them apart, and the usual terms look the same in every figure.
TERM_LINES = {
    "C_SB": style.line(VERMILION),
    "V_S": style.line(BLUE, "--"),
    "C_kS": style.line(GREEN, "-."),
    "C_kB": style.line(ORANGE, (0, (5, 1))),
    "M_kSB": style.line(BLUE, (0, (3, 1, 1, 1))),
    "V_B": style.line(SKY, "--"),
    "V_K": style.line(SKY),
    "C_SK": style.line(PURPLE, (0, (5, 1, 1, 1))),
    "C_kK": style.line(BLACK, (0, (1, 1))),
    "C_BK": style.line(GREEN, (0, (3, 1, 1, 1, 1, 1))),
}
_COLOURS = 2 * (ORANGE, BLUE, VERMILION, GREEN, PURPLE, SKY)
_DASHES, _MARKERS = 6 * ["-"] + 6 * ["--"], "osv^DxxDov^s"
_THIN = {"linewidth": 1.0, "markersize": 3.5, "markevery": 0.12}
_MORE_LINES = tuple(
    style.line(colour, dashes, marker=marker, **_THIN)
    for colour, dashes, marker in zip(_COLOURS, _DASHES, _MARKERS, strict=True)
)


@style.styled
def figure_budget(results: Any) -> Figure:
    """The distributed model against its series, and the terms of that, over time.

    A pair of panels for every kinetics and heterogeneity down, a correlation across:
    above, the rate of all cells, the mean field and the sums of the series by order;
    below, every term and the remainder after the highest order. Where pools start
    uniform, also the sum that leaves the moments of pools out, as published, which is
    right at the start alone. A series that runs away leaves its panel.

    **Arguments:** `results`: by kinetics, heterogeneity and correlation; select one
    kinetics or one heterogeneity first if there are many of both.
    """
    names = partial(style.names, results)
    rows = list(product(names("kinetics"), names("heterogeneity")))
    every = names("correlation")
    of = lambda k, h: results.sel(kinetics=k, heterogeneity=h)
    same = [alike(of(*row).exact, row[1]) for row in rows]
    columns = every[:1] if all(same) else every
    lines, rest = _term_lines(results)
    figure = Figure(figsize=(max(3.3 * len(columns) + 0.8, 7.4), 4.0 * len(rows) + 1.4))
    axes = figure.subplots(
        2 * len(rows), len(columns), squeeze=False, sharex=True, sharey="row"
    )
    time, time_label = time_axis(results)
    for row, (kinetics, kind) in enumerate(rows):
        of_row, uniform = of(kinetics, kind), same[row]
        pairs = axes[2 * row : 2 * row + 2]
        for (upper, lower), correlation in zip(pairs.T, columns, strict=True):
            if uniform and correlation != every[0]:
                upper.set_axis_off()
                lower.set_axis_off()
                continue
            case = of_row.sel(correlation=correlation)
            _rates(upper, time, case, published=kind == "biochemical")
            _terms(lower, time, case, lines, rest)
            said = "all correlations" if uniform and every[1:] else correlation
            upper.set_title(f"{_row_name(results, kinetics, kind)}, {said}")
        most = max(float(np.nanmax(np.abs(of_row[n].values))) for n in _RATES)
        for ax, what in zip(pairs[:, 0], ("rate", "terms"), strict=True):
            low, high = ax.get_ylim()
            ax.set_ylim(max(low, -_MOST * most), min(high, _MOST * most))
            ax.set_ylabel(style.label(what, results.exact, "\n"))
    for column in axes.T:
        last = [ax for ax in column if ax.axison][-1]
        last.set_xlabel(time_label)
        last.tick_params(labelbottom=True)
    ncols = 4 if len(columns) > 2 else 3
    called = _legend(results, lines, rest)
    style.legend_below(figure, called, ncols=ncols, handlelength=3.2)
    law = f", {title(rows[0][0])} kinetics" if results.sizes["kinetics"] == 1 else ""
    figure.suptitle(f"Mean {results.attrs['flux']} and what it is made of{law}")
    return figure


def _row_name(results, kinetics, kind):
    if results.sizes["kinetics"] == 1:
        return kind
    if results.sizes["heterogeneity"] == 1:
        return title(kinetics)
    return f"{title(kinetics)}, {kind}"


def _term_lines(results):
    """Lines of the terms that matter most, by name, and the names of the others."""
    most = lambda name: np.nan_to_num(np.abs(results.contribution.sel(term=name))).max()
    largest = {name: float(most(name)) for name in style.names(results, "term")}
    least = _SMALL * float(np.nanmax(np.abs(results.exact.values)))
    ranked = sorted(largest, key=lambda name: -largest[name])
    chosen = {name for name in ranked[:_TERMS] if largest[name] > least}
    more = iter(_MORE_LINES)
    drawn = [name for name in largest if name in chosen]
    lines = {name: TERM_LINES.get(name) or next(more) for name in drawn}
    left = [name for name in ranked if name not in chosen and largest[name] > 0]
    return lines, left


def _sum_line(order):
    return _SUMS[(order - 2) % len(_SUMS)]


def _rates(ax, time, case, *, published):
    for order in case.order.values[2:]:
        series = case.exact.values - case.remainder.sel(order=order).values
        ax.plot(time, series, **_sum_line(order))
    if published:
        ax.plot(time, case.without_pool_moments.values, **_PUBLISHED)
    ax.plot(time, case.mean_field.values, **style.CONTROL_LINE)
    # Under the others, so that a sum that is exact can be seen on it.
    ax.plot(time, case.exact.values, zorder=1.9, **_EXACT)


def _terms(ax, time, case, lines, rest):
    ax.axhline(0, color=BLACK, linewidth=0.6)
    ax.plot(time, case.remainder.values[:, -1], zorder=1.9, **_REMAINDER)
    for name, line in lines.items():
        values = case.contribution.sel(term=name).values
        # Zero throughout, or not a number: not a term of this case.
        if np.nanmax(np.abs(np.nan_to_num(values))) > 0:
            ax.plot(time, values, **line)
    if rest:
        values = np.nansum(case.contribution.sel(term=rest).values, axis=-1)
        ax.plot(time, values, **_OTHERS)


def _legend(results, lines, rest) -> dict[str, style.Line]:
    """What the lines are called, in the order of a legend."""
    last = int(results.order.values[-1])
    called = {"all cells (distributed)": _EXACT, "mean field": style.CONTROL_LINE}
    for order in range(2, last + 1):
        to = "" if order == 2 else f" to {order}"
        called[f"mean field + order 2{to}"] = _sum_line(order)
    if "biochemical" in results.heterogeneity.values:
        called[f"order {last}, no moments of pools"] = _PUBLISHED
    called |= {_as_math(name): line for name, line in lines.items()}
    if rest:
        called["other terms"] = _OTHERS
    return called | {f"remainder after order {last}": _REMAINDER}


def _as_math(name):
    kind, _, rest = name.partition("_")
    return f"${kind}_{{{rest}}}$"
