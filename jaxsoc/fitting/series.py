"""What the two-pool model predicts of a series of measurements."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import POSITIVE, AbstractParameters, parameter
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.shapes import Cells
from jaxsoc.physics.units import FGC_PER_CELL
from jaxsoc.solve import Method, forward_adaptive, integrate

_CARBON, _FLUX = "mgC g-1", "mgC g-1 h-1"
QUANTITIES: Mapping[str, str] = MappingProxyType(
    {
        "substrate": _CARBON,
        "biomass": _CARBON,
        "co2": _CARBON,
        "respiration": _FLUX,
        "mean_rate": _FLUX,
    }
)
"""What can be compared with data and its unit, in the order of the columns of a
prediction; `mean_rate` is the mean of respiration since the point before."""

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

    @property
    def points(self) -> Any:
        """Times of the data, h."""
        return self.times if self.at_start else self.times[1:]


def observed(times: Any, quantity: str, *, at_start: bool = False) -> Observed:
    """`Observed` from a quantity's name.

    **Raises:** `ValueError` for a quantity that is not known.
    """
    check_option("quantity", quantity, QUANTITIES)
    return Observed(
        jnp.asarray(np.asarray(times, dtype=float)),
        jnp.asarray(list(QUANTITIES).index(quantity)),
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


class AbstractSeries(eqx.Module):
    """Prediction of a soil that runs: `(params, Observed) -> series`.

    **Arguments:** `model`: a `TwoPool` with any laws; `method`: with forward-mode
    gradients; `failed`: what every point is where the run fails, also inside `jit` and
    `vmap`: NaN, at which a search turns back and a sampler rejects; a number far from
    the data, a large misfit without slope (in forward mode); or None, to raise.
    """

    model: TwoPool = TwoPool()
    method: Method = FITTING_METHOD
    failed: float | None = eqx.field(static=True, default=math.nan)

    @abstractmethod
    def begin(self, params: Any) -> tuple[Callable, Any, Any]:
        """Tendency, initial state and parameters of the run."""

    @abstractmethod
    def measure(self, t: Any, state: Any, params: Any) -> tuple[Pools, Any]:
        """Pools (mgC/g) and respiration (mgC/g/h), means over the soil."""

    def __call__(self, params: Any, seen: Observed) -> Float[Array, " time"]:
        """The quantity at each time, mgC/g or mgC/g/h.

        **Raises:** `IntegrationError`, or inside `jit` an error of the run time, if the
        run fails and `failed` is None.
        """
        tendency, state, inner = self.begin(params)
        run = integrate(
            tendency,
            jax.tree.map(jnp.asarray, state),
            inner,
            seen.times,
            save=self.measure,
            method=self.method,
            throw=self.failed is None,
        )
        series = as_observed(*run.values, seen)
        if self.failed is None:
            return series
        return jnp.where(run.sound, series, self.failed)


class TwoPoolSeries(AbstractSeries):
    """Prediction of the two-pool model: `(SoilCore, Observed) -> series`."""

    def begin(self, params: SoilCore) -> tuple[Callable, Any, Any]:
        """The model, with the initial pools of the core."""
        S, B = params.initial_substrate, params.initial_biomass
        return self.model, Pools(S, B, 0.0 * S), params.soil

    def measure(self, t: Any, state: Any, params: Any) -> tuple[Pools, Any]:
        """The pools themselves, and their respiration."""
        return state, self.model.fluxes(t, state, params).respiration
