"""The numbers of COMPAS, one line each."""
# ruff: noqa: E501

from jaxsoc.physics.parameters import FRACTION, AbstractParameters

from .numbers import Scalar, number, share


class COMPASParameters(AbstractParameters):
    """The 23 numbers of COMPAS, in the published order.

    Defaults: feasible values of ours, found by hand so that stocks look ordinary in one
    idealised site, and fitted to nothing; the published ones are not public. Priors:
    Tao et al. (2024), doi:10.1111/gcb.17297, Table S2, as in the released programs.
    """

    # fmt: off
    bioturbation: Scalar = number(1e-4, 3e-5, 5e-4, "m² yr⁻¹", "V", "bio", "diffusivity of bioturbation")
    cryoturbation: Scalar = number(5e-4, 3e-5, 1.6e-3, "m² yr⁻¹", "V", "cryo", "diffusivity of cryoturbation")
    q10: Scalar = number(1.5, 1.2, 3.0, "1", "xi", "q10", "temperature Q10, also of frozen soil")
    water_scaling: Scalar = number(1.0, 0.0, 5.0, "1", "xi", "w_scaling", "multiplier of the water scalar", floor=1e-4)
    tau_cwd: Scalar = number(3.3333, 1.0, 6.0, "yr", "K", "tau4cwd", "turnover time of coarse woody debris")
    tau_l1: Scalar = number(1 / 18.5, 0.0, 0.1, "yr", "K", "tau4l1", "turnover time of metabolic litter", floor=1e-4)
    tau_l2: Scalar = number(1 / 4.9, 0.1, 0.3, "yr", "K", "tau4l2", "turnover time of cellulose and lignin litter")
    tau_uptake: Scalar = number(0.011, 1e-3, 0.03, "yr", "A", "tau4s1", "inverse of the largest rate of assimilation")
    tau_death: Scalar = number(0.57, 0.0, 2.0, "yr", "K", "tau4s2_death", "turnover time of microbes by mortality", floor=1e-3)
    tau_production: Scalar = number(22.0, 15.0, 30.0, "yr", "K", "tau4s2_enz", "turnover time of microbes by enzyme production")
    tau_enzyme: Scalar = number(0.05, 0.0, 0.15, "yr", "K", "tau4s3", "turnover time of enzymes", floor=1e-3)
    tau_decomposition: Scalar = number(2e-4, 0.0, 3e-4, "yr", "K", "tau4s4", "inverse of the largest rate of decomposition of mineral carbon", floor=1e-7)
    half_saturation_uptake: Scalar = number(400.0, 300.0, 3000.0, "gC m⁻³", "A", "mm_const_assim", "half-saturation of assimilation")
    half_saturation_decomposition: Scalar = number(8e5, 1e5, 1e6, "gC m⁻³", "K", "mm_const_decom", "half-saturation of decomposition of mineral carbon")
    f_cwd_l2: Scalar = share(0.75, 0.5, 1.0, "E", "fcwdl2", "share of coarse wood that becomes cellulose litter, the rest lignin")
    p_l1_doc: Scalar = share(0.05, 0.0, 0.1, "E", "pl1s1", "share of metabolic litter that dissolves without microbes")
    p_l2_doc: Scalar = share(0.175, 0.05, 0.3, "E", "pl2s1", "share of cellulose litter that dissolves without microbes")
    p_l3_msoc: Scalar = share(0.775, 0.6, 0.95, "E", "pl3s4", "share of lignin litter that becomes mineral carbon without microbes")
    cue_l1: Scalar = share(0.45, 0.4, 0.9, "A", "l1_cue", "carbon use efficiency on metabolic litter")
    cue_l2: Scalar = share(0.2, 0.0, 0.4, "A", "l2l3_cue", "carbon use efficiency on cellulose and lignin litter")
    cue: Scalar = number(0.3, 0.01, 0.7, "1", "A", "mic_cue", "carbon use efficiency of assimilation", bounds=FRACTION)
    p_death_msoc: Scalar = share(0.5, 0.0, 1.0, "E", "pdeath2soc", "share of dead microbes that becomes mineral carbon, the rest dissolves")
    beta: Scalar = number(0.95, 0.5, 0.9999, "1", "B", "beta", "shape of the litter input with depth, per cm", bounds=FRACTION)
    # fmt: on


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
"""COMPAS far from losing its steady state, to begin with: ours, found by `most_feasible`
over idealised sites of -4, 8 and 22 °C, the first thawing to 1 m, the others to 3.5 m,
rounded, and fitted to nothing; the published means of sites are not public."""
