"""Soil at a point, and the spaces it lives in."""

from . import allocation as allocation
from . import climate as climate
from . import columns as columns
from . import environment as environment
from . import forcing as forcing
from . import grids as grids
from . import kinetics as kinetics
from . import land_cover as land_cover
from . import mixing as mixing
from . import mortality as mortality
from . import options as options
from . import parameters as parameters
from . import pedotransfer as pedotransfer
from . import profiles as profiles
from . import safe as safe
from . import shapes as shapes
from . import site as site
from . import site_forcing as site_forcing
from . import soil_water as soil_water
from . import transforms as transforms
from . import units as units
