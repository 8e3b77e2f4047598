"""Macro-scale models of a soil core: one contract for every closure.

A macro-scale model reads a core's fields once, as its `initial` core; from then on it
knows its own few variables, and the tendency depends on them alone, never on time.
Where cells exchange nothing, those without microbes never get any: they are taken
apart, which is exact, and the closure is about the others.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.safe import ratio

from .quantities import Census, Quantities


class MacroState(NamedTuple):
    """A soil core as a macro-scale model knows it.

    `live`: of the live cells, in the closure's own form; `dead`: followed pools of the
    dead cells; `passive`: means over all cells of pools that nothing depends on.
    """

    live: Any
    dead: Float[Array, " pool"]
    passive: Float[Array, " passive"]


class Given(eqx.Module):
    """What a core keeps.

    `params`: mean parameters; `constants`: those of `varying`; `share`: of live cells;
    `detail`: the closure's own description; `quantities`: what differs.
    """

    params: Any
    constants: Float[Array, " parameter"]
    share: Float[Array, ""]
    detail: Any
    quantities: Quantities

    def cell(self, pools: Float[Array, " pool"]) -> Float[Array, " quantity"]:
        """Quantities of a cell with these pools, and the mean parameters."""
        return jnp.concatenate([pools, self.constants])


class AbstractMacroModel(eqx.Module):
    """A macro-scale model of a soil core, made from a model at a point.

    **Arguments:** `model`: `(t, state, params) -> d(state)/dt` at a point, with
    `fluxes`; `varying`: dotted names of the parameters that differ between cells;
    `dead`: name of the pool whose absence makes a cell dead, None to take none apart.
    """

    model: eqx.AbstractVar[Any]
    varying: eqx.AbstractVar[tuple[str, ...]]
    dead: eqx.AbstractVar[str | None]
    reads_covariances: ClassVar[bool] = False

    def initial(self, state: Any, params: Any) -> tuple[MacroState, Given]:
        """The core that fields over cells describe.

        **Arguments:** `state`, `params`: fields and numbers, as `integrate` takes them.
        **Raises:** `ValueError` for a parameter that differs between cells and is not
        in `varying`.
        """
        known = Quantities.of(self.model, self.varying, state, params)
        cells = known.census(state, params, self.dead)
        others = jnp.equal(cells.weight, 0).astype(cells.x.dtype) / cells.weight.size
        dead = ratio(cells.x[: known.pools] @ others, jnp.sum(others))
        leaves = jax.tree.leaves(state)
        passive = [jnp.mean(leaves[i]) for i in known.passive]
        live, detail = self.describe(cells)
        core = MacroState(live, dead, jnp.asarray(passive, cells.x.dtype))
        constants = cells.mean[known.pools :]
        return core, Given(cells.params, constants, cells.share, detail, known)

    @abstractmethod
    def describe(self, cells: Census) -> tuple[Any, Any]:
        """Initial live variables and description, from all cells of a core."""

    @abstractmethod
    def live_mean(self, function: Callable, live: Any, given: Given) -> Any:
        """Mean over the live cells of any function of the quantities."""

    def live_pools(self, live: Any, given: Given) -> Float[Array, " pool"]:
        """Means over the live cells of the followed pools."""
        pools = given.quantities.pools
        return self.live_mean(lambda x: x[:pools], live, given)

    def live_tendency(self, t: Any, live: Any, given: Given) -> tuple[Any, Any]:
        """d(live)/dt, and the mean tendency of the passive pools over live cells."""
        known = given.quantities
        function = known.tendencies(self.point_model(live, given), t, given.params)
        return self.live_mean(function, live, given)

    def point_model(self, live: Any, given: Given) -> Any:
        """The model that a live cell obeys."""
        return self.model

    def __call__(self, t: Any, core: MacroState, given: Given) -> MacroState:
        """d(core)/dt."""
        p, known = given.share, given.quantities
        live, passive = self.live_tendency(t, core.live, given)
        still = known.tendencies(self.model, t, given.params)
        dead, dead_passive = still(given.cell(core.dead))
        return MacroState(live, dead, p * passive + (1 - p) * dead_passive)

    def fluxes(self, t: Any, core: MacroState, given: Given) -> Any:
        """Mean fluxes over the core, mgC/g/h, in the model's own structure."""
        p, known = given.share, given.quantities
        rates = lambda model: known.rates(model.fluxes, t, given.params)
        model = self.point_model(core.live, given)
        live = self.live_mean(rates(model), core.live, given)
        dead = rates(self.model)(given.cell(core.dead))
        return jax.tree.map(lambda a, b: p * a + (1 - p) * b, live, dead)

    def pools(self, core: MacroState, given: Given) -> Any:
        """Mean pools over the core, mgC/g, in the model's own structure."""
        p = given.share
        live = self.live_pools(core.live, given)
        followed = p * live + (1 - p) * core.dead
        return given.quantities.state(followed, core.passive)

    def realisability(self, core: MacroState, given: Given) -> dict[str, Any]:
        """What must not be negative, by name."""
        names = given.quantities.names[: given.quantities.pools]
        live = self.live_pools(core.live, given)
        return {f"{name} of live cells": x for name, x in zip(names, live, strict=True)}

    def numbers_read(self, pools: int = 2) -> int | None:
        """How many numbers of a field are read; None for the field itself.

        Means of what differs between live cells, and their covariances, if they are
        read; where dead ones are taken apart, their share and the means of their pools,
        of which one is zero.
        """
        count = pools + len(self.varying)
        covariances = count * (count + 1) // 2 if self.reads_covariances else 0
        return count + covariances + (0 if self.dead is None else pools)


class AbstractAtMeans(AbstractMacroModel):
    """A macro-scale model of which every rate is taken at the means of live cells."""

    def describe(self, cells: Census) -> tuple[Any, Any]:
        return cells.pools, None

    def live_mean(self, function, live, given):
        return function(given.cell(live))


class MeanField(AbstractAtMeans):
    """As if the soil were well mixed: every rate at the means.

    F̄ = F(x̄)
    """

    model: Any
    varying: tuple[str, ...] = ()
    dead: str | None = None


def state_count(core: MacroState) -> int:
    """How many variables a core has."""
    return sum(x.size for x in jax.tree.leaves(core))
