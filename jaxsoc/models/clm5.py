"""CLM5's soil: three litter pools, coarse wood and three soil pools, all linear."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Array

from jaxsoc.physics.environment import Environment
from jaxsoc.physics.parameters import AbstractParameters
from jaxsoc.physics.units import DAYS_PER_YEAR

from .clm5_parameters import CLM5Parameters
from .column import AbstractColumnModel, Transfers


class CLM5Pools(NamedTuple):
    """Carbon by layer, gC m⁻³."""

    cwd: Any
    l1: Any
    l2: Any
    l3: Any
    s1: Any
    s2: Any
    s3: Any


class CLM5(AbstractColumnModel):
    """CLM5's soil carbon in a column: 7 pools, first-order kinetics.

    dX/dt = A K ξ X + b - V X

    **Arguments:** see `AbstractColumnModel`.
    Source: Lawrence et al. (2019), doi:10.1029/2018MS001583; Tao et al. (2024),
    doi:10.1111/gcb.17297.
    """

    pools = CLM5Pools
    processes: ClassVar[Mapping[str, str]] = {p: p for p in CLM5Pools._fields}
    linear: ClassVar[frozenset[str]] = frozenset(CLM5Pools._fields)
    litter: ClassVar[tuple[str, str, str, str]] = ("cwd", "l1", "l2", "l3")
    soil: ClassVar[tuple[str, ...]] = ("s1", "s2", "s3")
    parameters: ClassVar[type[AbstractParameters]] = CLM5Parameters

    @property
    def mixed(self) -> frozenset[str]:
        """Pools that mixing moves: all but coarse wood."""
        return frozenset(CLM5Pools._fields[1:])

    def fluxes(
        self, pools: CLM5Pools, environment: Environment, params: CLM5Parameters
    ) -> dict[str, Array]:
        """Decomposition of each pool at a point, k ξ X, gC m⁻³ d⁻¹."""
        x, τ, year = environment.soil, params, DAYS_PER_YEAR
        return litter_fluxes(pools, environment, params) | {
            "s1": x / (year * τ.tau_s1) * pools.s1,
            "s2": x / (year * τ.tau_s2) * pools.s2,
            "s3": x / (year * τ.tau_s3) * pools.s3,
        }

    def transfers(self, params: CLM5Parameters) -> Transfers:
        """A: shares that go from pool to pool; what is left is respired."""
        f = params
        return wood_transfers(params) | {
            ("s1", "l1"): f.f_l1_s1,
            ("s1", "l2"): f.f_l2_s1,
            ("s2", "l3"): f.f_l3_s2,
            ("s2", "s1"): f.f_s1_s2,
            ("s3", "s1"): f.f_s1_s3,
            ("s1", "s2"): f.f_s2_s1,
            ("s3", "s2"): f.f_s2_s3,
            ("s1", "s3"): f.f_s3_s1,
        }


def litter_fluxes(pools: Any, environment: Environment, params: Any) -> dict:
    """Decomposition of coarse wood and of the three litter pools, gC m⁻³ d⁻¹."""
    x, x_litter = environment.soil, environment.litter
    τ, year = params, DAYS_PER_YEAR
    return {
        "cwd": x / (year * τ.tau_cwd) * pools.cwd,
        "l1": x_litter / (year * τ.tau_l1) * pools.l1,
        "l2": x_litter / (year * τ.tau_l2) * pools.l2,
        "l3": x_litter / (year * τ.tau_l2) * pools.l3,
    }


def wood_transfers(params: Any) -> dict:
    """Shares of coarse wood that become cellulose and lignin litter."""
    return {("l2", "cwd"): params.f_cwd_l2, ("l3", "cwd"): 1 - params.f_cwd_l2}
