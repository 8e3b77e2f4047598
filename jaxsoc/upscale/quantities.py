"""Which numbers differ between cells, by name, and rates as functions of them."""

from collections.abc import Callable, Sequence
from typing import Any

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
        pools, names = list(named(state)), list(named(params))
        unknown = set(varying) - set(names)
        if unknown:
            raise ValueError(
                f"unknown parameter {min(unknown)!r}: the model has {', '.join(names)}"
            )
        leaves, structure = jax.tree.flatten((state, params))
        at = lambda *leaves: rates(0.0, *jax.tree.unflatten(structure, leaves))
        read = depends_on(at, [jnp.zeros((), jnp.result_type(x)) for x in leaves])
        count, every = len(pools), (*pools, *names)
        followed = [i for i in range(count) if read[i]]
        free = [i for i in range(count, len(every)) if read[i] and every[i] in varying]
        places = (*followed, *free)
        return cls(
            tuple(every[i] for i in places),
            len(followed),
            places,
            tuple(i for i in range(count) if not read[i]),
            structure,
        )

    def fields(self, state: Any, params: Any) -> Float[Array, "quantity cell"]:
        """Every quantity over cells, in one row each.

        **Raises:** `ValueError` for a parameter that differs between cells and is not
        followed.
        """
        leaves = [jnp.asarray(x) for x in jax.tree.leaves((state, params))]
        cells = max(leaf.size for leaf in leaves)
        names = [*named(state), *named(params)]
        for i, leaf in enumerate(leaves):
            if leaf.size > 1 and i not in (*self.places, *self.passive):
                raise ValueError(
                    f"{names[i]} differs between cells, but this macro-scale model "
                    f"follows {', '.join(self.names)}: name it in `varying`, or give "
                    "its mean"
                )
        flat = lambda x: jnp.broadcast_to(x.reshape(-1), (cells,))
        return jnp.stack([flat(leaves[i]) for i in self.places])

    def live(self, x: Float[Array, "quantity cell"], dead: str | None) -> tuple:
        """Weight of each cell, zero for dead ones; share of live cells; their means.

        **Arguments:** `x`: of `fields`; `dead`: name of the pool whose absence makes a
        cell dead, None for cells that all live.
        **Raises:** `ValueError` for a pool that is not followed.
        """
        alive = jnp.ones(x.shape[1], bool)
        if dead is not None:
            if dead not in self.names[: self.pools]:
                raise ValueError(
                    f"unknown pool {dead!r} that dead cells lack: the model follows "
                    f"{', '.join(self.names[: self.pools])}"
                )
            alive = x[self.names.index(dead)] > 0
        weight = alive.astype(x.dtype) / x.shape[1]
        share = jnp.sum(weight)
        return weight, share, ratio(x @ weight, share)

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
        leaves: list[Any] = [0.0] * self.structure.num_leaves
        places = (*self.places[: self.pools], *self.passive)
        for place, value in zip(places, (*followed, *passive), strict=True):
            leaves[place] = value
        return jax.tree.unflatten(self.structure, leaves)[0]


def named(tree: Any) -> dict[str, Any]:
    """Every leaf of a pytree by its dotted name."""
    return dict(zip(leaves_by_name(tree), jax.tree.leaves(tree), strict=True))


def root(square: Any) -> Any:
    """Square root with a finite slope at zero, and zero below.

    √x for x > 0, else 0
    """
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def covariance_of(x: Any, weight: Any, mean: Any) -> Any:
    """Covariance matrix of quantities over weighted cells.

    Cᵢⱼ = Σ w xᵢ' xⱼ' / Σ w

    **Arguments:** `x`: by quantity and cell; `weight`: by cell; `mean`: by quantity.
    """
    off = x - mean[:, None]
    return ratio((off * weight[None]) @ off.T, jnp.sum(weight))
