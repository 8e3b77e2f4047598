"""Tendencies that couple no cells, and what can then be done cell by cell."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval
from jaxtyping import Array, Float

Tendency = Callable[[Any, Any, Any], Any]

# A step is halved so often before its exponential is taken to first order.
_HALVINGS = 20


class AbstractPointwise(eqx.Module):
    """A tendency `(t, state, params) -> d(state)/dt` that declares its cells apart.

    What happens in a cell depends on the pools and parameters of that cell alone, so
    that cells may be cut into blocks, take steps of their own, and be solved implicitly
    one by one. A tendency that does not declare it is taken to couple its cells.
    """

    @abstractmethod
    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        """d(state)/dt, elementwise over cells."""


class AbstractBounded(AbstractPointwise):
    """A pointwise tendency that knows a bound on how fast its cells change."""

    @abstractmethod
    def fastest_rate(self, t: Any, state: Any, params: Any, interval: Any) -> Any:
        """Bound on the rate of change of each cell over the coming interval."""


class AbstractStocks(eqx.Module):
    """A tendency of stocks, which are never negative."""


class Pointwise(AbstractPointwise):
    """Declares that a function couples no cells.

    **Arguments:** `function`: `(t, state, params) -> d(state)/dt`, elementwise.
    """

    function: Tendency

    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        return self.function(t, state, params)


def check_apart(what: str, tendency: Any) -> None:
    """Refuses `what` for a tendency that does not declare its cells apart.

    **Raises:** `ValueError` that says what to do.
    """
    if not isinstance(tendency, AbstractPointwise):
        raise ValueError(
            f"{what} need a tendency that couples no cells, and {tendency!r} does not "
            "declare it: leave that out, take rk4 or Adaptive, or, if it does couple "
            "none, give solve.Pointwise(tendency)"
        )


def depends_on(function: Callable, arguments: Sequence[Any]) -> list[bool]:
    """Of each argument, whether any result of `function(*arguments)` depends on it."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]


def slopes(function: Callable, x: Sequence[Any]) -> tuple[Any, list[list[Any]], Any]:
    """A pointwise function and the slopes of each result by each of x.

    **Arguments:** `function`: of a sequence of arrays of one shape, to another one, and
    anything else.
    **Returns:** its results, ∂fᵢ/∂xⱼ as rows of arrays, and the rest.
    """
    places = range(len(x))
    seeds = tuple(
        jnp.stack([jnp.full_like(v, float(i == j)) for j in places])
        for i, v in enumerate(x)
    )
    push = lambda seed: jax.jvp(function, (tuple(x),), (seed,), has_aux=True)
    found, columns, more = jax.vmap(push, out_axes=(None, 0, None))(seeds)
    return found, [[column[j] for j in places] for column in columns], more


class Jacobian:
    """∂f/∂(pools) of the cells at one place, a column of arrays for each pool.

    A pool that no tendency depends on, such as CO2, which is only added up, has none.
    """

    def __init__(self, f: Callable, t: Any, pools: Sequence[Any]):
        used = depends_on(partial(f, t), pools)
        self.coupled = [i for i, u in enumerate(used) if u]
        self.columns = {}
        for i in self.coupled:
            one = lambda y, i=i: f(t, *pools[:i], y, *pools[i + 1 :])
            self.columns[i] = jax.jvp(one, (pools[i],), (jnp.ones_like(pools[i]),))[1]

    @property
    def rows(self) -> list[list[Any]]:
        """Of the pools that others depend on, as a matrix."""
        return [[self.columns[j][i] for j in self.coupled] for i in self.coupled]

    def solver(self, shift: Any) -> Callable:
        """Solver of (shift - J) k = r in every cell, by elimination written out."""
        rows = [[-x for x in row] for row in self.rows]
        for place, row in enumerate(rows):
            row[place] = row[place] + shift
        size = range(len(rows))
        factors: dict[tuple[int, int], Any] = {}
        for i in size:
            for j in range(i + 1, len(rows)):
                factors[j, i] = rows[j][i] / rows[i][i]
                for k in range(i, len(rows)):
                    rows[j][k] = rows[j][k] - factors[j, i] * rows[i][k]

        def solve(right):
            r = [right[i] for i in self.coupled]
            for (j, i), factor in factors.items():
                r[j] = r[j] - factor * r[i]
            for i in reversed(size):
                known = (rows[i][k] * r[k] for k in range(i + 1, len(rows)))
                r[i] = (r[i] - sum(known, 0.0 * r[i])) / rows[i][i]
            found = dict(zip(self.coupled, r, strict=True))
            fed = lambda i: sum(
                (self.columns[j][i] * found[j] for j in self.coupled), right[i]
            )
            return [
                found[i] if i in found else fed(i) / shift for i in range(len(right))
            ]

        return solve


def _local_jacobian(tendency, t, state, params):
    """J of the coupled pools of each cell, two leading axes; nothing where none is."""
    pools, structure = jax.tree.flatten(state)
    pack = lambda pools: jax.tree.unflatten(structure, pools)
    f = lambda t, *pools: jax.tree.leaves(tendency(t, pack(pools), params))
    rows = Jacobian(f, t, pools).rows
    if not rows:
        return jnp.zeros_like(pools[0])[None, None]
    J = jnp.stack([jnp.stack(jnp.broadcast_arrays(*row)) for row in rows])
    # A law may have no slope at zero.
    return jnp.where(jnp.isfinite(J), J, 0.0)


def _product(A, B):
    return jnp.sum(A[:, :, None] * B[None], axis=1)


def local_growth(
    tendency: Tendency, t: Any, state: Any, params: Any, dt: Any
) -> Float[Array, "..."]:
    """By how much a cell's pools grow apart in a step, as a logarithm.

    log ‖exp(J Δt)‖, J the Jacobian of the cell's pools; ≤ 0 where all decay
    """
    J = _local_jacobian(tendency, t, state, params)
    size = J.shape[0]
    eye = jnp.eye(size, dtype=J.dtype).reshape(size, size, *(1,) * (J.ndim - 2))
    # Far beyond it the logarithm grows as the step does: asked of a shorter one.
    fast = jnp.sqrt(jnp.sum(J**2, axis=(0, 1))) * dt
    times = jnp.maximum(fast / 2.0 ** (_HALVINGS - 1), 1.0)
    power = eye + J * (dt / times)[None, None] / 2.0**_HALVINGS
    for _ in range(_HALVINGS):
        power = _product(power, power)
    return 0.5 * times * jnp.log(jnp.sum(power**2, axis=(0, 1)) / size)


def local_rate(
    tendency: Tendency, t: Any, state: Any, params: Any
) -> Float[Array, "..."]:
    """How fast each cell changes where it is: the size of its largest eigenvalue.

    |λ| ≤ ‖J⁸‖^(1/8), J the Jacobian of the cell's pools

    The bound is at most a tenth above |λ| for two pools whose eigenvectors are not
    nearly the same. A slope without bound, as some laws have at no substrate, says
    nothing of a step: it counts as zero.
    """
    J = _local_jacobian(tendency, t, state, params)
    size = log = jnp.zeros_like(J[0, 0])
    for power in (1, 2, 4, 8):
        norm = jnp.sqrt(jnp.sum(J**2, axis=(0, 1)))
        some = norm > 0
        log = log + jnp.log(jnp.where(some, norm, 1.0)) / power
        size = jnp.where(some, jnp.exp(log), 0.0)
        J = J / jnp.where(some, norm, 1.0)[None, None]
        J = _product(J, J)
    return size
