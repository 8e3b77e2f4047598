"""The linear pools of a column as a network: who loses, who feeds whom, who is mixed.

For what steady states do not need: the product M X, and solutions at shifted rates.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxsoc.physics.mixing import Exchange
from jaxsoc.solve.layered import LayeredSystem, solve_layered

from .column import AbstractColumnModel, Surroundings
from .structure import groups


class Flows(NamedTuple):
    """M of dX/dt = M X + b by layer, 1/d.

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

    def apply(self, flows: Flows, pools: dict[str, Any]) -> dict[str, Any]:
        """M X by pool."""
        change = {name: -flows.loss[name] * x for name, x in pools.items()}
        for (receiver, donor), rate in flows.feeds.items():
            change[receiver] = change[receiver] + rate * pools[donor]
        for name in change:
            if name in self.mixed:
                change[name] = change[name] + flows.exchange(pools[name])
        return change

    def solve(self, flows: Flows, shift: Any, right: dict[str, Any]) -> dict[str, Any]:
        """(shift - M)⁻¹ right by pool, complex where the shift is."""
        kind = jnp.result_type(shift)
        cast = lambda x: lax.convert_element_type(x, kind)
        flows, right = jax.tree.map(cast, (flows, right))
        found: dict[str, Any] = {}
        for stage in self.stages:
            solved = self._stage(stage, flows, shift, right)
            found |= solved
            for (receiver, donor), rate in flows.feeds.items():
                if donor in solved and receiver not in found:
                    right[receiver] = right[receiver] + rate * found[donor]
        return found

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


def _block(group, flows, shift):
    """Rows of shift - M of a group, without what is mixed."""
    entry = lambda i, j: (
        shift + flows.loss[i]
        if i == j
        else -flows.feeds.get((i, j), jnp.zeros_like(flows.loss[i]))
    )
    return tuple(tuple(entry(i, j) for j in group) for i in group)


def network(model: AbstractColumnModel, params: Any) -> Network:
    """The linear pools of a model in the order in which they can be solved.

    **Raises:** `ValueError` for a model whose linear pools are fed by others.
    """
    transfers = model.transfers(params)
    linear = [g.pools for g in groups(model, transfers) if g.linear]
    feeds = {(r, model.processes[p]) for r, p in transfers}
    known = {pool for group in linear for pool in group}
    if any(r in known and d not in known for r, d in feeds):
        raise ValueError(
            f"the linear pools of {type(model).__name__} are fed by pools that are not "
            "linear; only models whose linear pools lie upstream have seasons"
        )
    stages, found = [], set()
    while linear:
        ready = [g for g in linear if _donors(g, feeds) <= {*found, *g}]
        # What does not move comes first, so that more of what does can go together.
        ready = [g for g in ready if not set(g) & model.mixed] or ready
        kind = lambda g: tuple(pool in model.mixed for pool in g)
        stage = tuple(g for g in ready if kind(g) == kind(ready[0]))
        stages.append(stage)
        found |= {pool for group in stage for pool in group}
        linear = [g for g in linear if g not in stage]
    return Network(tuple(stages), frozenset(model.mixed) & known)


def flows(model: AbstractColumnModel, around: Surroundings, params: Any) -> Flows:
    """Rates of the linear pools in given surroundings."""
    rates = model.rates(around.environment, params)
    some = jnp.zeros_like(around.exchange.above)
    loss: dict[str, Any] = {}
    feeds: dict[tuple[str, str], Any] = {}
    for process, rate in rates.items():
        donor = model.processes[process]
        loss[donor] = loss.get(donor, some) + rate
    for (receiver, process), share in model.transfers(params).items():
        donor = model.processes[process]
        if process in rates and receiver in loss:
            fed = share * rates[process] + some
            key = (receiver, donor)
            feeds[key] = feeds[key] + fed if key in feeds else fed
    pools = {p for p in loss if _is_linear(model, p)}
    return Flows(
        {p: loss[p] for p in pools},
        {(r, d): rate for (r, d), rate in feeds.items() if {r, d} <= pools},
        around.exchange,
    )


def _donors(group, feeds):
    return {donor for receiver, donor in feeds if receiver in group}


def _is_linear(model, pool):
    return all(p in model.linear for p, d in model.processes.items() if d == pool)
