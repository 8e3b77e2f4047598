"""Constants from data, by gradients: one model, named free parameters, any series."""

from .incubation import INCUBATION as INCUBATION
from .incubation import Incubation as Incubation
from .incubation import common_length as common_length
from .incubation import fit_respiration as fit_respiration
from .incubation import fit_respirations as fit_respirations
from .kinetics import PUBLISHED as PUBLISHED
from .kinetics import Setting as Setting
from .kinetics import fit_kinetics as fit_kinetics
from .kinetics import known_kinetics as known_kinetics
from .least_squares import fit as fit
from .observe import QUANTITIES as QUANTITIES
from .observe import Observed as Observed
from .observe import SoilCore as SoilCore
from .observe import TwoPoolSeries as TwoPoolSeries
from .observe import observed as observed
from .result import Fit as Fit
from .result import Outcome as Outcome
from .result import Starts as Starts
from .series import Respiration as Respiration
from .series import standard_choice as standard_choice
