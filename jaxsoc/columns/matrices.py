"""A, K, ξ, V and B of a column at rest, as labelled arrays."""

from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.models.column import AbstractColumnModel, Surroundings
from jaxsoc.physics.safe import ratio
from jaxsoc.solve.steady import steady_state

from .checks import one_site
from .network import dense_exchange, flows, network

UNITS = {"A": "1", "K": "d-1", "xi": "1", "V": "d-1", "B": "m-1", "I": "gC m-2 d-1"}
UNITS |= {"X": "gC m-3"}
"""Units of each array of `Matrices`."""


class Matrices(eqx.Module):
    """A ξ K X + V X + B I = 0, the matrices of a column at rest.

    `A`: what a pool receives of a unit decomposed in another, -1 from itself; `K`: rate
    of decomposition before the scalars; `xi`: ξ; `V`: what a pool gains in a layer per
    carbon in another layer; `B`: input of a pool in a layer, of each unit of `I`, all
    of the input; `X`: pools at rest. `pools`, `depth`: labels, depth in m.
    """

    A: Float[Array, "receiver pool layer"]
    K: Float[Array, "pool layer"]
    xi: Float[Array, "pool layer"]
    V: Float[Array, "pool layer donor_layer"]
    B: Float[Array, "pool layer"]
    I: Float[Array, ""]
    X: Float[Array, "pool layer"]
    pools: tuple[str, ...] = eqx.field(static=True)
    depth: tuple[float, ...] = eqx.field(static=True)

    @classmethod
    def dims(cls) -> dict[str, tuple[str, ...]]:
        """Dimensions of each array."""
        arrays: Any = [f for f in fields(cls) if f.name in UNITS]
        return {f.name: tuple(f.type.dim_str.split()) for f in arrays}

    @property
    def residual(self) -> Float[Array, "pool layer"]:
        """A ξ K X + V X + B I, gC m⁻³ d⁻¹: nothing but rounding."""
        moved = jnp.einsum("rpz,pz->rz", self.A, self.xi * self.K * self.X)
        mixed = jnp.einsum("pzd,pd->pz", self.V, self.X)
        return moved + mixed + self.B * self.I


@one_site("the matrices of a soil column")
def matrices(model: AbstractColumnModel, params: Any) -> Matrices:
    """A, K, ξ, V, B and X of a column at its steady state.

    A ξ K X + V X + B I = 0

    Pools of first order that feel no others have the K of the model and its ξ. Of the
    others, such as COMPAS's microbial pools, K is the flux at rest per stock, F / X,
    which holds their scalars, and their ξ is 1: the equation in the linear form that it
    has at rest. Without a steady state all is NaN.

    **Raises:** `ValueError` for numbers of several sites.
    Source: Luo et al. (2003), doi:10.1029/2002GB001923; Tao et al. (2024),
    doi:10.1111/gcb.17297, Eq. 1.
    """
    state = steady_state(model, params)
    names, around = model.pools._fields, model.surroundings(params)
    none = jnp.zeros_like(around.exchange.above)
    K, ξ, A = _decomposition(model, params, around, state)
    total = sum((model.in_column(b) for b in around.source.values()), jnp.zeros(()))
    V = dense_exchange(around.exchange)
    stack = lambda by: jnp.stack([by(name) for name in names])
    return Matrices(
        A=stack(lambda i: stack(lambda j: A.get((i, j), none))),
        K=stack(K.get),
        xi=stack(ξ.get),
        V=stack(lambda i: V if i in model.mixed else jnp.zeros_like(V)),
        B=stack(lambda i: ratio(around.source.get(i, none), total)),
        I=total,
        X=jnp.stack(state),
        pools=names,
        depth=tuple(map(float, model.forcing.column.nodes)),
    )


def _decomposition(model, params, around, state):
    """K and ξ by pool, and A by (receiver, pool), each by layer."""
    none, net = jnp.zeros_like(around.exchange.above), network(model, params)
    fluxes = model.fluxes(state, around.environment, params)
    leaves = model.by_donor(fluxes)
    plain = jax.tree.map(jnp.ones_like, around.environment)
    without = Surroundings(plain, around.exchange, around.source)
    loss, unscaled = (flows(net, model, a, params).loss for a in (around, without))
    K = {pool: ratio(flux, getattr(state, pool)) for pool, flux in leaves.items()}
    K |= unscaled
    ξ = {pool: none + 1.0 for pool in leaves}
    ξ |= {pool: ratio(rate, unscaled[pool]) for pool, rate in loss.items()}
    A = {(pool, pool): none - 1.0 for pool in leaves}
    donors = list(model.processes.values())
    for (receiver, process), share in model.transfers(params).items():
        key = (receiver, donor := model.processes[process])
        # A donor's several processes share what leaves it.
        part = ratio(fluxes[process], leaves[donor]) if donors.count(donor) > 1 else 1.0
        A[key] = A.get(key, none) + share * part
    return K, ξ, A
