"""Column models at real places, beside the profiles that were measured there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.summary import SiteResults
from jaxsoc.models import (
    CLM5,
    COMPAS,
    COMPAS_INDICATIVE,
    MIMICS,
    CLM5Parameters,
    MIMICSParameters,
)
from jaxsoc.observe.profiles import Misfits, Profiles, misfits, predicted
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing
from jaxsoc.physics.land_cover import BOREAL_BELOW
from jaxsoc.physics.options import check_option
from jaxsoc.physics.site import Site
from jaxsoc.physics.site_forcing import Choices, forcing_of
from jaxsoc.physics.soil_water import KELVIN
from jaxsoc.tables import Variable, variable

from .places import columns_at_sites

Progress = Callable[[int, int, str], None]
_CHOICES = Choices()
Maker = Callable[[Forcing, Any, Any], tuple[Any, Any]]


def _clm5(forcing, land_cover, clay):
    cold = jnp.mean(forcing.temperature[:, 0], axis=-1) < KELVIN + BOREAL_BELOW
    one = lambda sand, cover, cold: CLM5Parameters.customary(sand, cover, boreal=cold)
    customary = jax.vmap(one)(forcing.sand, land_cover, cold)
    # Every leaf leads by site, those that all share, too.
    shape = jnp.shape(land_cover)
    wide = lambda x: jnp.broadcast_to(x, shape) if jnp.ndim(x) == 0 else x
    return CLM5(forcing), jax.tree.map(wide, customary)


MODELS: Mapping[str, Maker] = {
    "clm5": _clm5,
    "compas": lambda forcing, land_cover, clay: (COMPAS(forcing), COMPAS_INDICATIVE),
    "mimics": lambda forcing, land_cover, clay: (
        MIMICS(forcing, clay=clay),
        MIMICSParameters(),
    ),
}
"""Models that places are asked for, by name, with the parameters to begin with: CLM5's
customary ones by sand and land cover, of the others those that are not fitted."""


def models_at_sites(
    sites: Site,
    names: Sequence[str] = tuple(MODELS),
    *,
    choices: Choices = _CHOICES,
    column: SoilColumn = CLM5_COLUMN,
    progress: Progress = lambda done, total, what: None,
    **options: Any,
) -> dict[str, SiteResults]:
    """Steady states of several models at the same sites, with one forcing.

    **Arguments:** `sites`: leaves lead by site; `names`: of `MODELS`; `choices`: how
    forcing is made, see `forcing_of`; `options`: of `columns_at_sites`.
    **Raises:** `ValueError` for an unknown model, and as `forcing_of`.
    """
    for name in names:
        check_option("model", name, MODELS)
    progress(0, len(names), "forcing")
    forcing = forcing_of(sites, choices, column)
    clay = jnp.asarray(forcing_texture(sites, choices)[1])
    found = {}
    for done, name in enumerate(names):
        progress(done, len(names), name)
        model, params = MODELS[name](forcing, sites.land_cover, clay)
        found[name] = columns_at_sites(model, params, **options)
        jax.block_until_ready(found[name].summary)
    progress(len(names), len(names), "done")
    return found


def forcing_texture(sites: Site, choices: Choices) -> tuple[Any, Any]:
    """Sand and clay of each site, %, as chosen where they are not known."""
    sand, clay = choices.texture or (np.nan, np.nan)
    known = lambda x, chosen: jnp.where(jnp.isnan(x), chosen, x)
    return known(sites.sand, sand), known(sites.clay, clay)


def compared_with_profiles(
    profiles: Profiles, results: Mapping[str, SiteResults], *, method: str = "mean"
) -> tuple[dict[str, Variable], dict[str, Misfits]]:
    """What models say of measured layers, and how far off they are.

    Misfits by profile: NSE = 1 - Σ (m - o)² / Σ (o - ō)², of densities and of their
    logarithms, over the layers of a profile of which carbon per volume is known.

    **Arguments:** `results`: of `columns_at_sites` by model, at the places of the
    profiles; `method`: see `observe.profiles.predicted`.
    **Returns:** variables over `observation` (the layers, profile by profile), `model`
    and `profile`; misfits of all layers together, by model.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eq. 1.
    """
    observed = profiles.density
    said, pooled, by_profile = [], {}, []
    for name, one in results.items():
        soil = one.summary.soil_organic_carbon
        column = one.model.forcing.column
        layers = predicted(profiles, soil, column, method)
        said.append(layers)
        pooled[name] = misfits(observed, layers)
        by_profile.append(misfits(observed, layers, profiles.profile, len(profiles)))
    layer, of_profile = "observation", ("model", "profile")
    index = "place of the layer's profile, from 0"
    tables = {
        "observed_profile": variable(layer, profiles.profile, "1", index),
        "observed_top": variable(layer, profiles.top, "m", "upper end of the layer"),
        "observed_bottom": variable(layer, profiles.bottom, "m", "lower end"),
        "observed_carbon": variable(
            layer, observed, "g m-3", "organic carbon per volume that was measured"
        ),
        "modelled_carbon": variable(
            ("model", layer), np.stack(said), "g m-3", "the same as modelled"
        ),
    }
    units = {"rmse": "g m-3", "bias": "g m-3"}
    names = {
        "layers": "layers compared",
        "nse": "Nash-Sutcliffe efficiency",
        "rmse": "root mean square error",
        "bias": "mean of modelled less measured",
        "log_nse": "Nash-Sutcliffe efficiency of logarithms",
        "log_rmse": "root mean square error of natural logarithms",
    }
    for name, long_name in names.items():
        values = np.stack([np.asarray(getattr(one, name), float) for one in by_profile])
        tables[f"misfit_{name}"] = variable(
            of_profile, values, units.get(name, "1"), long_name
        )
    return tables, pooled
