"""What the results of a function depend on, read from its trace."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Var


def depends_on(function: Callable, arguments: Sequence[Any]) -> list[bool]:
    """Of each argument, whether any result of `function(*arguments)` depends on it."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    needed = {v for v in jaxpr.outvars if isinstance(v, Var)}
    for equation in reversed(jaxpr.eqns):
        if needed & set(equation.outvars):
            needed |= {v for v in equation.invars if isinstance(v, Var)}
    return [v in needed for v in jaxpr.invars]
