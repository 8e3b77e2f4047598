"""What a run keeps at each time, the series made of it, and what they must obey."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.grids import WELL_MIXED_LIMIT, damkohler_number
from jaxsoc.physics.safe import ratio
from jaxsoc.solve import AbstractStatistic, IntegrationError, reductions
from jaxsoc.solve.statistics import merge_means
from jaxsoc.upscale import moments

from .design import Design

# Largest relative error of the carbon balance that a run may end with. Rounding over
# the published 20 years stays below 1e-12; much longer runs are let through.
BALANCE_TOLERANCE = 1e-10

_RATE, _HALF = "decomposition.rate", "decomposition.half_saturation"
_QUALITY_TRIPLE = ("substrate", "biomass", _RATE)

# Name in the results -> pair of quantities whose covariance it is.
_COVARIANCES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "substrate_variance": ("substrate", "substrate"),
        "biomass_variance": ("biomass", "biomass"),
        "substrate_biomass_covariance": ("substrate", "biomass"),
        "rate_variance": (_RATE, _RATE),
        "half_saturation_variance": (_HALF, _HALF),
        "rate_half_saturation_covariance": (_RATE, _HALF),
        "rate_substrate_covariance": ("substrate", _RATE),
        "rate_biomass_covariance": ("biomass", _RATE),
        "half_saturation_substrate_covariance": ("substrate", _HALF),
        "half_saturation_biomass_covariance": ("biomass", _HALF),
    }
)


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
    return Saver(moments.of(model.fluxes, third=(_QUALITY_TRIPLE,)), model.fluxes, edge)


def series_of(saved: moments.Moments) -> dict[str, np.ndarray]:
    """Named series from moments, time last, any axes before it."""
    flux, mean_field = saved.flux, saved.mean_field_flux
    biomass = saved.mean.biomass
    # A uniform quantity has no variance; one that the law does not have, no value.
    zero = jnp.zeros_like(biomass)
    known = {"substrate", "biomass", *saved.parameter_mean}
    missing = lambda names: zero if set(names) <= known else jnp.full_like(zero, np.nan)
    series = {
        "substrate": saved.mean.substrate,
        "biomass": biomass,
        "co2": saved.mean.co2,
        "decomposition": flux.decomposition,
        "mortality": flux.mortality,
        "respiration": flux.respiration,
        "respiration_mean_field": mean_field.respiration,
        "respiration_higher_order": saved.higher_order_flux.respiration,
        "specific_growth_rate": ratio(flux.growth, biomass),
        "specific_respiration_rate": ratio(flux.respiration, biomass),
    }
    for name, pair in _COVARIANCES.items():
        series[name] = saved.covariance.get(moments.pair_name(*pair), missing(pair))
    series["rate_substrate_biomass_third_moment"] = saved.third.get(
        moments.pair_name(*_QUALITY_TRIPLE), missing(_QUALITY_TRIPLE)
    )
    return {name: np.asarray(value) for name, value in series.items()}


def outcome_of(
    design: Design, saved: Saved
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Named series of a run, and how well it obeys what it must.

    **Arguments:** `saved`: time is the last axis, any axes before it.
    **Raises:** `IntegrationError` for a run that loses carbon or turns negative.
    """
    series = series_of(saved.moments)
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
    return series, checks


def _balance_error(series, input, times):
    """Largest |S + B + CO2 - S₀ - B₀ - I t| relative to the largest carbon."""
    carbon = series["substrate"] + series["biomass"] + series["co2"]
    expected = carbon[..., :1] + input * np.asarray(times)
    most = np.max(expected, axis=-1)
    off = np.max(np.abs(carbon - expected), axis=-1)
    # Not `most > 0`: a NaN must stay one, and be refused.
    return np.divide(off, most, out=np.zeros_like(off), where=most != 0)
