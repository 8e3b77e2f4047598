"""What a soil column does: steady states, seasons, budgets, ages and components."""

from .ages import Ages as Ages
from .ages import mean_ages as mean_ages
from .budgets import PoolBudget as PoolBudget
from .budgets import column_budget as column_budget
from .budgets import layer_budget as layer_budget
from .components import Components as Components
from .components import components as components
from .feasibility import barrier as barrier
from .feasibility import feasibility as feasibility
from .feasibility import most_feasible as most_feasible
from .feasibility import soil_per_microbes as soil_per_microbes
from .matrices import Matrices as Matrices
from .matrices import matrices as matrices
from .seasons import Periodic as Periodic
from .seasons import Seasonal as Seasonal
from .seasons import periodic_state as periodic_state
from .seasons import step_year as step_year
from .steady import steady_pools as steady_pools
from .summary import SiteResults as SiteResults
from .summary import Summary as Summary
from .summary import summary as summary
