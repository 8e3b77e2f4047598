"""Moments over cells of states and parameters, and the fluxes that go with them."""

import math
from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.solve import AbstractStatistic, reductions
from jaxsoc.solve.statistics import merge_covariance, merge_means, weighted

from .quantities import named


class Moments(NamedTuple):
    """Spatial statistics at one instant; all averages are 1/N.

    `mean`: of each pool; `parameter_mean`: of each parameter, by name; `covariance`:
    of each pair of heterogeneous quantities, by `(name, name)` in the order state then
    parameters, variances included; `third`: of each triple asked for; `flux`: mean of
    each flux; `mean_field_flux`: the flux at the mean state and mean parameters;
    `minimum`: of each pool.
    """

    mean: Any
    parameter_mean: dict[str, Float[Array, ""]]
    covariance: dict[str, Float[Array, ""]]
    third: dict[str, Float[Array, ""]]
    flux: Any
    mean_field_flux: Any
    minimum: Any

    @property
    def higher_order_flux(self) -> Any:
        """What the mean field misses: mean flux - flux at the means."""
        return jax.tree.map(lambda a, b: a - b, self.flux, self.mean_field_flux)


def of(
    fluxes: Callable, *, third: tuple[tuple[str, str, str], ...] = ()
) -> AbstractStatistic:
    """Saver for `integrate`: fields in, `Moments` out.

    **Arguments:** `fluxes`: `(t, state, params) -> fluxes` at a point; `third`:
    triples of names whose third central moment is wanted, left out where one of the
    three is uniform.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 21-25.
    """
    return _Saver(fluxes, third)


class _Saver(AbstractStatistic):
    # A module rather than a closure: two equal savers share one compilation.
    fluxes: Callable
    third: tuple[tuple[str, str, str], ...]

    def __call__(self, t: Any, state: Any, params: Any) -> Moments:
        mean = reductions.mean
        mean_state = jax.tree.map(mean, state)
        mean_params = jax.tree.map(mean, params)
        deviations = _deviations(state, mean_state) | _deviations(params, mean_params)
        product = lambda names: mean(_product(deviations, names))
        pairs = combinations_with_replacement(deviations, 2)
        triples = [names for names in self.third if set(names) <= set(deviations)]
        return Moments(
            mean=mean_state,
            parameter_mean=named(mean_params),
            covariance={pair_name(*names): product(names) for names in pairs},
            third={pair_name(*names): product(names) for names in triples},
            flux=jax.tree.map(mean, self.fluxes(t, state, params)),
            mean_field_flux=self.fluxes(t, mean_state, mean_params),
            minimum=jax.tree.map(reductions.smallest, state),
        )

    def merge(self, values: Moments, shares: Any) -> Moments:
        parts = values.mean, values.parameter_mean, values.flux
        mean, parameters, flux = merge_means(parts, shares)
        every = named(mean) | parameters
        apart = named(values.mean) | values.parameter_mean
        gap = {name: apart[name] - every[name][None] for name in every}
        C, covariance, third = values.covariance, {}, {}
        for name, part in C.items():
            x, y = name.split(_SEPARATOR)
            covariance[name] = merge_covariance(part, gap[x], gap[y], shares)
        for name, part in values.third.items():
            x, y, z = names = name.split(_SEPARATOR)
            turned = ((x, y, z), (y, z, x), (z, x, y))
            crossed = sum(gap[a] * C[_in_order(C, b, c)] for a, b, c in turned)
            third[name] = weighted(part + crossed + _product(gap, names), shares)
        # The flux at the means is that of the merged means: `finish` puts it in place.
        first = jax.tree.map(lambda x: x[0], values.mean_field_flux)
        minimum = jax.tree.map(lambda x: jnp.min(x, axis=0), values.minimum)
        return Moments(mean, parameters, covariance, third, flux, first, minimum)

    def finish(self, t: Any, values: Moments, params: Any) -> Moments:
        means = [values.parameter_mean[name] for name in named(params)]
        mean_params = jax.tree.unflatten(jax.tree.structure(params), means)
        return values._replace(mean_field_flux=self.fluxes(t, values.mean, mean_params))


_SEPARATOR = ","


def pair_name(*names: str) -> str:
    """Key of a moment: the names of its quantities, in the order of `Moments`."""
    return _SEPARATOR.join(names)


def _deviations(tree, mean):
    """Deviations by name; a uniform parameter has none."""
    fields, means = named(tree), named(mean)
    return {name: x - means[name] for name, x in fields.items() if jnp.ndim(x) > 0}


def _product(deviations: dict[str, Any], names: Any) -> Any:
    return math.prod(deviations[name] for name in names)


def _in_order(covariance, x, y):
    """Key of the covariance of two quantities, named in either order."""
    name = pair_name(x, y)
    return name if name in covariance else pair_name(y, x)
