"""From fields of cells to the means of a core."""

from . import closures as closures
from . import distributions as distributions
from . import fields as fields
from . import macro as macro
from . import moments as moments
from . import spectral as spectral
from . import taylor as taylor
