"""Runs every case of a design and gathers plain, named arrays."""

from collections.abc import Callable, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.grids import damkohler_number, warn_unless_well_mixed
from jaxsoc.physics.safe import ratio
from jaxsoc.solve import IntegrationError, Solution, integrate, require_x64
from jaxsoc.upscale import moments
from jaxsoc.upscale.fields import check_shape

from .design import Design, Supplied
from .soils import Member, Soil, case, draw_member

# Largest relative error of the carbon balance that a run may end with.
BALANCE_TOLERANCE = 1e-10

_RATE, _HALF = "decomposition.rate", "decomposition.half_saturation"
_SIGNS = {_RATE: "rate", _HALF: "half_saturation"}
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
    `times`: h; `member`: the first member's fields, for figures.
    """

    design: Design
    correlation: tuple[str, ...]
    times: np.ndarray
    series: dict[str, np.ndarray]
    checks: dict[str, np.ndarray]
    methods: np.ndarray
    member: Member


class Saved(NamedTuple):
    """What a run keeps at each time."""

    moments: moments.Moments
    fastest_turnover: Any


class _Saver(eqx.Module):
    moments: Callable
    fluxes: Callable

    def __call__(self, t, state, params):
        D = self.fluxes(t, state, params).decomposition
        turnover = jnp.max(ratio(D, state.substrate))
        return Saved(self.moments(t, state, params), turnover)


def run(
    design: Design,
    supplied: Supplied | None = None,
    *,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Run:
    """Runs every combination that a design names.

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
        for index in product(*map(range, shape[:3])):
            k, h, c = index
            kinetics, heterogeneity = design.kinetics[k], design.heterogeneity[h]
            correlation = correlations[c]
            progress(done, total, f"{kinetics} {heterogeneity} {correlation}")
            soil = case(
                design,
                member,
                kinetics=kinetics,
                heterogeneity=heterogeneity,
                correlation=correlation,
            )
            key = (k, h, _start(soil) or correlation)
            if key not in finished:
                finished[key] = _run_case(design, soil)
            one_series, one_checks, method = finished[key]
            for store, values in ((series, one_series), (checks, one_checks)):
                for name, value in values.items():
                    where = (*index, m)
                    store.setdefault(name, np.zeros(shape + value.shape))[where] = value
            methods[(*index, m)] = method
            done += 1
    progress(done, total, "")
    return Run(design, correlations, design.times, series, checks, methods, first)


def checked_correlations(design: Design, supplied: Supplied | None) -> tuple[str, ...]:
    """The correlations that a run has: the supplied ones among those asked for.

    **Raises:** `ValueError` for a design and fields that do not fit together.
    """
    if supplied is None:
        check_shape(design.grid.shape)
        known = Design().correlation
        unknown = [name for name in design.correlation if name not in known]
        if unknown:
            raise ValueError(
                f"unknown correlation {unknown[0]!r}: expected some of "
                f"{', '.join(known)}"
            )
        return design.correlation
    if design.members > 1:
        raise ValueError(
            f"supplied fields make one member, got members {design.members}"
        )
    named = tuple(name for name in design.correlation if name in supplied.substrate)
    return named or tuple(supplied.substrate)


def _start(soil):
    """The one stock that all cells start with, if so: soils that share it are equal.

    Written with 12 digits, since fields meet their totals to rounding alone.
    """
    if any(bool(jnp.any(pool != pool.reshape(-1)[0])) for pool in soil.state):
        return None
    return tuple(f"{float(pool.reshape(-1)[0]):.12g}" for pool in soil.state)


def _run_case(design: Design, soil: Soil):
    model, state, params = soil
    fluxes = model.fluxes
    start = fluxes(0.0, state, params)
    damkohler = damkohler_number(
        ratio(start.decomposition, state.substrate), edge=design.grid.edge
    )
    warn_unless_well_mixed(damkohler, edge=design.grid.edge)
    saver = _Saver(moments.of(fluxes, third=(_QUALITY_TRIPLE,)), fluxes)
    solution = integrate(
        model,
        state,
        params,
        design.times,
        save=saver,
        method=design.method,
        rate=model.fastest_rate,
        tolerance=design.tolerance,
        estimate_error=True,
    )
    series = _series(solution.values.moments)
    turnover = np.asarray(solution.values.fastest_turnover)
    checks = {
        "carbon_balance_error": np.asarray(_balance_error(series, params, solution)),
        "error_estimate": np.asarray(solution.relative_error),
        "respiration_error_estimate": np.asarray(
            ratio(
                solution.error.moments.flux.respiration,
                jnp.max(solution.values.moments.flux.respiration),
            )
        ),
        "largest_damkohler": np.asarray(
            damkohler_number(float(turnover.max()), edge=design.grid.edge)
        ),
        "smallest_pool": np.asarray(
            min(float(jnp.min(pool)) for pool in solution.values.moments.minimum)
        ),
    }
    _refuse_unsound(checks)
    return series, checks, type(solution.method).__name__


def _series(saved: moments.Moments) -> dict[str, np.ndarray]:
    flux, mean_field = saved.flux, saved.mean_field_flux
    biomass = saved.mean.biomass
    zero = jnp.zeros_like(biomass)
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
        series[name] = saved.covariance.get(moments.pair_name(*pair), zero)
    series["rate_substrate_biomass_third_moment"] = saved.third.get(
        moments.pair_name(*_QUALITY_TRIPLE), zero
    )
    return {name: np.asarray(value) for name, value in series.items()}


def _balance_error(series, params, solution: Solution):
    """Largest |S + B + CO2 - S₀ - B₀ - I t| relative to the carbon so far."""
    carbon = series["substrate"] + series["biomass"] + series["co2"]
    expected = carbon[0] + np.asarray(params.input) * np.asarray(solution.times)
    return np.max(np.abs(carbon - expected) / expected)


def _refuse_unsound(checks):
    if checks["carbon_balance_error"] > BALANCE_TOLERANCE:
        raise IntegrationError(
            f"carbon is not conserved: relative error "
            f"{checks['carbon_balance_error']:.2g} of the balance; use shorter steps"
        )
    if checks["smallest_pool"] < -1e-9:
        raise IntegrationError(
            f"a pool turned negative ({checks['smallest_pool']:.2g} mgC/g): the steps "
            "are too long for the fastest cells; use shorter ones"
        )
