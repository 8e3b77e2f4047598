"""One description of a soil column for every model: pools x layers, A, K, ξ, B, V.

dX/dt = A F(X) + b - V X: processes F decompose their donors, the transfers A say where
the carbon goes, the rest is respired; litter b comes in, and mixing V moves pools
between layers. A model declares its pools and processes and fills in the rest, at a
point; what is here lifts it to the column.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsoc.physics.allocation import allocation
from jaxsoc.physics.environment import Averaging, environment
from jaxsoc.physics.forcing import MONTHS, Forcing, check_one_site
from jaxsoc.physics.mixing import Bedrock, Exchange, mixing
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import AbstractParameters
from jaxsoc.physics.units import DAYS_PER_YEAR
from jaxsoc.solve.pointwise import AbstractStocks

Transfers = Mapping[tuple[str, str], Any]


class Surroundings(eqx.Module):
    """What a column's pools live in, means over the year.

    `environment`: what the processes feel by layer, as the scalars ξ; `exchange`: V;
    `source`: b, by pool that receives litter, gC m⁻³ d⁻¹.
    """

    environment: Any
    exchange: Exchange
    source: dict[str, Float[Array, " layer"]]


class AbstractColumnModel(AbstractStocks):
    """A soil model in a column, the tendency `(t, state, params) -> d(state)/dt`.

    A model declares `pools`, a named tuple class; `processes`, the donor of each
    process; `linear`, the processes that are of first order in their donor and feel no
    other pool; `litter`, the pools that receive coarse wood, metabolic, cellulose and
    lignin litter; `soil`, those that are counted as soil organic carbon; `microbes`,
    `mineral` and `particulate`, those that are measured as microbial biomass, as carbon
    bound to minerals, and as particulate organic matter, none where the model does not
    tell; `parameters`, the class of its numbers. Stocks are in gC m⁻³, time in days.
    One whose pools are not all linear is an `AbstractMicrobialModel`.

    **Arguments:** `forcing`: of one site; `averaging`: of the scalars over the year;
    `bedrock`: "closed", or "proda" as published, which loses carbon at the bedrock.
    **Raises:** `ValueError` for an unknown `averaging` or `bedrock`.
    """

    pools: ClassVar[type]
    processes: ClassVar[Mapping[str, str]]
    linear: ClassVar[frozenset[str]]
    litter: ClassVar[tuple[str, str, str, str]]
    soil: ClassVar[tuple[str, ...]]
    microbes: ClassVar[tuple[str, ...]] = ()
    mineral: ClassVar[tuple[str, ...]] = ()
    particulate: ClassVar[tuple[str, ...]] = ()
    parameters: ClassVar[type[AbstractParameters]]
    forcing: Forcing
    averaging: Averaging = eqx.field(static=True, default="mean_of_product")
    bedrock: Bedrock = eqx.field(static=True, default="closed")

    def __check_init__(self):
        check_option("averaging", self.averaging, Averaging)
        check_option("bedrock", self.bedrock, Bedrock)

    @property
    @abstractmethod
    def mixed(self) -> frozenset[str]:
        """Pools that mixing moves between layers."""

    @abstractmethod
    def fluxes(self, pools: Any, environment: Any, params: Any) -> dict[str, Any]:
        """Decomposition by process at a point, gC m⁻³ d⁻¹.

        **Arguments:** `pools`: gC m⁻³; `environment`: what they feel there.
        """

    @abstractmethod
    def transfers(self, params: Any) -> Transfers:
        """A: share of a process that each pool receives, by (receiver, process)."""

    def efolding(self, params: Any) -> Any:
        """E-folding depth of decomposition, m, here a parameter."""
        return params.efolding

    def environment(self, params: Any) -> Any:
        """ξ: what the processes feel, by layer.

        Here the scalars of temperature, water, oxygen, nitrogen and depth; models that
        feel anything else say so themselves.
        """
        return environment(
            self.forcing,
            params.q10,
            params.water_scaling,
            self.efolding(params),
            self.averaging,
        )

    def source(self, params: Any) -> dict[str, Float[Array, " layer"]]:
        """b: input by pool, gC m⁻³ d⁻¹, here the litter."""
        profile = self.input_profile(params)
        thickness = self.forcing.column.thickness
        annual = annual_litter(self.forcing)
        source: dict[str, Any] = {}
        for place, pool in enumerate(self.litter):
            falls = annual[place] / DAYS_PER_YEAR * profile[place] / thickness
            source[pool] = source[pool] + falls if pool in source else falls
        return source

    def surroundings(self, params: Any) -> Surroundings:
        """Scalars, mixing and litter input for these parameters.

        **Raises:** `ValueError` for many sites or sets of parameters at once.
        """
        forcing = self.forcing
        check_one_site(forcing, params)
        return Surroundings(
            environment=self.environment(params),
            exchange=mixing(
                forcing.active_layer,
                forcing.bedrock,
                params.bioturbation,
                params.cryoturbation,
                forcing.column,
                self.bedrock,
            ),
            source=self.source(params),
        )

    def input_profile(self, params: Any) -> Float[Array, "litter layer"]:
        """B: share of each litter that enters each layer."""
        forcing = self.forcing
        if forcing.profile is not None:
            return forcing.profile
        shares = allocation(params.beta, forcing.frozen, forcing.column)
        return jnp.stack([shares] * len(self.litter))

    def __call__(self, t: Any, state: Any, params: Any) -> Any:
        """Tendency of the pools in the mean year, gC m⁻³ d⁻¹."""
        return self.tendency(state, self.surroundings(params), params)

    def tendency(self, state: Any, around: Surroundings, params: Any) -> Any:
        """Tendency of the pools in given surroundings, gC m⁻³ d⁻¹.

        dX_i/dt = Σ_p a_ip F_p - Σ_{p from i} F_p + b_i - (V X)_i
        """
        change = self.reactions(state, around, params)
        for pool in self.mixed:
            change[pool] = change[pool] + around.exchange(getattr(state, pool))
        return self.pools(**change)

    def reactions(self, state: Any, around: Surroundings, params: Any) -> dict:
        """Tendency of each pool by input and decomposition alone, gC m⁻³ d⁻¹."""
        fluxes = self.fluxes(state, around.environment, params)
        zero = jnp.zeros_like(state[0])
        change = {pool: around.source.get(pool, zero) for pool in self.pools._fields}
        for process, flux in fluxes.items():
            donor = self.processes[process]
            change[donor] = change[donor] - flux
        for (receiver, process), share in self.transfers(params).items():
            change[receiver] = change[receiver] + share * fluxes[process]
        return change

    def by_donor(self, by_process: Mapping[str, Any]) -> dict[str, Any]:
        """Sums by pool of what is given by process, those of the pool as a donor."""
        zero = jnp.zeros_like(next(iter(by_process.values())))
        sums: dict[str, Any] = dict.fromkeys(self.pools._fields, zero)
        for process, donor in self.processes.items():
            sums[donor] = sums[donor] + by_process[process]
        return sums

    def kept(self, params: Any) -> dict[str, Any]:
        """Share of each process that stays in the soil: column sums of A + 1."""
        sums: dict[str, Any] = dict.fromkeys(self.processes, 0.0)
        for (_, process), share in self.transfers(params).items():
            sums[process] = sums[process] + share
        return sums

    def respiration(
        self, state: Any, around: Surroundings, params: Any
    ) -> Float[Array, " layer"]:
        """CO₂ that leaves each layer, gC m⁻³ d⁻¹."""
        fluxes = self.fluxes(state, around.environment, params)
        kept, none = self.kept(params), jnp.zeros_like(state[0])
        return sum(((1 - kept[p]) * flux for p, flux in fluxes.items()), none)

    def organic_carbon(self, state: Any) -> Float[Array, " layer"]:
        """Soil organic carbon by layer, without litter, gC m⁻³."""
        none = jnp.zeros_like(state[0])
        return sum((getattr(state, pool) for pool in self.soil), none)

    def in_column(self, values: Float[Array, " layer"]) -> Float[Array, ""]:
        """What the whole column holds of something, per m²: Σ X_z Δz."""
        return jnp.sum(values * self.forcing.column.thickness)

    def rates(self, environment: Any, params: Any) -> dict[str, Any]:
        """K ξ: rates of the linear processes by layer, 1/d."""
        ones = self.pools(*(1.0 for _ in self.pools._fields))
        fluxes = self.fluxes(ones, environment, params)
        return {p: fluxes[p] for p in self.processes if p in self.linear}


class AbstractMicrobialModel(AbstractColumnModel):
    """A soil model with pools whose kinetics are not of first order."""

    @abstractmethod
    def first_guess(self, around: Surroundings, inflow: Any, params: Any) -> Any:
        """Positive pools that Newton's method starts from, gC m⁻³.

        **Arguments:** `inflow`: by pool, from litter and linear pools, gC m⁻³ d⁻¹.
        """


class AbstractClosedForm(AbstractMicrobialModel):
    """A microbial model whose steady state, without mixing, is known in closed form."""

    @abstractmethod
    def soil_equilibrium(
        self, environment: Any, inflow: Mapping[str, Any], params: Any
    ) -> dict[str, Any]:
        """Microbial pools at rest at a point, NaN where there are none.

        **Arguments:** see `first_guess`.
        """

    @abstractmethod
    def feasibility(self, environment: Any, inflow: Mapping, params: Any) -> Any:
        """By kind, a named tuple: a layer has a steady state where all are positive."""


def annual_litter(forcing: Forcing) -> Float[Array, " litter"]:
    """Litter input in a year, gC m⁻² yr⁻¹; of one month, as if all were like it."""
    return MONTHS * jnp.mean(forcing.litter, axis=-1)
