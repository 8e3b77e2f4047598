"""What the results of a function depend on, read from its trace."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.interpreters import partial_eval


def depends_on(function: Callable, arguments: Sequence[Any]) -> list[bool]:
    """Of each argument, whether any result of `function(*arguments)` depends on it."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]
