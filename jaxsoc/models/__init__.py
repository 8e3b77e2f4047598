"""Complete tendencies `(t, state, params) -> d(state)/dt`."""

from .clm5 import CLM5 as CLM5
from .clm5 import CLM5Pools as CLM5Pools
from .clm5_parameters import CLM5Parameters as CLM5Parameters
from .compas import COMPAS as COMPAS
from .compas import COMPASPools as COMPASPools
from .compas_parameters import COMPASParameters as COMPASParameters
from .equilibrium import column_steady_state as column_steady_state
from .two_pool import (
    Fluxes as Fluxes,
)
from .two_pool import (
    Pools as Pools,
)
from .two_pool import (
    TwoPool as TwoPool,
)
from .two_pool import (
    TwoPoolParameters as TwoPoolParameters,
)
from .two_pool import (
    steady_state as steady_state,
)
