"""Pictures of columns through time: what changes, and their radiocarbon."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import style

_BAND = 0.18  # opacity


@style.styled
def figure_runs(
    years: Any,
    panels: Mapping[str, Mapping[str, Any]],
    *,
    label: str,
    beside: Mapping[str, Any] | None = None,
    xlabel: str = "year",
) -> Figure:
    """Time series of several models, a panel for each place.

    **Arguments:** `years`: of the values; `panels`: by place, by model, values by year,
    or (3, year), of which the first and the last are the ends of a band around the
    second; `label`: of the values, with their unit; `beside`: by panel, a series that
    is not a model's, drawn dotted, such as the atmosphere's.
    """
    shown = list(panels.items())
    figure, axes, columns = style.panels(
        len(shown), (6.4, 4.2), (2.9, 2.4), sharex=True
    )
    lines: dict[str, Any] = {}
    for place, (ax, (name, models)) in enumerate(zip(axes.flat, shown, strict=False)):
        for index, (model, values) in enumerate(models.items()):
            how = style.LINES[index % len(style.LINES)]
            low, middle, high = np.broadcast_to(values, (3, len(years)))
            if np.ndim(values) > 1:
                band = {"color": how["color"], "alpha": _BAND, "linewidth": 0}
                ax.fill_between(years, low, high, **band)
            ax.plot(years, middle, **how)
            lines[style.title(model)] = how
        for what, values in (beside or {}).get(name, {}).items():
            ax.plot(years, values, **style.CONTROL_LINE)
            lines[what] = style.CONTROL_LINE
        ax.set_title(name, fontsize=10 if len(shown) == 1 else 8.5)
        ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if place % columns == 0:
            ax.set_ylabel(label)
        if place >= len(shown) - columns:
            ax.set_xlabel(xlabel)
            ax.tick_params(labelbottom=True)
    style.legend_below(figure, lines, handlelength=3.0)
    return figure
