"""Pictures of places: maps of sites and of fields, and profiles observed and modelled.

`coastline.npz`: made with Natural Earth (1:110 million, naturalearthdata.com, public
domain), from github.com/martynafford/natural-earth-geojson at 0b9a6ceb, CC0 1.0.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from . import style

PANELS = 12  # on one page

_KILO = 1e-3
_COLOURS = "viridis"
_NO_DATA = "#E4E4E4"
_MARKERS = "osD^vP"
_DENSITY = "carbon density (kgC m$^{-3}$)"

Observed = tuple[Any, Any, Any]
"""Upper and lower ends of layers, m, and the carbon density in them, gC m⁻³."""


@cache
def coastline() -> np.ndarray:
    """Longitudes and latitudes of the world's coasts, lines parted by NaN."""
    with np.load(Path(__file__).with_name("coastline.npz")) as file:
        return file["line"]


@style.styled
def figure_sites(
    lat: Any,
    lon: Any,
    values: Any = None,
    *,
    sets: Sequence[str] | None = None,
    numbers: Any = None,
    label: str = "",
    log: bool = False,
    title: str = "",
) -> Figure:
    """A map of sites, coloured by a value or by the set that they belong to.

    **Arguments:** `lat`, `lon`: degrees; `values`: by site, NaN where there are none,
    which is drawn as a cross; `sets`: of each site, drawn where no values are;
    `numbers`: that the area of each point grows with, as of profiles; `label`: of the
    values, with their unit; `log`: whether colours are of the logarithm.
    """
    figure, ax = _world(title)
    lat, lon = np.asarray(lat, float), _west_east(lon)
    area = np.full(lat.shape, 14.0)
    if numbers is not None:
        area = 5.0 + 120.0 * np.asarray(numbers, float) / np.max(numbers)
    if values is not None:
        values = np.asarray(values, float)
        known = np.isfinite(values) & ((values > 0) | (not log))
        drawn = ax.scatter(
            *(lon[known], lat[known], area[known], values[known]),
            cmap=_COLOURS,
            norm=_norm(values[known], log),
            edgecolor=style.BLACK,
            linewidth=0.3,
            zorder=3,
        )
        _scale(figure, ax, drawn, values[known], label)
        if not known.all():
            ax.plot(lon[~known], lat[~known], "x", color=style.GREY, label="no value")
            ax.legend(loc="lower left")
        return figure
    named = np.asarray(["sites"] * lat.size if sets is None else sets, str)
    for index, name in enumerate(dict.fromkeys(named)):
        here, line = named == name, style.LINES[index % len(style.LINES)]
        ax.scatter(
            *(lon[here], lat[here], area[here]),
            color=line["color"],
            marker=_MARKERS[index % len(_MARKERS)],
            edgecolor="white",
            linewidth=0.3,
            alpha=0.85,
            label=f"{name} ({here.sum()})",
            zorder=3,
        )
    figure.legend(loc="outside lower center", ncols=6)
    return figure


@style.styled
def figure_map(
    lat: Any,
    lon: Any,
    field: Any,
    *,
    label: str = "",
    log: bool = False,
    title: str = "",
) -> Figure:
    """A map of a field on a grid; cells without data are grey.

    **Arguments:** `lat`, `lon`: middles of the cells along each axis, degrees; `field`:
    (lat, lon); `label`: of it, with its unit; `log`: colours are of the logarithm.
    """
    figure, ax = _world(title)
    lon = _west_east(lon)
    order = np.argsort(lon)
    field = np.asarray(field, float)[:, order]
    values = field[np.isfinite(field) & ((field > 0) | (not log))]
    ax.set_facecolor(_NO_DATA)
    drawn = ax.pcolormesh(
        *(lon[order], np.asarray(lat, float), field),
        shading="nearest",
        cmap=_COLOURS,
        norm=_norm(values, log),
        rasterized=True,
    )
    _scale(figure, ax, drawn, values, label)
    return figure


@style.styled
def figure_profiles(
    bounds: Any,
    panels: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Observed]]],
    *,
    page: int = 0,
    deepest: float = 2.0,
    log: bool = False,
    label: str = _DENSITY,
    factor: float = _KILO,
) -> Figure:
    """Carbon density with depth, modelled as lines and observed as bars.

    What can be negative, such as Δ14C, is observed as upright lines.

    **Arguments:** `bounds`: ends of the models' layers from the surface down, m;
    `panels`: by title, which names the place and says where the climate is idealised:
    carbon density by layer of each model, gC m⁻³, NaN where it has no steady state,
    and what was observed, by label; `page`: which `PANELS` of them; `deepest`: end of
    the axis, m; `log`: whether the axis of density is logarithmic; `label`: of the
    values times `factor`, with their unit, by default of gC m⁻³.
    """
    shown = list(panels.items())[page * PANELS : (page + 1) * PANELS]
    figure, axes, columns = style.panels(
        len(shown), (5.2, 5.0), (2.7, 3.0), sharey=True
    )
    labels: dict[str, Any] = {}
    for place, (ax, (name, (models, observed))) in enumerate(
        zip(axes.flat, shown, strict=False)
    ):
        shallow = np.asarray(bounds)[:-1] < deepest
        lines = {m: np.where(shallow, x, np.nan) for m, x in models.items()}
        _profile(ax, bounds, lines, observed, factor, label == _DENSITY)
        ax.set_title(name, fontsize=10 if len(shown) == 1 else 8.5)
        ax.set_ylim(deepest, 0.0)
        if log:
            ax.set_xscale("log")
        elif label == _DENSITY:
            ax.set_xlim(left=0.0)
        if place % columns == 0:
            ax.set_ylabel("depth (m)")
        if place >= len(shown) - columns:
            ax.set_xlabel(label)
        labels |= {said: drawn for drawn, said in zip(*_legend(ax), strict=True)}
    options = {"ncols": min(4, len(labels)), "handlelength": 3.0}
    figure.legend(labels.values(), labels, loc="outside lower center", **options)
    return figure


