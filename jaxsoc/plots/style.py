"""How everything looks: colours that the colour-blind tell apart (Okabe and Ito)."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
# Of a function that draws a figure.
styled = matplotlib.rc_context(STYLE)

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

Line = dict[str, Any]
"""How a line is drawn: options of `Axes.plot`."""


def line(color: str, linestyle: Any = "-", **more: Any) -> Line:
    """A line of this colour and these dashes."""
    return {"color": color, "linestyle": linestyle} | more


# Colour and dashes both tell the cases apart, for print in black and white.
# Of models or fits, in their order.
LINES = (
    line(VERMILION),
    line(BLUE, "--"),
    line(GREEN, "-."),
    line(ORANGE, ":"),
    line(PURPLE, (0, (5, 1))),
    line(SKY, (0, (1, 1))),
)
CORRELATION_LINES: dict[str, Line] = dict(
    zip(("positive", "negative", "uncorrelated"), LINES, strict=False)
)
OTHER_LINES = (line(PURPLE), line(ORANGE, "--"), line(SKY, "-."))
CONTROL_LINE = line(BLACK, ":", linewidth=1.8)

TITLES = {
    "michaelis_menten": "Michaelis-Menten",
    "inverse_michaelis_menten": "inverse Michaelis-Menten",
    "eca": "ECA",
    "clm5": "CLM5",
    "compas": "COMPAS",
    "mimics": "MIMICS",
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
"""Kinetics and pools as a reader writes them, where that is not their name."""


def title(name: str) -> str:
    """A name as a reader writes it."""
    return TITLES.get(name, name.replace("_", " "))


def correlation_line(name: str, index: int) -> Line:
    """Line style of a correlation, of any name."""
    return CORRELATION_LINES.get(name, OTHER_LINES[index % len(OTHER_LINES)])


def unit(variable: Any) -> str:
    """The unit of a variable as a figure writes it: mgC g-1 as mgC g$^{-1}$."""
    return re.sub(r"-\d", lambda power: f"$^{{{power[0]}}}$", variable.attrs["units"])


def label(words: str, variable: Any, between: str = " ") -> str:
    """What an axis shows, with the unit that the variable names."""
    return f"{words}{between}({unit(variable)})"


def panels(
    count: int, alone: tuple[float, float], each: tuple[float, float], **options: Any
) -> tuple[Figure, Any, int]:
    """A figure of panels, at most four side by side, those that are too many blank.

    **Arguments:** `alone`: size of a figure with one panel, inches; `each`: width and
    height that each of several adds; `options`: of `Figure.subplots`.
    **Returns:** the figure, its panels in rows, and how many stand side by side.
    """
    columns = min(4, count)
    rows = math.ceil(count / columns)
    size = alone if count == 1 else (each[0] * columns + 0.4, each[1] * rows + 0.7)
    figure = Figure(figsize=size)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, axes, columns


def legend_below(figure: Figure, lines: Mapping[str, Line], **options: Any) -> None:
    """A legend under all panels.

    **Arguments:** `lines`: by what they are called; `options`: of `Figure.legend`.
    """
    handles = [Line2D([], [], label=words, **how) for words, how in lines.items()]
    options = {"ncols": len(handles)} | options
    figure.legend(handles=handles, loc="outside lower center", **options)


def names(results: Any, axis: str) -> list[str]:
    """Labels along an axis of results."""
    return [str(name) for name in results[axis].values]


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a whole picture or none, in the format of the name, by default PNG."""
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
        temporary = Path(folder, path.name)
        figure.savefig(temporary, format=path.suffix.lstrip(".") or "png")
        temporary.replace(path)
    return path
