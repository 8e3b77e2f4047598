"""A point model as a function of the quantities that differ between cells."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve.dependence import depends_on

from .taylor import replaced


class Quantities(eqx.Module):
    """Which pools and parameters a macro-scale model follows, in their order.

    `names`: of the quantities, pools first; `pools`: how many of them are pools;
    `places`: among all numbers of a state and its parameters; `passive`: places of the
    pools that no tendency depends on, such as CO2, of which the mean is enough.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    pools: int = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)
    passive: tuple[int, ...] = eqx.field(static=True)
    structure: Any = eqx.field(static=True)

    @classmethod
    def of(
        cls, model: Callable, varying: tuple[str, ...], state: Any, params: Any
    ) -> "Quantities":
        """The quantities of a model, from any state and parameters of its.

        **Raises:** `ValueError` for a parameter that the model does not have.
        """
        names = [*leaves_by_name(state), *leaves_by_name(params)]
        pools = len(jax.tree.leaves(state))
        unknown = set(varying) - set(names[pools:])
        if unknown:
            raise ValueError(
                f"unknown parameter {min(unknown)!r}: the model has "
                f"{', '.join(names[pools:])}"
            )
        structure = jax.tree.structure((state, params))
        zero = jnp.zeros((), jnp.result_type(jax.tree.leaves(state)[0]))
        at = lambda *leaves: model(zero, *jax.tree.unflatten(structure, leaves))
        read = depends_on(at, [zero] * len(names))
        followed = tuple(i for i in range(pools) if read[i])
        free = [i for i in range(pools, len(names)) if read[i] and names[i] in varying]
        places = (*followed, *free)
        return cls(
            tuple(names[i] for i in places),
            len(followed),
            places,
            tuple(i for i in range(pools) if not read[i]),
            structure,
        )

    def fields(self, state: Any, params: Any) -> Float[Array, "quantity cell"]:
        """Every quantity over cells, in one row each.

        **Raises:** `ValueError` for a parameter that differs between cells and is not
        followed.
        """
        leaves = [jnp.asarray(x) for x in jax.tree.leaves((state, params))]
        cells = max(leaf.size for leaf in leaves)
        names = [*leaves_by_name(state), *leaves_by_name(params)]
        known = (*self.places, *self.passive)
        for i, leaf in enumerate(leaves):
            if leaf.size > 1 and i not in known:
                raise ValueError(
                    f"{names[i]} differs between cells, but this macro-scale model "
                    f"follows {', '.join(self.names)}: name it in `varying`, or give "
                    "its mean"
                )
        flat = lambda x: jnp.broadcast_to(x.reshape(-1), (cells,))
        return jnp.stack([flat(leaves[i]) for i in self.places])

    def alive(self, x: Any, dead: str | None) -> Any:
        """Which cells live, `x` being the quantities: those with some of a pool.

        **Arguments:** `dead`: name of the pool whose absence makes a cell dead, None
        for cells that all live.
        **Raises:** `ValueError` for a pool that is not followed.
        """
        if dead is None:
            return jnp.ones(x.shape[1], bool)
        if dead not in self.names:
            raise ValueError(
                f"unknown pool {dead!r} to tell dead cells by: the model follows "
                f"{', '.join(self.names[: self.pools])}"
            )
        return x[self.names.index(dead)] > 0

    def filled(self, x: Float[Array, "quantity ..."], params: Any) -> Any:
        """State and parameters with the quantities in place; passive pools are zero."""
        pools = self.structure.num_leaves - len(jax.tree.leaves(params))
        leaves = [jnp.zeros((), x.dtype)] * pools + jax.tree.leaves(params)
        return jax.tree.unflatten(self.structure, replaced(leaves, self.places, x))

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
            pick = lambda places: [like(i) for i in places]
            followed = pick(self.places[: self.pools])
            empty = jnp.zeros((0, *x.shape[1:]), x.dtype)
            passive = jnp.stack(pick(self.passive)) if self.passive else empty
            return jnp.stack(followed), passive

        return function

    def state(self, followed: Any, passive: Any) -> Any:
        """The state, whatever its structure, from both kinds of pools."""
        count = self.pools + len(self.passive)
        pools: list[Any] = [None] * count
        for places, values in (
            (self.places[: self.pools], followed),
            (self.passive, passive),
        ):
            for row, place in enumerate(places):
                pools[place] = values[row]
        leaves = pools + [0.0] * (self.structure.num_leaves - count)
        return jax.tree.unflatten(self.structure, leaves)[0]
