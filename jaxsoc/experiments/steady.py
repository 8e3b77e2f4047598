"""Mean steady state of a heterogeneous soil, for any distribution and kinetics."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters, steady_state
from jaxsoc.solve import require_x64
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
    `distributions`: of constants of decomposition, by name, in place of their numbers;
    `coupled`: the constants of a cell follow from one variate instead of independent
    ones; `nodes`: of the quadrature along each constant.
    **Returns:** `Pools` in mgC/g.
    **Raises:** `ValueError` as `steady_state` for any cell; an unknown constant.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, A12-A13.
    """
    require_x64("a mean steady state")
    distributions = dict(distributions or {})
    constants = params.decomposition
    for name in distributions:
        if not hasattr(constants, name):
            raise ValueError(
                f"unknown constant {name!r}: {type(constants).__name__} has "
                f"{', '.join(vars(constants))}"
            )
    points, weights = np.polynomial.legendre.leggauss(nodes)
    points, weights = 0.5 * (points + 1), 0.5 * weights
    axes = 1 if coupled else max(len(distributions), 1)
    grid = np.meshgrid(*[points] * axes, indexing="ij")
    weight = np.ones(())
    for _ in range(axes):
        weight = np.multiply.outer(weight, weights)
    values: dict[str, Any] = {
        name: jnp.asarray(distribution.quantile(jnp.asarray(grid[0 if coupled else i])))
        for i, (name, distribution) in enumerate(distributions.items())
    }
    if not distributions:
        return jax.tree.map(jnp.mean, steady_state(model, params))
    params = _replaced(params, values)
    pools = steady_state(model, params)
    return jax.tree.map(lambda x: jnp.sum(jnp.asarray(weight) * x), pools)


def _replaced(params, values):
    constants = dataclasses.replace(params.decomposition, **values)
    return dataclasses.replace(params, decomposition=constants)
