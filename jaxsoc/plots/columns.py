"""Pictures of soil columns: carbon with depth, and what it is made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from . import style

_KILO = 1e-3

# In the order of pools: those of litter, which are thin, then those of soil.
_AREAS = (
    *(style.ORANGE, "#F0E442", style.GREEN, style.PURPLE),
    *(style.BLUE, style.SKY, style.VERMILION, "#999999"),
)


@style.styled
def figure_columns(
    bounds: Any, columns: Mapping[str, Mapping[str, Any]], *, deepest: float = 2.0
) -> Figure:
    """Carbon with depth of one or several columns, and the pools of each.

    **Arguments:** `bounds`: ends of the layers from the surface down, m, one more than
    there are layers; `columns`: label of a model or parameter set -> pool -> carbon by
    layer, gC m⁻³; `deepest`: end of the axis, m.
    """
    count = len(columns)
    figure = Figure(figsize=(2.9 * (count + 1) + 0.4, 4.4))
    axes = figure.subplots(1, count + 1, sharex=True, sharey=True, squeeze=False)[0]
    total = lambda pools: np.sum([np.asarray(c) for c in pools.values()], axis=0)
    totals = {label: total(pools) for label, pools in columns.items()}
    _draw_profiles(axes[0], bounds, totals)
    axes[0].set(title="sum of the pools", ylabel="depth (m)")
    axes[0].set_xlim(left=0.0)  # of all: the widths of pools sum to these totals
    for ax, (label, pools) in zip(axes[1:], columns.items(), strict=True):
        _draw_pools(ax, bounds, pools)
        ax.set_title(label)
    for ax in axes:
        ax.set(xlabel="carbon (kgC m$^{-3}$)", ylim=(deepest, 0.0))
        ax.legend(loc="lower right")
    return figure


def _draw_profiles(ax, bounds, carbon):
    """Carbon with depth, one line each."""
    middles = 0.5 * (np.asarray(bounds)[1:] + np.asarray(bounds)[:-1])
    for index, (label, values) in enumerate(carbon.items()):
        line = style.LINES[index % len(style.LINES)]
        ax.plot(_KILO * np.asarray(values), middles, label=style.title(label), **line)


def _draw_pools(ax, bounds, pools):
    """Pools by layer, side by side, so that their widths sum to all carbon."""
    edges = np.repeat(np.asarray(bounds), 2)[1:-1]
    left = np.zeros_like(edges)
    for index, (name, values) in enumerate(pools.items()):
        right = left + _KILO * np.repeat(np.asarray(values), 2)
        area = {"label": style.title(name), "facecolor": _AREAS[index % len(_AREAS)]}
        ax.fill_betweenx(edges, left, right, edgecolor="white", linewidth=0.3, **area)
        left = right
    ax.plot(left, edges, color=style.BLACK, linewidth=0.8)
