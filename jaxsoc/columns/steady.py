"""Steady states of soil columns, by the structure of the model."""

from functools import reduce
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxsoc.models.column import (
    AbstractClosedForm,
    AbstractColumnModel,
    AbstractMicrobialModel,
    Surroundings,
)
from jaxsoc.solve.newton import newton_layered
from jaxsoc.solve.steady import Steady, steady_state

from .checks import one_column
from .network import flows, litter_on, network

CLOSURE = 1e-6
"""What comes in and what leaves may differ by so much of what comes in."""

# More carbon in the first layer than this has no end, gC m⁻³.
_MOST = 1e14


@steady_state.register(AbstractColumnModel)
def _(
    model: AbstractColumnModel,
    params: Any,
    *,
    start: Any = None,
    throw: bool = True,
) -> Any:
    """Pools at which a soil column stays as it is.

    A F(X) + b - V X = 0

    Groups of linear pools are solved one after the other, upstream first: pools that do
    not move layer by layer, the others down the column, a tridiagonal or
    block-tridiagonal system for each group. Pools with other kinetics follow in closed
    form where the model has one, else by Newton's method. Batch it with `vmap`, over
    the last axis for speed (`map_sites`).

    **Arguments:** `model`: with its forcing, of one site; `params`: its numbers;
    `start`: pools to start Newton's method from; `throw`: False for a `Steady`, whose
    `found` says whether there is one.
    **Returns:** the pools, gC m⁻³ by layer, differentiable, all of them NaN inside
    `jit` where there is no steady state.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for numbers of
    several sites, and, outside `jit`, that names the layer and what falls short in it
    where there is no steady state, or what is not at rest.
    """
    model, params = one_column("the steady state of a soil column", model, params)
    start = jax.tree.map(jnp.asarray, start)
    plain = not any(isinstance(x, Tracer) for x in jax.tree.leaves((model, params)))
    found, pools, kept = _solved(model, params, start, plain)
    if throw and not isinstance(found.found, Tracer) and not found.found:
        known = lax.stop_gradient((model, params, pools, kept))
        raise ValueError(_why_not(*known))
    return found.pools if throw else found


def steady_pools(
    model: AbstractColumnModel,
    around: Surroundings,
    params: Any,
    *,
    start: Any = None,
) -> Any:
    """Pools at rest in given surroundings, without the checks of `steady_state`."""
    found, inflow = upstream(model, around, params)
    others = tuple(inflow)
    if others:
        if isinstance(model, AbstractClosedForm) and not {*others} & model.mixed:
            found |= model.soil_equilibrium(around.environment, inflow, params)
        else:
            found |= _by_newton(others, model, around, params, found, inflow, start)
    return model.pools(**found)


