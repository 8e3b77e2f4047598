"""Macro-scale models that close the scale transition at its second order."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsoc.physics.safe import ratio

from .closures import Closure, zero_third
from .macro import Core, MomentEquations
from .macroscale import AbstractMacroModel


class ClosedMoments(AbstractMacroModel):
    """Equations for means and covariances of the live cells, with any closure.

    **Arguments:** `closure`: of the third moments, see `closures`; `order`: 2 or 3, see
    `MomentEquations`; `model`, `varying`, `dead`: see `AbstractMacroModel`.
    """

    model: Any
    varying: tuple[str, ...] = ()
    dead: str | None = "biomass"
    closure: Closure = zero_third
    order: int = 2

    @property
    def equations(self) -> MomentEquations:
        """Of the live cells."""
        return MomentEquations(self.model, self.varying, self.closure, self.order)

    def numbers_read(self, pools: int = 2) -> int:
        return (super().numbers_read(pools) or 0) + covariances(
            pools + len(self.varying)
        )

    def describe(self, x, weight, mean, params, known):
        covariance = covariance_of(x, weight, mean)
        return (mean[: known.pools], covariance), mean[known.pools :]

    def _core(self, live, given):
        known, (mean, covariance) = given.quantities, live
        zero = jnp.zeros(len(known.passive), mean.dtype)
        return Core(known.state(mean, zero), covariance)

    def live_tendency(self, t, live, given):
        known = given.quantities
        change = self.equations(t, self._core(live, given), given.params)
        leaves = jax.tree.leaves(change.mean)
        pick = lambda places: jnp.asarray([leaves[i] for i in places], live[0].dtype)
        mean, passive = pick(known.places[: known.pools]), pick(known.passive)
        return (mean, change.covariance), passive

    def fluxes(self, t, core, given):
        p, known = given.share, given.quantities
        live = self.equations.fluxes(
            self.model.fluxes, t, self._core(core.live, given), given.params
        )
        rates = known.rates(self.model.fluxes, t, given.params)
        dead = rates(self.dead_cell(core, given))
        return jax.tree.map(lambda a, b: p * a + (1 - p) * b, live, dead)

    def live_mean(self, function, live, given):
        at = jnp.concatenate([live[0], given.detail])
        return _second_order(function, at, live[1])

    def live_pools(self, live, given):
        return live[0]

    def margins(self, core, given):
        names, (mean, covariance) = given.quantities.names, core.live
        found = super().margins(core, given)
        for i, name in enumerate(names):
            found[f"variance of {name}"] = covariance[i, i]
        at = jnp.concatenate([mean, given.detail])
        # Rounding of the larger terms must not pass for a violation.
        slack = 1e-9 * jnp.outer(at, at) ** 2
        for i in range(len(names)):
            for j in range(i):
                gap = covariance[i, i] * covariance[j, j] - covariance[i, j] ** 2
                pair = f"V V - C² of {names[j]} and {names[i]}"
                found[pair] = gap + slack[i, j]
        return found


class FunctionsOfMeans(AbstractMacroModel):
    """Covariances as functions of the means, as Bergström et al. (2006) fit them.

    F̄ = F(x̄) + ½ F'' : C,  Cᵢⱼ = rᵢⱼ σᵢ σⱼ,  σᵢ = σᵢ(0) (x̄ᵢ / x̄ᵢ(0))^pᵢ

    Correlations stay what they were, parameters keep their spread. With p = 1 relative
    moments are prescribed as they were at the start, with p = 0 the moments themselves;
    p is what a fit improves.

    **Arguments:** `powers`: p by followed pool, or one for all; `prescribed`:
    `(mean, mean at the start, covariance at the start) -> covariance` in its place;
    `model`, `varying`, `dead`: see `AbstractMacroModel`.
    Source: Bergström, Englund and Leonardsson (2006), American Naturalist 167, for
    predator and prey.
    """

    model: Any
    varying: tuple[str, ...] = ()
    dead: str | None = "biomass"
    powers: Any = 1.0
    prescribed: Callable | None = None

    def numbers_read(self, pools: int = 2) -> int:
        return (super().numbers_read(pools) or 0) + covariances(
            pools + len(self.varying)
        )

    def describe(self, x, weight, mean, params, known):
        return mean[: known.pools], (mean, covariance_of(x, weight, mean))

    def covariance(self, live, given):
        """C at these means of the live cells."""
        start, covariance = given.detail
        mean = self._mean(live, given)
        if self.prescribed is not None:
            return self.prescribed(mean, start, covariance)
        pools = live.size
        powers = jnp.broadcast_to(jnp.asarray(self.powers, live.dtype), (pools,))
        relative = jnp.maximum(ratio(live, start[:pools]), 1e-12)
        factor = jnp.concatenate(
            [relative**powers, jnp.ones(start.size - pools, live.dtype)]
        )
        return covariance * jnp.outer(factor, factor)

    def live_mean(self, function, live, given):
        mean = self._mean(live, given)
        return _second_order(function, mean, self.covariance(live, given))

    def live_pools(self, live, given):
        return live

    def _mean(self, live, given):
        return jnp.concatenate([live, given.detail[0][live.size :]])


def covariance_of(x: Any, weight: Any, mean: Any) -> Any:
    """Covariance matrix of quantities over weighted cells.

    Cᵢⱼ = Σ w xᵢ' xⱼ' / Σ w

    **Arguments:** `x`: by quantity and cell; `weight`: by cell; `mean`: by quantity.
    """
    off = x - mean[:, None]
    total = jnp.sum(weight)
    return ratio((off * weight[None]) @ off.T, total)


def covariances(quantities: int) -> int:
    """How many different variances and covariances there are."""
    return quantities * (quantities + 1) // 2


def _second_order(function, at, covariance):
    """F(x̄) + ½ F'' : C, for any structure of rates."""
    bend = jax.jacfwd(jax.jacfwd(function))
    second = lambda f, h: f + 0.5 * jnp.tensordot(h, covariance, 2)
    return jax.tree.map(second, function(at), bend(at))
