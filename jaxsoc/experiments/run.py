"""Runs every case of a design and gathers plain, named arrays."""

from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.grids import (
    WELL_MIXED_LIMIT,
    damkohler_number,
    warn_unless_well_mixed,
)
from jaxsoc.physics.safe import ratio
from jaxsoc.solve import IntegrationError, Solution, integrate, require_x64
from jaxsoc.upscale import moments

from .design import Design, Supplied, checked_correlations
from .soils import Member, Soil, case, draw_member

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

DIMENSIONS = ("kinetics", "heterogeneity", "correlation", "member")


class Run(NamedTuple):
    """Results of a design.

    `series`: name -> array by kinetics, heterogeneity, correlation, member, time;
    `checks`: name -> array by the first four; `methods`: road taken, likewise;
    `times`: h; `member`: the first member's fields, for figures. Soils that start
    uniform are equal for all correlations of the same totals, and run once.
    """

    design: Design
    correlation: tuple[str, ...]
    times: np.ndarray
    series: dict[str, np.ndarray]
    checks: dict[str, np.ndarray]
    methods: np.ndarray
    member: Member


class Saved(NamedTuple):
    """What a run keeps at each time.

    `fastest_turnover`: of substrate, 1/h, largest over cells; `not_well_mixed`: share
    of cells in which it exceeds what diffusion can follow.
    """

    moments: moments.Moments
    fastest_turnover: Any
    not_well_mixed: Any


class _Saver(eqx.Module):
    moments: Callable
    fluxes: Callable
    edge: float

    def __call__(self, t, state, params):
        D = self.fluxes(t, state, params).decomposition
        turnover = ratio(D, state.substrate)
        too_fast = damkohler_number(turnover, edge=self.edge) > WELL_MIXED_LIMIT
        return Saved(
            self.moments(t, state, params),
            jnp.max(turnover),
            jnp.mean(too_fast, dtype=turnover.dtype),
        )


def run(
    design: Design,
    supplied: Supplied | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Run:
    """Runs every combination that a design names.

    Warns, as `NotWellMixedWarning`, where a cell is too large for its reactions.

    **Arguments:** `supplied`: fields that take the place of generated ones, for one
    member; `progress`: called with cases done, cases in all, and the name of the next.

    **Raises:** `ValueError` for choices that do not fit; `RuntimeError` without 64-bit
    floats; `IntegrationError` for a run that fails, loses carbon or turns negative.
    """
    require_x64("an experiment")
    correlations = checked_correlations(design, supplied)
    axes = (design.kinetics, design.heterogeneity, correlations)
    shape = (*map(len, axes), design.members)
    total, done = int(np.prod(shape)), 0
    series, checks = {}, {}
    methods = np.empty(shape, dtype=object)
    first = draw_member(design, 0, supplied)
    for m in range(design.members):
        member = draw_member(design, m, supplied) if m else first
        finished: dict[Any, tuple] = {}
        for k, h, c in product(*map(range, shape[:3])):
            names = design.kinetics[k], design.heterogeneity[h], correlations[c]
            progress(done, total, " ".join(names))
            soil = case(design, member, *names)
            key = (k, h, uniform_start(soil) or correlations[c])
            if key not in finished:
                finished[key] = _run_case(design, soil)
            one_series, one_checks, method = finished[key]
            where = (k, h, c, m)
            for store, values in ((series, one_series), (checks, one_checks)):
                for name, value in values.items():
                    store.setdefault(name, np.zeros(shape + value.shape))[where] = value
            methods[where] = method
            done += 1
    progress(done, total, "")
    damkohler = checks["largest_damkohler"]
    k, h, c, _ = worst = np.unravel_index(damkohler.argmax(), shape)
    warn_unless_well_mixed(
        float(damkohler[worst]),
        float(checks["share_not_well_mixed"][worst]),
        edge=design.grid.edge,
        case=f"{design.kinetics[k]} {design.heterogeneity[h]} {correlations[c]}",
    )
    return Run(design, correlations, design.times, series, checks, methods, first)


def uniform_start(soil: Soil) -> tuple[str, ...] | None:
    """The stocks that all cells start with, if they do: soils that share them are one.

    Written with 12 digits, since fields meet their totals to rounding alone.
    """
    if any(bool(jnp.any(pool != pool.reshape(-1)[0])) for pool in soil.state):
        return None
    return tuple(f"{float(pool.reshape(-1)[0]):.12g}" for pool in soil.state)


def _run_case(design: Design, soil: Soil):
    model, state, params = soil
    of_case = moments.of(model.fluxes, third=(_QUALITY_TRIPLE,))
    solution = integrate(
        model,
        state,
        params,
        design.times,
        save=_Saver(of_case, model.fluxes, design.grid.edge),
        method=design.method,
        rate=model.fastest_rate,
        tolerance=design.tolerance,
        estimate_error=True,
    )
    saved = solution.values
    series = _series(saved.moments)
    respiration, largest = saved.moments.flux.respiration, jnp.max
    fastest = damkohler_number(largest(saved.fastest_turnover), edge=design.grid.edge)
    checks = {
        "carbon_balance_error": _balance_error(series, params, solution),
        "error_estimate": solution.relative_error,
        "respiration_error_estimate": ratio(
            solution.error.moments.flux.respiration, largest(respiration)
        ),
        "largest_damkohler": fastest,
        "share_not_well_mixed": largest(saved.not_well_mixed),
        "smallest_pool": jnp.min(jnp.stack(saved.moments.minimum)),
    }
    checks = {name: np.asarray(value) for name, value in checks.items()}
    _refuse_unsound(checks, saved.moments, design.tolerance)
    return series, checks, type(solution.method).__name__


def _series(saved: moments.Moments) -> dict[str, np.ndarray]:
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


def _balance_error(series, params, solution: Solution):
    """Largest |S + B + CO2 - S₀ - B₀ - I t| relative to the largest carbon."""
    carbon = series["substrate"] + series["biomass"] + series["co2"]
    expected = carbon[0] + np.asarray(params.input) * np.asarray(solution.times)
    return ratio(np.max(np.abs(carbon - expected)), np.max(expected))


def _refuse_unsound(checks, saved: moments.Moments, tolerance: float):
    # Written as "not below" so that a NaN is refused too.
    balance = checks["carbon_balance_error"]
    if not balance <= BALANCE_TOLERANCE:
        raise IntegrationError(
            f"carbon is not conserved: relative error {balance:.2g} of the balance; "
            "use shorter steps"
        )
    for name, minimum, mean in zip(
        saved.mean._fields, saved.minimum, saved.mean, strict=True
    ):
        lowest, allowed = float(jnp.min(minimum)), tolerance * float(jnp.max(mean))
        if not lowest >= -allowed:
            raise IntegrationError(
                f"{name} turned negative ({lowest:.2g} mgC/g in a cell): the steps are "
                "too long for the fastest cells; use a smaller tolerance or shorter "
                "steps"
            )
