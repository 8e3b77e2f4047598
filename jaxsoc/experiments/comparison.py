"""Column models at real places, beside the profiles that were measured there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.radiocarbon import absolute_ratio, delta
from jaxsoc.columns.summary import SiteResults
from jaxsoc.columns.yearly import SiteRuns
from jaxsoc.models import (
    CLM5,
    COMPAS,
    COMPAS_INDICATIVE,
    MIMICS,
    CLM5Parameters,
    MIMICSParameters,
)
from jaxsoc.observe.profiles import Profiles, misfits, predicted
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing
from jaxsoc.physics.land_cover import is_boreal
from jaxsoc.physics.options import check_option
from jaxsoc.physics.site import Site
from jaxsoc.physics.site_forcing import Choices, forcing_of, texture_of
from jaxsoc.physics.units import ZERO_CELSIUS
from jaxsoc.solve.progress import Progress, silent
from jaxsoc.tables import Variable, variable

from .places import columns_at_sites

_CHOICES = Choices()
Maker = Callable[[Forcing, Any, Any], tuple[Any, Any]]


def _clm5(forcing, land_cover, clay):
    cold = is_boreal(forcing.temperature[:, 0] - ZERO_CELSIUS)
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
    progress: Progress = silent,
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
    _, clay = texture_of(sites, choices)
    made = {name: MODELS[name](forcing, sites.land_cover, clay) for name in names}
    found = {}
    for done, (name, (model, params)) in enumerate(made.items()):
        progress(done, len(names), name)
        found[name] = columns_at_sites(model, params, **options)
        jax.block_until_ready(found[name].summary)
    progress(len(names), len(names), "done")
    return found


def compared_with_profiles(
    profiles: Profiles, results: Mapping[str, SiteResults], *, method: str = "mean"
) -> dict[str, Variable]:
    """What models say of measured layers, and how far off they are.

    Misfits by profile: NSE = 1 - Σ (m - o)² / Σ (o - ō)², of densities and of their
    logarithms, over the layers of a profile of which carbon per volume is known.

    **Arguments:** `results`: of `columns_at_sites` by model, at the places of the
    profiles; `method`: see `observe.profiles.predicted`.
    **Returns:** variables over `observation` (the layers, profile by profile), `model`
    and `profile`; `misfit_...` by profile, `pooled_...` of all layers together.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Eq. 1.
    """
    observed = profiles.density
    said, pooled, by_profile = [], [], []
    for one in results.values():
        soil = one.summary.soil_organic_carbon
        column = one.model.forcing.column
        layers = predicted(profiles, soil, column, method)
        said.append(layers)
        pooled.append(misfits(observed, layers))
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
        of = lambda scores, n=name: np.stack([getattr(one, n) for one in scores])
        unit = units.get(name, "1")
        tables[f"misfit_{name}"] = variable(of_profile, of(by_profile), unit, long_name)
        of_all = f"{long_name}, of all layers together"
        tables[f"pooled_{name}"] = variable("model", of(pooled)[:, 0], unit, of_all)
    return tables


def compared_radiocarbon(
    profiles: Profiles, runs: Mapping[str, SiteRuns], first: int
) -> dict[str, Variable]:
    """What models say of the radiocarbon of measured layers, in the year of sampling.

    Δ of a layer is that of all the carbon that lies in its depths. A profile that was
    sampled before or after the run is compared with its nearest year, one of which no
    year is known with the last.

    **Arguments:** `runs`: of `runs_at_sites` by model, at the places of the profiles,
    with radiocarbon; `first`: the calendar year in which they begin.
    **Returns:** variables over `observation`, `model` and `profile`.
    """
    observed, index = profiles.radiocarbon, "profile"
    last = first - 2 + next(iter(runs.values())).held.soil_stock.shape[1]
    year = np.where(np.isfinite(profiles.year), profiles.year, last)
    year = np.clip(np.floor(year), first - 1, last).astype(int)
    said, rmse, bias = [], [], []
    for run in runs.values():
        column, at = run.model.forcing.column, np.arange(len(profiles))
        carbon = run.held.soil_organic_carbon[at, year - first + 1]
        ratio = absolute_ratio(run.held.soil_delta[at, year - first + 1])
        of = lambda values, c=column: predicted(profiles, values, c)
        said.append(delta(of(carbon * ratio), of(carbon)))
        off = (said[-1] - observed)[np.isfinite(said[-1] - observed)]
        rmse.append(np.sqrt(np.mean(off**2)) if off.size else np.nan)
        bias.append(np.mean(off) if off.size else np.nan)
    permil, name = "1e-3", "radiocarbon (Delta 14C) of the layer"
    return {
        "observed_year": variable(
            index, year, "1", "calendar year of sampling, or the nearest of the run"
        ),
        "observed_radiocarbon": variable("observation", observed, permil, name),
        "modelled_radiocarbon": variable(
            ("model", "observation"), np.stack(said), permil, f"{name}, as modelled"
        ),
        "radiocarbon_rmse": variable("model", rmse, permil, "root mean square error"),
        "radiocarbon_bias": variable(
            "model", bias, permil, "mean of modelled less measured"
        ),
    }
