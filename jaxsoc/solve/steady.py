"""States at which a tendency leaves everything as it is, and small changes of them."""

from collections.abc import Callable
from functools import singledispatch
from types import FunctionType
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from . import dense
from .newton import FIRST, continued
from .pointwise import depends_on
from .precision import require_x64

# Dense Jacobians beyond this many unknowns take more memory than a machine has.
_MOST_UNKNOWNS = 8192
# Imaginary parts below this share of the largest eigenvalue are rounding.
_ROUNDING = 1e-9


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
    vector, lifted, tendency = _unknowns(model, params, start)
    if not 0 < vector.size <= _MOST_UNKNOWNS:
        raise ValueError(
            f"a steady state of {vector.size} unknowns at once is not supported, "
            f"expected 1 to {_MOST_UNKNOWNS}; pools that nothing depends on do not "
            "count"
        )
    x = _root(tendency, lax.stop_gradient(vector), (model, params))
    return Steady(lifted(x), jnp.all(jnp.isfinite(x)))


def _unknowns(
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
        return dense.solve(shift * eye - jax.jacfwd(held)(x), right)

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


class Stability(NamedTuple):
    """What becomes of small changes of a steady state.

    `eigenvalues`: of the Jacobian, the slowest to die out first, per unit of time;
    `period`: of the oscillation that dies out slowest, infinite where nothing swings;
    `damping_time`: in which that falls to 1/e of itself, NaN where nothing swings;
    `stable`: whether every change dies out.
    """

    eigenvalues: np.ndarray
    period: float
    damping_time: float
    stable: bool


def stability(model: Callable, params: Any, state: Any = None) -> Stability:
    """Eigenvalues of a tendency's Jacobian at a steady state, and its slowest swing.

    J = ∂f/∂x,  period = 2π / |Im λ|,  damping time = -1 / Re λ

    **Arguments:** `state`: by default `steady_state(model, params)`; pools that nothing
    depends on do not count. Time is in the unit of the tendency: hours for `TwoPool`,
    days for columns.
    **Raises:** as `steady_state`.
    """
    state = steady_state(model, params) if state is None else state
    J = np.asarray(_jacobian(model, *jax.tree.map(jnp.asarray, (params, state))))
    values = np.linalg.eigvals(J)
    values = values[np.argsort(-values.real, kind="stable")]
    swings = values[abs(values.imag) > _ROUNDING * abs(values).max(initial=0.0)]
    period, damping = np.inf, np.nan
    if swings.size:
        period = 2 * np.pi / abs(swings[0].imag)
        damping = -1 / swings[0].real
    return Stability(
        values, float(period), float(damping), bool((values.real < 0).all())
    )


@eqx.filter_jit
def _jacobian(model, params, state):
    x, _, tendency = _unknowns(model, params, state)
    return jax.jacfwd(tendency)(x, (model, params))
