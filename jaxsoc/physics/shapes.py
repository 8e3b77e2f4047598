"""Shape words: a number by cell is an array, or a plain float for all cells."""

import jax
import numpy as np
from jaxtyping import Float

Number = jax.Array | np.ndarray | float
Cells = Float[Number, "*#cell"]
