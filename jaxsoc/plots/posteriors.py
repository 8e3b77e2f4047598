"""Pictures of posteriors: profiles with their bands, constants, convergence."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

PANELS = 12  # on one page
PAIRS = 6  # constants of a site that are shown in pairs at most

_KILO = 1e-3
_BAND = 0.25  # opacity
_BARS = 24
_DENSITY = "carbon density (kgC m$^{-3}$)"


@style.styled
def figure_posterior_profiles(
    depths: Any, panels: Mapping[str, tuple[Any, tuple[Any, Any, Any]]]
) -> Figure:
    """Profiles of soil carbon by posteriors, beside what was measured.

    **Arguments:** `depths`: of the nodes, m; `panels`: by site, the lower end of a
    band, the middle and the upper end, each by layer, gC m⁻³; and of the layers that
    were measured their upper and lower ends, m, and the density in them, gC m⁻³.
    """
    shown, depths = list(panels.items()), np.asarray(depths)
    figure, axes, columns = style.panels(len(shown), (4.4, 4.8), (2.5, 2.9))
    how, seen = style.line(style.BLUE), style.line(style.VERMILION, linewidth=2.4)
    for place, (ax, (name, (bands, layers))) in enumerate(
        zip(axes.flat, shown, strict=False)
    ):
        low, middle, high = _KILO * np.asarray(bands)
        ax.fill_betweenx(
            depths, low, high, color=how["color"], alpha=_BAND, linewidth=0
        )
        ax.plot(middle, depths, **how)
        for top, bottom, density in zip(*layers, strict=True):
            ax.plot([_KILO * density] * 2, [top, bottom], **seen)
        deepest = max(1.0, float(np.nanmax(layers[1], initial=1.0)))
        ax.set_ylim(1.15 * deepest, 0.0)
        inside = depths <= 1.15 * deepest
        ax.set_xlim(0.0, 1.1 * max(high[inside].max(), _KILO * np.nanmax(layers[2])))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title(name, fontsize=10 if len(shown) == 1 else 8.5)
        if place % columns == 0:
            ax.set_ylabel("depth (m)")
        if place >= len(shown) - columns:
            ax.set_xlabel(_DENSITY)
    lines = {
        "posterior median, band of 90 %": how | {"linewidth": 3.0, "alpha": 0.7},
        "measured": seen,
    }
    style.legend_below(figure, lines)
    return figure


@style.styled
def figure_marginals(
    draws: Mapping[str, Any],
    priors: Mapping[str, tuple[Any, Any]],
    beside: Mapping[str, float] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Marginal posteriors of a site's constants, each on its prior.

    **Arguments:** `draws`: by constant; `priors`: values and densities of each;
    `beside`: customary values; `labels`: of axes, with units.
    """
    names = list(draws)
    figure, axes, columns = style.panels(len(names), (4.4, 3.4), (2.3, 1.75))
    posterior = style.line(style.BLUE)
    prior, customary = style.line(style.GREY, "--"), style.CONTROL_LINE
    for ax, name in zip(axes.flat, names, strict=False):
        values, density = (np.asarray(x) for x in priors[name])
        ax.hist(
            np.ravel(draws[name]),
            bins=np.linspace(values.min(), values.max(), _BARS + 1),
            density=True,
            color=posterior["color"],
            alpha=0.55,
        )
        ax.plot(values, density, **prior)
        if beside and name in beside:
            ax.axvline(beside[name], **customary)
        ax.set_yticks([])
        ax.set_ylim(bottom=0.0)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelsize=7.5)
        ax.set_xlabel((labels or {}).get(name, style.title(name)), fontsize=7.5)
    if title:
        figure.suptitle(title, fontsize=10)
    lines = {"posterior": posterior | {"linewidth": 5.0, "alpha": 0.55}}
    lines |= {"prior": prior} | ({"customary value": customary} if beside else {})
    style.legend_below(figure, lines)
    return figure


@style.styled
def figure_pairs(
    draws: Mapping[str, Any],
    *,
    labels: Mapping[str, str] | None = None,
    title: str = "",
) -> Figure:
    """Draws of a site's constants against each other: what compensates what.

    The constants whose correlations are the strongest, at most six.

    **Arguments:** `draws`: by constant; `labels`: of axes, with units.
    """
    every = np.stack([np.ravel(x) for x in draws.values()])
    strength = np.abs(np.corrcoef(every) - np.eye(len(every))).max(axis=1)
    chosen = np.sort(np.argsort(-strength)[:PAIRS])
    names, every = [list(draws)[i] for i in chosen], every[chosen]
    count = len(names)
    figure = Figure(figsize=(1.45 * count + 0.6, 1.4 * count + 0.5))
    axes: Any = figure.subplots(count, count, squeeze=False, sharex="col")
    some = np.linspace(0, every.shape[1] - 1, min(800, every.shape[1])).astype(int)
    for row, column in np.ndindex(count, count):
        ax = axes[row, column]
        if column > row:
            ax.set_axis_off()
            continue
        if row == column:
            ax.hist(every[row], bins=_BARS, color=style.BLUE, alpha=0.55)
            ax.set_yticks([])
        else:
            x, y = every[column][some], every[row][some]
            ax.plot(x, y, ".", color=style.BLUE, markersize=1.6, alpha=0.5)
            r = np.corrcoef(every[column], every[row])[0, 1]
            ax.set_title(f"r = {r:.2f}", fontsize=7, pad=1.5)
            ax.yaxis.set_major_locator(MaxNLocator(3))
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelsize=6.5)
        said = [(labels or {}).get(n, style.title(n)) for n in names]
        if row == count - 1:
            ax.set_xlabel(said[column], fontsize=6.5)
        if column == 0 and row > 0:
            ax.set_ylabel(said[row], fontsize=6.5)
    figure.align_labels()
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


@style.styled
def figure_convergence(
    rhat: Any, contraction: Any, names: Any, *, limit: float = 1.03
) -> Figure:
    """How well sites were sampled, and what their data say of each constant.

    **Arguments:** `rhat`, `contraction`: (site, constant); `names`: of the constants;
    `limit`: of R-hat, below which a site counts as converged.
    """
    rhat, contraction = np.asarray(rhat), np.asarray(contraction)
    figure = Figure(figsize=(9.2, 0.19 * len(names) + 2.2))
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.5))
    worst = np.sort(rhat.max(axis=1))
    share = 100 * (1 + np.arange(worst.size)) / worst.size
    left.step(worst, share, where="post", color=style.BLUE)
    left.axvline(limit, **style.CONTROL_LINE)
    left.set_xlabel("largest R-hat of a site")
    left.set_ylabel("sites up to that (%)")
    left.set_ylim(0, 102)
    below = 100 * np.mean(worst < limit)
    left.set_title(f"{below:.0f} % of {worst.size} sites below {limit:g}")
    order = np.argsort(np.median(contraction, axis=0))
    low, middle, high = np.quantile(contraction[:, order], (0.1, 0.5, 0.9), axis=0)
    place = np.arange(order.size)
    right.hlines(place, low, high, color=style.SKY, linewidth=3.0)
    right.plot(middle, place, "o", color=style.BLUE, markersize=4)
    right.axvline(0.0, **style.CONTROL_LINE)
    right.set_yticks(place, [style.title(str(names[i])) for i in order], fontsize=7.5)
    right.set_xlabel("contraction: 1 - posterior / prior variance")
    right.set_title("median over sites, and 10 to 90 %")
    return figure
