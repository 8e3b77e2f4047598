"""The figures of a run. `results` is the dataset of `jaxsoc.io.to_dataset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from .style import (
    BLACK,
    BLUE,
    CONTROL_LINE,
    ORANGE,
    VERMILION,
    correlation_line,
    styled,
    title,
)

Fields = Mapping[str, Any]  # arrays by name, of any library

_POOLS = {
    "substrate": "substrate S\n(mgC g$^{-1}$)",
    "biomass": "biomass B\n(mgC g$^{-1}$)",
    "respiration": "respiration R\n(mgC g$^{-1}$ h$^{-1}$)",
}


def _figure(rows: int, columns: int, *, width: float, height: float, **options: Any):
    # Wide enough for title and legend beside a single column, too.
    figure = Figure(figsize=(max(width * columns + 0.6, 6.2), height * rows + 0.7))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@styled
def figure_fields(biomass: Any, substrate: Fields, cell_edge: float = 50.0) -> Figure:
    """Initial fields: biomass, and substrate by correlation (mgC/g)."""
    biomass = np.asarray(biomass)
    dead = 100 * np.mean(biomass == 0)
    panels = {f"biomass\n{dead:.0f} % dead cells": biomass}
    for name, field in substrate.items():
        r = _correlation(np.asarray(field), biomass)
        panels[f"substrate, {name}\n{r}"] = np.asarray(field)
    figure, axes = _figure(1, len(panels), width=3.1, height=2.2)
    for ax, (name, field) in zip(axes[0], panels.items(), strict=True):
        field = np.atleast_2d(field)
        while field.ndim > 2:  # the first slice of a volume
            field = field[0]
        millimetres = [0, field.shape[1] * cell_edge / 1e3]
        depth = [0, field.shape[0] * cell_edge / 1e3]
        image = ax.imshow(
            field,
            cmap="viridis",
            extent=(*millimetres, *depth),
            origin="lower",
            interpolation="nearest",
            aspect="equal" if min(field.shape) > 1 else "auto",
        )
        ax.grid(False)
        ax.set(xlabel="x (mm)", ylabel="y (mm)" if ax is axes[0, 0] else "")
        colourbar = figure.colorbar(image, ax=ax, shrink=0.85)
        colourbar.set_label("mgC g$^{-1}$")
        ax.set_title(name)
    figure.suptitle("Initial fields")
    return figure


def _correlation(field: np.ndarray, biomass: np.ndarray) -> str:
    if np.ptp(field) == 0 or np.ptp(biomass) == 0:
        return "uniform"
    return f"r = {np.corrcoef(field.ravel(), biomass.ravel())[0, 1]:.2f} with biomass"


def _kinds(results: Any) -> list[str]:
    """Kinds of heterogeneity that get a panel: all but the homogeneous control."""
    names = [str(name) for name in results.heterogeneity.values]
    return [name for name in names if name != "homogeneous"] or names


def _series(results, variable, kinetics, kind, correlation):
    case = results[variable].sel(
        kinetics=kinetics, heterogeneity=kind, correlation=correlation
    )
    return case.mean("member").values


def _bands(results, variable, kinetics, kind, correlation):
    """Lowest and highest quantile over members, where there are any."""
    name = f"{variable}_quantile"
    if name not in results:
        return []
    case = {"kinetics": kinetics, "heterogeneity": kind, "correlation": correlation}
    values = results[name].sel(**case).mean("member")
    return [(values.isel(quantile=0).values, values.isel(quantile=-1).values)]


def _spread(results):
    if "quantile" not in results.dims:
        return ""
    low, high = (100 * float(results["quantile"][end]) for end in (0, -1))
    return f"\nmean over members, bands from {low:g} to {high:g} % of them"


def _correlations(results):
    return [str(name) for name in results.correlation.values]


def _has_control(results):
    return "homogeneous" in results.heterogeneity.values


def _cases(results: Any, kinetics: str, kind: str) -> list[str]:
    """Correlations to draw: one, if a soil that starts uniform is the same for all."""
    names = _correlations(results)
    case = {"kinetics": kinetics, "heterogeneity": kind}
    R = results.respiration.sel(**case).transpose("correlation", ...).values
    uniform = kind in ("biochemical", "homogeneous") and (R[:1] == R).all()
    return names[:1] if uniform else names


def _legend(figure: Figure, results: Any, control: str | None) -> None:
    lines = [
        Line2D([], [], label=name, **correlation_line(name, i))
        for i, name in enumerate(_correlations(results))
    ]
    if "biochemical" in results.heterogeneity.values:
        lines.append(Line2D([], [], label="uniform pools", **_UNIFORM_LINE))
    if control:
        lines.append(Line2D([], [], label=control, **CONTROL_LINE))
    figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=len(lines),
        title="correlation of substrate with biomass",
        frameon=False,
    )


_UNIFORM_LINE: dict[str, Any] = {"color": ORANGE, "linestyle": "-"}


def _line(kind, correlation, index):
    return (
        _UNIFORM_LINE if kind == "biochemical" else correlation_line(correlation, index)
    )


@styled
def figure_pools(results: Any, kinetics: str) -> Figure:
    """Pools and respiration over time, one column per kind of heterogeneity."""
    kinds = _kinds(results)
    figure, axes = _figure(
        len(_POOLS), len(kinds), width=3.2, height=2.0, sharex=True, sharey="row"
    )
    time = _time(results)
    for column, kind in enumerate(kinds):
        axes[0, column].set_title(f"{kind} heterogeneity")
        for row, (variable, label) in enumerate(_POOLS.items()):
            ax = axes[row, column]
            for i, correlation in enumerate(_cases(results, kinetics, kind)):
                values = _series(results, variable, kinetics, kind, correlation)
                line = _line(kind, correlation, i)
                ax.plot(time.values, values, **line)
                for band in _bands(results, variable, kinetics, kind, correlation):
                    ax.fill_between(
                        time.values, *band, color=line["color"], alpha=0.2, linewidth=0
                    )
            for control in _controls(results, kinetics, variable):
                ax.plot(time.values, *control, **CONTROL_LINE)
            ax.set_ylabel(label if column == 0 else "")
        axes[-1, column].set_xlabel(time.label)
    _legend(figure, results, "homogeneous" if _has_control(results) else None)
    spread = _spread(results)
    figure.suptitle(f"Pools and respiration, {title(kinetics)} kinetics{spread}")
    return figure


@styled
def figure_split(results: Any, kinetics: str) -> Figure:
    """Respiration split into the mean-field part and the higher-order part."""
    kinds, names = _kinds(results), _correlations(results)
    figure, axes = _figure(
        len(kinds), len(names), width=3.2, height=2.1, sharex=True, sharey="row"
    )
    parts: dict[str, tuple[str, dict[str, Any]]] = {
        "respiration": ("R of all cells", {"color": BLACK, "linestyle": "-"}),
        "respiration_mean_field": (
            "mean-field part, R at the means",
            {"color": BLUE, "linestyle": "--"},
        ),
        "respiration_higher_order": (
            "higher-order part, the difference",
            {"color": VERMILION, "linestyle": "-."},
        ),
    }
    time = _time(results)
    for row, kind in enumerate(kinds):
        for column, correlation in enumerate(names):
            ax = axes[row, column]
            cases = _cases(results, kinetics, kind)
            if correlation not in cases:
                ax.set_axis_off()
                continue
            for variable, (_, line) in parts.items():
                values = _series(results, variable, kinetics, kind, correlation)
                ax.plot(time.values, values, **line)
            ax.axhline(0, color=BLACK, linewidth=0.6)
            one = len(cases) < len(names)
            ax.set_title(f"{kind}, {'all correlations' if one else correlation}")
            if column == 0:
                ax.set_ylabel("mgC g$^{-1}$ h$^{-1}$")
            ax.set_xlabel(time.label)
            ax.tick_params(labelbottom=True)
    figure.legend(
        handles=[Line2D([], [], label=label, **line) for label, line in parts.values()],
        loc="outside lower center",
        ncols=len(parts),
        frameon=False,
    )
    figure.suptitle(f"What the mean field misses, {title(kinetics)} kinetics")
    return figure


@styled
def figure_specific_respiration(results: Any) -> Figure:
    """Respiration per biomass against substrate: one curve if soils were well mixed."""
    kinds = _kinds(results)
    names = [str(name) for name in results.kinetics.values]
    figure, axes = _figure(len(names), len(kinds), width=3.2, height=2.2, sharey="row")
    variable = "specific_respiration_rate"
    for row, kinetics in enumerate(names):
        for column, kind in enumerate(kinds):
            ax = axes[row, column]
            for i, correlation in enumerate(_cases(results, kinetics, kind)):
                case = (kinetics, kind, correlation)
                S = _series(results, "substrate", *case)
                line = _line(kind, correlation, i)
                rate = _series(results, variable, *case)
                ax.plot(S, rate, **line)
                start = rate[:1]
                ax.plot(S[:1], start, marker="o", markersize=4, color=line["color"])
            for S, rate in _controls(results, kinetics, "substrate", variable):
                ax.plot(S, rate, **CONTROL_LINE)
                ax.plot(S[:1], rate[:1], marker="o", markersize=4, color=BLACK)
            ax.set_title(f"{title(kinetics)}, {kind}")
            if row == len(names) - 1:
                ax.set_xlabel("substrate S (mgC g$^{-1}$)")
            if column == 0:
                ax.set_ylabel("SGR = R / B (h$^{-1}$)")
    _legend(figure, results, "homogeneous" if _has_control(results) else None)
    figure.suptitle("Respiration per biomass against substrate (dots: start)")
    return figure


@styled
def figure_parameters(
    constants: Mapping[str, Fields],
    nominal: Mapping[str, Mapping[str, float]],
    units: Mapping[str, Mapping[str, str]],
) -> Figure:
    """Distribution over cells of every constant that varies.

    **Arguments:** kinetics -> constant -> field, nominal value, unit.
    """
    panels = [
        (kinetics, name, np.asarray(field).ravel())
        for kinetics, fields in constants.items()
        for name, field in fields.items()
    ]
    columns = max(len(fields) for fields in constants.values())
    figure, axes = _figure(len(constants), columns, width=3.8, height=2.1)
    rows = list(constants)
    used = set()
    for kinetics, name, field in panels:
        row, column = rows.index(kinetics), list(constants[kinetics]).index(name)
        used.add((row, column))
        ax = axes[row, column]
        wide = field.min() > 0 and field.max() / field.min() > 20 and name == "rate"
        low, high = field.min(), field.max()
        bins = np.geomspace(low, high, 41) if wide else np.linspace(low, high, 41)
        weights = np.full(field.size, 100 / field.size)
        ax.hist(field, bins=bins, weights=weights, color=BLUE, alpha=0.75)
        if wide:
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(field.mean(), color=VERMILION, label="mean of the field")
        ax.axvline(
            float(nominal[kinetics][name]),
            color=BLACK,
            linestyle="--",
            label="nominal constant",
        )
        ax.set_title(title(kinetics))
        ax.set_xlabel(f"{name.replace('_', ' ')} ({units[kinetics][name]})")
        ax.set_ylabel("share of cells (%)" if column == 0 else "")
    for row in range(axes.shape[0]):
        for column in range(axes.shape[1]):
            if (row, column) not in used:
                axes[row, column].set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle("Kinetic constants over the cells")
    return figure


class _time:
    """Time axis in days, or in years for long runs."""

    def __init__(self, results: Any):
        days = np.asarray(results.time.values, dtype=float)
        long = days[-1] > 1000
        self.values = days / 365.0 if long else days
        self.label = "time (years)" if long else "time (days)"


def _controls(results, kinetics, *variables):
    """The named variables of each homogeneous soil that differs from the others."""
    if not _has_control(results):
        return []
    kind = "homogeneous"
    return [
        [_series(results, name, kinetics, kind, c) for name in variables]
        for c in _cases(results, kinetics, kind)
    ]
