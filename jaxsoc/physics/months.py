"""Means over the months of a year: plain ones, months counting alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def mean_of(function: Callable, *monthly: Any) -> Any:
    """Mean over the months of a function of what a month holds.

    On a CPU the months are gone through one by one, so that many sites keep what they
    have of a month in the cache; elsewhere all at once, so that nothing is launched
    twelve times.

    **Arguments:** `function`: of arrays of one month, to any pytree of arrays;
    `monthly`: arrays that lead by month.
    """

    def one_by_one(*months):
        one = jax.eval_shape(function, *(values[0] for values in months))
        total = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), one)
        add = lambda total, month: (
            jax.tree.map(jnp.add, total, function(*month)),
            None,
        )
        total, _ = lax.scan(add, total, months)
        return jax.tree.map(lambda x: x / months[0].shape[0], total)

    def at_once(*months):
        found = jax.vmap(function)(*months)
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), found)

    months = [jnp.asarray(values) for values in monthly]
    return lax.platform_dependent(*months, cpu=one_by_one, default=at_once)
