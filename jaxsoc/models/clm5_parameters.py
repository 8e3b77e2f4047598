"""The numbers of CLM5's soil, one line each."""
# ruff: noqa: E501

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxsoc.physics.land_cover import root_beta
from jaxsoc.physics.parameters import (
    FRACTION,
    PERCENT,
    SHARE,
    AbstractParameters,
    numbers,
)
from jaxsoc.physics.shapes import Number

from .numbers import Scalar, number, share


class CLM5Parameters(AbstractParameters):
    """The 21 numbers of CLM5, in the published order.

    Defaults: CLM5's parameter file; e-folding depth that of CLM4.5, transfers of active
    carbon those at 45 % sand, β a placeholder. Priors: Tao et al. (2024),
    doi:10.1111/gcb.17297, Table S1.
    """

    # fmt: off
    bioturbation: Scalar = number(1e-4, 3e-5, 5e-4, "m² yr⁻¹", "V", "diffus", "diffusivity of bioturbation")
    cryoturbation: Scalar = number(5e-4, 3e-5, 1.6e-3, "m² yr⁻¹", "V", "cryo", "diffusivity of cryoturbation")
    q10: Scalar = number(1.5, 1.2, 3.0, "1", "xi", "q10", "temperature Q10, also of frozen soil")
    efolding: Scalar = number(0.5, 0.0, 1.0, "m", "xi", "efolding", "e-folding depth of decomposition", floor=0.1)
    tau_cwd: Scalar = number(1 / 0.3, 1.0, 6.0, "yr", "K", "taucwd", "turnover time of coarse woody debris")
    tau_l1: Scalar = number(1 / 18.5, 0.0, 0.11, "yr", "K", "taul1", "turnover time of metabolic litter", floor=1e-4)
    tau_l2: Scalar = number(1 / 4.9, 0.1, 0.3, "yr", "K", "taul2", "turnover time of cellulose and lignin litter")
    tau_s1: Scalar = number(1 / 7.3, 0.0, 1.0, "yr", "K", "tau4s1", "turnover time of active carbon", floor=1e-4)
    tau_s2: Scalar = number(1 / 0.2, 1.0, 50.0, "yr", "K", "tau4s2", "turnover time of slow carbon")
    tau_s3: Scalar = number(1 / 0.0045, 200.0, 1000.0, "yr", "K", "tau4s3", "turnover time of passive carbon")
    f_l1_s1: Scalar = share(0.45, 0.1, 0.8, "A", "fl1s1", "share of metabolic litter that becomes active carbon")
    f_l2_s1: Scalar = share(0.5, 0.2, 0.8, "A", "fl2s1", "share of cellulose litter that becomes active carbon")
    f_l3_s2: Scalar = share(0.5, 0.2, 0.8, "A", "fl3s2", "share of lignin litter that becomes slow carbon")
    f_s1_s2: Scalar = share(0.52, 0.0, 0.4, "A", "fs1s2", "share of active carbon that becomes slow")
    f_s1_s3: Scalar = share(0.004, 0.0, 0.05, "A", "fs1s3", "share of active carbon that becomes passive")
    f_s2_s1: Scalar = share(0.42, 0.1, 0.74, "A", "fs2s1", "share of slow carbon that becomes active")
    f_s2_s3: Scalar = share(0.03, 0.0, 0.1, "A", "fs2s3", "share of slow carbon that becomes passive")
    f_s3_s1: Scalar = share(0.45, 0.0, 0.9, "A", "fs3s1", "share of passive carbon that becomes active")
    f_cwd_l2: Scalar = share(0.76, 0.5, 1.0, "A", "fcwdl2", "share of coarse wood that becomes cellulose litter, the rest lignin")
    water_scaling: Scalar = number(1.0, 0.0, 5.0, "1", "xi", "w-scaling", "multiplier of the water scalar", floor=1e-4)
    beta: Scalar = number(0.95, 0.5, 0.9999, "1", "B", "beta", "shape of the litter input with depth, per cm", bounds=FRACTION)
    # fmt: on

    def __check_init__(self):
        for one, other in (("f_s1_s2", "f_s1_s3"), ("f_s2_s1", "f_s2_s3")):
            shares = (numbers(name, getattr(self, name)) for name in (one, other))
            match tuple(shares):
                case np.ndarray() as first, np.ndarray() as second:
                    SHARE.check(f"the sum of {one} and {other}", first + second)

    @classmethod
    def customary(
        cls, sand: Float[Number, "..."], land_cover: Any, *, boreal: Any = False
    ) -> "CLM5Parameters":
        """The numbers that CLM5 would take at a place: β by plant type, transfers by sand.

        **Arguments:** `sand`: %, one number or by layer; `land_cover`: class of IGBP,
        see `physics.land_cover`; `boreal`: whether its plants are.
        **Raises:** `ValueError` for a class that is none, or sand that is no percentage.
        """
        PERCENT.check("sand", sand, "%")
        return cls(beta=root_beta(land_cover, boreal)).with_sand(sand)

    def with_sand(self, sand: Float[Number, "..."]) -> "CLM5Parameters":
        """The same with the customary transfers of active carbon, by layer.

        t = 0.85 - 0.68 (100 - sand) / 100,  g = 0.004 / (1 - t),
        f_s1_s2 = (1 - t)(1 - g),  f_s1_s3 = (1 - t) g

        **Arguments:** `sand`: %, one number or by layer.
        """
        t = 0.85 - 0.68 * (100 - jnp.clip(sand, 0.0, 100.0)) / 100
        g = 0.004 / (1 - t)
        shares = (1 - t) * (1 - g), (1 - t) * g
        return eqx.tree_at(lambda p: (p.f_s1_s2, p.f_s1_s3), self, shares)


CLM5_INDICATIVE = CLM5Parameters()
"""To begin with, not fitted to data: CLM5's parameter file with the e-folding depth of CLM4.5, 0.5 m: that of CLM5, 10 m,
lies outside the prior and leaves little carbon at depth."""
