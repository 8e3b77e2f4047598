"""The numbers of MIMICS, one line each."""
# ruff: noqa: E501

from typing import Any

import numpy as np

from jaxsoc.physics.parameters import FRACTION, AbstractParameters, Interval

from .numbers import Scalar, number, share

# An infinite e-folding depth makes all depths alike.
_UP_TO_INFINITY = Interval(0.0, np.inf, closed_high=True)


def _about(default: float, *words: Any) -> Any:
    """A number whose prior reaches from half its default to twice that."""
    return number(default, 0.5 * default, 2.0 * default, *words)


def _share_about(default: float, *words: Any) -> Any:
    """A share of carbon, its prior from half the default to twice that, or 0.9."""
    return share(default, 0.5 * default, min(2.0 * default, 0.9), *words)


class MIMICSParameters(AbstractParameters):
    """The numbers of MIMICS of 2015, forward Michaelis-Menten kinetics, and of its column.

    Vmax and Km are written as products, as published; mgC, cm³ and hours where said.
    Defaults: those of the public program of Wieder et al. (2015),
    doi:10.5194/gmd-8-1789-2015, with Km as multipliers; of the column those of CLM5.
    Priors: ours, for want of published ones: half to double the default, shares up to
    0.9 at most, intercepts, in exponents, 0.2 to either side; of mixing and of B those
    of `CLM5Parameters`.
    """

    # fmt: off
    bioturbation: Scalar = number(1e-4, 3e-5, 5e-4, "m² yr⁻¹", "V", None, "diffusivity of bioturbation")
    cryoturbation: Scalar = number(5e-4, 3e-5, 1.6e-3, "m² yr⁻¹", "V", None, "diffusivity of cryoturbation")
    efolding: Scalar = number(0.5, 0.0, 1.0, "m", "xi", None, "e-folding depth of all rates, infinite for none", bounds=_UP_TO_INFINITY, floor=0.1)
    water_scaling: Scalar = number(1.0, 0.0, 5.0, "1", "xi", None, "multiplier of the water scalar", floor=1e-4)
    tau_cwd: Scalar = number(1 / 0.3, 1.0, 6.0, "yr", "K", None, "turnover time of coarse woody debris")
    vmax_slope: Scalar = _about(0.063, "K⁻¹", "xi", "Vslope", "growth of ln Vmax with temperature")
    vmax_intercept: Scalar = number(5.47, 5.27, 5.67, "1", "K", "Vint", "ln Vmax at 0 °C, before the multipliers, per hour")
    vmax_factor: Scalar = _about(8e-6, "1", "K", "aV", "multiplier of every Vmax")
    vmod_litm_micr: Scalar = _about(10.0, "1", "K", "Vmod_r_LITm", "multiplier of Vmax of copiotrophs on metabolic litter")
    vmod_lits_micr: Scalar = _about(2.0, "1", "K", "Vmod_r_LITs", "multiplier of Vmax of copiotrophs on structural litter")
    vmod_soma_micr: Scalar = _about(10.0, "1", "K", "Vmod_r_SOMa", "multiplier of Vmax of copiotrophs on available carbon")
    vmod_litm_mick: Scalar = _about(3.0, "1", "K", "Vmod_K_LITm", "multiplier of Vmax of oligotrophs on metabolic litter")
    vmod_lits_mick: Scalar = _about(3.0, "1", "K", "Vmod_K_LITs", "multiplier of Vmax of oligotrophs on structural litter")
    vmod_soma_mick: Scalar = _about(2.0, "1", "K", "Vmod_K_SOMa", "multiplier of Vmax of oligotrophs on available carbon")
    km_slope_litm: Scalar = _about(0.017, "K⁻¹", "xi", "Kslope_LITm", "growth of ln Km with temperature, metabolic litter")
    km_slope_lits: Scalar = _about(0.027, "K⁻¹", "xi", "Kslope_LITs", "growth of ln Km with temperature, structural litter")
    km_slope_soma: Scalar = _about(0.017, "K⁻¹", "xi", "Kslope_SOMa", "growth of ln Km with temperature, available carbon")
    km_intercept: Scalar = number(3.19, 2.99, 3.39, "1", "K", "Kint", "ln Km at 0 °C, before the multipliers, Km in mgC cm⁻³")
    km_factor: Scalar = _about(10.0, "1", "K", "aK", "multiplier of every Km")
    kmod_litm_micr: Scalar = _about(1 / 8, "1", "K", "Kmod_r_LITm", "multiplier of Km of copiotrophs on metabolic litter")
    kmod_lits_micr: Scalar = _about(1 / 2, "1", "K", "Kmod_r_LITs", "multiplier of Km of copiotrophs on structural litter")
    kmod_soma_micr: Scalar = _about(1 / 4, "1", "K", "Kmod_r_SOMa", "multiplier of Km of copiotrophs on available carbon")
    kmod_litm_mick: Scalar = _about(1 / 2, "1", "K", "Kmod_K_LITm", "multiplier of Km of oligotrophs on metabolic litter")
    kmod_lits_mick: Scalar = _about(1 / 4, "1", "K", "Kmod_K_LITs", "multiplier of Km of oligotrophs on structural litter")
    kmod_soma_mick: Scalar = _about(1 / 6, "1", "K", "Kmod_K_SOMa", "multiplier of Km of oligotrophs on available carbon")
    protection: Scalar = _about(0.5, "1", "K", "Pscalar", "multiplier of Km of available carbon without clay")
    protection_clay: Scalar = _about(2.0, "1", "K", "Pscalar", "growth of its logarithm with the root of the clay share")
    ko_micr: Scalar = _about(4.0, "1", "K", "KO_r", "Km of oxidation by copiotrophs, per that of structural litter")
    ko_mick: Scalar = _about(4.0, "1", "K", "KO_K", "Km of oxidation by oligotrophs, per that of structural litter")
    cue_micr: Scalar = _share_about(0.55, "A", "MGE1", "carbon use efficiency of copiotrophs on metabolic litter and available carbon")
    cue_lits_micr: Scalar = _share_about(0.25, "A", "MGE2", "carbon use efficiency of copiotrophs on structural litter")
    cue_mick: Scalar = _share_about(0.75, "A", "MGE3", "carbon use efficiency of oligotrophs on metabolic litter and available carbon")
    cue_lits_mick: Scalar = _share_about(0.35, "A", "MGE4", "carbon use efficiency of oligotrophs on structural litter")
    death_micr: Scalar = _about(5.2e-4, "h⁻¹", "K", "tau_r", "turnover rate of copiotrophs without metabolic litter")
    death_micr_met: Scalar = _about(0.3, "1", "K", "tau_r", "growth of its logarithm with the metabolic share of litter")
    death_mick: Scalar = _about(2.4e-4, "h⁻¹", "K", "tau_K", "turnover rate of oligotrophs without metabolic litter")
    death_mick_met: Scalar = _about(0.1, "1", "K", "tau_K", "growth of its logarithm with the metabolic share of litter")
    death_litter: Scalar = _about(100.0, "gC m⁻² yr⁻¹", "K", "tau_mod", "litter at which turnover is as above, it grows with the root")
    f_phys_micr: Scalar = _share_about(0.3, "E", "fPHYS_r", "share of dead copiotrophs that minerals protect, without clay")
    f_phys_micr_clay: Scalar = _about(1.3, "1", "E", "fPHYS_r", "growth of its logarithm with the clay share")
    f_phys_mick: Scalar = _share_about(0.2, "E", "fPHYS_K", "share of dead oligotrophs that minerals protect, without clay")
    f_phys_mick_clay: Scalar = _about(0.8, "1", "E", "fPHYS_K", "growth of its logarithm with the clay share")
    f_chem_micr: Scalar = _share_about(0.1, "E", "fCHEM_r", "share of dead copiotrophs that is recalcitrant, without metabolic litter")
    f_chem_micr_met: Scalar = _about(3.0, "1", "E", "fCHEM_r", "fall of its logarithm with the metabolic share of litter")
    f_chem_mick: Scalar = _share_about(0.3, "E", "fCHEM_K", "share of dead oligotrophs that is recalcitrant, without metabolic litter")
    f_chem_mick_met: Scalar = _about(3.0, "1", "E", "fCHEM_K", "fall of its logarithm with the metabolic share of litter")
    desorption: Scalar = _about(1.5e-5, "h⁻¹", "K", "desorb", "rate of desorption of protected carbon without clay")
    desorption_clay: Scalar = _about(1.5, "1", "K", "desorb", "fall of its logarithm with the clay share")
    f_litm_somp: Scalar = _share_about(0.05, "E", "FI_metabolic", "share of metabolic litter that minerals protect at once")
    f_lits_somc: Scalar = _share_about(0.05, "E", "FI_structural", "share of structural litter that is recalcitrant at once")
    beta: Scalar = number(0.95, 0.5, 0.9999, "1", "B", None, "shape of the litter input with depth, per cm", bounds=FRACTION)
    # fmt: on
