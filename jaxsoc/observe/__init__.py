"""What is measured of a soil, in the units used inside."""

from .operators import QUANTITIES as QUANTITIES
from .operators import Observed as Observed
from .respiration import Respiration as Respiration
from .respiration import compared as compared
from .respiration import mean_rates as mean_rates
from .respiration import standard_choice as standard_choice
