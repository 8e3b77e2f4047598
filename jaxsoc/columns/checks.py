"""What is refused before anything is computed of a column."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.parameters import declarations
from jaxsoc.solve.precision import require_x64

# Components whose numbers belong to a whole column.
_WHOLE = ("V", "xi", "B")


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
    lead by site, which would be taken for months or layers.
    """
    require_x64(what)
    forcing = model.forcing
    layers, advice = forcing.column.layers, "; for many sites use vmap or map_sites"
    shape = jnp.shape(forcing.temperature)
    if len(shape) != 2 or shape[0] != layers:
        raise ValueError(
            f"{what} needs the forcing of one site, temperatures of {layers} layers by "
            f"month, got an array of shape {shape}{advice}"
        )
    whole = {d.name for d in declarations(type(params)) if d.component in _WHOLE}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path).strip(".")
        shape = jnp.shape(leaf)
        if shape and (name in whole or shape != (layers,)):
            expected = "a number" if name in whole else f"a number, or {layers} layers"
            raise ValueError(
                f"{what} needs the parameters of one site: expected {name} to be "
                f"{expected}, got an array of shape {shape}{advice}"
            )
    return jax.tree.map(jnp.asarray, (model, params))
