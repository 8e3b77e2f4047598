"""COMPAS: litter as in CLM5; dissolved carbon, microbes, enzymes and mineral carbon."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.environment import Environment
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import AbstractParameters
from jaxsoc.physics.units import DAYS_PER_YEAR

from .clm5 import litter_fluxes, wood_transfers
from .column import AbstractClosedForm, Surroundings, Transfers
from .compas_parameters import COMPASParameters

EFOLDING = 0.5
"""E-folding depth of decomposition, fixed in COMPAS, m."""

# gC m⁻³, of pools for which nothing better is known.
_FIRST_GUESS = 100.0
# Scalar below which a half-saturation falls no more; its square is still a number.
_NEARLY_NONE = 1e-100
# Kinetics whose rate grows with the substrate without end.
_UNLIMITED = ("linear", "multiplicative", "inverse_michaelis_menten")

EnzymeTurnover = Literal["own", "proda_v22"]


class COMPASPools(NamedTuple):
    """Carbon by layer, gC m⁻³: litter, dissolved, microbes, enzymes, mineral."""

    cwd: Any
    l1: Any
    l2: Any
    l3: Any
    doc: Any
    mic: Any
    enz: Any
    msoc: Any


class Rates(NamedTuple):
    """Rates of the microbial pools by time, 1/d, before the scalar ξ."""

    uptake: Any
    death: Any
    production: Any
    enzyme: Any
    decomposition: Any

    @property
    def microbial(self) -> Any:
        """k_MIC: of microbes by mortality and by enzyme production."""
        return self.death + self.production


class Feasibility(NamedTuple):
    """How far a layer is from losing its steady state: feasible where both are > 0.

    `assimilation`: ln of the largest uptake per uptake needed; `decomposition`: ln of
    the largest decomposition of mineral carbon per decomposition needed. Infinite where
    no litter enters, or where the kinetics know no largest rate.
    """

    assimilation: Float[Array, " layer"]
    decomposition: Float[Array, " layer"]


class COMPAS(AbstractClosedForm):
    """COMPAS's soil carbon in a column: 8 pools, microbial.

    dC/dt = u_DOC + (1 - p) k_d x M + k_e x E + D - U
    dM/dt = u_MIC + η U - (k_d + k_p) x M
    dE/dt = k_p x M - k_e x E
    dS/dt = u_SOC + p k_d x M - D
    U = v_a x M C / (K_a x + C),  D = v_d x E S / (K_d x + S)

    **Arguments:** see `AbstractColumnModel`; `enzyme_turnover`: "own" parameter, or
    "proda_v22" as in the released programs, where it follows from the half-saturation
    of assimilation, τ = 10^(3 u - 3) yr, u the place of that in its prior;
    `kinetics`: of U and D, a law of `KINETICS` solved for S; "multiplicative" is the
    limit of a half-saturation beyond all substrate, and with "inverse_michaelis_menten"
    K_a x is of microbes and K_d x of enzymes; `mixes_soil`: whether mixing moves the
    four soil pools, too, which has no closed form.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eqs 5-9.
    """

    enzyme_turnover: EnzymeTurnover = eqx.field(static=True, default="own")
    kinetics: str = eqx.field(static=True, default="michaelis_menten")
    mixes_soil: bool = eqx.field(static=True, default=False)

    pools = COMPASPools
    processes: ClassVar[Mapping[str, str]] = {p: p for p in COMPASPools._fields}
    linear: ClassVar[frozenset[str]] = frozenset(("cwd", "l1", "l2", "l3"))
    litter: ClassVar[tuple[str, str, str, str]] = ("cwd", "l1", "l2", "l3")
    soil: ClassVar[tuple[str, ...]] = ("doc", "mic", "enz", "msoc")
    microbes: ClassVar[tuple[str, ...]] = ("mic",)
    mineral: ClassVar[tuple[str, ...]] = ("msoc",)
    particulate: ClassVar[tuple[str, ...]] = ("l1", "l2", "l3")
    parameters: ClassVar[type[AbstractParameters]] = COMPASParameters

    def __check_init__(self):
        solved = [name for name, law in KINETICS.items() if law.substrate_at]
        check_option("kinetics", self.kinetics, solved)
        check_option("enzyme_turnover", self.enzyme_turnover, EnzymeTurnover)

    @property
    def mixed(self) -> frozenset[str]:
        """Pools that mixing moves."""
        return frozenset(("l1", "l2", "l3", *(self.soil if self.mixes_soil else ())))

    def efolding(self, params: COMPASParameters) -> float:
        """E-folding depth of decomposition, m, fixed."""
        return EFOLDING

    def microbial_rates(self, params: COMPASParameters) -> Rates:
        """Rates of the microbial pools, 1/d."""
        enzyme = params.tau_enzyme
        if self.enzyme_turnover == "proda_v22":
            u = (params.half_saturation_uptake - 300.0) / 2700.0
            enzyme = jnp.power(10.0, 3.0 * u - 3.0)
        return Rates(
            uptake=1 / (DAYS_PER_YEAR * params.tau_uptake),
            death=1 / (DAYS_PER_YEAR * params.tau_death),
            production=1 / (DAYS_PER_YEAR * params.tau_production),
            enzyme=1 / (DAYS_PER_YEAR * enzyme),
            decomposition=1 / (DAYS_PER_YEAR * params.tau_decomposition),
        )

    def constants(self, x: Any, params: COMPASParameters) -> tuple[Any, Any]:
        """Constants of the laws of U and D at a point where the scalar is `x`."""
        known: Any = KINETICS[self.kinetics].constants
        k = self.microbial_rates(params)

        def one(v, K):
            if self.kinetics == "multiplicative":
                # The scalar of the rate and that of the half-saturation cancel.
                return known(v / K)
            if self.kinetics == "linear":
                return known(v * x)
            # Where nothing is there, nor decomposes, S / (K x + S) is 0, not 0 / 0.
            return known(v * x, K * jnp.maximum(x, _NEARLY_NONE))

        return (
            one(k.uptake, params.half_saturation_uptake),
            one(k.decomposition, params.half_saturation_decomposition),
        )

    def fluxes(
        self, pools: COMPASPools, environment: Environment, params: COMPASParameters
    ) -> dict[str, Array]:
        """Decomposition of each pool at a point, gC m⁻³ d⁻¹."""
        x, k = environment.soil, self.microbial_rates(params)
        law = KINETICS[self.kinetics].law
        assimilation, decomposition = self.constants(x, params)
        return litter_fluxes(pools, environment, params) | {
            "doc": law(pools.doc, pools.mic, assimilation),
            "mic": k.microbial * x * pools.mic,
            "enz": k.enzyme * x * pools.enz,
            "msoc": law(pools.msoc, pools.enz, decomposition),
        }

    def transfers(self, params: COMPASParameters) -> Transfers:
        """A: shares that go from pool to pool; what is left is respired."""
        f, k = params, self.microbial_rates(params)
        dead, to_enzymes = k.death / k.microbial, k.production / k.microbial
        return wood_transfers(params) | {
            ("doc", "l1"): f.p_l1_doc,
            ("mic", "l1"): (1 - f.p_l1_doc) * f.cue_l1,
            ("doc", "l2"): f.p_l2_doc,
            ("mic", "l2"): (1 - f.p_l2_doc) * f.cue_l2,
            ("msoc", "l3"): f.p_l3_msoc,
            ("mic", "l3"): (1 - f.p_l3_msoc) * f.cue_l2,
            ("mic", "doc"): f.cue,
            ("enz", "mic"): to_enzymes,
            ("msoc", "mic"): f.p_death_msoc * dead,
            ("doc", "mic"): (1 - f.p_death_msoc) * dead,
            ("doc", "enz"): 1.0,
            ("doc", "msoc"): 1.0,
        }

    def soil_equilibrium(
        self, environment: Environment, inflow: Mapping[str, Any], params: Any
    ) -> dict[str, Any]:
        """Steady state of the soil pools at a point, for given litter fluxes.

        M = [u_MIC + η (u_SOC + u_DOC)] / [(1 - η) k_MIC x],  E = (k_p / k_e) M,
        D = u_SOC + p k_d x M,  U = u_DOC + u_SOC + k_MIC x M,
        and S and C from the kinetics at D and U.

        **Arguments:** `inflow`: u, from litter into each soil pool, gC m⁻³ d⁻¹.
        **Returns:** the pools; NaN for substrates of which not enough can be
        decomposed, see `feasibility`, and zero where no litter enters.
        Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eq. 9, there for
        Michaelis-Menten kinetics.
        """
        x = environment.soil
        mic, enz, uptake, decomposition = self._flows(x, inflow, params)
        assimilate, decompose = self.constants(x, params)
        k = self.microbial_rates(params)
        return {
            "doc": self._substrate(uptake, mic, k.uptake * x, assimilate),
            "mic": mic,
            "enz": enz,
            "msoc": self._substrate(decomposition, enz, k.decomposition * x, decompose),
        }

    def _substrate(self, flux, by, rate, constants):
        """What is decomposed at this flux, `by` microbes or enzymes."""
        empty, most = by <= 0, rate * by
        enough = empty | (flux < most) | (self.kinetics in _UNLIMITED)
        # Derivatives are finite where there is none, too.
        flux = jnp.where(enough, flux, 0.5 * most)
        solve: Any = KINETICS[self.kinetics].substrate_at
        found = solve(flux, jnp.where(empty, 1.0, by), constants)
        return jnp.where(enough, jnp.where(empty, 0.0, found), jnp.nan)

    def _flows(self, x, inflow, params):
        """Microbes and enzymes at rest, the uptake and the decomposition they need."""
        η, p, k = params.cue, params.p_death_msoc, self.microbial_rates(params)
        u_doc, u_mic, u_soc = inflow["doc"], inflow["mic"], inflow["msoc"]
        grown = (u_mic + η * (u_soc + u_doc)) / (1 - η)
        mic = grown / (k.microbial * x)
        enz = k.production / k.enzyme * mic
        return mic, enz, u_doc + u_soc + grown, u_soc + p * k.death * x * mic

    def first_guess(self, around: Surroundings, inflow: Any, params: Any) -> Any:
        """The steady state without mixing, where there is one."""
        found = self.soil_equilibrium(around.environment, inflow, params)
        sound = lambda x: jnp.where((x > 0) & jnp.isfinite(x), x, _FIRST_GUESS)
        litter = dict.fromkeys(self.linear, jnp.zeros_like(around.exchange.above))
        return COMPASPools(**litter, **{name: sound(x) for name, x in found.items()})

    def feasibility(
        self, environment: Environment, inflow: Mapping[str, Any], params: Any
    ) -> Feasibility:
        """How far a point is from losing its steady state.

        h_2 = ln[v_a (u_MIC + η (u_DOC + u_SOC)) / (k_MIC (u_MIC + u_DOC + u_SOC))],
        h_3 = ln[(v_d k_p / k_e) / (p k_d + u_SOC k_MIC / g)]

        Source: conditions of Eq. 9 of Tao et al. (2024), doi:10.1111/gcb.17297.
        """
        x = environment.soil
        mic, enz, uptake, decomposition = self._flows(x, inflow, params)
        unlimited = self.kinetics in _UNLIMITED
        k = self.microbial_rates(params)
        empty = mic <= 0

        def far(rate, by, needed):
            most = jnp.where(empty, 1.0, rate * x * by)
            log = jnp.log(most) - jnp.log(jnp.where(empty, 1.0, needed))
            return jnp.where(empty | unlimited, jnp.inf, log)

        return Feasibility(
            far(k.uptake, mic, uptake), far(k.decomposition, enz, decomposition)
        )
