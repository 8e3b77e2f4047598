"""Macro-scale models to second order in the deviations of cells from their means."""

from itertools import combinations
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.safe import ratio

from .closures import Closure, zero_third
from .macroscale import AbstractMacroModel, Given, MacroState
from .quantities import named


class ClosedMoments(AbstractMacroModel):
    """Equations for means and covariances of the live cells, with any closure.

    F̄ = F + ½ F'' : C + ⅙ F''' ⋮ M, of any rate F, and so dx̄/dt of the tendency f
    dC/dt = J C + C Jᵀ + sym(½ f'' : M + ⅙ f''' ⋮ Q)

    with J, f'', f''' the derivatives at the means, M and Q the third and fourth moments
    from the closure. `order` 2 leaves F''' out; at order 3 the equations of a law that
    is cubic, as the multiplicative one is in k, S and B, are exact in the moments. The
    live variables are the means of the pools and the covariance of all quantities.

    **Arguments:** `closure`: `(mean, covariance) -> Higher`, see `closures`; `order`: 2
    or 3; `model`, `varying`, `dead`: see `AbstractMacroModel`.
    **Raises:** `ValueError` for an order other than 2 or 3; when called, for a number
    of moments that does not fit.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 21-25.
    """

    model: Any
    varying: tuple[str, ...] = ()
    dead: str | None = "biomass"
    closure: Closure = zero_third
    order: int = 2
    reads_covariances: ClassVar[bool] = True

    def __check_init__(self):
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")

    def from_moments(
        self, mean: Any, covariance: Any, params: Any
    ) -> tuple[MacroState, Given]:
        """As `initial`, from moments of a user's own and not fields; all cells live.

        **Arguments:** `mean`: of every pool, mgC/g; `covariance`: of the pools that a
        rate depends on and the parameters of `varying`; `params`: mean parameters.
        **Raises:** `ValueError` for a wrong number of moments, negative means, and
        covariances that are not finite, not symmetric or not positive semi-definite.
        """
        core, given = self.initial(mean, params)
        covariance = jnp.asarray(covariance)
        _check_moments(mean, np.asarray(covariance, float), given.quantities.names)
        return core._replace(live=(core.live[0], covariance)), given

    def describe(self, cells):
        return (cells.pools, cells.covariance), None

    def live_mean(self, function, live, given):
        higher = self._higher(live, given)
        third = higher.third if self.order > 2 else None
        return _mean(function, given.cell(live[0]), live[1], third)

    def live_tendency(self, t, live, given):
        function = given.quantities.tendencies(self.model, t, given.params)
        higher, at = self._higher(live, given), given.cell(live[0])
        still = jnp.zeros(at.size - live[0].size, at.dtype)
        # A parameter stays what it is.
        slope = jax.jacfwd(lambda x: jnp.concatenate([function(x)[0], still]))
        bend = jax.jacfwd(slope)
        half = slope(at) @ live[1]
        half = half + 0.5 * jnp.einsum("jab,abi->ji", bend(at), higher.third)
        if self.order > 2:
            twist = jax.jacfwd(bend)(at)
            half = half + jnp.einsum("jabc,abci->ji", twist, higher.fourth) / 6
        mean, passive = self.live_mean(function, live, given)
        return (mean, half + half.T), passive

    def realisability(self, core, given):
        names, (mean, covariance) = given.quantities.names, core.live
        found = super().realisability(core, given)
        for i, name in enumerate(names):
            found[f"variance of {name}"] = covariance[i, i]
        at = given.cell(mean)
        # Rounding of the larger terms must not pass for a violation.
        slack = 1e-9 * jnp.outer(at, at) ** 2
        for (j, first), (i, second) in combinations(enumerate(names), 2):
            gap = covariance[i, i] * covariance[j, j] - covariance[i, j] ** 2
            found[f"V V - C² of {first} and {second}"] = gap + slack[i, j]
        return found

    def _higher(self, live, given):
        """What the closure says, if it says enough."""
        names = given.quantities.names
        _check_shape("covariance", live[1], 2, names)
        higher = self.closure(given.cell(live[0]), live[1])
        _check_shape("third moments of the closure", higher.third, 3, names)
        if self.order > 2:
            _check_shape("fourth moments of the closure", higher.fourth, 4, names)
        return higher


