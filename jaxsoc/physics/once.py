"""A value that several results share, computed once."""

from importlib.metadata import version

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
    for biomass and for CO2, and so on through the stages of a step. Derivatives are
    shared in the same way.
    """
    return _once.bind(jnp.asarray(x))


_once = Primitive("computed_once")
_once.def_impl(lambda x: x)
_once.def_abstract_eval(lambda x: x)
ad.deflinear2(_once, lambda cotangent, _: [_once.bind(cotangent)])
batching.defvectorized(_once)

# From jaxlib 0.12 on, a barrier still stands when XLA chooses its loops.
_BARRIER_STANDS = tuple(map(int, version("jaxlib").split(".")[:2])) >= (0, 12)


def _on_a_processor(x):
    if _BARRIER_STANDS:
        return lax.optimization_barrier(x)
    # Without that, only what holds a division is not repeated: divide by a one that is
    # hidden until the loops are chosen, and that the compiler then removes. Beside x in
    # the barrier, or XLA takes the ones out of the loop over steps, and divides.
    x, one = lax.optimization_barrier((x, jnp.ones_like(x)))
    return x / one


_lowering = lambda function: mlir.lower_fun(function, multiple_results=False)
mlir.register_lowering(_once, _lowering(lambda x: x))
mlir.register_lowering(_once, _lowering(_on_a_processor), platform="cpu")
