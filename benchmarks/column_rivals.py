"""The dense way to a linear column at rest: one matrix a site, solved by LAPACK."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.network import (
    Flows,
    Network,
    dense_exchange,
    flows,
    litter_on,
    network,
)
from jaxsoc.physics.parameters import from_vector
from jaxsoc.solve.ensembles import map_members

CHUNK = 128
"""Sites whose matrices are made together: they stay in the caches."""


def dense_system(model: Any, params: Any) -> tuple[jax.Array, jax.Array]:
    """M and b of M X = b, pools leading layers, of a linear model at one site."""
    around, net = model.surroundings(params), network(model, params)
    names, litter = model.pools._fields, litter_on(net, around)
    M = -dense(net, flows(net, model, around, params), names)
    return M, jnp.concatenate([litter[name] for name in names])


def dense(net: Network, numbers: Flows, names: tuple[str, ...]) -> jax.Array:
    """M of dX/dt = M X + b as one matrix, pools leading layers."""
    V = dense_exchange(numbers.exchange)
    none = jnp.zeros_like(numbers.exchange.above)

    def block(i, j):
        if i == j:
            return (V if i in net.mixed else 0.0) - jnp.diag(numbers.loss[i])
        return jnp.diag(numbers.feeds.get((i, j), none))

    return jnp.block([[block(i, j) for j in names] for i in names])


def _soil(model: type, x: Any) -> Any:
    """Soil organic carbon of solutions that lead by site."""
    names = model.pools._fields
    pools = x.reshape(x.shape[0], len(names), -1)
    return sum(pools[:, names.index(name)] for name in model.soil)


def _chunks(case: Any) -> Any:
    split = lambda leaf: jnp.asarray(leaf).reshape(-1, CHUNK, *leaf.shape[1:])
    return jax.block_until_ready(jax.tree.map(split, (case.vectors, case.forcing)))


def _assemble(case: Any) -> Callable:
    one = lambda v, f: dense_system(
        case.model(f), from_vector(case.model.parameters, v)
    )
    return jax.vmap(one)


def batched_lapack(case: Any) -> Callable[[], np.ndarray]:
    """By `jnp.linalg.solve`, batched, assembly and all in one program.

    On one device: shared out to several, JAX's LAPACK waits for itself for ever.
    """
    assemble = _assemble(case)

    def chunk(given):
        M, b = assemble(*given)
        return _soil(case.model, jnp.linalg.solve(M, b[..., None])[..., 0])

    given = _chunks(case)
    run = (
        jax.jit(lambda given: map_members(chunk, given, devices=1))
        .lower(given)
        .compile()
    )
    return lambda: np.asarray(jax.block_until_ready(run(given))).reshape(-1, 20)


def numpy_lapack(case: Any, threads: int) -> Callable[[], np.ndarray]:
    """By `np.linalg.solve`, batched; matrices assembled by a compiled program."""
    given = _chunks(case)
    chunks = [
        jax.tree.map(lambda leaf, i=i: leaf[i], given) for i in range(len(given[0]))
    ]
    assemble = jax.jit(_assemble(case)).lower(*chunks[0]).compile()

    def chunk(part):
        M, b = (np.asarray(side) for side in assemble(*part))
        return _soil(case.model, np.linalg.solve(M, b[..., None])[..., 0])

    def run():
        if threads == 1:
            return np.concatenate([chunk(part) for part in chunks])
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(chunk, chunks)))

    return run