def upstream(
    model: AbstractColumnModel, around: Surroundings, params: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Linear pools at rest, gC m⁻³, and what comes into each other pool, gC m⁻³ d⁻¹."""
    net = network(model, params)
    numbers = flows(net, model, around, params)
    found = net.solve(numbers, 0.0, litter_on(net, around))
    inflow, none = net.inflow(numbers, found, around.source), around.exchange.above * 0
    others = (name for name in model.pools._fields if name not in found)
    return found, {name: inflow.get(name, none) + none for name in others}


def feasible_by_kind(model: AbstractClosedForm, params: Any) -> Any:
    """`feasibility`, without its checks."""
    around = model.surroundings(params)
    _, inflow = upstream(model, around, params)
    return model.feasibility(around.environment, inflow, params)


@eqx.filter_jit
def _solved(model, params, start, balanced):
    """What is found, the pools anyway, and which share of the input never leaves.

    The share costs as much as the rest: without it, what never leaves shows as more
    carbon than any soil has.
    """
    around = model.surroundings(params)
    pools = steady_pools(model, around, params, start=start)
    # The sum is finite where all are, and costs less than the largest would.
    least, whole = (reduce(pick, pools) for pick in (jnp.minimum, jnp.add))
    found = jnp.all((least >= 0) & (whole < jnp.inf)) & (whole[0] <= _MOST)
    kept = None
    if balanced:
        kept = _kept(model, params, around, pools)
        found = found & (jnp.abs(kept) <= CLOSURE)
    sound = jax.tree.map(lambda x: jnp.where(found, x, jnp.nan), pools)
    return Steady(sound, found), pools, kept


def _kept(model, params, around, pools):
    """Share of what comes in that does not leave as CO₂, nor through the bedrock."""
    column = model.in_column
    came = sum((column(b) for b in around.source.values()), jnp.zeros(()))
    left = column(model.respiration(pools, around, params))
    if model.bedrock != "closed":
        moved = (column(around.exchange(getattr(pools, p))) for p in model.mixed)
        left = left - sum(moved, jnp.zeros(()))
    none = came == 0
    return jnp.where(none, 0.0, 1 - left / jnp.where(none, 1.0, came))


def _why_not(model, params, pools, kept):
    """Why there is no steady state, in a sentence."""
    name = type(model).__name__
    # Layers that exchange soil carbon may stand where one by itself could not.
    if isinstance(model, AbstractClosedForm) and not {*model.soil} & model.mixed:
        for kind, far in feasible_by_kind(model, params)._asdict().items():
            if np.any(far <= 0):
                layer, node = int(np.argmin(far)), model.forcing.column.nodes
                return (
                    f"no steady state in layer {layer + 1} ({node[layer]:g} m) and "
                    f"{int(np.sum(far <= 0)) - 1} others: {kind} reaches at most "
                    f"{np.exp(far[layer]):.3g} times what is needed there "
                    f"(feasibility {far[layer]:.3g}, expected more than 0)"
                )
    if kept is not None and np.isfinite(kept) and np.abs(kept) > CLOSURE:
        return (
            f"no steady state of {name}: {kept:.3g} of the carbon that comes in never "
            "leaves as CO₂, expected 0: the shares that pools pass on must leave some "
            "to be respired"
        )
    sound = lambda pool: np.all(np.isfinite(pool) & (np.asarray(pool) >= 0))
    lost = [pool for pool, x in pools._asdict().items() if not sound(x)]
    return (
        f"no steady state of {name} was found: {', '.join(lost)} are negative or have "
        "no finite values; try another `start`, or parameters further from the ends of "
        "their priors"
    )


def _by_newton(names, model, around, params, found, inflow, start):
    """Pools with kinetics of their own, what is upstream being known."""
    if start is None:
        if not isinstance(model, AbstractMicrobialModel):
            raise ValueError(
                f"{type(model).__name__} has pools that are not linear: make it an "
                "AbstractMicrobialModel, with a first guess, or give a `start`"
            )
        start = model.first_guess(around, inflow, params)
    mixed = tuple(pool in model.mixed for pool in names)
    lives = _reached(around.exchange, inflow) if any(mixed) else _fed(inflow)

    def local(values, given):
        model, around, params, upstream = given
        state = model.pools(**upstream, **dict(zip(names, values, strict=True)))
        change = model.reactions(state, around, params)
        # Where nothing ever comes, an equation that has a root stands in.
        return tuple(
            jnp.where(lives, change[pool], 1.0 - x)
            for pool, x in zip(names, values, strict=True)
        )

    values = newton_layered(
        local,
        tuple(jnp.where(lives, getattr(start, pool), 1.0) for pool in names),
        (model, around, params, found),
        tuple(around.exchange),
        mixed=mixed,
    )
    return {
        pool: jnp.where(lives, x, 0.0) for pool, x in zip(names, values, strict=True)
    }


def _fed(inflow):
    """Layers into which something comes."""
    return sum(inflow.values()) > 0


def _reached(exchange, inflow):
    """Layers into which something comes, or is mixed from others."""

    def spread(reverse, linked, here):
        step = lambda before, now: ((before & now[0]) | now[1],) * 2
        start = jnp.zeros((), bool)
        return lax.scan(step, start, (linked, here), reverse=reverse)[1]

    down = spread(False, exchange.above > 0, _fed(inflow))
    return spread(True, exchange.below > 0, down)
