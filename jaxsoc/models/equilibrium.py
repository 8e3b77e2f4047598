"""Steady states of soil columns, by the structure of the model."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsoc.solve.layered import LayeredSystem, solve_layered
from jaxsoc.solve.newton import newton_layered
from jaxsoc.solve.precision import require_x64

from .column import AbstractColumnModel, Surroundings
from .structure import Group, groups

Road = Literal["structured", "newton"]


def column_steady_state(
    model: AbstractColumnModel,
    params: Any,
    *,
    start: Any = None,
    road: Road = "structured",
) -> Any:
    """Pools at which a soil column stays as it is.

    A F(X) + b - V X = 0

    Groups of linear pools are solved one after the other, upstream first: pools that do
    not move layer by layer, the others down the column, a tridiagonal or
    block-tridiagonal system for each group. Pools with other kinetics follow in closed
    form where the model has one, else by Newton's method. Batch it with `vmap`, over
    the last axis for speed (`map_sites`).

    **Arguments:** `model`: with its forcing, of one site; `params`: its numbers;
    `start`: pools to start Newton's method from; `road`: "newton" solves for the pools
    with other kinetics by Newton's method even where there is a closed form.
    **Returns:** the pools, gC m⁻³ by layer, differentiable.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; outside `jit`, `ValueError`
    that names the layer and the margin where there is no steady state, or the pools for
    which none was found, which inside `jit` are NaN.
    """
    require_x64("the steady state of a soil column")
    model, params, start = jax.tree.map(jnp.asarray, (model, params, start))
    pools, found = _solved(model, params, start, road)
    _refuse_infeasible(model.forcing.column.nodes, found)
    _refuse_none(model, pools)
    return pools


def steady_pools(
    model: AbstractColumnModel,
    around: Surroundings,
    params: Any,
    *,
    start: Any = None,
    road: Road = "structured",
) -> Any:
    """As `column_steady_state`, in given surroundings, without its checks."""
    upstream = linear_pools(model, around, params)
    return _downstream(model, around, params, upstream, start, road)


@eqx.filter_jit
def _solved(model, params, start, road):
    """The pools, and the margins of a model that has some."""
    around = model.surroundings(params)
    upstream = linear_pools(model, around, params)
    pools = _downstream(model, around, params, upstream, start, road)
    margins = getattr(model, "margins", None)
    # Layers that exchange soil carbon may stand where one by itself could not.
    if margins is None or set(model.soil) & model.mixed:
        return pools, None
    return pools, margins(around, upstream.inflow, params)


class Upstream(NamedTuple):
    """Steady states of linear pools, what flows into each pool, and what is left."""

    pools: dict[str, Any]
    inflow: dict[str, Any]
    waiting: tuple[Group, ...]


def linear_pools(
    model: AbstractColumnModel, around: Surroundings, params: Any
) -> Upstream:
    """Steady states of the pools that feel no others than linear ones upstream."""
    transfers = model.transfers(params)
    rates = model.rates(around.environment, params)
    inflow = dict(around.source)
    found: dict[str, Any] = {}

    def settle(pools):
        """Keeps what was found and passes on what it feeds."""
        found.update(pools)
        for (receiver, process), share in transfers.items():
            donor = model.processes[process]
            if donor in pools and process in rates and receiver not in found:
                fed = share * rates[process] * found[donor]
                inflow[receiver] = inflow[receiver] + fed if receiver in inflow else fed

    waiting = list(groups(model, transfers))
    while True:
        ready = [g for g in waiting if g.linear and _fed(g, model, transfers, found)]
        if not ready:
            return Upstream(found, inflow, tuple(waiting))
        still = [g for g in ready if not set(g.pools) & model.mixed]
        # What does not move comes first, so that more of what does can go together.
        for chosen in _alike(still or ready, model):
            settle(_linear(chosen, model, around, transfers, rates, inflow))
        waiting = [g for g in waiting if g.pools[0] not in found]


def _downstream(model, around, params, upstream, start, road):
    """The rest of the pools, those with kinetics of their own."""
    found, inflow, waiting = upstream
    for group in waiting:
        closed = getattr(model, "soil_equilibrium", None)
        moves = set(group.pools) & model.mixed
        if road == "newton" or closed is None or moves:
            known = _by_newton(group, model, around, params, found, inflow, start)
        else:
            known = closed(around.environment, inflow, params)
        found = found | known
    return model.pools(**found)


def _refuse_infeasible(nodes, margins):
    """Says which layer has no steady state and why, where the numbers are known."""
    if margins is None or any(isinstance(margin, Tracer) for margin in margins):
        return
    for name, margin in zip(margins._fields, margins, strict=True):
        if np.any(margin <= 0):
            layer = int(np.argmin(margin))
            raise ValueError(
                f"no steady state in layer {layer + 1} ({nodes[layer]:g} m) and "
                f"{int(np.sum(margin <= 0)) - 1} others: {name} reaches at most "
                f"{np.exp(margin[layer]):.3g} times what is needed there (margin "
                f"{margin[layer]:.3g}, expected more than 0)"
            )


def _refuse_none(model, pools):
    """Says that no steady state was found, where the numbers are known."""
    if any(isinstance(pool, Tracer) for pool in pools):
        return
    lost = [n for n, pool in pools._asdict().items() if not np.isfinite(pool).all()]
    if lost:
        raise ValueError(
            f"no steady state of {type(model).__name__} was found: {', '.join(lost)} "
            "have no finite values; try another `start`, or parameters further from "
            "the ends of their priors"
        )


def _fed(group, model, transfers, found):
    donors = {model.processes[p] for r, p in transfers if r in group.pools}
    return donors <= {*found, *group.pools}


def _alike(ready, model):
    """Groups of one kind, to be solved side by side."""
    kinds: dict[Any, list[Group]] = {}
    for group in ready:
        kind = tuple(pool in model.mixed for pool in group.pools)
        kinds.setdefault(kind, []).append(group)
    return list(kinds.values())


def _linear(
    chosen: list[Group],
    model: AbstractColumnModel,
    around: Surroundings,
    transfers: Mapping,
    rates: Mapping,
    inflow: Mapping,
) -> dict[str, Any]:
    """Pools of groups of one kind."""
    some = around.exchange.above
    blocks = [linear_block(g.pools, model, transfers, rates) for g in chosen]
    right = [[inflow.get(p, jnp.zeros_like(some)) for p in g.pools] for g in chosen]
    mixed = tuple(pool in model.mixed for pool in chosen[0].pools)
    if len(mixed) == 1 and not mixed[0]:
        solved = [[r[0] / b[0][0]] for b, r in zip(blocks, right, strict=True)]
    elif len(chosen) == 1:
        exchange = around.exchange
        system = LayeredSystem(blocks[0], exchange.above, exchange.below)
        solved = [solve_layered(system, right[0], mixed=mixed)]
    else:
        solved = _side_by_side(blocks, right, mixed, around)
    return {
        pool: x
        for group, values in zip(chosen, solved, strict=True)
        for pool, x in zip(group.pools, values, strict=True)
    }


def _side_by_side(blocks, right, mixed, around):
    fill = lambda x: jnp.broadcast_to(x, jnp.shape(around.exchange.above))
    stack = lambda *entries: jnp.stack([fill(e) for e in entries])
    stacked, side = (
        jax.tree.map(stack, *(tuple(map(_frozen, trees)))) for trees in (blocks, right)
    )

    def one(block, r):
        system = LayeredSystem(block, around.exchange.above, around.exchange.below)
        return solve_layered(system, r, mixed=mixed)

    solved = jax.vmap(one)(stacked, side)
    return [[x[i] for x in solved] for i in range(len(blocks))]


def _frozen(entries):
    return tuple(_frozen(e) if isinstance(e, list | tuple) else e for e in entries)


def linear_block(
    pools: tuple[str, ...],
    model: AbstractColumnModel,
    transfers: Mapping,
    rates: Mapping,
) -> tuple[tuple[Any, ...], ...]:
    """-A K ξ of some linear pools: what leaves on the diagonal, what is fed beside."""
    rows = [[0.0] * len(pools) for _ in pools]
    for process, rate in rates.items():
        donor = model.processes[process]
        if donor in pools:
            place = pools.index(donor)
            rows[place][place] = rows[place][place] + rate
    for (receiver, process), share in transfers.items():
        donor = model.processes[process]
        if process in rates and receiver in pools and donor in pools:
            i, j = pools.index(receiver), pools.index(donor)
            rows[i][j] = rows[i][j] - share * rates[process]
    return tuple(tuple(row) for row in rows)


def _by_newton(group, model, around, params, found, inflow, start):
    """Pools with kinetics of their own, what is upstream being known."""
    if start is None:
        start = model.first_guess(around, inflow, params)
    mixed = tuple(pool in model.mixed for pool in group.pools)

    def local(values, given):
        model, around, params, upstream = given
        state = model.pools(**upstream, **dict(zip(group.pools, values, strict=True)))
        change = model.reactions(state, around, params)
        return tuple(change[pool] for pool in group.pools)

    values = newton_layered(
        local,
        tuple(getattr(start, pool) for pool in group.pools),
        (model, around, params, found),
        tuple(around.exchange),
        mixed=mixed,
    )
    return dict(zip(group.pools, values, strict=True))
