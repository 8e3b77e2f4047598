"""A value that several results share, computed once."""

import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from .shapes import Cells


def computed_once(x: Cells) -> Float[Array, "..."]:
    """The same value, kept from being worked out again by everything that uses it.

    XLA writes every array in a loop of its own, and repeats in each what it takes for
    cheap: a decomposition made of two multiplications would be computed for substrate,
    for biomass and for CO2, and so on through the stages of a step. What holds a
    division it keeps, so this divides by one. The one is hidden until XLA has chosen
    its loops, and costs nothing afterwards. Derivatives are shared in the same way.
    """
    return _once.bind(jnp.asarray(x))


_once = Primitive("computed_once")
_once.def_impl(lambda x: x)
_once.def_abstract_eval(lambda x: x)
ad.deflinear2(_once, lambda cotangent, _: [_once.bind(cotangent)])
batching.defvectorized(_once)


def _divided_by_one(x):
    # Beside x in the barrier, or XLA takes the ones out of the loop over steps.
    x, one = lax.optimization_barrier((x, jnp.ones_like(x)))
    return x / one


mlir.register_lowering(_once, mlir.lower_fun(lambda x: x, multiple_results=False))
mlir.register_lowering(
    _once, mlir.lower_fun(_divided_by_one, multiple_results=False), platform="cpu"
)