class FunctionsOfMeans(AbstractMacroModel):
    """Covariances as functions of the means, as Bergström et al. (2006) fit them.

    F̄ = F(x̄) + ½ F'' : C,  Cᵢⱼ = rᵢⱼ σᵢ σⱼ,  σᵢ = σᵢ(0) (x̄ᵢ / x̄ᵢ(0))^pᵢ

    Correlations stay what they were, parameters keep their spread. With p = 1 relative
    moments are prescribed as they were at the start, with p = 0 the moments themselves;
    p is what a fit improves.

    **Arguments:** `powers`: p by followed pool, or one for all; `model`, `varying`,
    `dead`: see `AbstractMacroModel`.
    Source: Bergström, Englund and Leonardsson (2006), American Naturalist 167, for
    predator and prey.
    """

    model: Any
    varying: tuple[str, ...] = ()
    dead: str | None = "biomass"
    powers: Any = 1.0
    reads_covariances: ClassVar[bool] = True

    def describe(self, cells):
        return cells.pools, (cells.mean, cells.covariance)

    def covariance(self, live, given):
        """C at these means of the live cells."""
        start, covariance = given.detail
        relative = jnp.maximum(ratio(live, start[: live.size]), 1e-12)
        still = jnp.ones(start.size - live.size, live.dtype)
        powers = jnp.asarray(self.powers, live.dtype)
        factor = jnp.concatenate([relative**powers, still])
        return covariance * jnp.outer(factor, factor)

    def live_mean(self, function, live, given):
        return _mean(function, given.cell(live), self.covariance(live, given))


def _mean(function, at, covariance, third=None):
    """F(x̄) + ½ F'' : C + ⅙ F''' ⋮ M, for any structure of rates."""
    bend = jax.jacfwd(jax.jacfwd(function))
    second = lambda f, h: f + 0.5 * jnp.tensordot(h, covariance, 2)
    mean = jax.tree.map(second, function(at), bend(at))
    if third is None:
        return mean
    add = lambda f, h: f + jnp.tensordot(h, third, 3) / 6
    return jax.tree.map(add, mean, jax.jacfwd(bend)(at))


def _check_moments(mean, covariance, names):
    """Refuses moments that no soil can have."""
    for name, x in named(mean).items():
        if np.ndim(x) or not (np.isfinite(x) and x >= 0):
            raise ValueError(f"mean {name} must be one number from 0 on, got {x}")
    _check_shape("covariance", covariance, 2, names)
    if not np.isfinite(covariance).all():
        raise ValueError("covariance must be finite, got NaN or infinite entries")
    # In units of the standard deviations: quantities may differ in size by far.
    deviation = np.sqrt(np.abs(np.diag(covariance)))
    deviation = np.where(deviation > 0, deviation, 1.0)
    scaled = covariance / np.outer(deviation, deviation)
    i, j = np.unravel_index(np.argmax(np.abs(scaled - scaled.T)), scaled.shape)
    if not np.isclose(scaled[i, j], scaled[j, i], rtol=1e-9, atol=1e-9):
        raise ValueError(
            f"covariance must be symmetric, got {covariance[i, j]:.6g} and "
            f"{covariance[j, i]:.6g} for {names[i]} and {names[j]}"
        )
    if (least := np.linalg.eigvalsh(scaled)[0]) < -1e-9:
        raise ValueError(
            "covariance must be positive semi-definite, got a smallest eigenvalue of "
            f"{least:.3g} in units of the variances of {', '.join(names)}"
        )


def _check_shape(what, moments, order, names):
    by = lambda shape: " x ".join(map(str, shape)) or "one number"
    expected, found = by((len(names),) * order), by(jnp.shape(moments))
    if found != expected:
        raise ValueError(
            f"{what} must be {expected}, along {', '.join(names)}, got {found}"
        )
