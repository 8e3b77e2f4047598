"""Which numbers differ between cells, by name, and rates as functions of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.safe import ratio
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve.pointwise import depends_on


class Quantities(eqx.Module):
    """The pools and parameters that a rate depends on and that may differ, in order.

    `names`: of the quantities, pools first; `pools`: how many of them are pools;
    `places`: among all numbers of a state and its parameters; `passive`: places of the
    pools that no rate depends on, such as CO2, of which the mean is enough.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    pools: int = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)
    passive: tuple[int, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @classmethod
    def of(
        cls, rates: Callable, varying: Sequence[str], state: Any, params: Any
    ) -> "Quantities":
        """The quantities of rates at a point, such as a model.

        **Arguments:** `rates`: `(t, state, params) -> ` any pytree; `varying`: dotted
        names of the parameters that may differ between cells; `state`, `params`: any.
        **Raises:** `ValueError` for a parameter that there is not.
        """
        pools, names = tuple(named(state)), tuple(named(params))
        if unknown := set(varying) - set(names):
            raise ValueError(
                f"unknown parameter {min(unknown)!r}: the model has {', '.join(names)}"
            )
        leaves, structure = jax.tree.flatten((state, params))
        at = lambda *leaves: rates(0.0, *jax.tree.unflatten(structure, leaves))
        read = depends_on(at, [jnp.zeros((), jnp.result_type(x)) for x in leaves])
        followed = [i for i in range(len(pools)) if read[i]]
        passive = tuple(i for i in range(len(pools)) if not read[i])
        free = [i for i, n in enumerate(names, len(pools)) if read[i] and n in varying]
        places = (*followed, *free)
        quantities = tuple((pools + names)[i] for i in places)
        return cls(quantities, len(followed), places, passive, structure)

    def census(self, state: Any, params: Any, dead: str | None) -> "Census":
        """What closures read of the cells of a core.

        **Arguments:** `state`, `params`: fields and numbers; `dead`: name of the pool
        whose absence makes a cell dead, None for cells that all live.
        **Raises:** `ValueError` for a parameter that differs between cells and is not
        followed, and for a pool that is not.
        """
        leaves = [jnp.asarray(x) for x in jax.tree.leaves((state, params))]
        names, followed = [*named(state), *named(params)], self.names[: self.pools]
        for i, leaf in enumerate(leaves):
            if leaf.size > 1 and i not in (*self.places, *self.passive):
                raise ValueError(
                    f"{names[i]} differs between cells, but this macro-scale model "
                    f"follows {', '.join(self.names)}: name it in `varying`, or give "
                    "its mean"
                )
        if dead not in (None, *followed):
            raise ValueError(
                f"unknown pool {dead!r} that dead cells lack: the model follows "
                f"{', '.join(followed)}"
            )
        cells = max(leaf.size for leaf in leaves)
        flat = lambda x: jnp.broadcast_to(x.reshape(-1), (cells,))
        x = jnp.stack([flat(leaves[i]) for i in self.places])
        alive = jnp.ones(cells, bool)
        if dead is not None:
            alive = x[self.names.index(dead)] > 0
        weight = alive.astype(x.dtype) / cells
        share = jnp.sum(weight)
        mean = ratio(x @ weight, share)
        _, means = self.filled(mean, jax.tree.map(jnp.mean, params))
        return Census(self, x, weight, share, mean, means)

    def filled(self, x: Float[Array, "quantity ..."], params: Any) -> Any:
        """State and parameters with the quantities in place; passive pools are zero."""
        pools = self.structure.num_leaves - len(jax.tree.leaves(params))
        leaves = [jnp.zeros((), x.dtype)] * pools + jax.tree.leaves(params)
        for place, value in zip(self.places, x, strict=True):
            leaves[place] = value
        return jax.tree.unflatten(self.structure, leaves)

    def rates(self, function: Callable, t: Any, params: Any) -> Callable:
        """`function(t, state, params)` as a function of the quantities alone."""
        return lambda x: function(t, *self.filled(x, params))

    def tendencies(self, model: Callable, t: Any, params: Any) -> Callable:
        """Tendencies of the followed pools and of the passive ones, as two arrays.

        The passive ones lead by pool, as do the followed ones.
        """

        def function(x):
            found = jax.tree.leaves(model(t, *self.filled(x, params)))
            like = lambda i: jnp.broadcast_to(found[i], x.shape[1:])
            empty = jnp.zeros((0, *x.shape[1:]), x.dtype)
            pick = lambda places: jnp.stack([like(i) for i in places])
            passive = pick(self.passive) if self.passive else empty
            return pick(self.places[: self.pools]), passive

        return function

    def state(self, followed: Any, passive: Any) -> Any:
        """The state, whatever its structure, from both kinds of pools."""
        places = (*self.places[: self.pools], *self.passive)
        value = dict(zip(places, (*followed, *passive), strict=True))
        leaves = [value.get(place, 0.0) for place in range(self.structure.num_leaves)]
        return jax.tree.unflatten(self.structure, leaves)[0]


class Census(NamedTuple):
    """The cells of a core as every closure reads them.

    `quantities`: what differs; `x`: the quantities by cell; `weight`: of each cell,
    zero for dead ones; `share`: of live cells; `mean`: of the quantities over them;
    `params`: mean parameters.
    """

    quantities: Quantities
    x: Float[Array, "quantity cell"]
    weight: Float[Array, " cell"]
    share: Float[Array, ""]
    mean: Float[Array, " quantity"]
    params: Any

    @property
    def pools(self) -> Float[Array, " pool"]:
        """Means of the followed pools over the live cells."""
        return self.mean[: self.quantities.pools]

    @property
    def covariance(self) -> Float[Array, "quantity quantity"]:
        """Covariance of the quantities over the live cells.

        Cᵢⱼ = Σ w xᵢ' xⱼ' / Σ w
        """
        off = self.x - self.mean[:, None]
        return ratio((off * self.weight[None]) @ off.T, jnp.sum(self.weight))


def named(tree: Any) -> dict[str, Any]:
    """Every leaf of a pytree by its dotted name."""
    return dict(zip(leaves_by_name(tree), jax.tree.leaves(tree), strict=True))


def root(square: Any) -> Any:
    """Square root with a finite slope at zero, and zero below.

    √x for x > 0, else 0
    """
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
