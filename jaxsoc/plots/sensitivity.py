"""Which cells matter: maps of gradients, and bars of effects."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from .figures import Fields, draw_map
from .style import BLACK, BLUE, VERMILION, styled

_LABELS = {
    "substrate": "substrate S",
    "biomass": "biomass B",
    "decomposition.rate": "rate constant k",
    "decomposition.half_saturation": "half-saturation K",
    "mortality.rate": "mortality m",
    "carbon_use_efficiency": "yield Y",
    "input": "input I",
    "variation": "CV of substrate",
    "correlation": "correlation of S and B",
    "decades": "width of k (decades)",
}
# Colours end at this share of the cells, so that a few extreme ones do not pale the
# rest; the arrows of a colour bar say that there are some beyond.
_SHOWN = 95.0


@styled
def figure_sensitivity(
    fields: Fields,
    gradients: Fields,
    units: Mapping[str, str],
    *,
    objective: str = "peak respiration",
    objective_unit: str = "mgC/g/h",
    cell_edge: float = 50.0,
) -> Figure:
    """Maps of the fields, and below each one of N times its gradient.

    Times the number of cells N, so that the numbers do not shrink as a grid is refined:
    they are what the objective would gain if all cells were like this one, per unit.
    Colours end at the 95th percentile of the size of a gradient that is not zero.

    **Arguments:** `fields`, `gradients`: by name, of one or two axes; `units`: of each
    field; `objective`, `objective_unit`: what the gradients are of; `cell_edge`: µm.
    **Raises:** `ValueError` for gradients that do not belong to the fields.
    """
    columns = len(fields)
    if not columns or set(gradients) != set(fields):
        raise ValueError(
            "every field needs its gradient, got fields "
            f"{', '.join(fields) or 'none'} and gradients "
            f"{', '.join(gradients) or 'none'}"
        )
    figure = Figure(figsize=(3.3 * columns + 0.4, 6.0))
    axes = figure.subplots(2, columns, squeeze=False, sharex=True, sharey=True)
    for column, (name, field) in enumerate(fields.items()):
        top, bottom = axes[:, column]
        image = draw_map(top, field, cell_edge, cmap="viridis")
        top.set_title(_label(name))
        symbol = _label(name).split()[-1]
        figure.colorbar(image, ax=top, label=_per(units[name]))
        image, extend = _diverging(bottom, gradients[name], cell_edge)
        bottom.set(title=f"N ∂({objective})/∂{symbol}", xlabel="x (mm)")
        per = _per(objective_unit, units[name])
        figure.colorbar(image, ax=bottom, extend=extend, label=per)
    for row in axes:
        row[0].set_ylabel("y (mm)")
    figure.suptitle(f"Which cells matter for the {objective}")
    return figure


@styled
def figure_effects(
    effects: Mapping[str, float],
    *,
    label: str = "% of the peak respiration per % of each number",
) -> Figure:
    """Bars of what each number does, the largest on top.

    **Arguments:** `effects`: by name, such as elasticities; `label`: what they are.
    """
    values = {name: float(np.mean(np.asarray(x))) for name, x in effects.items()}
    order = sorted(values, key=lambda name: abs(values[name]))
    figure = Figure(figsize=(6.4, 0.42 * len(order) + 1.3))
    ax = figure.subplots()
    sizes = [values[name] for name in order]
    colours = [VERMILION if size > 0 else BLUE for size in sizes]
    bars = ax.barh([_label(name) for name in order], sizes, color=colours)
    ax.bar_label(bars, [f"{x:+.2g}".replace("-", "−") for x in sizes], padding=4)
    ax.axvline(0, color=BLACK, linewidth=0.8)
    ax.margins(x=0.16)
    ax.grid(False, axis="y")
    ax.set_xlabel(label)
    return figure


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " ").replace(".", " "))


def _diverging(ax, gradient, cell_edge):
    """A map with colours centred on zero, and whether cells lie beyond its ends."""
    gradient = np.asarray(gradient, dtype=float)
    gradient = gradient * gradient.size
    size = np.abs(gradient)
    most = np.percentile(size[size > 0], _SHOWN) if size.any() else 1.0
    low, high = bool((gradient < -most).any()), bool((gradient > most).any())
    extend = ("neither", "min", "max", "both")[low + 2 * high]
    image = draw_map(ax, gradient, cell_edge, cmap="RdBu_r", vmin=-most, vmax=most)
    return image, extend


def _per(unit: str, other: str = "1") -> str:
    """A unit per another as a figure writes it, with what cancels left out."""
    powers: Counter[str] = Counter()
    for text, sign in ((unit, 1), (other, -1)):
        # Dividing by a quotient multiplies by what it divides by: 1/(a/b) is 1/a b.
        plain = re.sub(r"\(([^/)]*)/([^)]*)\)", r"\1 \2", text)
        for slash, part in re.findall(r"(/?)([^/\s]+)", plain):
            powers[part] += -sign if slash else sign
    del powers["1"]
    order = sorted((p for p in powers if powers[p]), key=lambda p: -powers[p])
    written = [p if powers[p] == 1 else f"{p}$^{{{powers[p]}}}$" for p in order]
    return " ".join(written) or "dimensionless"
