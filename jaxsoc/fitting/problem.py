"""A model as a function on the line, with its slopes, compiled once."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


class Problem(eqx.Module):
    """The model as a function of the free constants on the line."""

    predict: Callable
    params: Any
    transforms: tuple
    places: tuple[int, ...] = eqx.field(static=True)
    args: Any

    def natural(self, z: Any) -> Any:
        """Free constants in natural units."""
        pairs = zip(self.transforms, z, strict=True)
        return jnp.stack([t.from_line(x) for t, x in pairs])

    def filled(self, z: Any) -> Any:
        """All parameters, with the free ones in place."""
        leaves, structure = jax.tree.flatten(self.params)
        for place, value in zip(self.places, self.natural(z), strict=True):
            leaves[place] = value
        return jax.tree.unflatten(structure, leaves)

    def __call__(self, z: Any) -> Any:
        """Prediction; NaN where rounding takes a constant to an end of its interval."""
        pairs = zip(self.transforms, self.natural(z), strict=True)
        inside = [(t.low < value) & (value < t.high) for t, value in pairs]
        predicted = self.predict(self.filled(z), self.args)
        return jnp.where(jnp.all(jnp.stack(inside)), predicted, jnp.nan)


@eqx.filter_jit
def evaluate(problem: Problem, z: Any) -> Any:
    """Prediction and its Jacobian, by point and constant."""
    # The basis is pushed forward together, beside one run of the model itself.
    run = lambda direction: jax.jvp(problem, (z,), (direction,))
    return jax.vmap(run, out_axes=(None, -1))(jnp.eye(z.size))


@eqx.filter_jit
def in_natural_units(problem: Problem, places: Any) -> Any:
    """Free constants and their slopes along the line, by place and constant."""
    one = lambda z: jax.jvp(problem.natural, (z,), (jnp.ones_like(z),))
    return jax.vmap(one)(places)


@eqx.filter_jit
def second_derivatives(problem: Problem, z: Any, data: Any, weights: Any) -> Any:
    """Exact curvature of half the weighted sum of squares."""

    def half(z):
        difference = jnp.where(weights > 0, data - problem(z), 0.0)
        return 0.5 * jnp.sum((weights * difference) ** 2)

    return jax.jacfwd(jax.jacfwd(half))(z)


class Weighted:
    """Residuals of a problem, scaled so that one tolerance suits all units."""

    def __init__(self, problem, data, weights):
        self.problem, self.data, self.weights = problem, data, weights
        size = float(np.sqrt(np.mean((weights * data) ** 2)))
        self.scale = size if size > 0 else 1.0

    def __call__(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals and their Jacobian, by point and constant."""
        predicted, slopes = map(np.asarray, evaluate(self.problem, jnp.asarray(z)))
        used = self.weights > 0
        if predicted.shape != self.data.shape:
            raise ValueError(
                "the model must predict one value per point, got "
                f"{predicted.shape} for {self.data.shape}"
            )
        factor = self.weights[used] / self.scale
        residuals = factor * (self.data[used] - predicted[used])
        return residuals, -factor[:, None] * slopes[used]
