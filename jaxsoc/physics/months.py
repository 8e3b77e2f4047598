"""Means over the months of a year: plain ones, months counting alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def mean_of(function: Callable, *monthly: Any) -> Any:
    """Mean over the months of a function of what a month holds.

    The months are gone through one by one, so that many sites keep what they have of a
    month in the cache.

    **Arguments:** `function`: of arrays of one month, to any pytree of arrays;
    `monthly`: arrays that lead by month.
    """
    months = [jnp.asarray(values) for values in monthly]
    one = jax.eval_shape(function, *(values[0] for values in months))
    total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)

    def add(total, month):
        return jax.tree.map(jnp.add, total, function(*month)), None

    total, _ = lax.scan(add, total, tuple(months))
    return jax.tree.map(lambda x: x / months[0].shape[0], total)
