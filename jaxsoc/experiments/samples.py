"""Soil samples, well mixed or not, and what the two-pool model predicts of them.

A soil that is not well mixed adds two constants to those of a `SoilSample`, so that
neither of two such soils wins by freedom alone.
"""

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
from jaxsoc.observe import Observed
from jaxsoc.physics.parameters import (
    FRACTION,
    POSITIVE,
    AbstractParameters,
    Interval,
    parameter,
)
from jaxsoc.physics.safe import ratio
from jaxsoc.physics.shapes import Cells
from jaxsoc.physics.units import FGC_PER_CELL
from jaxsoc.solve import (
    AbstractPointwise,
    AbstractStocks,
    Method,
    forward_adaptive,
    integrate,
)

FITTING_METHOD = forward_adaptive()
# A standard deviation of the logarithm beyond which a field is hardly one soil: the
# published log-uniform constants over three decades have 2.
_WIDEST = 3.0


class AbstractSample(AbstractParameters):
    """A soil and what it starts with: all that a fit may vary."""

    @abstractmethod
    def begin(self, model: TwoPool) -> tuple[AbstractPointwise, Any, Any]:
        """Tendency, initial state and parameters, with the laws of a model."""

    @abstractmethod
    def whole(self, state: Any) -> Pools:
        """Pools of the whole sample from its state, or their rates from its rates."""


class SoilSample(AbstractSample):
    """A well-mixed soil and what it starts with."""

    soil: TwoPoolParameters
    initial_substrate: Cells = parameter(
        2.5e7 / FGC_PER_CELL, bounds=POSITIVE, unit="mgC/g", meaning="initial substrate"
    )
    initial_biomass: Cells = parameter(
        2.5e5 / FGC_PER_CELL, bounds=POSITIVE, unit="mgC/g", meaning="initial biomass"
    )

    def begin(self, model: TwoPool) -> tuple[AbstractPointwise, Any, Any]:
        S, B = self.initial_substrate, self.initial_biomass
        return model, Pools(S, B, 0.0 * S), self.soil

    def whole(self, state: Pools) -> Pools:
        return state


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


class PatchySample(AbstractSample):
    """A few weighted cells that differ in rate constant and biomass.

    kᵢ = k exp(σ xᵢ) / Σ wⱼ exp(σ xⱼ),  Bᵢ(0) = B(0) exp(β xᵢ) / Σ wⱼ exp(β xⱼ)
    R = Σ wᵢ Rᵢ

    Rate constant and biomass are log-normal over the soil, with the means of `sample`;
    every cell has the same substrate and follows the same law, whose constants have a
    `rate`, alone. The dead share is not among what may vary: with the laws of
    `KINETICS` the same respiration comes from fewer live cells with more of everything,
    and no data tell.

    **Arguments:** `cells`: nodes of the quadrature.
    """

    sample: SoilSample
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
    cells: int = eqx.field(static=True, default=7)

    def begin(self, model: TwoPool) -> tuple[AbstractPointwise, Any, Any]:
        one = self.sample
        substrate = one.initial_substrate * self._factor(0.0)
        biomass = one.initial_biomass * self._factor(self.biomass_slope)
        pools = Pools(substrate, biomass, 0.0 * substrate)
        return model, pools, _paced(one.soil, self._factor(self.rate_spread))

    def whole(self, state: Pools) -> Pools:
        weights = jnp.asarray(representative_cells(self.cells)[1])
        return jax.tree.map(lambda x: jnp.sum(weights * x), state)

    def _factor(self, slope):
        places, weights = map(jnp.asarray, representative_cells(self.cells))
        factor = jnp.exp(slope * places)
        return factor / jnp.sum(weights * factor)


class SecondPool(AbstractPointwise, AbstractStocks):
    """Two substrates eaten by one biomass, which compete for it, by the law of `model`.

    Dᵢ = Sᵢ/S D(S, B; kᵢ),  S = S₁ + S₂
    dS₁/dt = I - D₁ + T,  dS₂/dt = -D₂,  dB/dt = Y (D₁ + D₂) - T

    With equal rate constants this is the two-pool model, whatever the law.

    **Arguments:** `model`: a `TwoPool` with any laws whose constants have a `rate`.
    """

    model: TwoPool = TwoPool()

    def __call__(self, t: Any, state: Pools, params: Any) -> Pools:
        """Tendency of the pools at time `t` (h), mgC/g/h.

        **Arguments:** `state`: its substrate is a pair, the first one first; `params`:
        `TwoPoolParameters` and the pace of the second substrate.
        """
        soil, pace = params
        whole = state._replace(substrate=sum(state.substrate))
        first = self.model.fluxes(t, whole, soil)
        second = self.model.fluxes(t, whole, _paced(soil, pace))
        share = ratio(state.substrate[1], whole.substrate)
        both = lambda x, y: (1 - share) * x + share * y
        T = first.mortality
        left = soil.input - (1 - share) * first.decomposition + T
        return Pools(
            substrate=(left, -share * second.decomposition),
            biomass=both(first.growth, second.growth) - T,
            co2=both(first.respiration, second.respiration),
        )


class SecondPoolSample(AbstractSample):
    """A well-mixed soil with two substrates, see `SecondPool`."""

    sample: SoilSample
    second_share: Cells = parameter(
        0.5, bounds=FRACTION, unit="1", meaning="initial share of the second substrate"
    )
    second_pace: Cells = parameter(
        0.1,
        bounds=POSITIVE,
        unit="1",
        meaning="rate constant of the second substrate relative to the first",
    )

    def begin(self, model: TwoPool) -> tuple[AbstractPointwise, Any, Any]:
        one, share = self.sample, self.second_share
        S, B = one.initial_substrate, one.initial_biomass
        pools = Pools(((1 - share) * S, share * S), B, 0.0 * S)
        return SecondPool(model), pools, (one.soil, self.second_pace)

    def whole(self, state: Pools) -> Pools:
        return state._replace(substrate=sum(state.substrate))


Rival = Callable[[SoilSample], AbstractSample]
"""A model to compare: the sample that it makes of a homogeneous one."""

RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "homogeneous": lambda sample: sample,
        "second_pool": SecondPoolSample,
        "patchy": PatchySample,
    }
)


class SampleSeries(eqx.Module):
    """Prediction of a sample that runs: `(AbstractSample, Observed) -> series`.

    **Arguments:** `model`: a `TwoPool` with any laws; `method`: with forward-mode
    gradients.
    """

    model: TwoPool = TwoPool()
    method: Method = FITTING_METHOD

    def __call__(self, sample: AbstractSample, seen: Observed) -> Float[Array, " time"]:
        """The quantity at each time, mgC/g or mgC/g/h.

        NaN where the run fails, also inside `jit` and `vmap`: a search turns back at
        it, and a sampler rejects.
        """
        tendency, state, params = sample.begin(self.model)

        def save(t, state, params):
            respiration = sample.whole(tendency(t, state, params)).co2
            return sample.whole(state), respiration

        begun = tendency, jax.tree.map(jnp.asarray, state), params, seen.times
        run = integrate(*begun, save=save, method=self.method, throw=False)
        return jnp.where(run.sound, seen.series(*run.values), jnp.nan)
