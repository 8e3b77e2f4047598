"""States at which a tendency leaves everything as it is."""

from collections.abc import Callable
from functools import singledispatch
from types import FunctionType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from .continuation import FIRST, continued
from .pointwise import depends_on
from .precision import require_x64

# Dense Jacobians beyond this many unknowns take more memory than a machine has.
_MOST_UNKNOWNS = 8192


class Steady(NamedTuple):
    """A steady state that was looked for: `pools`, NaN where none was `found`."""

    pools: Any
    found: Any


@singledispatch
def steady_state(
    model: Callable, params: Any, *, start: Any = None, throw: bool = True
) -> Any:
    """Pools at which a soil stays as it is: of a point, cells, a grid or a column.

    f(x, params) = 0

    Models with a closed form or a structure of their own (`TwoPool`, columns) use it;
    any other tendency, its cells coupled or not, is solved for as a whole, by implicit
    time steps that grow until they are Newton's. Pools that nothing depends on, such as
    respired CO₂, stay as they began. Derivatives are implicit, in both modes.

    **Arguments:** `model`: a tendency `(t, state, params)`, taken at t = 0; `start`:
    the state to search from, stocks positive, which the models above do not need;
    `throw`: False for a `Steady`, which says by `found` whether there is one, and never
    raises.
    **Returns:** the pools, NaN inside `jit` where no steady state was found.
    **Raises:** `ValueError` without a start, or outside `jit` where no steady state was
    found; `RuntimeError` where JAX is set to 32 bits.
    Source: Kelley and Keyes (1998), doi:10.1137/S0036142996304796, for the time steps.
    """
    require_x64("a steady state")
    if start is None:
        raise ValueError(
            f"a steady state of {_name(model)} needs a `start` to search from, got None"
        )
    params = jax.tree.map(jnp.asarray, params)
    start = jax.tree.map(lambda x: jnp.asarray(x, float), start)
    found = _search(model, params, start)
    if throw and not isinstance(found.found, Tracer) and not found.found:
        raise ValueError(
            f"no steady state of {_name(model)} was found from this start: some stock "
            "grows without end, or depends on where it began"
        )
    return found.pools if throw else found


@eqx.filter_jit
def _search(model, params, start) -> Steady:
    vector, lifted, tendency = unknowns(model, params, start)
    if not 0 < vector.size <= _MOST_UNKNOWNS:
        raise ValueError(
            f"a steady state of {vector.size} unknowns at once is not supported, "
            f"expected 1 to {_MOST_UNKNOWNS}; pools that nothing depends on do not "
            "count"
        )
    x = _root(tendency, lax.stop_gradient(vector), (model, params))
    return Steady(lifted(x), jnp.all(jnp.isfinite(x)))


def unknowns(
    model: Callable, params: Any, state: Any
) -> tuple[Any, Callable, Callable]:
    """A state without the pools that nothing depends on, as one vector.

    **Returns:** the vector x; `state(x)`; and `tendency(x, (model, params))`, dx/dt.
    """
    leaves, tree = jax.tree.flatten(state)
    change = lambda *leaves: jax.tree.leaves(model(0.0, tree.unflatten(leaves), params))
    felt = depends_on(change, leaves)
    chosen = lambda leaves: [x for x, f in zip(leaves, felt, strict=True) if f]
    vector, back = ravel_pytree(chosen(leaves))

    def lifted(x):
        solved = iter(back(x))
        return tree.unflatten(
            [next(solved) if f else v for f, v in zip(felt, leaves, strict=True)]
        )

    def tendency(x, given):
        model, params = given
        found = model(0.0, lifted(x), params)
        return ravel_pytree(chosen(jax.tree.leaves(found)))[0]

    return vector, lifted, tendency


def _root(tendency, start, given):
    """x with tendency(x, given) = 0, all NaN where none was found."""
    arrays, others = eqx.partition(given, eqx.is_array)
    fixed = eqx.combine(lax.stop_gradient(arrays), others)
    held = lambda x: tendency(x, fixed)
    eye = jnp.eye(start.size)

    def correction(x, right, shift):
        return jnp.linalg.solve(shift * eye - jax.jacfwd(held)(x), right)

    # Stocks of nothing may grow from a share of the largest that does not matter.
    least = jnp.finfo(start.dtype).eps * jnp.max(jnp.abs(start))
    shares = lambda moves, x: moves / jnp.maximum(jnp.abs(x), least)
    largest = lambda share: (jnp.max(jnp.abs(share)), jnp.max(-share))
    fastest, _ = largest(shares(held(start), start))
    first = FIRST * jnp.maximum(fastest, jnp.finfo(start.dtype).tiny)
    moves = lambda x, shift: correction(x, held(x), shift)
    relative = lambda moves, x: largest(shares(moves, x))
    x, met = continued(moves, relative, start, first)
    # What died out is gone; where the rest then depends on where it began, the Jacobian
    # is singular and the last step no number. Only `given` carries derivatives.
    x = jnp.where(jnp.abs(x) <= least, 0.0, x)
    last = correction(x, tendency(x, given), jnp.zeros_like(first))
    return jnp.where(met, x + last, jnp.nan)


def _name(model: Any) -> str:
    return model.__name__ if isinstance(model, FunctionType) else type(model).__name__
