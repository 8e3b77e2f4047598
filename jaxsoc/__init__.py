"""Differentiable soil carbon from the pore to the globe, in JAX."""

from . import experiments as experiments
from . import fitting as fitting
from . import models as models
from . import physics as physics
from . import solve as solve
from . import upscale as upscale
from .models import steady_state as steady_state
from .solve import integrate as integrate

__version__ = "0.1.0"
