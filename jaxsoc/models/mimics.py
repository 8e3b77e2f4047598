"""MIMICS in a column: two litters, two kinds of microbes, three soil pools."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.environment import depth_scalar, water_scalar
from jaxsoc.physics.kinetics import MichaelisMentenConstants, michaelis_menten
from jaxsoc.physics.parameters import PERCENT
from jaxsoc.physics.units import DAYS_PER_YEAR, HOURS_PER_DAY, ZERO_CELSIUS
from jaxsoc.solve.layered import LayeredSystem, solve_layered

from .column import AbstractMicrobialModel, Surroundings, Transfers, annual_litter
from .mimics_parameters import MIMICSParameters
from .numbers import Scalar

# gC m⁻³ in one mgC cm⁻³, in which the published Km is.
DENSITY = 1000.0
_FOODS, _MICROBES = ("litm", "lits", "soma"), ("micr", "mick")
_EATEN = (*_FOODS, "somc")


class MIMICSPools(NamedTuple):
    """Carbon by layer, gC m⁻³: litter, microbes, protected, recalcitrant, available."""

    cwd: Any
    litm: Any
    lits: Any
    micr: Any
    mick: Any
    somp: Any
    somc: Any
    soma: Any


class MIMICSEnvironment(NamedTuple):
    """What the processes feel by layer, means over the year.

    `speed`: Vmax before the multipliers of food and microbes, 1/d; `half_*`: Km before
    them, gC m⁻³; `death_*`, `desorption`: rates, 1/d; `scalar`: of coarse wood.
    """

    speed: Any
    half_litm: Any
    half_lits: Any
    half_soma: Any
    death_micr: Any
    death_mick: Any
    desorption: Any
    scalar: Any


class MIMICS(AbstractMicrobialModel):
    """MIMICS's soil carbon in a column: 8 pools, two kinds of microbes.

    U_ij = x Vmax_ij M_j S_i / (Km_ij + S_i), i = LITm, LITs, SOMa, j = r, K
    dLIT_i/dt = b_i - U_ir - U_iK,  dM_j/dt = Σ_i e_ij U_ij - τ_j x M_j
    dSOMp/dt = b_p + Σ_j fPHYS_j τ_j x M_j - d SOMp
    dSOMc/dt = b_c + Σ_j fCHEM_j τ_j x M_j - O
    dSOMa/dt = Σ_j fAVAIL_j τ_j x M_j + d SOMp + O - U_ar - U_aK
    O = Σ_j x Vmax_sj M_j SOMc / (KO_j Km_sj + SOMc)

    The published model has one layer, no moisture. Ours, after CTSM's: x, the water,
    oxygen and depth scalars, multiplies all rates but desorption d, which falls with
    depth alone; all pools but coarse wood are mixed. Ours, too: coarse wood, which
    decomposes into structural litter, and `immigration`, by which microbes that cannot
    live where they are become few instead of none. The metabolic share of litter is
    that of the litter input of the year, coarse wood included. In a layer that nothing
    mixes, just below the bedrock, consumers and food may oscillate for ever: the steady
    state there is unstable, and the one they oscillate about.

    **Arguments:** see `AbstractColumnModel`; `averaging`: "mean_of_product", the means
    over the months of x Vmax and of Km, or "product_of_means", those at the mean
    temperature times the mean scalars; `clay`: %; `immigration`: share of the litter
    that comes as microbes, half of each kind; `turnover_limits`: least and largest
    factor by which litter changes the turnover of microbes.
    **Raises:** `ValueError` for clay outside 0 to 100 %.
    Source: Wieder et al. (2015), doi:10.5194/gmd-8-1789-2015, and its public program.
    """

    clay: Scalar = 20.0
    immigration: Scalar = 1e-10
    turnover_limits: tuple[Scalar, Scalar] = (0.8, 1.2)

    pools = MIMICSPools
    processes: ClassVar[Mapping[str, str]] = {
        "cwd": "cwd",
        **{f"{i}_{j}": i for i in _FOODS for j in _MICROBES},
        **{"somc_micr": "somc", "somc_mick": "somc", "somp_desorption": "somp"},
        **{"micr_death": "micr", "mick_death": "mick"},
    }
    linear: ClassVar[frozenset[str]] = frozenset(
        ("cwd", "somp_desorption", "micr_death", "mick_death")
    )
    litter: ClassVar[tuple[str, str, str, str]] = ("cwd", "litm", "lits", "lits")
    soil: ClassVar[tuple[str, ...]] = ("micr", "mick", "somp", "somc", "soma")
    microbes: ClassVar[tuple[str, ...]] = _MICROBES
    mineral: ClassVar[tuple[str, ...]] = ("somp",)
    particulate: ClassVar[tuple[str, ...]] = ("litm", "lits", "somc")
    parameters: ClassVar[type] = MIMICSParameters

    def __check_init__(self):
        PERCENT.check("clay", self.clay, "%")

    @property
    def mixed(self) -> frozenset[str]:
        """Pools that mixing moves: all but coarse wood."""
        return frozenset(MIMICSPools._fields[1:])

    @property
    def metabolic(self) -> Float[Array, ""]:
        """Metabolic share of the litter input of the year, 0 where there is none."""
        annual = _of_year(self.forcing)
        total = jnp.sum(annual)
        return annual[1] / jnp.where(total > 0, total, 1.0)

    def environment(self, params: MIMICSParameters) -> MIMICSEnvironment:
        """Rates and half-saturations by layer.

        Vmax = exp(a T + b) c,  Km = exp(a' T + b') c', for soma times p exp(q √clay),
        τ_j = t_j exp(s_j fMET) √(litter / L),  d = k exp(-l clay), T in °C
        """
        forcing, p, clay = self.forcing, params, self.clay / 100
        T = forcing.temperature - ZERO_CELSIUS
        W, O = water_scalar(forcing.water, p.water_scaling), forcing.oxygen
        mean = lambda x: jnp.mean(x, axis=-1)
        depth = depth_scalar(forcing.column.nodes, p.efolding)
        speed = lambda T: jnp.exp(p.vmax_slope * T + p.vmax_intercept)
        half = lambda slope: lambda T: jnp.exp(slope * T + p.km_intercept)
        if self.averaging == "mean_of_product":
            scalar, scaled = mean(W * O), mean(speed(T) * W * O)
            over_year = lambda function: mean(function(T))
        else:
            scalar = mean(W) * mean(O)
            scaled = speed(mean(T)) * scalar
            over_year = lambda function: function(mean(T))
        litm, lits, soma = (
            DENSITY * p.km_factor * over_year(half(slope))
            for slope in (p.km_slope_litm, p.km_slope_lits, p.km_slope_soma)
        )
        met, x = self.metabolic, scalar * depth
        low, high = self.turnover_limits
        litter = jnp.sum(_of_year(forcing)) / p.death_litter
        pace = HOURS_PER_DAY * jnp.sqrt(jnp.clip(litter, low**2, high**2)) * x
        desorption = p.desorption * jnp.exp(-p.desorption_clay * clay)
        return MIMICSEnvironment(
            speed=HOURS_PER_DAY * p.vmax_factor * scaled * depth,
            half_litm=litm,
            half_lits=lits,
            half_soma=p.protection * jnp.exp(p.protection_clay * jnp.sqrt(clay)) * soma,
            death_micr=p.death_micr * jnp.exp(p.death_micr_met * met) * pace,
            death_mick=p.death_mick * jnp.exp(p.death_mick_met * met) * pace,
            desorption=HOURS_PER_DAY * desorption * depth,
            scalar=x,
        )

    def fluxes(
        self, pools: MIMICSPools, environment: MIMICSEnvironment, params: Any
    ) -> dict[str, Any]:
        """Decomposition by process at a point, gC m⁻³ d⁻¹."""
        e, p = environment, params
        found = {
            "cwd": e.scalar / (DAYS_PER_YEAR * p.tau_cwd) * pools.cwd,
            "somp_desorption": e.desorption * pools.somp,
        }
        for j, death in zip(_MICROBES, (e.death_micr, e.death_mick), strict=True):
            microbes = getattr(pools, j)
            for i in _EATEN:
                law = _law(i, j, e, p)
                found[f"{i}_{j}"] = michaelis_menten(getattr(pools, i), microbes, law)
            found[f"{j}_death"] = death * microbes
        return found

    def transfers(self, params: MIMICSParameters) -> Transfers:
        """A: shares that go from pool to pool; what is left of the eaten is respired.

        fPHYS = a exp(b clay), fCHEM = c exp(-d fMET), fAVAIL = 1 - fPHYS - fCHEM, the
        first at most 1 and the second at most what is left then, which matters at more
        clay than there is.
        """
        p, clay, met = params, self.clay / 100, self.metabolic
        shares: dict[tuple[str, str], Any] = {("lits", "cwd"): 1.0}
        for j in _MICROBES:
            number = lambda name, j=j: getattr(p, name.format(j))
            for i in ("litm", "soma"):
                shares[j, f"{i}_{j}"] = number("cue_{}")
            shares[j, f"lits_{j}"] = number("cue_lits_{}")
            shares["soma", f"somc_{j}"] = 1.0
            phys = number("f_phys_{}") * jnp.exp(number("f_phys_{}_clay") * clay)
            chem = number("f_chem_{}") * jnp.exp(-number("f_chem_{}_met") * met)
            phys = jnp.minimum(phys, 1.0)
            chem = jnp.minimum(chem, 1 - phys)
            shares["somp", f"{j}_death"] = phys
            shares["somc", f"{j}_death"] = chem
            shares["soma", f"{j}_death"] = 1 - phys - chem
        return shares | {("soma", "somp_desorption"): 1.0}

    def source(self, params: MIMICSParameters) -> dict[str, Float[Array, " layer"]]:
        """b: litter by pool, some past the microbes and as microbes, gC m⁻³ d⁻¹."""
        p, source, column = params, super().source(params), self.forcing.column
        stays = 1 - self.immigration
        litm, lits = stays * source["litm"], stays * source["lits"]
        # Microbes come to all depths alike.
        total = jnp.sum((source["litm"] + source["lits"]) * column.thickness)
        comes = 0.5 * self.immigration * total / column.bottom[-1]
        microbes = dict.fromkeys(_MICROBES, jnp.broadcast_to(comes, litm.shape))
        litter: dict[str, Any] = {
            "litm": (1 - p.f_litm_somp) * litm,
            "lits": (1 - p.f_lits_somc) * lits,
            "somp": p.f_litm_somp * litm,
            "somc": p.f_lits_somc * lits,
        }
        return source | litter | microbes

    def first_guess(self, around: Surroundings, inflow: Any, params: Any) -> Any:
        """Pools as if each microbe had half of the litter and food were half of Km.

        (τ_j + V) M_j = b_j + Σ b_i / 2,  (Σ_j Vmax_ij M_j / 2 Km_ij + V) S_i = b_i
        (d + V) SOMp = b_p + Σ_j fPHYS_j τ_j M_j,  SOMa = Σ_j Km_aj τ_j / 6 e_aj Vmax_aj

        Mixing is part of it, since below the bedrock nothing is mixed, and what little
        litter there is differs from that above by a hundred orders of magnitude.
        """
        e, kept = around.environment, self.transfers(params)
        death = {"micr": e.death_micr, "mick": e.death_mick}
        laws = {(i, j): _law(i, j, e, params) for i in _EATEN for j in death}
        eaten = lambda i: sum(
            laws[i, j].rate * found[j] / (2 * laws[i, j].half_saturation) for j in death
        )
        died = lambda i: sum(kept[i, f"{j}_death"] * death[j] * found[j] for j in death)

        def settled(loss, fed):
            system = LayeredSystem(((loss,),), *around.exchange)
            return solve_layered(system, (fed,))[0]

        fed = 0.5 * sum(inflow[pool] for pool in ("litm", "lits", "somp", "somc"))
        found = {j: settled(death[j], inflow[j] + fed) for j in death}
        for i in ("litm", "lits"):
            found[i] = settled(eaten(i), inflow[i])
        found["somp"] = settled(e.desorption, inflow["somp"] + died("somp"))
        found["somc"] = settled(eaten("somc"), inflow["somc"] + died("somc"))
        needed = (
            laws["soma", j].half_saturation
            * death[j]
            / (kept[j, f"soma_{j}"] * laws["soma", j].rate)
            for j in death
        )
        return self.pools(cwd=jnp.ones_like(fed), soma=sum(needed) / 6, **found)


def _of_year(forcing):
    """Litter input of the year, of which the forcing may be a month, gC m⁻² yr⁻¹."""
    annual = forcing.litter_of_year
    return annual_litter(forcing) if annual is None else annual


def _law(food, microbes, environment, params):
    """Constants of the uptake of a food, or of the oxidation of recalcitrant carbon."""
    like, far = food, 1.0
    if food == "somc":
        like, far = "lits", getattr(params, f"ko_{microbes}")
    vmod, kmod = (getattr(params, f"{m}_{like}_{microbes}") for m in ("vmod", "kmod"))
    half = getattr(environment, f"half_{like}")
    return MichaelisMentenConstants(environment.speed * vmod, half * kmod * far)
