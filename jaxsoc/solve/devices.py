"""Where programs run."""

import jax


def accelerated() -> bool:
    """Whether programs run on an accelerator rather than on a processor."""
    return jax.default_backend() != "cpu"
