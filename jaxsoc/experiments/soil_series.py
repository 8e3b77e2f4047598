"""What the two-pool model predicts of a series of measurements."""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.observe import Observed
from jaxsoc.physics.parameters import POSITIVE, AbstractParameters, parameter
from jaxsoc.physics.shapes import Cells
from jaxsoc.physics.units import FGC_PER_CELL
from jaxsoc.solve import Method, forward_adaptive, integrate

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
        series = seen.series(*run.values)
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
