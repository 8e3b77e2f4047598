"""What is refused before anything is computed of a column."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.forcing import check_one_site
from jaxsoc.solve.precision import require_x64

Verb = TypeVar("Verb", bound=Callable)


def one_site(what: str) -> Callable[[Verb], Verb]:
    """Makes a function `(model, params, ...)` of one column a verb.

    It is compiled once for models of one kind and layers, whatever their numbers, and
    refuses numbers of several sites, see `one_column`.
    """

    def wrap(function: Verb) -> Verb:
        compiled = eqx.filter_jit(function)

        @wraps(function)
        def verb(model, params, *others, **options):
            model, params = one_column(what, model, params)
            others = jax.tree.map(jnp.asarray, others)
            return compiled(model, params, *others, **options)

        return cast(Verb, verb)

    return wrap


def one_column(what: str, model: AbstractColumnModel, params: Any) -> tuple[Any, Any]:
    """A model and its parameters as arrays, of one site in 64 bits, or a sentence.

    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for arrays that
    lead by site, see `check_one_site`.
    """
    require_x64(what)
    check_one_site(model.forcing, params)
    return jax.tree.map(jnp.asarray, (model, params))
