"""Whether numbers carry 64 bits; the library never switches it on by itself."""

import jax.numpy as jnp


def require_x64(what: str) -> None:
    """Refuses to compute `what` with 32-bit floats.

    **Raises:** `RuntimeError` with the line that switches 64-bit floats on.
    """
    if jnp.result_type(float) != jnp.float64:
        raise RuntimeError(
            f"{what} needs 64-bit floats, and JAX is set to 32: call "
            "jax.config.update('jax_enable_x64', True) before anything else"
        )
