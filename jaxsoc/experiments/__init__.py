"""The published scenarios and sweeps: fields, model and moments in, arrays out."""

from .cost import Cost as Cost
from .cost import estimate_cost as estimate_cost
from .design import Design as Design
from .design import Supplied as Supplied
from .design import checked_correlations as checked_correlations
from .ensemble import Chunk as Chunk
from .ensemble import Plan as Plan
from .ensemble import plan_ensemble as plan_ensemble
from .ensemble import run_chunks as run_chunks
from .run import Run as Run
from .run import run as run
from .scenarios import DISTRIBUTIONS as DISTRIBUTIONS
from .scenarios import SCENARIOS as SCENARIOS
from .soils import Member as Member
from .soils import Soil as Soil
from .soils import case as case
from .soils import draw_member as draw_member
from .soils import initial_means as initial_means
from .soils import member_source as member_source
from .steady import mean_steady_state as mean_steady_state
from .summary import Summary as Summary
from .summary import summarise as summarise
from .sweep import Sweep as Sweep
from .sweep import sweep_heterogeneity as sweep_heterogeneity
from .sweep import two_patches as two_patches
