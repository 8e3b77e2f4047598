"""The state that the same year, lived again and again, leads to."""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.forcing import MONTHS
from jaxsoc.solve import dense

from .network import network, tracer_flows
from .radiocarbon import DECAY, steady_radiocarbon
from .seasons import MONTH
from .stepping import Content
from .transient import transient

# Steps of Newton's method at most, and the change of a pool over a year, relative to
# its fullest layer, at which they end, and which is taken for no end.
_MOST, _ENOUGH, _TOO_MUCH = 60, 1e-14, 1e-10
# Share of a pool that a step leaves at least.
_LEAST = 0.1
# Per year, what is added to 1 - J after a step that led away, and by how much it grows
# with each further one.
_SHIFT, _SHORTER = 1e-4, 5.0


@eqx.filter_jit
def spin_up(
    model: AbstractColumnModel,
    params: Any,
    start: Any,
    *,
    method: str = "backward_euler",
    steps: int = 1,
    tolerance: float | None = None,
    delta: Any = None,
) -> Content:
    """The state that `transient` comes back to after each year of the same months.

    X = Φ(X),  Φ a year of the steps, by Newton's method: (1 - J) ΔX = Φ(X) - X

    J is the slope of a year of one step of backward Euler a month, Π (1 - h f')⁻¹. A
    step that leads away is tried again, shorter, as one through some years only. Unlike
    `periodic_state` it is the state of the steps themselves, so that a run in which
    nothing changes stays as it is, and it is sought for every model. Radiocarbon
    follows from the carbon, in which it is linear.

    **Arguments:** `model`: with the climate of one site; `start`: pools to begin with,
    as those of `steady_state`, gC m⁻³; `method`, `steps`, `tolerance`: of `transient`;
    `delta`: Δ¹⁴C of the atmosphere, ‰, where radiocarbon is asked for.
    **Returns:** a `Content` for the start of a January, all NaN where no such state
    was found; its gradient is not that of the state.
    **Raises:** as `transient`.
    """
    run = partial(
        transient,
        *(model, params),
        **{"years": 1, "save": _months, "method": method},
        **{"steps": steps, "tolerance": tolerance},
    )
    flat, pools = ravel_pytree(start)
    months = jax.vmap(model.forcing.month)(jnp.arange(MONTHS))

    def year(x):
        found = run(pools(x))
        return ravel_pytree(found.end.carbon)[0], _first(found.saved.carbon)

    def slope(forcing, x):
        only = eqx.tree_at(lambda m: m.forcing, model, forcing)
        around = only.surroundings(params)
        rate = lambda x: ravel_pytree(only.tendency(pools(x), around, params))[0]
        return jax.jacfwd(rate)(ravel_pytree(x)[0])

    x = _returning(year, lambda states: _year(slope, months, states), flat, pools)
    if delta is None:
        return Content(pools(x))
    sky = jnp.reshape(jnp.asarray(delta, float), (1,))

    def aged(y):
        found = run(Content(pools(x), pools(y)), atmosphere=sky)
        return ravel_pytree(found.end.radiocarbon)[0], _first(found.saved.carbon)

    def carried(forcing, carbon):
        only = eqx.tree_at(lambda m: m.forcing, model, forcing)
        around, net = only.surroundings(params), network(only, params, tracer=True)
        numbers = tracer_flows(net, only, around, params, carbon)

        def rate(y):
            moved = only.pools(**net.apply(numbers, pools(y)._asdict()))
            return ravel_pytree(moved)[0] - DECAY * y

        return jax.jacfwd(rate)(jnp.zeros_like(flat))

    y = ravel_pytree(steady_radiocarbon(model, params, pools(x), delta=delta))[0]
    y = _returning(aged, lambda states: _year(carried, months, states), y, pools)
    return Content(pools(x), pools(y))


def _months(model, months):
    """What is saved of a year: where each of its months ends."""
    return months.end


def _first(saved):
    return jax.tree.map(lambda x: x[0], saved)


def _year(slope, months, states):
    """Slope of a year of a step of backward Euler a month, whose states are known."""
    unit = jnp.eye(ravel_pytree(_first(states))[0].size)

    def month(lived, now):
        return dense.solve(unit - MONTH * slope(*now), lived), None

    return lax.scan(month, unit, (months, states))[0]


def _returning(year, slope, x, pools):
    """Where a year leads back to; `year(x)` also tells the states of its months."""

    def largest(x):
        wide = lambda pool: jnp.broadcast_to(jnp.max(pool), pool.shape)
        scale = ravel_pytree(jax.tree.map(wide, pools(x)))[0]
        return jnp.where(scale > 0, scale, 1.0)

    def improve(going):
        best, x, shift, count = going
        after, states = year(x)
        off = jnp.max(jnp.abs(after - x) / largest(x))
        nearer = off < best.off
        # What is no number is not nearer either.
        either = lambda a, b: jnp.where(nearer, a, b)
        best = jax.tree.map(either, _Tried(x, after, states, off), best)
        longer = jnp.where(shift > _SHIFT, shift / _SHORTER, 0.0)
        shift = either(longer, jnp.maximum(shift * _SHORTER, _SHIFT))
        # What is empty and stays so, as wood where none falls, is moved by rounding
        # alone, which is large where it would decompose in a million years.
        empty = (best.x == 0) & (best.after == 0)
        unit = jnp.eye(x.size)
        slow = (1 + shift) * unit - slope(best.states)
        slow = jnp.where(empty[:, None], unit, slow)
        change = dense.solve(slow, best.after - best.x)
        return best, jnp.maximum(best.x + change, _LEAST * best.x), shift, count + 1

    def more(going):
        best, x, _, count = going
        # From what is no number nothing leads back.
        hopeful = jnp.isfinite(best.off) | jnp.all(jnp.isfinite(x))
        return (best.off > _ENOUGH) & (count < _MOST) & hopeful

    none = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(lambda: year(x)[1])
    )
    first = _Tried(x, x, none, jnp.asarray(jnp.inf))
    best, *_ = lax.while_loop(more, improve, (first, x, jnp.asarray(0.0), 0))
    return jnp.where(best.off <= _TOO_MUCH, best.x, jnp.nan)


class _Tried(NamedTuple):
    """A start, where its year ends, the states of its months, how far off it is."""

    x: Any
    after: Any
    states: Any
    off: Any
