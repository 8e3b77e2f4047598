"""Soil columns beside what was measured at their sites: what the site model needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.feasibility import log_barrier
from jaxsoc.columns.observables import (
    OBSERVABLES,
    AtRest,
    check_observable,
    radiocarbon_in_year,
)
from jaxsoc.columns.radiocarbon import delta
from jaxsoc.columns.steady import feasible_by_kind, steady_pools
from jaxsoc.models import CLM5, COMPAS, MIMICS
from jaxsoc.models.column import AbstractClosedForm, AbstractColumnModel
from jaxsoc.observe.profiles import Profiles, weights_of_layers
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing
from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

CALIBRATED: Mapping[str, type[AbstractColumnModel]] = {
    "clm5": CLM5,
    "compas": COMPAS,
    "mimics": MIMICS,
}
"""Models that profiles can calibrate, by name."""

BY_LAYER: Mapping[str, str] = {
    "carbon": OBSERVABLES["carbon"].unit,
    "content": "g kg-1",
    "stock": "g m-2",
    "radiocarbon": "1e-3",
}
"""Kinds of measurements that `Profiles` hold, and their units."""

NPP_FACTOR = "npp_factor"
"""Name of the free multiplier of all litter, where the priors have it."""

_ONE_CARBON = "carbon", "content", "stock"
"""Kinds that one measurement of a profile is said by, in different units."""

ROOT_SHARE = "root_share"
"""Name of the share of roots in soil respiration, where the priors have it."""

SOIL_RESPIRATION = "soil_respiration"
"""Kind of measurement: all CO₂ from the soil, gC m⁻² yr⁻¹, that of roots among it."""

# Layers that a profile is filled up to, so that few programs are compiled: a profile's
# numbers must not depend on how deep those beside it were dug.
_LAYERS = 32


class SiteInputs(NamedTuple):
    """What drives and reads a column at a site; leaves lead by site where many.

    `forcing`; `clay`: %; `reads`: weight of each layer of the column in each measured
    one, (observation, layer), nothing where none was measured; `thickness`: of each
    measured layer, m; `mass`: of fine earth per volume there, kg m⁻³; `atmosphere`:
    Δ¹⁴C by year, ‰, and `sampled`, the place of the year of sampling, None where no
    radiocarbon was measured.
    """

    forcing: Forcing
    clay: Any
    reads: Any
    thickness: Any
    mass: Any
    atmosphere: Any = None
    sampled: Any = None


@dataclass(frozen=True)
class ColumnPrediction:
    """What a column at rest says of what was measured: `predict` of a `SiteModel`.

    Soil respiration is R / (1 - s), R heterotrophic and s the share of roots.

    **Arguments:** `model`: its class; `kinds`: of `BY_LAYER`, or of
    `columns.OBSERVABLES`, or `SOIL_RESPIRATION`; `width`: of the barrier, see
    `columns.log_barrier`.
    **Raises:** `ValueError` for an unknown kind, or what the model does not tell; when
    called, for soil respiration without `ROOT_SHARE` among the values.
    """

    model: type[AbstractColumnModel]
    kinds: tuple[str, ...] = ("carbon",)
    width: float = 0.1

    def __post_init__(self):
        for kind in self.kinds:
            known = *BY_LAYER, *OBSERVABLES, SOIL_RESPIRATION
            check_option("kind", kind, dict.fromkeys(known))
            if kind in OBSERVABLES:
                check_observable(self.model, kind)

    def column(self, values: Mapping[str, Any], site: SiteInputs) -> AtRest:
        """The column at rest, with pools that are NaN where there are none.

        **Arguments:** `values`: of all its parameters by name, and perhaps of
        `NPP_FACTOR`.
        """
        forcing = site.forcing
        if NPP_FACTOR in values:
            litter = forcing.litter * values[NPP_FACTOR]
            forcing = eqx.tree_at(lambda f: f.litter, forcing, litter)
        clay = {"clay": site.clay} if "clay" in _fields(self.model) else {}
        model = self.model(forcing, **clay)
        own = {n: x for n, x in values.items() if n in _fields(model.parameters)}
        params = model.parameters(**own)
        around = model.surroundings(params)
        return AtRest(model, params, around, steady_pools(model, around, params))

    def penalty(self, rest: AtRest) -> Any:
        """Infinite where the column has no steady state, and growing close to that."""
        model = rest.model
        sound = jnp.asarray(True)
        for pool in rest.pools:
            sound = sound & jnp.all(jnp.isfinite(pool) & (pool >= 0))
        near = jnp.zeros(())
        if isinstance(model, AbstractClosedForm) and not {*model.soil} & model.mixed:
            near = log_barrier(feasible_by_kind(model, rest.params), width=self.width)
        return jnp.where(sound, near, jnp.inf)

    def __call__(
        self, values: Mapping[str, Any], site: SiteInputs
    ) -> tuple[dict[str, Any], Any]:
        """Predictions by kind, each as long as what was measured, and the penalty."""
        rest = self.column(values, site)
        found = {kind: self.seen(kind, rest, site, values) for kind in self.kinds}
        return found, self.penalty(rest)

    def seen(
        self, kind: str, rest: AtRest, site: SiteInputs, values: Mapping[str, Any]
    ) -> Any:
        """One kind of measurements of a column at rest, as long as those are.

        **Arguments:** `values`: as of `column`.
        """
        if kind == SOIL_RESPIRATION:
            if ROOT_SHARE not in values:
                raise ValueError(
                    f"{kind} needs the share of roots: a prior of {ROOT_SHARE!r}, such "
                    "as jaxsoc.infer.site.root_prior()"
                )
            ours = OBSERVABLES["heterotrophic_respiration"].of(rest)
            return (ours / (1 - values[ROOT_SHARE]))[None]
        if kind == "radiocarbon":
            Y, C = radiocarbon_in_year(rest, site.atmosphere, site.sampled)
            return delta(site.reads @ Y, site.reads @ C)
        if kind in ("content", "stock"):
            density = site.reads @ rest.model.organic_carbon(rest.pools)
            known = jnp.where(jnp.isfinite(site.mass), site.mass, 1.0)
            return density / known if kind == "content" else density * site.thickness
        found = OBSERVABLES[kind].of(rest)
        if isinstance(found, tuple):
            return ratio(*(site.reads @ part for part in found))
        return site.reads @ found if OBSERVABLES[kind].by_layer else found[None]


def unit_of(kind: str) -> str:
    """Of a kind of measurements."""
    if kind == SOIL_RESPIRATION:
        kind = "heterotrophic_respiration"
    return BY_LAYER[kind] if kind in BY_LAYER else OBSERVABLES[kind].unit


def _fields(module):
    return module.__dataclass_fields__


def check_measured(kinds: Sequence[str]) -> None:
    """Refuses kinds that profiles do not hold, or that are one measurement twice.

    **Raises:** `ValueError`.
    """
    for kind in kinds:
        check_option("kind", kind, BY_LAYER)
    twice = [kind for kind in kinds if kind in _ONE_CARBON]
    if len(twice) > 1:
        raise ValueError(
            f"{' and '.join(twice)} are one measurement in different units, and would "
            "count as several: take one of them"
        )


def measured_sites(
    profiles: Profiles,
    forcing: Forcing,
    clay: Any,
    kinds: Sequence[str] = ("carbon",),
    *,
    column: SoilColumn = CLM5_COLUMN,
    atmosphere: Any = None,
    first: int = 1850,
) -> tuple[SiteInputs, dict[str, np.ndarray]]:
    """What a site model needs of measured profiles, and what was measured by kind.

    Measurements are (profile, observation), NaN where nothing was measured, no carbon
    was found, or the layer begins below the column; of radiocarbon also where the year
    of sampling is not known, or before the first of the atmosphere. After its last the
    atmosphere is taken to be that of the last.

    **Arguments:** `forcing`, `clay`: of the sites of the profiles; `atmosphere`: Δ¹⁴C
    by profile and year, ‰, from the year `first` on, where the kinds have radiocarbon.
    **Raises:** `ValueError` for an unknown kind, several of one measurement, a forcing
    of other sites, or profiles of which nothing was measured, which are named.
    """
    check_measured(kinds)
    count = len(profiles)
    if len(forcing.temperature) != count:
        raise ValueError(
            f"expected the forcing of {count} profiles, got that of "
            f"{len(forcing.temperature)} sites"
        )
    width = _LAYERS * -(-profiles.most_layers // _LAYERS)
    padded = partial(profiles.by_profile, width=width)
    weights = weights_of_layers(profiles, column)
    inside = np.isfinite(weights).all(axis=1)
    thick = profiles.bottom - profiles.top
    share = np.nan_to_num(profiles.coarse_fragments)
    # As content is turned into density.
    mass = 1000.0 * profiles.bulk_density * (1 - share)
    values = {
        "carbon": profiles.density,
        "content": profiles.content,
        "stock": profiles.density * thick,
        "radiocarbon": profiles.radiocarbon,
    }
    known = {}
    for kind in kinds:
        seen = np.where(inside, values[kind], np.nan)
        if kind == "radiocarbon":
            seen = np.where((profiles.year >= first)[profiles.profile], seen, np.nan)
        else:
            seen = np.where(seen > 0, seen, np.nan)
        if kind == "content":
            seen = np.where(np.isfinite(mass), seen, np.nan)
        known[kind] = padded(seen)
    empty = ~np.any([np.isfinite(x).any(axis=1) for x in known.values()], axis=0)
    if empty.any():
        raise ValueError(
            f"nothing of {', '.join(kinds)} was measured in {empty.sum()} of {count} "
            f"profiles, first {profiles.name[np.argmax(empty)]!r}: leave them out"
        )
    sampled = None
    if "radiocarbon" in kinds:
        if atmosphere is None:
            raise ValueError("radiocarbon needs the Δ¹⁴C of the atmosphere by year")
        last = np.shape(atmosphere)[1] - 1
        year = np.where(profiles.year >= first, profiles.year, first)
        sampled = np.clip(np.floor(year) - first, 0, last).astype(int)
        atmosphere = np.asarray(atmosphere, float)
    inputs = SiteInputs(
        forcing,
        np.broadcast_to(np.asarray(clay, float), (count,)),
        padded(np.nan_to_num(weights), fill=0.0),
        padded(thick, fill=1.0),
        padded(mass),
        atmosphere if "radiocarbon" in kinds else None,
        sampled,
    )
    return jax.tree.map(np.asarray, inputs), known
