"""Shape words: one number may be a float, a NumPy or a JAX array."""

import jax
import numpy as np
from jaxtyping import Float


class Real:
    """`Real["*cell"]` is a float array of that shape, or a plain float or int."""

    def __class_getitem__(cls, shape: str):
        return Float[jax.Array, shape] | Float[np.ndarray, shape] | float | int
