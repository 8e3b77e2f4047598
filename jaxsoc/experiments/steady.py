"""Mean steady state of a heterogeneous soil, for any distribution and kinetics."""

import dataclasses
from collections.abc import Mapping
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.options import check_option
from jaxsoc.solve import require_x64, steady_state
from jaxsoc.upscale.distributions import AbstractDistribution


def mean_steady_state(
    model: TwoPool,
    params: TwoPoolParameters,
    distributions: Mapping[str, AbstractDistribution] | None = None,
    *,
    coupled: bool = False,
    nodes: int = 64,
) -> Pools:
    """Mean over cells of the steady state that each cell reaches by itself.

    mean S* = ∫ S*(k, K, …) p(k, K, …) dk dK …

    For multiplicative kinetics this is m E[1/k] / Y (A13 of the paper); for a k and K
    with independent distributions, and for every law and mortality, it is computed
    by Gauss-Legendre quadrature over the quantiles.

    **Arguments:** `params`: uniform numbers, or fields by cell, whose mean is taken;
    `distributions`: in place of numbers, by name: a constant of decomposition, or any
    other with its path, such as "mortality.rate"; `coupled`: all follow from one
    variate instead of independent ones; `nodes`: of the quadrature along each.
    **Returns:** `Pools` in mgC/g.
    **Raises:** `ValueError` as `steady_state` for any cell; for an unknown name; for a
    quadrature that has not converged to 1e-6.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, A12-A13.
    """
    require_x64("a mean steady state")
    if not distributions:
        return jax.tree.map(jnp.mean, steady_state(model, params))
    if any(jnp.ndim(leaf) for leaf in jax.tree.leaves(params)):
        raise ValueError(
            "distributions replace uniform numbers: give numbers or fields by cell, "
            "not both"
        )
    coarse, fine = (
        _quadrature(model, params, distributions, coupled, count)
        for count in (nodes // 2, nodes)
    )
    change = jnp.abs(fine.substrate / coarse.substrate - 1)
    if not float(change) <= 1e-6:
        raise ValueError(
            f"the mean over the distributions has not converged with {nodes} nodes "
            f"(change {float(change):.1g}): some cells are close to having no steady "
            "state; narrow the distributions or take more nodes"
        )
    return fine


def _quadrature(model, params, distributions, coupled, nodes):
    points, weights = np.polynomial.legendre.leggauss(nodes)
    axes = 1 if coupled else len(distributions)
    grid = np.meshgrid(*[0.5 * (points + 1)] * axes, indexing="ij")
    weight = reduce(np.multiply.outer, [0.5 * weights] * axes)
    own = _names(params)
    for axis, (name, distribution) in enumerate(distributions.items()):
        values = distribution.quantile(jnp.asarray(grid[0 if coupled else axis]))
        known = "." in name or name in own
        path = name.split(".") if known else ["decomposition", name]
        params = _replaced(params, path, values)
    pools = steady_state(model, params)
    return jax.tree.map(lambda x: jnp.sum(jnp.asarray(weight) * x), pools)


def _replaced(module, path, value):
    first, *rest = path
    check_option("constant", first, _names(module))
    if rest:
        value = _replaced(getattr(module, first), rest, value)
    return dataclasses.replace(module, **{first: value})


def _names(module):
    return [field.name for field in dataclasses.fields(module)]
