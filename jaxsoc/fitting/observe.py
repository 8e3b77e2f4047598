"""What the two-pool model predicts of a series of measurements."""

from typing import Any

import equinox as eqx
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


class TwoPoolSeries(eqx.Module):
    """Prediction of the two-pool model: `(SoilCore, Observed) -> series`.

    **Arguments:** `model`: a `TwoPool` with any laws; `method`: a road with
    forward-mode gradients.
    """

    model: TwoPool = TwoPool()
    method: Method = FITTING_METHOD

    def __call__(self, params: SoilCore, seen: Observed) -> Float[Array, " time"]:
        """The quantity at each time, mgC/g or mgC/g/h."""
        S, B = params.initial_substrate, params.initial_biomass
        state = Pools(*(jnp.asarray(x) for x in (S, B, 0.0 * S)))
        run = integrate(
            self.model,
            state,
            params.soil,
            seen.times,
            save=self._measure,
            method=self.method,
            throw=False,
        )
        pools, respiration = run.values
        return as_observed(pools, respiration, seen)

    def _measure(self, t, state, params):
        return state, self.model.fluxes(t, state, params).respiration
