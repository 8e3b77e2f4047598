"""What a soil is: complete tendencies `(t, state, params) -> d(state)/dt`."""

from .clm5 import CLM5 as CLM5
from .clm5 import CLM5Pools as CLM5Pools
from .clm5_parameters import CLM5_INDICATIVE as CLM5_INDICATIVE
from .clm5_parameters import CLM5Parameters as CLM5Parameters
from .column import AbstractClosedForm as AbstractClosedForm
from .column import AbstractColumnModel as AbstractColumnModel
from .column import AbstractMicrobialModel as AbstractMicrobialModel
from .column import Surroundings as Surroundings
from .compas import COMPAS as COMPAS
from .compas import COMPASPools as COMPASPools
from .compas_parameters import COMPAS_INDICATIVE as COMPAS_INDICATIVE
from .compas_parameters import COMPASParameters as COMPASParameters
from .mimics import MIMICS as MIMICS
from .mimics import MIMICSPools as MIMICSPools
from .mimics_parameters import MIMICSParameters as MIMICSParameters
from .two_pool import Fluxes as Fluxes
from .two_pool import Pools as Pools
from .two_pool import TwoPool as TwoPool
from .two_pool import TwoPoolParameters as TwoPoolParameters
