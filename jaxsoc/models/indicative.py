"""Parameter sets to begin with; none is fitted to data."""

from .clm5_parameters import CLM5Parameters
from .compas_parameters import COMPASParameters

CLM5_INDICATIVE = CLM5Parameters()
"""CLM5's parameter file with the e-folding depth of CLM4.5, 0.5 m: that of CLM5, 10 m,
lies outside the prior and leaves little carbon at depth."""

# fmt: off
COMPAS_INDICATIVE = COMPASParameters(
    bioturbation=0.000265, cryoturbation=0.000824, q10=1.41, water_scaling=2.74,
    tau_cwd=3.5, tau_l1=0.0497, tau_l2=0.201,
    tau_uptake=0.0155, tau_death=0.385, tau_production=22.5, tau_enzyme=0.0749,
    tau_decomposition=0.000151,
    half_saturation_uptake=1650.0, half_saturation_decomposition=626000.0,
    f_cwd_l2=0.751, p_l1_doc=0.0502, p_l2_doc=0.175, p_l3_msoc=0.774,
    cue_l1=0.636, cue_l2=0.192, cue=0.303, p_death_msoc=0.51, beta=0.734,
)
# fmt: on
"""COMPAS far from losing its steady state: ours, found by `most_feasible` over the
idealised sites of `WARMTHS`, rounded; the published means of sites are not public."""

WARMTHS = ((-4.0, 1.0), (8.0, 3.5), (22.0, 3.5))
"""Mean temperature, °C, and depth of the active layer, m, of these sites."""
