"""The figures of a run. `results` is the dataset of `jaxsoc.io.to_dataset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from . import style
from .style import BLACK, BLUE, ORANGE, VERMILION, label, title, unit

Fields = Mapping[str, Any]  # arrays by name, of any library

_POOLS = {
    "substrate": "substrate S",
    "biomass": "biomass B",
    "respiration": "respiration R",
}


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
        r = _correlation(np.asarray(field), biomass)
        panels[f"substrate, {name}\n{r}"] = np.asarray(field)
    figure, axes = _figure(1, len(panels), width=3.1, height=2.2)
    for ax, (name, field) in zip(axes[0], panels.items(), strict=True):
        image = draw_map(ax, field, cell_edge, cmap="viridis")
        ax.set(xlabel="x (mm)", ylabel="y (mm)" if ax is axes[0, 0] else "")
        colourbar = figure.colorbar(image, ax=ax, shrink=0.85)
        colourbar.set_label("mgC g$^{-1}$")
        ax.set_title(name)
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


def _correlation(field: np.ndarray, biomass: np.ndarray) -> str:
    if np.ptp(field) == 0 or np.ptp(biomass) == 0:
        return "uniform"
    return f"r = {np.corrcoef(field.ravel(), biomass.ravel())[0, 1]:.2f} with biomass"


def _kinds(results: Any) -> list[str]:
    """Kinds of heterogeneity that get a panel: all but the homogeneous control."""
    names = [str(name) for name in results.heterogeneity.values]
    return [name for name in names if name != "homogeneous"] or names


def _values(results, variable, *case):
    """Mean over members; of kinetics, heterogeneity and correlation, in this order."""
    names = dict(zip(("kinetics", "heterogeneity", "correlation"), case, strict=True))
    return results[variable].sel(**names).mean("member").values


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
    R = results.respiration.sel(kinetics=kinetics, heterogeneity=kind)
    return names[:1] if alike(R, kind) else names


def alike(rate: Any, kind: str) -> bool:
    """Whether a soil starts uniform, and so is the same for all correlations.

    **Arguments:** `rate`: by correlation; `kind`: of heterogeneity.
    """
    values = rate.transpose("correlation", ...).values
    uniform = kind in ("biochemical", "homogeneous")
    return uniform and bool((values[:1] == values).all())


def _legend_of_cases(figure: Figure, results: Any) -> None:
    names = _correlations(results)
    lines = {name: style.correlation_line(name, i) for i, name in enumerate(names)}
    if "biochemical" in results.heterogeneity.values:
        lines["uniform pools"] = _UNIFORM_LINE
    if _has_control(results):
        lines["homogeneous"] = style.CONTROL_LINE
    style.legend_below(figure, lines, title="correlation of substrate with biomass")


_UNIFORM_LINE = style.line(ORANGE)


def _draw_cases(ax, results, kinetics, kind, x, variable):
    """A variable of every case of a panel and of the homogeneous control.

    **Arguments:** `x`: times, else the name of the variable across, with a dot at the
    start. Bands are between the outer quantiles over members, where there are any.
    """
    for kind_, control in ((kind, False), ("homogeneous", True)):
        if control and not _has_control(results):
            continue
        for i, correlation in enumerate(_cases(results, kinetics, kind_)):
            case = kinetics, kind_, correlation
            line = style.correlation_line(correlation, i)
            line = _UNIFORM_LINE if kind_ == "biochemical" else line
            line = style.CONTROL_LINE if control else line
            across = _values(results, x, *case) if isinstance(x, str) else x
            values = _values(results, variable, *case)
            ax.plot(across, values, **line)
            if isinstance(x, str):
                dot = {"marker": "o", "markersize": 4, "color": line["color"]}
                ax.plot(across[:1], values[:1], **dot)
            elif f"{variable}_quantile" in results and not control:
                low, *_, high = _values(results, f"{variable}_quantile", *case)
                ax.fill_between(
                    x, low, high, color=line["color"], alpha=0.2, linewidth=0
                )


@style.styled
def figure_pools(results: Any, kinetics: str) -> Figure:
    """Pools and respiration over time, one column per kind of heterogeneity."""
    kinds = _kinds(results)
    figure, axes = _figure(
        len(_POOLS), len(kinds), width=3.2, height=2.0, sharex=True, sharey="row"
    )
    time, time_label = time_axis(results)
    for column, kind in enumerate(kinds):
        axes[0, column].set_title(f"{kind} heterogeneity")
        for row, (variable, words) in enumerate(_POOLS.items()):
            ax = axes[row, column]
            _draw_cases(ax, results, kinetics, kind, time, variable)
            if column == 0:
                ax.set_ylabel(label(words, results[variable], "\n"))
        axes[-1, column].set_xlabel(time_label)
    _legend_of_cases(figure, results)
    spread = _spread(results)
    figure.suptitle(f"Pools and respiration, {title(kinetics)} kinetics{spread}")
    return figure


@style.styled
def figure_split(results: Any, kinetics: str) -> Figure:
    """Respiration split into the mean-field part and the higher-order part."""
    kinds, names = _kinds(results), _correlations(results)
    figure, axes = _figure(
        len(kinds), len(names), width=3.2, height=2.1, sharex=True, sharey="row"
    )
    lines = {
        "R of all cells": style.line(BLACK),
        "mean-field part, R at the means": style.line(BLUE, "--"),
        "higher-order part, the difference": style.line(VERMILION, "-."),
    }
    parts = "respiration", "respiration_mean_field", "respiration_higher_order"
    time, time_label = time_axis(results)
    for row, kind in enumerate(kinds):
        for column, correlation in enumerate(names):
            ax = axes[row, column]
            cases = _cases(results, kinetics, kind)
            if correlation not in cases:
                ax.set_axis_off()
                continue
            for variable, line in zip(parts, lines.values(), strict=True):
                values = _values(results, variable, kinetics, kind, correlation)
                ax.plot(time, values, **line)
            ax.axhline(0, color=BLACK, linewidth=0.6)
            one = len(cases) < len(names)
            ax.set_title(f"{kind}, {'all correlations' if one else correlation}")
            if column == 0:
                ax.set_ylabel(unit(results.respiration))
            ax.set_xlabel(time_label)
            ax.tick_params(labelbottom=True)
    style.legend_below(figure, lines)
    figure.suptitle(f"What the mean field misses, {title(kinetics)} kinetics")
    return figure


@style.styled
def figure_specific_respiration(results: Any) -> Figure:
    """Respiration per biomass against substrate: one curve if soils were well mixed."""
    kinds = _kinds(results)
    names = [str(name) for name in results.kinetics.values]
    figure, axes = _figure(len(names), len(kinds), width=3.2, height=2.2, sharey="row")
    variable = "specific_respiration_rate"
    for row, kinetics in enumerate(names):
        for column, kind in enumerate(kinds):
            ax = axes[row, column]
            _draw_cases(ax, results, kinetics, kind, "substrate", variable)
            ax.set_title(f"{title(kinetics)}, {kind}")
            if row == len(names) - 1:
                ax.set_xlabel(label("substrate S", results.substrate))
            if column == 0:
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
    columns = max(len(fields) for fields in constants.values())
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
            weights = np.full(field.size, 100 / field.size)
            ax.hist(field, bins=bins, weights=weights, color=BLUE, alpha=0.75)
            if wide:
                ax.set_xscale("log")
                ax.xaxis.set_minor_formatter(NullFormatter())
            ax.axvline(field.mean(), **mean)
            ax.axvline(nominal, **uniform)
            ax.set_title(title(kinetics))
            ax.set_xlabel(f"{name.replace('_', ' ')} ({given[2]})")
            ax.set_ylabel("share of cells (%)" if ax is row[0] else "")
    called = {"mean of the field": mean, "nominal constant": uniform}
    style.legend_below(figure, called)
    figure.suptitle("Kinetic constants over the cells")
    return figure


def time_axis(results: Any) -> tuple[np.ndarray, str]:
    """Times of results in days, or in years for long runs, and what to call them."""
    days = np.asarray(results.time.values, dtype=float)
    if days[-1] > 1000:
        return days / 365.0, "time (years)"
    return days, "time (days)"
