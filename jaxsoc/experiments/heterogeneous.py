"""Soils that are not well mixed, predicted beside the homogeneous one they extend.

Each adds two constants to those of a `SoilCore`, so that neither wins by freedom alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.parameters import (
    FRACTION,
    POSITIVE,
    AbstractParameters,
    Interval,
    parameter,
)
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.shapes import Cells
from jaxsoc.solve import AbstractPointwise, AbstractStocks

from .soil_series import AbstractSeries, SoilCore

# A standard deviation of the logarithm beyond which a field is hardly one soil: the
# published log-uniform constants over three decades have 2.
_WIDEST = 3.0


class PatchyCore(AbstractParameters):
    """A soil of cells that differ in rate constant and biomass: what a fit may vary.

    The dead share is not among them: with the laws of `KINETICS` the same respiration
    comes from fewer live cells with more of everything, and no data tell.
    """

    core: SoilCore
    rate_spread: Cells = parameter(
        0.5,
        bounds=Interval(0.0, _WIDEST, closed_low=True),
        unit="1",
        meaning="standard deviation of the log rate constant over cells",
    )
    biomass_slope: Cells = parameter(
        0.0,
        bounds=Interval(-_WIDEST, _WIDEST),
        unit="1",
        meaning="slope of log initial biomass on the standardised log rate constant",
    )


class SecondPoolCore(AbstractParameters):
    """A well-mixed soil with two substrates: what a fit may vary."""

    core: SoilCore
    second_share: Cells = parameter(
        0.5, bounds=FRACTION, unit="1", meaning="initial share of the second substrate"
    )
    second_pace: Cells = parameter(
        0.1,
        bounds=POSITIVE,
        unit="1",
        meaning="rate constant of the second substrate relative to the first",
    )


def _paced(soil: TwoPoolParameters, factor: Any) -> TwoPoolParameters:
    """The same soil with its rate constant times a factor.

    **Raises:** `ValueError` for constants without a rate.
    """
    constants = soil.decomposition
    if not hasattr(constants, "rate"):
        raise ValueError(
            "constants of decomposition must have a field `rate`, got "
            f"{type(constants).__name__}"
        )
    return eqx.tree_at(lambda s: s.decomposition.rate, soil, constants.rate * factor)


def representative_cells(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and weights of Gauss quadrature over a standard normal distribution.

    Σ wᵢ xᵢⁿ = E[xⁿ] for all n < 2 `count`; Σ wᵢ = 1

    **Raises:** `ValueError` for no cells.
    """
    if count < 1:
        raise ValueError(f"at least 1 cell is needed, got {count}")
    places, weights = np.polynomial.hermite_e.hermegauss(count)
    return places, weights / weights.sum()


class PatchySeries(AbstractSeries):
    """Prediction of a few weighted cells: `(PatchyCore, Observed) -> series`.

    kᵢ = k exp(σ xᵢ) / Σ wⱼ exp(σ xⱼ),  Bᵢ(0) = B(0) exp(β xᵢ) / Σ wⱼ exp(β xⱼ)
    R = Σ wᵢ Rᵢ

    Rate constant and biomass are log-normal over the soil, with the means of `core`;
    every cell has the same substrate and follows the same law, alone.

    **Arguments:** as `AbstractSeries`, the constants of the laws having a `rate`;
    `cells`: nodes of the quadrature.
    """

    cells: int = eqx.field(static=True, default=7)

    def begin(self, params: PatchyCore) -> tuple[Callable, Any, Any]:
        """The model, in every cell."""
        core = params.core
        substrate = core.initial_substrate * self._factor(0.0)
        biomass = core.initial_biomass * self._factor(params.biomass_slope)
        pools = Pools(substrate, biomass, 0.0 * substrate)
        return self.model, pools, _paced(core.soil, self._factor(params.rate_spread))

    def measure(self, t: Any, state: Any, params: Any) -> tuple[Pools, Any]:
        """Means over the cells."""
        weights = jnp.asarray(representative_cells(self.cells)[1])
        mean = lambda x: jnp.sum(weights * x)
        respiration = self.model.fluxes(t, state, params).respiration
        return Pools(*map(mean, state)), mean(respiration)

    def _factor(self, slope):
        places, weights = map(jnp.asarray, representative_cells(self.cells))
        factor = jnp.exp(slope * places)
        return factor / jnp.sum(weights * factor)


class TwoSubstrates(NamedTuple):
    """Carbon in mgC per g soil; `co2` is what has been respired so far."""

    substrate: Any
    second: Any
    biomass: Any
    co2: Any


class SecondPool(AbstractPointwise, AbstractStocks):
    """Two substrates eaten by one biomass, which compete for it, by the law of `model`.

    Dᵢ = Sᵢ/S D(S, B; kᵢ),  S = S₁ + S₂
    dS₁/dt = I - D₁ + T,  dS₂/dt = -D₂,  dB/dt = Y (D₁ + D₂) - T

    With equal rate constants this is the two-pool model, whatever the law.

    **Arguments:** `model`: a `TwoPool` with any laws whose constants have a `rate`.
    """

    model: TwoPool = TwoPool()

    def __call__(self, t: Any, state: TwoSubstrates, params: Any) -> TwoSubstrates:
        """Tendency of the pools at time `t` (h), mgC/g/h.

        **Arguments:** `params`: `TwoPoolParameters` and the pace of the second pool.
        """
        soil, pace = params
        S = state.substrate + state.second
        whole = Pools(S, state.biomass, state.co2)
        first = self.model.fluxes(t, whole, soil)
        second = self.model.fluxes(t, whole, _paced(soil, pace))
        share = ratio(state.second, S)
        both = lambda x, y: (1 - share) * x + share * y
        T = first.mortality
        return TwoSubstrates(
            substrate=soil.input - (1 - share) * first.decomposition + T,
            second=-share * second.decomposition,
            biomass=both(first.growth, second.growth) - T,
            co2=both(first.respiration, second.respiration),
        )


class SecondPoolSeries(AbstractSeries):
    """Prediction with a second substrate: `(SecondPoolCore, Observed) -> series`.

    **Arguments:** as `AbstractSeries`, the constants of the laws having a `rate`.
    """

    def begin(self, params: SecondPoolCore) -> tuple[Callable, Any, Any]:
        """Both substrates, by their shares."""
        core, share = params.core, params.second_share
        S, B = core.initial_substrate, core.initial_biomass
        pools = TwoSubstrates((1 - share) * S, share * S, B, 0.0 * S)
        return SecondPool(self.model), pools, (core.soil, params.second_pace)

    def measure(self, t: Any, state: Any, params: Any) -> tuple[Pools, Any]:
        """Substrate is both together; respiration is the growth of CO2."""
        pools = Pools(state.substrate + state.second, state.biomass, state.co2)
        return pools, SecondPool(self.model)(t, state, params).co2
