"""What the two-pool model predicts of a series of measurements."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.parameters import POSITIVE, AbstractParameters, parameter
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.shapes import Cells
from jaxsoc.physics.units import FGC_PER_CELL
from jaxsoc.solve import Method, forward_adaptive, integrate

# What can be compared with data, in the order of the columns of a prediction.
# mgC/g for the pools and for what was respired so far, mgC/g/h for the others;
# `mean_rate` is the mean of respiration since the point before.
QUANTITIES = ("substrate", "biomass", "co2", "respiration", "mean_rate")

FITTING_METHOD = forward_adaptive()


class SoilCore(AbstractParameters):
    """A well-mixed soil and what it starts with: all that a fit may vary."""

    soil: TwoPoolParameters
    initial_substrate: Cells = parameter(
        2.5e7 / FGC_PER_CELL, bounds=POSITIVE, unit="mgC/g", meaning="initial substrate"
    )
    initial_biomass: Cells = parameter(
        2.5e5 / FGC_PER_CELL, bounds=POSITIVE, unit="mgC/g", meaning="initial biomass"
    )


class Observed(eqx.Module):
    """When and what was measured.

    **Arguments:** `times`: h, the first being that of the initial pools; the points of
    the data are the others, or all of them with `at_start`; `quantity`: index in
    `QUANTITIES`, an array, so that one compilation serves all.
    """

    times: Any
    quantity: Any
    at_start: bool = eqx.field(static=True, default=False)


def observed(times: Any, quantity: str, *, at_start: bool = False) -> Observed:
    """`Observed` from a quantity's name.

    **Raises:** `ValueError` for a quantity that is not known.
    """
    if quantity not in QUANTITIES:
        raise ValueError(
            f"unknown quantity {quantity!r}: expected one of {', '.join(QUANTITIES)}"
        )
    return Observed(
        jnp.asarray(np.asarray(times, dtype=float)),
        jnp.asarray(QUANTITIES.index(quantity)),
        at_start,
    )


def as_observed(
    pools: Pools, respiration: Array, seen: Observed
) -> Float[Array, " time"]:
    """The quantity observed, from pools (mgC/g) and respiration (mgC/g/h) by time."""
    intervals = jnp.diff(seen.times, prepend=seen.times[:1])
    mean_rate = ratio(jnp.diff(pools.co2, prepend=0.0), intervals)
    columns = jnp.stack([*pools, respiration, mean_rate])
    series = columns[seen.quantity]
    return series if seen.at_start else series[1:]


def predicted(
    tendency: Callable,
    state: Any,
    params: Any,
    seen: Observed,
    *,
    save: Callable,
    method: Method,
    failed: float | None,
) -> Float[Array, " time"]:
    """The quantity observed of a run, and what stands for a run that fails.

    **Arguments:** `tendency`, `state`, `params`, `method`: see `integrate`; `save`:
    `(t, state, params) -> (Pools, respiration)`, means over the soil; `failed`: what
    every point is then, NaN or a number, None to raise.
    **Raises:** `IntegrationError`, or inside `jit` an error of the run time, if the run
    fails and `failed` is None.
    """
    run = integrate(
        tendency,
        jax.tree.map(jnp.asarray, state),
        params,
        seen.times,
        save=save,
        method=method,
        throw=failed is None,
    )
    series = as_observed(*run.values, seen)
    return series if failed is None else jnp.where(run.sound, series, failed)


class TwoPoolSeries(eqx.Module):
    """Prediction of the two-pool model: `(SoilCore, Observed) -> series`.

    **Arguments:** `model`: a `TwoPool` with any laws; `method`: with forward-mode
    gradients; `failed`: what every point is where the run fails, also inside `jit` and
    `vmap`: NaN, at which a search turns back and a sampler rejects; a number far from
    the data, a large misfit without slope (in forward mode); or None, to raise.
    """

    model: TwoPool = TwoPool()
    method: Method = FITTING_METHOD
    failed: float | None = eqx.field(static=True, default=math.nan)

    def __call__(self, params: SoilCore, seen: Observed) -> Float[Array, " time"]:
        """The quantity at each time, mgC/g or mgC/g/h."""
        S, B = params.initial_substrate, params.initial_biomass
        return predicted(
            self.model,
            Pools(S, B, 0.0 * S),
            params.soil,
            seen,
            save=self._measure,
            method=self.method,
            failed=self.failed,
        )

    def _measure(self, t, state, params):
        return state, self.model.fluxes(t, state, params).respiration
