"""What is measured of a soil, in the units used inside."""

from .operators import QUANTITIES as QUANTITIES
from .operators import Observed as Observed
from .profiles import Misfits as Misfits
from .profiles import Profiles as Profiles
from .profiles import concatenate as concatenate
from .profiles import misfits as misfits
from .profiles import predicted as predicted
from .profiles import with_bulk_density as with_bulk_density
from .respiration import Respiration as Respiration
from .respiration import compared as compared
from .respiration import mean_rates as mean_rates
from .respiration import standard_choice as standard_choice
from .screening import coverage as coverage
from .screening import screen as screen
from .screening import screening_effects as screening_effects
from .screening import shapes as shapes
