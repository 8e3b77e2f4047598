"""Pictures of soil columns: carbon with depth, and what it is made of."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import style

# Drawn down to here unless asked otherwise, m: there is little carbon below.
DEEPEST = 2.0
_KILO = 1e-3
_DENSITY = "carbon (kgC m$^{-3}$)"

# In the order of pools: those of litter, which are thin, then those of soil.
_AREAS = (
    *(style.ORANGE, "#F0E442", style.GREEN, style.PURPLE),
    *(style.BLUE, style.SKY, style.VERMILION, "#999999"),
)

POOLS = {
    "cwd": "coarse wood",
    "l1": "metabolic litter",
    "l2": "cellulose litter",
    "l3": "lignin litter",
    "s1": "active",
    "s2": "slow",
    "s3": "passive",
    "doc": "dissolved",
    "mic": "microbes",
    "enz": "enzymes",
    "msoc": "mineral",
}
"""Pools as a reader writes them."""


@style.styled
def figure_columns(
    bounds: Any, columns: Mapping[str, Mapping[str, Any]], *, deepest: float = DEEPEST
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
    draw_profiles(axes[0], bounds, totals, deepest=deepest)
    axes[0].set_title("sum of the pools")
    for ax, (label, pools) in zip(axes[1:], columns.items(), strict=True):
        draw_pools(ax, bounds, pools, deepest=deepest)
        ax.set_title(label)
        ax.set_ylabel("")
    return figure


def draw_profiles(
    ax: Axes, bounds: Any, carbon: Mapping[str, Any], *, deepest: float = DEEPEST
) -> None:
    """Carbon with depth, one line each.

    **Arguments:** `bounds`: ends of the layers from the surface down, m; `carbon`:
    label -> carbon by layer, gC m⁻³; `deepest`: end of the axis, m.
    """
    middles = 0.5 * (np.asarray(bounds)[1:] + np.asarray(bounds)[:-1])
    for index, (label, values) in enumerate(carbon.items()):
        line = style.LINES[index % len(style.LINES)]
        ax.plot(_KILO * np.asarray(values), middles, label=style.title(label), **line)
    _depth_axis(ax, deepest)


def draw_pools(
    ax: Axes, bounds: Any, pools: Mapping[str, Any], *, deepest: float = DEEPEST
) -> None:
    """Pools by layer, side by side, so that their widths sum to all carbon.

    **Arguments:** `bounds`: ends of the layers from the surface down, m; `pools`: name
    -> carbon by layer, gC m⁻³, the first next to the axis; `deepest`: end of the axis,
    m.
    """
    edges = np.repeat(np.asarray(bounds), 2)[1:-1]
    left = np.zeros_like(edges)
    for index, (name, values) in enumerate(pools.items()):
        right = left + _KILO * np.repeat(np.asarray(values), 2)
        ax.fill_betweenx(
            edges,
            left,
            right,
            label=POOLS.get(name, style.title(name)),
            facecolor=_AREAS[index % len(_AREAS)],
            edgecolor="white",
            linewidth=0.3,
        )
        left = right
    ax.plot(left, edges, color=style.BLACK, linewidth=0.8)
    _depth_axis(ax, deepest)


def _depth_axis(ax, deepest):
    ax.set_ylim(deepest, 0.0)
    ax.set_xlim(left=0.0)
    ax.set_xlabel(_DENSITY)
    ax.set_ylabel("depth (m)")
    ax.legend(loc="lower right")
