"""The figures of a run. `results` is the dataset of `jaxsoc.io.to_dataset`.

Statistics over members have no axis of them; otherwise lines are means over it.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from . import style
from .style import BLACK, BLUE, ORANGE, VERMILION, label, names, title, unit

Fields = Mapping[str, Any]  # arrays by name, of any library

_POOLS = {
    "substrate": "substrate S",
    "biomass": "biomass B",
    "respiration": "respiration R",
}


_UNIFORM_LINE = style.line(ORANGE)


def _figure(rows: int, columns: int, *, width: float, height: float, **options: Any):
    # Wide enough for title and legend beside a single column, too.
    figure = Figure(figsize=(max(width * columns + 0.6, 6.2), height * rows + 0.7))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@style.styled
def figure_fields(biomass: Any, substrate: Fields, cell_edge: float = 50.0) -> Figure:
    """Initial fields: biomass, and substrate by correlation (mgC/g)."""
    biomass = np.asarray(biomass)
    dead = 100 * np.mean(biomass == 0)
    panels = {f"biomass\n{dead:.0f} % dead cells": biomass}
    for name, field in substrate.items():
        panels[f"substrate, {name}\n{_correlation(field, biomass)}"] = field
    figure, axes = _figure(1, len(panels), width=3.1, height=2.2)
    for ax, (name, field) in zip(axes[0], panels.items(), strict=True):
        image = draw_map(ax, field, cell_edge, cmap="viridis")
        left = "y (mm)" if ax is axes[0, 0] else ""
        ax.set(title=name, xlabel="x (mm)", ylabel=left)
        figure.colorbar(image, ax=ax, shrink=0.85, label="mgC g$^{-1}$")
    figure.suptitle("Initial fields")
    return figure


def draw_map(ax: Any, field: Any, cell_edge: float, **options: Any) -> Any:
    """A field of one or two axes, or the first slice of a volume, in millimetres.

    **Arguments:** `cell_edge`: µm; `options`: of `Axes.imshow`, which makes the image.
    """
    field = np.atleast_2d(np.asarray(field, dtype=float))
    field = field.reshape(-1, *field.shape[-2:])[0]
    width, depth = (n * cell_edge / 1e3 for n in field.shape[::-1])
    ax.grid(False)
    return ax.imshow(
        field,
        extent=(0, width, 0, depth),
        origin="lower",
        interpolation="nearest",
        aspect="equal" if min(field.shape) > 1 else "auto",
        **options,
    )


def _correlation(field: Any, biomass: np.ndarray) -> str:
    field = np.asarray(field)
    if np.ptp(field) == 0 or np.ptp(biomass) == 0:
        return "uniform"
    return f"r = {np.corrcoef(field.ravel(), biomass.ravel())[0, 1]:.2f} with biomass"


def _kinds(results: Any) -> list[str]:
    """Kinds of heterogeneity that get a panel: all but the homogeneous control."""
    kinds = names(results, "heterogeneity")
    return [kind for kind in kinds if kind != "homogeneous"] or kinds


def _values(results, variable, *case):
    """Mean over members; of kinetics, heterogeneity and correlation, in this order."""
    axes = dict(zip(("kinetics", "heterogeneity", "correlation"), case, strict=True))
    found = results[variable].sel(**axes)
    return (found.mean("member") if "member" in found.dims else found).values


def _spread(results):
    if "quantile" not in results.dims:
        return ""
    low, high = (100 * float(results["quantile"][end]) for end in (0, -1))
    return f"\nmean over members, bands from {low:g} to {high:g} % of them"


def _has_control(results):
    return "homogeneous" in results.heterogeneity.values


def _cases(results: Any, kinetics: str, kind: str) -> list[str]:
    """Correlations to draw: one, if a soil that starts uniform is the same for all."""
    every = names(results, "correlation")
    R = results.respiration.sel(kinetics=kinetics, heterogeneity=kind)
    return every[:1] if alike(R, kind) else every


def alike(rate: Any, kind: str) -> bool:
    """Whether a soil starts uniform, and so is the same for all correlations.

    **Arguments:** `rate`: by correlation; `kind`: of heterogeneity.
    """
    values = rate.transpose("correlation", ...).values
    uniform = kind in ("biochemical", "homogeneous")
    return uniform and bool((values[:1] == values).all())


def _legend_of_cases(figure: Figure, results: Any) -> None:
    drawn = enumerate(names(results, "correlation"))
    lines = {name: style.correlation_line(name, i) for i, name in drawn}
    if "biochemical" in results.heterogeneity.values:
        lines["uniform pools"] = _UNIFORM_LINE
    if _has_control(results):
        lines["homogeneous"] = style.CONTROL_LINE
    style.legend_below(figure, lines, title="correlation of substrate with biomass")


def _draw_cases(ax, results, kinetics, kind, x, variable):
    """A variable of every case of a panel and of the homogeneous control.

    **Arguments:** `x`: times, else the name of the variable across, with a dot at the
    start. Bands are between the outer quantiles over members, where there are any.
    """
    drawn = [(kind, _UNIFORM_LINE if kind == "biochemical" else None)]
    if _has_control(results):
        drawn.append(("homogeneous", style.CONTROL_LINE))
    for one, known in drawn:
        for i, correlation in enumerate(_cases(results, kinetics, one)):
            case = kinetics, one, correlation
            line = known or style.correlation_line(correlation, i)
            color, values = line["color"], _values(results, variable, *case)
            if isinstance(x, str):
                across = _values(results, x, *case)
                ax.plot(across, values, **line)
                ax.plot(across[:1], values[:1], color=color, marker="o", markersize=4)
                continue
            ax.plot(x, values, **line)
            if f"{variable}_quantile" in results and known != style.CONTROL_LINE:
                low, *_, high = _values(results, f"{variable}_quantile", *case)
                ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


@style.styled
def figure_pools(results: Any, kinetics: str) -> Figure:
    """Pools and respiration over time, one column per kind of heterogeneity."""
    kinds = _kinds(results)
    figure, axes = _figure(
        len(_POOLS), len(kinds), width=3.2, height=2.0, sharex=True, sharey="row"
    )
    time, time_label = time_axis(results)
    for ax, (variable, kind) in zip(axes.flat, product(_POOLS, kinds), strict=True):
        _draw_cases(ax, results, kinetics, kind, time, variable)
    for kind, top, bottom in zip(kinds, axes[0], axes[-1], strict=True):
        top.set_title(f"{kind} heterogeneity")
        bottom.set_xlabel(time_label)
    for ax, (variable, words) in zip(axes[:, 0], _POOLS.items(), strict=True):
        ax.set_ylabel(label(words, results[variable], "\n"))
    _legend_of_cases(figure, results)
    spread = _spread(results)
    figure.suptitle(f"Pools and respiration, {title(kinetics)} kinetics{spread}")
    return figure


@style.styled
def figure_split(results: Any, kinetics: str) -> Figure:
    """Respiration split into the mean-field part and the higher-order part."""
    kinds, every = _kinds(results), names(results, "correlation")
    figure, axes = _figure(
        len(kinds), len(every), width=3.2, height=2.1, sharex=True, sharey="row"
    )
    lines = {
        "R of all cells": style.line(BLACK),
        "mean-field part, R at the means": style.line(BLUE, "--"),
        "higher-order part, the difference": style.line(VERMILION, "-."),
    }
    parts = "respiration", "respiration_mean_field", "respiration_higher_order"
    time, time_label = time_axis(results)
    for ax, (kind, correlation) in zip(axes.flat, product(kinds, every), strict=True):
        cases = _cases(results, kinetics, kind)
        if correlation not in cases:
            ax.set_axis_off()
            continue
        for variable, line in zip(parts, lines.values(), strict=True):
            values = _values(results, variable, kinetics, kind, correlation)
            ax.plot(time, values, **line)
        ax.axhline(0, color=BLACK, linewidth=0.6)
        said = "all correlations" if len(cases) < len(every) else correlation
        ax.set(title=f"{kind}, {said}", xlabel=time_label)
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(unit(results.respiration))
    style.legend_below(figure, lines)
    figure.suptitle(f"What the mean field misses, {title(kinetics)} kinetics")
    return figure


@style.styled
def figure_specific_respiration(results: Any) -> Figure:
    """Respiration per biomass against substrate: one curve if soils were well mixed."""
    laws, kinds = names(results, "kinetics"), _kinds(results)
    figure, axes = _figure(len(laws), len(kinds), width=3.2, height=2.2, sharey="row")
    variable = "specific_respiration_rate"
    for ax, (kinetics, kind) in zip(axes.flat, product(laws, kinds), strict=True):
        _draw_cases(ax, results, kinetics, kind, "substrate", variable)
        ax.set_title(f"{title(kinetics)}, {kind}")
    for ax in axes[-1]:
        ax.set_xlabel(label("substrate S", results.substrate))
    for ax in axes[:, 0]:
        ax.set_ylabel(label("SGR = R / B", results[variable]))
    _legend_of_cases(figure, results)
    figure.suptitle("Respiration per biomass against substrate (dots: start)")
    return figure


@style.styled
def figure_parameters(
    constants: Mapping[str, Mapping[str, tuple[Any, float, str]]],
) -> Figure:
    """Distribution over cells of every constant that varies.

    **Arguments:** kinetics -> constant -> field, nominal value, unit.
    """
    mean, uniform = style.line(VERMILION), style.line(BLACK, "--")
    columns = max(map(len, constants.values()))
    figure, axes = _figure(len(constants), columns, width=3.8, height=2.1)
    for ax in axes.flat:
        ax.set_axis_off()
    for row, (kinetics, fields) in zip(axes, constants.items(), strict=True):
        for ax, (name, given) in zip(row, fields.items(), strict=False):
            ax.set_axis_on()
            field, nominal = np.asarray(given[0]).ravel(), float(given[1])
            low, high = field.min(), field.max()
            wide = low > 0 and high / low > 20 and name == "rate"
            bins = np.geomspace(low, high, 41) if wide else np.linspace(low, high, 41)
            share = np.full(field.size, 100 / field.size)
            ax.hist(field, bins=bins, weights=share, color=BLUE, alpha=0.75)
            if wide:
                ax.set_xscale("log")
                ax.xaxis.set_minor_formatter(NullFormatter())
            ax.axvline(field.mean(), **mean)
            ax.axvline(nominal, **uniform)
            ax.set(title=title(kinetics), xlabel=f"{title(name)} ({given[2]})")
        row[0].set_ylabel("share of cells (%)")
    style.legend_below(figure, {"mean of the field": mean, "nominal constant": uniform})
    figure.suptitle("Kinetic constants over the cells")
    return figure


def time_axis(results: Any) -> tuple[np.ndarray, str]:
    """Times of results in days, or in years for long runs, and what to call them."""
    days = np.asarray(results.time.values, dtype=float)
    if days[-1] > 1000:
        return days / 365.0, "time (years)"
    return days, "time (days)"
