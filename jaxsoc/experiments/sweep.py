"""From a heterogeneous soil down to the mean field, and the smallest soil of all."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.solve import require_x64
from jaxsoc.upscale.spectral import shrunk

from .design import Design, Supplied, case_axes
from .soils import Soil, case, draw_member, follow_soil, initial_means
from .training import MeanRespiration


class Sweep(NamedTuple):
    """Respiration by factor of heterogeneity.

    `respiration`: mean R, mgC/g/h, by factor and time; `mean_field`: R of the mean
    field, by time; `deviation`: largest |R - R of the mean field| over time relative
    to the peak of the mean field, by factor.
    """

    factors: np.ndarray
    times: np.ndarray
    respiration: np.ndarray
    mean_field: np.ndarray
    deviation: np.ndarray


def sweep_heterogeneity(
    design: Design,
    factors: Sequence[float] | np.ndarray,
    supplied: Supplied | None = None,
    *,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Sweep:
    """Runs one case with the deviations of its fields scaled by each factor.

    A field x becomes mean(x) + factor (x - mean(x)), initial pools and constants alike;
    factor 1 is the soil of the design, factor 0 its mean field.

    **Arguments:** `factors` in [0, 1]; others as in `Design` and `run`.
    **Raises:** `ValueError` for a factor outside [0, 1].
    """
    require_x64("a sweep")
    for factor in factors:
        if not 0 <= factor <= 1:
            raise ValueError(f"factors must lie in [0, 1], got {factor}")
    design = dataclasses.replace(
        design,
        kinetics=(kinetics,),
        heterogeneity=(heterogeneity,),
        correlation=(correlation,),
    )
    case_axes(design, supplied)
    member = draw_member(design, 0, supplied)
    soil = case(design, member, kinetics, heterogeneity, correlation)
    save, curves, total = MeanRespiration(soil.model.fluxes), [], len(factors) + 1
    for done, factor in enumerate([0.0, *factors]):
        progress(done, total, f"factor {factor:g}")
        shrink = lambda x, by=factor: shrunk(x, by) if jnp.ndim(x) else x
        state, params = jax.tree.map(shrink, (soil.state, soil.params))
        run = follow_soil(design, Soil(soil.model, state, params), save)
        curves.append(np.asarray(run.values))
    progress(total, total, "")
    mean_field, respiration = curves[0], np.stack(curves[1:])
    deviation = np.abs(respiration - mean_field).max(axis=1) / mean_field.max()
    return Sweep(np.asarray(factors), design.times, respiration, mean_field, deviation)


def two_patches(
    *, substrate_contrast: float, biomass_contrast: float, scenario: int = 2
) -> Supplied:
    """The smallest heterogeneous soil: two cells, one rich and one poor.

    S = mean (1 ± a), B = mean (1 ± b); "positive" puts both riches in one patch,
    "negative" in different ones. Run it like any fields: `run(design, two_patches(…))`.

    **Arguments:** `substrate_contrast`: a, `biomass_contrast`: b, in [0, 1];
    `scenario`: whose means are used.
    **Raises:** `ValueError` for a contrast outside [0, 1].
    Source: the two patches of Manzoni et al. (2008), cited in Chakrawal et al. (2020),
    doi:10.5194/gmd-13-1399-2020, Sect. 1.
    """
    contrasts = {"substrate": substrate_contrast, "biomass": biomass_contrast}
    for name, contrast in contrasts.items():
        if not 0 <= contrast <= 1:
            raise ValueError(f"{name} contrast must lie in [0, 1], got {contrast}")
    substrate, biomass = initial_means(Design(scenario=scenario))
    patches = np.array([1.0, -1.0])
    return Supplied(
        biomass=biomass * (1 + biomass_contrast * patches),
        substrate={
            "positive": substrate * (1 + substrate_contrast * patches),
            "negative": substrate * (1 - substrate_contrast * patches),
        },
    )
