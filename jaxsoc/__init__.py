"""Differentiable soil carbon from the pore to the globe, in JAX."""

from . import columns as columns
from . import experiments as experiments
from . import infer as infer
from . import models as models
from . import observe as observe
from . import physics as physics
from . import solve as solve
from . import upscale as upscale
from .solve import integrate as integrate
from .solve import stability as stability
from .solve import steady_state as steady_state

__version__ = "0.1.0"
