"""The linear pools of a column as a network: who loses, who feeds whom, who is mixed.

M = A K ξ - V of the pools that feel no others than linear ones upstream, assembled,
ordered and solved here alone: at rest, and at shifted rates.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxsoc.models.column import AbstractColumnModel, Surroundings, Transfers
from jaxsoc.physics.mixing import Exchange
from jaxsoc.physics.safe import ratio
from jaxsoc.solve.layered import LayeredSystem, solve_layered

Pools = Mapping[str, Any]
# gC m⁻³ below which a pool is none: compiled, F / X with F = x S / (K + S) divides by
# products of what is so little, which are no numbers any more.
_NONE = 1e-150


class Flows(NamedTuple):
    """M of dX/dt = M X + b by layer, 1/d, and what linear pools pass on to others.

    `loss`: of each pool; `feeds`: by (receiver, donor), of the donor; `exchange`: V.
    """

    loss: dict[str, Any]
    feeds: dict[tuple[str, str], Any]
    exchange: Exchange


class Network(NamedTuple):
    """The order in which linear pools are solved.

    `stages`: upstream first; groups of pools that feed each other, those of a stage
    being alike and solved side by side; `mixed`: pools that mixing moves.
    """

    stages: tuple[tuple[tuple[str, ...], ...], ...]
    mixed: frozenset[str]

    @property
    def pools(self) -> tuple[str, ...]:
        """All of its pools."""
        return tuple(p for stage in self.stages for group in stage for p in group)

    def apply(self, flows: Flows, pools: Pools) -> dict[str, Any]:
        """M X by pool."""
        change = {name: -flows.loss[name] * x for name, x in pools.items()}
        for (receiver, donor), rate in flows.feeds.items():
            if receiver in change:
                change[receiver] = change[receiver] + rate * pools[donor]
        for name in change:
            if name in self.mixed:
                change[name] = change[name] + flows.exchange(pools[name])
        return change

    def solve(self, flows: Flows, shift: Any, right: Pools) -> dict[str, Any]:
        """(shift - M)⁻¹ right by pool, complex where the shift is."""
        kind = jnp.result_type(shift)
        cast = lambda x: lax.convert_element_type(x, kind)
        flows, inflow = jax.tree.map(cast, (flows, dict(right)))
        found: dict[str, Any] = {}
        for stage in self.stages:
            solved = self._stage(stage, flows, shift, inflow)
            found |= solved
            for (receiver, donor), rate in flows.feeds.items():
                if donor in solved and receiver in inflow and receiver not in found:
                    inflow[receiver] = inflow[receiver] + rate * found[donor]
        return found

    def inflow(self, flows: Flows, pools: Pools, source: Pools) -> dict[str, Any]:
        """What litter and linear pools bring to the other pools, gC m⁻³ d⁻¹."""
        inflow = {name: b for name, b in source.items() if name not in flows.loss}
        for (receiver, donor), rate in flows.feeds.items():
            if receiver not in flows.loss:
                inflow[receiver] = inflow.get(receiver, 0.0) + rate * pools[donor]
        return inflow

    def _stage(self, stage, flows, shift, right):
        blocks = [_block(group, flows, shift) for group in stage]
        sides = [tuple(right[pool] for pool in group) for group in stage]
        mixed = tuple(pool in self.mixed for pool in stage[0])

        def one(block, side):
            system = LayeredSystem(block, *flows.exchange)
            return solve_layered(system, side, mixed=mixed)

        if not any(mixed) and len(mixed) == 1:
            solved = [(s[0] / b[0][0],) for b, s in zip(blocks, sides, strict=True)]
        elif len(stage) == 1:
            solved = [one(blocks[0], sides[0])]
        else:
            pile = lambda *entries: jnp.stack(entries)
            many = jax.vmap(one)(
                jax.tree.map(pile, *blocks), jax.tree.map(pile, *sides)
            )
            solved = [tuple(x[i] for x in many) for i in range(len(stage))]
        return {
            pool: x
            for group, values in zip(stage, solved, strict=True)
            for pool, x in zip(group, values, strict=True)
        }


def dense_exchange(exchange: Exchange) -> Float[Array, "layer layer"]:
    """What a pool gains in each layer per carbon in each other, its columns, 1/d."""
    return jax.vmap(exchange, in_axes=1, out_axes=1)(jnp.eye(exchange.above.size))


def _block(group, flows, shift):
    """Rows of shift - M of a group, without what is mixed."""
    entry = lambda i, j: (
        shift + flows.loss[i]
        if i == j
        else -flows.feeds.get((i, j), jnp.zeros_like(flows.loss[i]))
    )
    return tuple(tuple(entry(i, j) for j in group) for i in group)


def network(
    model: AbstractColumnModel, params: Any, *, tracer: bool = False
) -> Network:
    """The linear pools fed by none but linear ones, in the order of their solution.

    **Arguments:** `tracer`: all pools instead, for what is carried along with the
    carbon at known fluxes, in which every process is linear, see `tracer_flows`.
    """
    transfers = model.transfers(params)
    linear = linear_groups(model, transfers, model.processes if tracer else None)
    feeds = {(r, model.processes[p]) for r, p in transfers}
    stages: list[tuple[tuple[str, ...], ...]] = []
    found: set[str] = set()
    fed = lambda g: {d for r, d in feeds if r in g} <= {*found, *g}
    while ready := [g for g in linear if fed(g)]:
        # What does not move comes first, so that more of what does can go together.
        ready = [g for g in ready if not set(g) & model.mixed] or ready
        kind = lambda g: tuple(pool in model.mixed for pool in g)
        stage = tuple(g for g in ready if kind(g) == kind(ready[0]))
        stages.append(stage)
        found |= {pool for group in stage for pool in group}
        linear = [g for g in linear if g not in stage]
    return Network(tuple(stages), frozenset(model.mixed) & found)


def linear_groups(
    model: AbstractColumnModel,
    transfers: Transfers,
    linear: Collection[str] | None = None,
) -> list[tuple[str, ...]]:
    """Linear pools in groups: two are together where carbon goes round through both.

    Pools that take part in a process which is not linear belong together, too.

    **Arguments:** `linear`: processes, by default those that the model declares.
    """
    names, donors = model.pools._fields, model.processes
    at, linear = names.index, model.linear if linear is None else linear
    nonlinear = [at(d) for process, d in donors.items() if process not in linear]
    feeds = np.eye(len(names))
    feeds[np.ix_(nonlinear, nonlinear)] = 1
    for receiver, process in transfers:
        feeds[at(donors[process]), at(receiver)] = 1
    reached = np.linalg.matrix_power(feeds, len(names)) > 0
    groups = (tuple(np.flatnonzero(row)) for row in reached & reached.T)
    return [
        tuple(names[i] for i in group)
        for group in dict.fromkeys(groups)
        if not set(group) & set(nonlinear)
    ]


def flows(
    net: Network, model: AbstractColumnModel, around: Surroundings, params: Any
) -> Flows:
    """Rates of the linear pools in given surroundings."""
    return _flows(net, model, around, params, model.rates(around.environment, params))


def tracer_flows(
    net: Network, model: AbstractColumnModel, around: Surroundings, params: Any, X: Any
) -> Flows:
    """Rates at which what is in the carbon goes with it: k = F / X of each process.

    **Arguments:** `net`: of a tracer; `X`: pools, gC m⁻³.
    """
    fluxes = model.fluxes(X, around.environment, params)
    some = lambda x: jnp.where(abs(x) < _NONE, 0.0, x)
    held = {
        process: some(getattr(X, pool)) for process, pool in model.processes.items()
    }
    rates = {process: ratio(flux, held[process]) for process, flux in fluxes.items()}
    rates |= model.rates(around.environment, params)
    return _flows(net, model, around, params, rates)


def _flows(net, model, around, params, rates):
    some = jnp.zeros_like(around.exchange.above)
    loss: dict[str, Any] = {pool: some for pool in net.pools}
    feeds: dict[tuple[str, str], Any] = {}
    for process, rate in rates.items():
        if (donor := model.processes[process]) in loss:
            loss[donor] = loss[donor] + rate
    for (receiver, process), share in model.transfers(params).items():
        if (donor := model.processes[process]) in loss:
            fed = share * rates[process] + some
            key = (receiver, donor)
            feeds[key] = feeds[key] + fed if key in feeds else fed
    return Flows(loss, feeds, around.exchange)


def litter_on(net: Network, around: Surroundings) -> dict[str, Any]:
    """b of the linear pools, gC m⁻³ d⁻¹, nothing where no litter falls."""
    none = jnp.zeros_like(around.exchange.above)
    return {pool: around.source.get(pool, none) for pool in net.pools}
