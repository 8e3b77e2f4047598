"""What a run keeps at each time, the series made of it, and what they must obey."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from operator import attrgetter
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.grids import (
    WELL_MIXED_LIMIT,
    damkohler_number,
    warn_unless_well_mixed,
)
from jaxsoc.physics.safe import ratio
from jaxsoc.solve import AbstractStatistic, IntegrationError, reductions
from jaxsoc.solve.statistics import merge_means
from jaxsoc.tables import Variable, variable
from jaxsoc.upscale import moments

from .design import Design

# Largest relative error of the carbon balance that a run may end with. Rounding over
# the published 20 years stays below 1e-12; much longer runs are let through.
BALANCE_TOLERANCE = 1e-10

DIMENSIONS = ("kinetics", "heterogeneity", "correlation", "member", "time")
"""Of results, in this order."""

_CARBON, FLUX = "mgC g-1", "mgC g-1 h-1"

# Quantities with moments over cells: the name in `moments.Moments`, in its order, and
# words.
_QUANTITIES = {
    "substrate": ("substrate", "substrate"),
    "biomass": ("biomass", "biomass"),
    "rate": ("decomposition.rate", "the rate constant"),
    "half_saturation": (
        "decomposition.half_saturation",
        "the half-saturation constant",
    ),
}
# Which of them go first in a name; moments of all pairs, and one of three, are kept.
_ORDER = ("rate", "half_saturation", "substrate", "biomass")
_THREE = ("rate", "substrate", "biomass")
_PAIRS = combinations_with_replacement(_ORDER, 2)


class Series(NamedTuple):
    """What a series over time is, and how it is read from moments."""

    unit: str
    long_name: str
    read: Callable[[moments.Moments], Any]


def _moment(*names: str) -> tuple[str, Series]:
    """The central moment of these quantities, by its name in the results."""
    different = tuple(dict.fromkeys(names))
    *first, last = [_QUANTITIES[name][1] for name in different]
    words = f"{', '.join(first)} and {last}" if first else last
    kind = "spatial covariance" if first else "spatial variance"
    kind = "third central moment" if len(names) == 3 else kind
    rates = names.count("rate")
    carbon = ("", _CARBON, f"({_CARBON})2")[len(names) - rates]
    unit = f"{('', 'rate', 'rate2')[rates]} {carbon}".strip()
    ordered = [_QUANTITIES[n][0] for n in sorted(names, key=list(_QUANTITIES).index)]

    def read(saved):
        known = {"substrate", "biomass", *saved.parameter_mean}
        # A uniform quantity has no variance; one that the law does not have, no value.
        nothing = 0.0 if set(ordered) <= known else np.nan
        missing = jnp.full_like(saved.mean.biomass, nothing)
        every = saved.covariance | saved.third
        return every.get(moments.pair_name(*ordered), missing)

    suffix = kind.removeprefix("spatial ").replace(" central ", "_")
    return f"{'_'.join(different)}_{suffix}", Series(unit, f"{kind} of {words}", read)


# Unit, words, and where it is among the moments.
_MEANS = {
    "substrate": (_CARBON, "mean substrate carbon per soil", "mean"),
    "biomass": (_CARBON, "mean microbial carbon per soil", "mean"),
    "co2": (_CARBON, "mean carbon respired since the start per soil", "mean"),
    "decomposition": (FLUX, "mean decomposition rate", "flux"),
    "mortality": (FLUX, "mean microbial mortality", "flux"),
    "respiration": (FLUX, "mean respiration rate", "flux"),
}

SERIES: Mapping[str, Series] = (
    {
        name: Series(unit, said, attrgetter(f"{where}.{name}"))
        for name, (unit, said, where) in _MEANS.items()
    }
    | {
        "respiration_mean_field": Series(
            FLUX,
            "respiration at the mean pools and mean constants "
            "(mean-field approximation)",
            attrgetter("mean_field_flux.respiration"),
        ),
        "respiration_higher_order": Series(
            FLUX,
            "mean respiration minus its mean-field approximation",
            attrgetter("higher_order_flux.respiration"),
        ),
        "specific_growth_rate": Series(
            "h-1",
            "growth per mean biomass, Y D / B (not SGR in Chakrawal et al. 2020)",
            lambda m: ratio(m.flux.growth, m.mean.biomass),
        ),
        "specific_respiration_rate": Series(
            "h-1",
            "respiration per mean biomass, R / B (SGR in Chakrawal et al. 2020)",
            lambda m: ratio(m.flux.respiration, m.mean.biomass),
        ),
    }
    | dict(_moment(*names) for names in (*_PAIRS, _THREE))
)
"""Series of a run by name."""

# What is told of a run as a whole: unit and long name.
CHECKS: Mapping[str, tuple[str | None, str]] = {
    "carbon_balance_error": ("1", "largest relative error of the carbon balance"),
    "error_estimate": ("1", "estimated relative error of the mean pools"),
    "respiration_error_estimate": (
        "1",
        "estimated error of respiration relative to its peak",
    ),
    "largest_damkohler": ("1", "largest Damköhler number of a cell along the run"),
    "share_not_well_mixed": (
        "1",
        "largest share of cells with a Damköhler number above 0.1 along the run",
    ),
    "smallest_pool": (_CARBON, "smallest pool of a cell along the run"),
    "method": (None, "method through time chosen for the case"),
}
SAID = {name: one[:2] for name, one in SERIES.items()} | CHECKS


def labelled(values: Mapping[str, np.ndarray]) -> dict[str, Variable]:
    """Series and checks of a run as variables, axes in the order of `DIMENSIONS`."""
    return {
        name: variable(DIMENSIONS[: array.ndim], array, *SAID[name])
        for name, array in values.items()
    }


class Saved(NamedTuple):
    """What a run keeps at each time.

    `fastest_turnover`: of substrate, 1/h, largest over cells; `not_well_mixed`: share
    of cells in which it exceeds what diffusion can follow.
    """

    moments: moments.Moments
    fastest_turnover: Any
    not_well_mixed: Any


class Saver(AbstractStatistic):
    """What every run of a model keeps on cells of this `edge` (µm).

    **Arguments:** `fluxes`: of the model.
    """

    fluxes: Callable
    edge: float

    @property
    def moments(self) -> AbstractStatistic:
        """Of pools, constants and fluxes, and one of three quantities."""
        triple = ("substrate", "biomass", "decomposition.rate")
        return moments.of(self.fluxes, third=(triple,))

    def __call__(self, t, state, params):
        D = self.fluxes(t, state, params).decomposition
        turnover = ratio(D, state.substrate)
        too_fast = damkohler_number(turnover, edge=self.edge) > WELL_MIXED_LIMIT
        return Saved(
            self.moments(t, state, params),
            reductions.largest(turnover),
            reductions.mean(too_fast.astype(turnover.dtype)),
        )

    def merge(self, values, shares):
        return Saved(
            self.moments.merge(values.moments, shares),
            jnp.max(values.fastest_turnover, axis=0),
            merge_means(values.not_well_mixed, shares),
        )

    def finish(self, t, values, params):
        return values._replace(moments=self.moments.finish(t, values.moments, params))


def warn_of_large_cells(
    design: Design, axes: Mapping[str, Sequence[str]], checks: Mapping[str, np.ndarray]
) -> None:
    """Warns, as `NotWellMixedWarning`, of the worst case if its cells are too large."""
    damkohler = checks["largest_damkohler"]
    worst = np.unravel_index(damkohler.argmax(), damkohler.shape)
    names = zip(axes.values(), worst, strict=False)
    warn_unless_well_mixed(
        float(damkohler[worst]),
        float(checks["share_not_well_mixed"][worst]),
        edge=design.grid.edge,
        case=" ".join(axis[int(i)] for axis, i in names),
    )


def outcome_of(design: Design, saved: Saved) -> dict[str, np.ndarray]:
    """Series of a run by name, and how well it obeys what it must.

    **Arguments:** `saved`: time is the last axis, any axes before it.
    **Raises:** `IntegrationError` for a run that loses carbon or turns negative.
    """
    series = {name: np.asarray(one.read(saved.moments)) for name, one in SERIES.items()}
    minimum, mean = saved.moments.minimum, saved.moments.mean
    largest = lambda values: np.max(np.asarray(values), axis=-1)
    damkohler = damkohler_number(largest(saved.fastest_turnover), edge=design.grid.edge)
    checks = {
        "carbon_balance_error": _balance_error(series, design.input, design.times),
        "largest_damkohler": np.asarray(damkohler),
        "share_not_well_mixed": largest(saved.not_well_mixed),
        "smallest_pool": np.min(np.asarray(minimum), axis=(0, -1)),
    }
    # Written as "not below" so that a NaN is refused too.
    balance = np.max(checks["carbon_balance_error"])
    if not balance <= BALANCE_TOLERANCE:
        raise IntegrationError(
            f"carbon is not conserved: relative error {balance:.2g} of the balance; "
            "use shorter steps"
        )
    for name, of_pool in minimum._asdict().items():
        lowest, most = float(np.min(of_pool)), float(np.max(getattr(mean, name)))
        if not lowest >= -design.tolerance * most:
            raise IntegrationError(
                f"{name} turned negative ({lowest:.2g} mgC/g in a cell): the steps are "
                "too long for the fastest cells; use a smaller tolerance or shorter "
                "steps"
            )
    return series | checks


def _balance_error(series, input, times):
    """Largest |S + B + CO2 - S₀ - B₀ - I t| relative to the largest carbon."""
    carbon = series["substrate"] + series["biomass"] + series["co2"]
    expected = carbon[..., :1] + input * np.asarray(times)
    most = np.max(expected, axis=-1)
    off = np.max(np.abs(carbon - expected), axis=-1)
    # Not `most > 0`: a NaN must stay one, and be refused.
    return np.divide(off, most, out=np.zeros_like(off), where=most != 0)
