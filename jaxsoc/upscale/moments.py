"""Moments over cells of states and parameters, and the fluxes that go with them."""

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.solve import AbstractStatistic, reductions
from jaxsoc.solve.statistics import merge_covariance, merge_means


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
            parameter_mean=_by_name(mean_params),
            covariance={pair_name(*names): product(names) for names in pairs},
            third={pair_name(*names): product(names) for names in triples},
            flux=jax.tree.map(mean, self.fluxes(t, state, params)),
            mean_field_flux=self.fluxes(t, mean_state, mean_params),
            minimum=jax.tree.map(reductions.smallest, state),
        )

    def merge(self, one: Moments, other: Moments, share: Any) -> Moments:
        gap = _gaps(one, other)
        product = lambda names: _product(gap, names)

        def covariance(name):
            x, y = name.split(_SEPARATOR)
            parts = one.covariance[name], other.covariance[name]
            return merge_covariance(*parts, gap[x], gap[y], share)

        def third(name):
            names = name.split(_SEPARATOR)
            within = merge_means(one.third[name], other.third[name], share)
            crossed = sum(
                gap[x] * (_pair(other.covariance, y, z) - _pair(one.covariance, y, z))
                for x, y, z in _rotations(names)
            )
            between = (1 - 2 * share) * product(names)
            return within + share * (1 - share) * (crossed + between)

        mean, parameters, flux = merge_means(
            (one.mean, one.parameter_mean, one.flux),
            (other.mean, other.parameter_mean, other.flux),
            share,
        )
        return Moments(
            mean=mean,
            parameter_mean=parameters,
            covariance={name: covariance(name) for name in one.covariance},
            third={name: third(name) for name in one.third},
            flux=flux,
            # That of the merged means, which `finish` puts in its place.
            mean_field_flux=one.mean_field_flux,
            minimum=jax.tree.map(jnp.minimum, one.minimum, other.minimum),
        )

    def finish(self, t: Any, values: Moments, params: Any) -> Moments:
        names, structure = _by_name(params), jax.tree.structure(params)
        means = [values.parameter_mean[name] for name in names]
        mean_params = jax.tree.unflatten(structure, means)
        return values._replace(mean_field_flux=self.fluxes(t, values.mean, mean_params))


_SEPARATOR = ","


def pair_name(*names: str) -> str:
    """Key of a moment: the names of its quantities, in the order of `Moments`."""
    return _SEPARATOR.join(names)


def _by_name(tree):
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).strip("."): leaf for path, leaf in paths}


def _deviations(tree, mean):
    """Deviations by name; a uniform parameter has none."""
    fields, means = _by_name(tree), _by_name(mean)
    return {
        name: field - means[name]
        for name, field in fields.items()
        if jnp.ndim(field) > 0
    }


def _product(deviations, names):
    product = deviations[names[0]]
    for name in names[1:]:
        product = product * deviations[name]
    return product


def _gaps(one, other):
    """Differences of the means, by name."""
    first = _by_name(one.mean) | one.parameter_mean
    second = _by_name(other.mean) | other.parameter_mean
    return {name: second[name] - first[name] for name in first}


def _pair(covariance, x, y):
    """Covariance of two quantities, named in either order."""
    name = pair_name(x, y)
    return covariance[name if name in covariance else pair_name(y, x)]


def _rotations(names):
    x, y, z = names
    return (x, y, z), (y, z, x), (z, x, y)