def _legend(ax):
    return ax.get_legend_handles_labels()


def _profile(ax, bounds, models, observed, factor, bars):
    middles = 0.5 * (np.asarray(bounds)[1:] + np.asarray(bounds)[:-1])
    none = []
    for index, (name, values) in enumerate(models.items()):
        line = style.LINES[index % len(style.LINES)]
        line = {**line, "label": style.title(name), "zorder": 3}
        ax.plot(factor * np.asarray(values), middles, **line)
        if not np.isfinite(values).any():
            none.append(style.title(name))
    for index, (name, (top, bottom, density)) in enumerate(observed.items()):
        top, bottom = np.asarray(top, float), np.asarray(bottom, float)
        shade = ("#BDBDBD", "#8C8C8C", "#D9D9D9")[index % 3]
        x = factor * np.asarray(density, float)
        if not bars:
            shade = (style.BLACK, "#555555", "#8C8C8C")[index % 3]
            ax.vlines(x, top, bottom, color=shade, linewidth=3.5, label=name)
            continue
        ax.barh(
            top,
            x,
            bottom - top,
            align="edge",
            color=shade,
            edgecolor="#555555",
            linewidth=0.6,
            label=name,
        )
    if none:
        said = f"no steady state:\n{', '.join(none)}"
        at = {"transform": ax.transAxes, "ha": "right", "va": "bottom", "fontsize": 8}
        ax.text(0.97, 0.03, said, **at)


@style.styled
def figure_observed_modelled(
    observed: Any,
    modelled: Mapping[str, Any],
    *,
    scores: Mapping[str, str] | None = None,
    label: str = _DENSITY,
    factor: float = _KILO,
    log: bool = True,
) -> Figure:
    """Modelled against observed values, a panel for each model.

    **Arguments:** `observed`: in gC m⁻³, or times `factor` in what the `label` says;
    `modelled`: by model, NaN where it has none; `scores`: a line for each legend, as
    "NSE 0.31, of logarithms 0.45"; `log`: whether axes are logarithmic.
    """
    count = len(modelled)
    figure = Figure(figsize=(3.4 * count + 0.5, 4.3))
    axes = figure.subplots(1, count, squeeze=False, sharex=True, sharey=True)[0]
    x = factor * np.asarray(observed, float)
    every = np.concatenate([x, *(factor * np.asarray(y) for y in modelled.values())])
    shown = lambda values: np.isfinite(values) & ((values > 0) | (not log))
    every = every[shown(every)]
    low, high = (every.min(), every.max()) if every.size else (0.1, 1.0)
    ends = np.array([low / 1.3, high * 1.3])
    if not log:
        ends = np.array([low, high]) + 0.05 * (high - low) * np.array([-1.0, 1.0])
    for index, (ax, (name, values)) in enumerate(
        zip(axes, modelled.items(), strict=True)
    ):
        y = factor * np.asarray(values, float)
        known = shown(x) & shown(y)
        words = f"{known.sum()} values"
        words += f"\n{scores[name]}" if scores and name in scores else ""
        dots = {"s": 10, "alpha": 0.45, "linewidth": 0, "label": words}
        colour = style.LINES[index % len(style.LINES)]["color"]
        ax.scatter(x[known], y[known], color=colour, **dots)
        ax.plot(ends, ends, color=style.BLACK, linewidth=0.9, label="1 : 1")
        scale = "log" if log else "linear"
        ax.set(xscale=scale, yscale=scale, xlim=ends, ylim=ends, aspect="equal")
        ax.set(title=style.title(name), xlabel=f"observed {label}")
        ax.legend(loc="upper left", fontsize=8)
    axes[0].set_ylabel(f"modelled {label}")
    return figure


def _world(title):
    figure = Figure(figsize=(8.6, 4.7))
    ax = figure.subplots()
    ax.plot(*coastline().T, color="#555555", linewidth=0.6, zorder=2)
    ax.set(xlim=(-180, 180), ylim=(-60, 84), aspect="equal", title=title)
    ax.set(xlabel="longitude (°E)", ylabel="latitude (°N)")
    ax.set(xticks=range(-180, 181, 60), yticks=range(-60, 90, 30))
    return figure, ax


def _west_east(lon):
    """Longitudes from -180 to 180 degrees."""
    return (np.asarray(lon, float) + 180.0) % 360.0 - 180.0


def _norm(values, log):
    """Colours from the 1st to the 99th percentile: the rare do not hide the rest."""
    low, high = np.percentile(values, (1, 99)) if values.size else (0.1, 1.0)
    return (LogNorm if log else Normalize)(low, high if high > low else low + 1.0)


def _scale(figure, ax, drawn, values, label):
    """The colours, with arrows at the ends beyond which there are values."""
    low, high = np.min(values, initial=np.inf), np.max(values, initial=-np.inf)
    ends = (low < drawn.norm.vmin, high > drawn.norm.vmax)
    extend = {(1, 1): "both", (1, 0): "min", (0, 1): "max"}.get(ends, "neither")
    how = {"location": "bottom", "shrink": 0.6, "aspect": 35, "extend": extend}
    figure.colorbar(drawn, ax=ax, label=label, **how)
