"""Decomposition at a point of soil: `law(substrate, biomass, constants)` -> rate.

A user's own law is any function with the same call; its constants are any pytree.

Source of the four laws: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 4-6
and the authors' inverse Michaelis-Menten; ECA: Tang and Riley (2013),
doi:10.5194/bg-10-8329-2013; the quadratic law: Tang (2015),
doi:10.5194/gmd-8-3823-2015.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .parameters import POSITIVE, AbstractParameters, default, parameter
from .safe import quotient
from .shapes import Cells
from .units import FGC_PER_CELL

Rate = Float[Array, "..."]


class LinearConstants(AbstractParameters):
    """Constants of `linear`; fitted to the biomass of Michaelis-Menten kinetics."""

    rate: Cells = parameter(
        1.605e-3, bounds=POSITIVE, unit="1/h", meaning="decomposition rate constant"
    )


class MultiplicativeConstants(AbstractParameters):
    """Constants of `multiplicative`."""

    rate: Cells = parameter(
        7.45e-10 * FGC_PER_CELL,
        bounds=POSITIVE,
        unit="1/h/(mgC/g)",
        meaning="decomposition rate constant per biomass",
    )


def _largest_rate(default: float) -> Any:
    return parameter(
        default, bounds=POSITIVE, unit="1/h", meaning="maximum decomposition rate"
    )


def _saturating(default: float, meaning: str) -> Any:
    return parameter(default, bounds=POSITIVE, unit="mgC/g", meaning=meaning)


class MichaelisMentenConstants(AbstractParameters):
    """Constants of `michaelis_menten`."""

    rate: Cells = _largest_rate(0.018)
    half_saturation: Cells = _saturating(25.0, "half-saturation substrate")


class InverseMichaelisMentenConstants(AbstractParameters):
    """Constants of `inverse_michaelis_menten`."""

    rate: Cells = _largest_rate(0.0045)
    half_saturation: Cells = _saturating(
        2.0e6 / FGC_PER_CELL, "half-saturation biomass"
    )


class ECAConstants(AbstractParameters):
    """Constants of `eca` and `quadratic`; defaults those of Michaelis-Menten."""

    rate: Cells = _largest_rate(default(MichaelisMentenConstants, "rate"))
    half_saturation: Cells = _saturating(
        default(MichaelisMentenConstants, "half_saturation"), "affinity constant"
    )


def linear(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """First-order decomposition.

    D = k S

    **Arguments:** `substrate`, `biomass` in mgC/g; `constants.rate` in 1/h.
    **Returns:** D in mgC/g/h. Source: Chakrawal et al. (2020), Eq. 4.
    """
    S, k = substrate, constants.rate
    # B enters with weight zero so that every law broadcasts over the same cells.
    return jnp.asarray(k * S + 0.0 * biomass)


def multiplicative(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """Decomposition proportional to substrate and to biomass.

    D = k S B

    **Arguments:** `substrate`, `biomass` in mgC/g; `constants.rate` in 1/h/(mgC/g).
    **Returns:** D in mgC/g/h. Source: Chakrawal et al. (2020), Eq. 5.
    """
    S, B, k = substrate, biomass, constants.rate
    return jnp.asarray(k * S * B)


def michaelis_menten(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """Decomposition that saturates with substrate.

    D = k S B / (K + S)

    **Arguments:** `substrate`, `biomass` in mgC/g; `constants.rate` in 1/h,
    `constants.half_saturation` in mgC/g.
    **Returns:** D in mgC/g/h. Source: Chakrawal et al. (2020), Eq. 6.
    """
    S, B = substrate, biomass
    k, K = constants.rate, constants.half_saturation
    return quotient(k * S * B, K + S)


def inverse_michaelis_menten(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """Decomposition that saturates with biomass.

    D = k S B / (K + B)

    **Arguments:** as `michaelis_menten`; K is a biomass.
    **Returns:** D in mgC/g/h. Source: Chakrawal et al. (2020).
    """
    S, B = substrate, biomass
    k, K = constants.rate, constants.half_saturation
    return quotient(k * S * B, K + B)


def eca(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """Equilibrium chemistry approximation: saturates with substrate and biomass.

    D = k S B / (K + S + B)

    **Arguments:** as `michaelis_menten`.
    **Returns:** D in mgC/g/h. Source: Tang and Riley (2013),
    doi:10.5194/bg-10-8329-2013.
    """
    S, B = substrate, biomass
    k, K = constants.rate, constants.half_saturation
    return quotient(k * S * B, K + S + B)


def quadratic(substrate: Cells, biomass: Cells, constants: Any) -> Rate:
    """Total quasi-steady-state law, of which `eca` is the first-order approximation.

    D = k/2 [ a - √(a² - 4 S B) ],  a = K + S + B

    **Arguments:** as `michaelis_menten`.
    **Returns:** D in mgC/g/h. Source: Tang (2015), doi:10.5194/gmd-8-3823-2015.
    """
    S, B = substrate, biomass
    k, K = constants.rate, constants.half_saturation
    a = K + S + B
    # a² - 4 S B without cancellation, and the root's conjugate form for the same reason
    root = jnp.sqrt((S - B) ** 2 + K * (K + 2 * (S + B)))
    return 2 * k * S * B / (a + root)


# The substrate at which a law decomposes at a given rate, D(S, B) = D: the law solved
# for S. Not positive, or infinite, where no substrate is enough; NaN would spoil
# gradients, `safe.power` stands in for a root. By way of the rate per biomass, whose
# derivatives stay finite however little of both there is.


def _linear_at(D, B, c):
    return D / c.rate


def _multiplicative_at(D, B, c):
    return quotient(D, B) / c.rate


def _michaelis_menten_at(D, B, c):
    d = quotient(D, B)
    return c.half_saturation * d / (c.rate - d)


def _inverse_at(D, B, c):
    return quotient(D, B) * (c.half_saturation + B) / c.rate


def _eca_at(D, B, c):
    d = quotient(D, B)
    return d * (c.half_saturation + B) / (c.rate - d)


def _quadratic_at(D, B, c):
    d = quotient(D, B) / c.rate
    return d * (c.half_saturation + B - d * B) / (1 - d)


Law = Callable[[Any, Any, Any], Any]


class Kinetics(NamedTuple):
    """A law by name, the class of its constants, and what is known of the law.

    `substrate_at`: the law solved for S, None to have it looked for; `concave`: whether
    D is concave in S with a finite slope at zero, where it is then steepest.
    """

    law: Law
    constants: type[AbstractParameters]
    substrate_at: Callable[[Any, Any, Any], Any] | None = None
    concave: bool = False


_concave = partial(Kinetics, concave=True)
_LAWS = (
    _concave(linear, LinearConstants, _linear_at),
    _concave(multiplicative, MultiplicativeConstants, _multiplicative_at),
    _concave(michaelis_menten, MichaelisMentenConstants, _michaelis_menten_at),
    _concave(inverse_michaelis_menten, InverseMichaelisMentenConstants, _inverse_at),
    _concave(eca, ECAConstants, _eca_at),
    _concave(quadratic, ECAConstants, _quadratic_at),
)
KINETICS: Mapping[str, Kinetics] = MappingProxyType(
    {kinetics.law.__name__: kinetics for kinetics in _LAWS}
)
"""Every law by the name of its function; a new one is a line of `_LAWS`."""


def kinetics_of(law: Law) -> Kinetics | None:
    """What is known of a law, None of a user's own."""
    return next((k for k in KINETICS.values() if k.law is law), None)
