"""Complete tendencies `(t, state, params) -> d(state)/dt`, and their steady states."""

from .ages import Ages as Ages
from .ages import mean_ages as mean_ages
from .budgets import column_budget as column_budget
from .clm5 import CLM5 as CLM5
from .clm5 import CLM5Pools as CLM5Pools
from .clm5_parameters import CLM5Parameters as CLM5Parameters
from .column import AbstractColumnModel as AbstractColumnModel
from .column import Surroundings as Surroundings
from .compas import COMPAS as COMPAS
from .compas import COMPASPools as COMPASPools
from .compas_parameters import COMPASParameters as COMPASParameters
from .components import Components as Components
from .components import components as components
from .equilibrium import column_steady_state as column_steady_state
from .feasibility import barrier as barrier
from .feasibility import margins as margins
from .feasibility import most_feasible as most_feasible
from .feasibility import soil_per_microbes as soil_per_microbes
from .indicative import CLM5_INDICATIVE as CLM5_INDICATIVE
from .indicative import COMPAS_INDICATIVE as COMPAS_INDICATIVE
from .mimics import MIMICS as MIMICS
from .mimics import MIMICSPools as MIMICSPools
from .mimics_parameters import MIMICSParameters as MIMICSParameters
from .seasons import Periodic as Periodic
from .seasons import Seasonal as Seasonal
from .seasons import periodic_state as periodic_state
from .seasons import step_year as step_year
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
