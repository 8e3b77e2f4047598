"""What a run keeps at each time, the series made of it, and what they must obey."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
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

_CARBON, _FLUX = "mgC g-1", "mgC g-1 h-1"

# Quantities with moments over cells, in the order of `moments.Moments`: the name there,
# unit, words. The unit of the rate constant depends on the law.
_QUANTITIES = {
    "substrate": ("substrate", _CARBON, "substrate"),
    "biomass": ("biomass", _CARBON, "biomass"),
    "rate": ("decomposition.rate", "rate", "the rate constant"),
    "half_saturation": (
        "decomposition.half_saturation",
        _CARBON,
        "the half-saturation constant",
    ),
}


class Series(NamedTuple):
    """What a series over time is, and how it is read from moments."""

    unit: str
    long_name: str
    read: Callable[[moments.Moments], Any]


def _moment(*names: str) -> tuple[str, Series]:
    """The central moment of these quantities, by its name in the results."""
    different = tuple(dict.fromkeys(names))
    *first, last = [_QUANTITIES[name][2] for name in different]
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
        return (saved.covariance | saved.third).get(
            moments.pair_name(*ordered), missing
        )

    suffix = kind.removeprefix("spatial ").replace(" central ", "_")
    return f"{'_'.join(different)}_{suffix}", Series(unit, f"{kind} of {words}", read)


_FLUXES = {
    "decomposition": "mean decomposition rate",
    "mortality": "mean microbial mortality",
    "respiration": "mean respiration rate",
}
_POOLS = {
    "substrate": "mean substrate carbon per soil",
    "biomass": "mean microbial carbon per soil",
    "co2": "mean carbon respired since the start per soil",
}

SERIES: Mapping[str, Series] = MappingProxyType(
    {n: Series(_CARBON, said, attrgetter(f"mean.{n}")) for n, said in _POOLS.items()}
    | {n: Series(_FLUX, said, attrgetter(f"flux.{n}")) for n, said in _FLUXES.items()}
    | {
        "respiration_mean_field": Series(
            _FLUX,
            "respiration at the mean pools and mean constants "
            "(mean-field approximation)",
            attrgetter("mean_field_flux.respiration"),
        ),
        "respiration_higher_order": Series(
            _FLUX,
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
    | dict(
        _moment(*names)
        for names in (
            ("substrate", "substrate"),
            ("biomass", "biomass"),
            ("substrate", "biomass"),
            ("rate", "rate"),
            ("half_saturation", "half_saturation"),
            ("rate", "half_saturation"),
            ("rate", "substrate"),
            ("rate", "biomass"),
            ("half_saturation", "substrate"),
            ("half_saturation", "biomass"),
            ("rate", "substrate", "biomass"),
        )
    )
)
"""Series of a run by name."""

# What is told of a run as a whole: unit and long name.
CHECKS: Mapping[str, tuple[str | None, str]] = MappingProxyType(
    {
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
)
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
    """Moments, and how well mixed cells of this `edge` (µm) are."""

    moments: AbstractStatistic
    fluxes: Callable
    edge: float

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


def saver(model: Any, edge: float) -> Saver:
    """What every run of a model on cells of this edge (µm) keeps."""
    return Saver(
        moments.of(
            model.fluxes, third=(("substrate", "biomass", "decomposition.rate"),)
        ),
        model.fluxes,
        edge,
    )


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
    edge, tolerance = design.grid.edge, design.tolerance
    over_time = lambda values: np.max(np.asarray(values), axis=-1)
    turnover = over_time(saved.fastest_turnover)
    minimum = {
        name: np.asarray(x) for name, x in saved.moments.minimum._asdict().items()
    }
    checks = {
        "carbon_balance_error": _balance_error(series, design.input, design.times),
        "largest_damkohler": np.asarray(damkohler_number(turnover, edge=edge)),
        "share_not_well_mixed": over_time(saved.not_well_mixed),
        "smallest_pool": np.min([x.min(axis=-1) for x in minimum.values()], axis=0),
    }
    # Written as "not below" so that a NaN is refused too.
    balance = np.max(checks["carbon_balance_error"])
    if not balance <= BALANCE_TOLERANCE:
        raise IntegrationError(
            f"carbon is not conserved: relative error {balance:.2g} of the balance; "
            "use shorter steps"
        )
    for name, lowest in minimum.items():
        allowed = tolerance * float(np.max(getattr(saved.moments.mean, name)))
        if not float(lowest.min()) >= -allowed:
            raise IntegrationError(
                f"{name} turned negative ({lowest.min():.2g} mgC/g in a cell): the "
                "steps are too long for the fastest cells; use a smaller tolerance or "
                "shorter steps"
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
