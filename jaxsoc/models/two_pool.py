"""Substrate, biomass and respired CO2 at a point of soil, with any rate law."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxsoc.physics.kinetics import kinetics_of, multiplicative
from jaxsoc.physics.mortality import (
    LinearMortalityConstants,
    biomass_at,
    linear_mortality,
    power_mortality,
)
from jaxsoc.physics.once import computed_once
from jaxsoc.physics.parameters import (
    FRACTION,
    NON_NEGATIVE,
    AbstractParameters,
    parameter,
)
from jaxsoc.physics.shapes import Number
from jaxsoc.physics.units import FGC_PER_CELL
from jaxsoc.solve.pointwise import AbstractBounded, AbstractStocks
from jaxsoc.solve.steady import Steady, steady_state

# Where the slopes of a law of which nothing is known are looked for, as shares of the
# most substrate; and how much larger they may be in between.
_REACHABLE = tuple(10.0 ** (-0.4 * place) for place in range(16))
_BETWEEN = 1.25


class Pools(NamedTuple):
    """Carbon in mgC per g soil; `co2` is what has been respired so far."""

    substrate: Any
    biomass: Any
    co2: Any


class Fluxes(NamedTuple):
    """Carbon fluxes in mgC per g soil per hour."""

    decomposition: Any
    mortality: Any
    growth: Any
    respiration: Any


class TwoPoolParameters(AbstractParameters):
    """Numbers of the two-pool model; a heterogeneous one carries cell axes."""

    decomposition: Any
    mortality: Any = LinearMortalityConstants()
    carbon_use_efficiency: Float[Number, "*#cell"] = parameter(
        0.31, bounds=FRACTION, unit="1", meaning="yield Y"
    )
    input: Float[Number, "*#cell"] = parameter(
        125.0 / FGC_PER_CELL,
        bounds=NON_NEGATIVE,
        unit="mgC/g/h",
        meaning="external input of substrate",
    )


class TwoPool(AbstractBounded, AbstractStocks):
    """Two-pool decomposition model at a point, the tendency of every micro-scale run.

    dS/dt = I - D + T,  dB/dt = Y D - T,  dCO2/dt = R = (1 - Y) D

    **Arguments:** `decomposition`: a law `(substrate, biomass, constants) -> D`;
    `mortality`: a law `(biomass, constants) -> T`.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 2-3 and 11.
    """

    decomposition: Callable = multiplicative
    mortality: Callable = linear_mortality

    def fluxes(self, t: Any, state: Pools, params: TwoPoolParameters) -> Fluxes:
        """Carbon fluxes at time `t` (h), mgC/g/h."""
        S, B, _ = state
        Y = params.carbon_use_efficiency
        D = computed_once(self.decomposition(S, B, params.decomposition))
        T = self.mortality(B, params.mortality)
        return Fluxes(
            decomposition=D, mortality=T, growth=Y * D, respiration=(1 - Y) * D
        )

    def __call__(self, t: Any, state: Pools, params: TwoPoolParameters) -> Pools:
        """Tendency of the pools at time `t` (h), mgC/g/h."""
        I = params.input
        D, T, growth, R = self.fluxes(t, state, params)
        return Pools(substrate=I - D + T, biomass=growth - T, co2=R)

    def fastest_rate(
        self, t: Any, state: Pools, params: TwoPoolParameters, interval: Any
    ) -> Float[Array, "..."]:
        """Bound on the rate of change of each cell over the coming `interval` (h).

        λ = max over S of ∂D/∂S at the largest B that the cell can reach,
            B ≤ Y S + B + Y I Δt, plus |Y ∂D/∂B| at the current state and ∂T/∂B

        The largest B follows from d(Y S + B)/dt = Y I - (1 - Y) T ≤ Y I. For laws known
        to be concave in S, see `Kinetics`, ∂D/∂S is taken at S = 0 and at the current
        S. The slopes of another law are looked for all over the S that the cell can
        reach, S + B + I Δt, and taken a quarter larger than found. Stocks below a
        millionth of the largest count as that much where slopes grow without bound, as
        ∂T/∂B does for β < 1.
        **Returns:** λ in 1/h, per cell.
        """
        S, B, _ = state
        Y, I = params.carbon_use_efficiency, params.input
        one = jnp.ones_like(S)
        largest = Y * S + B + Y * I * interval

        law = lambda S, B: self.decomposition(S, B, params.decomposition)
        slope = lambda function, x: jnp.abs(jax.jvp(function, (x,), (one,))[1])
        slope_substrate = lambda S, B: slope(lambda S: law(S, B), S)
        slope_biomass = lambda S, B: slope(lambda B: law(S, B), B)
        at_zero = slope_substrate(jnp.zeros_like(S), largest)
        at_zero = jnp.where(jnp.isfinite(at_zero), at_zero, 0.0)
        least = 1e-6 * largest
        D_S = jnp.maximum(at_zero, slope_substrate(jnp.maximum(S, least), largest))
        D_B = slope_biomass(S, B)
        known = kinetics_of(self.decomposition)
        if known is None or not known.concave:
            most = S + B + I * interval
            for share in _REACHABLE:
                steep = slope_substrate(share * most, largest)
                D_S = jnp.maximum(D_S, _BETWEEN * steep)
            D_B = jnp.maximum(D_B, _BETWEEN * slope_biomass(most, largest))
        mortality = lambda B: self.mortality(B, params.mortality)
        return D_S + jnp.abs(Y) * D_B + slope(mortality, jnp.maximum(B, least))


@steady_state.register(TwoPool)
def _(
    model: TwoPool, params: TwoPoolParameters, *, start: Any = None, throw: bool = True
) -> Pools | Steady:
    """Steady state of each cell: closed form for the known laws, else a root of D.

    D* = I / (1 - Y),  T(B*) = Y D*,  D(S*, B*) = D*

    A user's law must increase with S; mortality, with B.

    With linear mortality B* = Y I / ((1 - Y) m); S* of each law as in Table 1 of
    Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, extended.

    **Arguments:** `params`: scalars or cell fields that broadcast; `throw`: False to be
    have by cell what was `found` in place of errors.
    **Returns:** `Pools` in mgC/g, with `co2` zero.
    **Raises:** `ValueError` where no steady state exists: no input, or decomposition
    that cannot keep up with mortality at any substrate (Y k ≤ m for Michaelis-Menten,
    ECA and the quadratic law). Inside `jit` the same check raises at run time.
    """
    params = jax.tree.map(jnp.asarray, params)
    pools, fed, reachable = _cells(model, params)
    found = fed & reachable
    if not throw:
        sound = jax.tree.map(lambda x: jnp.where(found, x, jnp.nan), pools)
        return Steady(sound, found)
    if isinstance(found, Tracer):
        sentence = "no steady state for these parameters"
        return eqx.error_if(pools, ~jnp.all(found), sentence)
    Y, I = params.carbon_use_efficiency, params.input
    if not np.all(fed):
        raise ValueError(
            f"no unique steady state without input: got input {_span(I)} mgC/g/h; "
            "the only attractor is zero biomass"
        )
    if not np.all(reachable):
        raise ValueError(
            "no steady state: decomposition cannot keep up with mortality at any "
            f"substrate in {np.sum(~reachable)} of {reachable.size} cells; "
            "the maximum rate k must exceed mortality per yield (Y k > m), got "
            f"Y {_span(Y)}, {_named(params.decomposition)}, {_named(params.mortality)}"
        )
    return pools


@eqx.filter_jit
def _cells(model, params):
    """Pools of each cell, whether it is fed, and whether its substrate is finite."""
    Y, I = params.carbon_use_efficiency, params.input
    fed = jnp.asarray(I / (1 - Y)) > 0
    decomposition = jnp.where(fed, I / (1 - Y), 1.0)
    biomass = _steady_biomass(model, Y * decomposition, params.mortality)
    known, constants = kinetics_of(model.decomposition), params.decomposition
    if known is not None and known.substrate_at is not None:
        substrate = known.substrate_at(decomposition, biomass, constants)
    else:
        law = lambda S, given: model.decomposition(S, *given)
        substrate = _positive_root(law, decomposition, (biomass, constants))
    substrate, biomass = jnp.broadcast_arrays(substrate, biomass)
    pools = Pools(substrate, biomass, jnp.zeros_like(substrate))
    return pools, fed, (substrate > 0) & (substrate < jnp.inf)


def _steady_biomass(model, mortality, constants):
    if model.mortality is linear_mortality:
        return mortality / constants.rate
    if model.mortality is power_mortality:
        return biomass_at(mortality, constants)
    return _positive_root(model.mortality, mortality, constants)


# Logarithms of the smallest and largest stock searched for a root, mgC/g.
_LOG_RANGE = (-60.0, 30.0)


def _positive_root(function, target, args):
    """Elementwise x > 0 with function(x, args) = target; infinite where none is."""
    leaves, tree = jax.tree.flatten(args)

    def root(target, *leaves):
        args, (low, high) = tree.unflatten(leaves), _LOG_RANGE
        most = function(jnp.exp(high), args)
        exists = most > target
        # A reachable target in its place keeps the search, and gradients, finite.
        target = jnp.where(exists, target, 0.5 * most)
        residual = lambda log_x, args: function(jnp.exp(log_x), args) / target - 1.0
        found = optx.root_find(
            residual,
            optx.Bisection(rtol=1e-14, atol=1e-14),
            jnp.zeros_like(target),
            args,
            options={"lower": low, "upper": high},
            throw=False,
        )
        return jnp.where(exists, jnp.exp(found.value), jnp.inf)

    return jnp.vectorize(root)(target, *leaves)


def _span(value):
    numbers = np.asarray(value)
    low, high = numbers.min(), numbers.max()
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _named(constants):
    leaves = jax.tree_util.tree_flatten_with_path(constants)[0]
    return ", ".join(
        f"{jax.tree_util.keystr(path).strip('.')} {_span(leaf)}"
        for path, leaf in leaves
    )
