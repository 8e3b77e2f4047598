"""From a heterogeneous soil down to the mean field, and the smallest soil of all."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.solve import require_x64
from jaxsoc.upscale.spectral import shrunk

from .design import Design, Supplied, checked_correlations
from .soils import Soil, case, draw_member, follow_soil, initial_means
from .training import MeanRespiration


class Sweep(NamedTuple):
    """Respiration by degree of heterogeneity.

    `respiration`: mean R, mgC/g/h, by degree and time; `mean_field`: R of the mean
    field, by time; `deviation`: largest |R - R of the mean field| over time relative
    to the peak of the mean field, by degree.
    """

    degrees: np.ndarray
    times: np.ndarray
    respiration: np.ndarray
    mean_field: np.ndarray
    deviation: np.ndarray


def sweep_heterogeneity(
    design: Design,
    degrees: Sequence[float] | np.ndarray,
    supplied: Supplied | None = None,
    *,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Sweep:
    """Runs one case with the deviations of its fields scaled by each degree.

    A field x becomes mean(x) + degree (x - mean(x)), initial pools and constants alike;
    degree 1 is the soil of the design, degree 0 its mean field.

    **Arguments:** `degrees` in [0, 1]; others as in `Design` and `run`.
    **Raises:** `ValueError` for a degree outside [0, 1].
    """
    require_x64("a sweep")
    for degree in degrees:
        if not 0 <= degree <= 1:
            raise ValueError(f"degrees must lie in [0, 1], got {degree}")
    design = dataclasses.replace(
        design,
        kinetics=(kinetics,),
        heterogeneity=(heterogeneity,),
        correlation=(correlation,),
    )
    checked_correlations(design, supplied)
    member = draw_member(design, 0, supplied)
    soil = case(design, member, kinetics, heterogeneity, correlation)
    save, curves = MeanRespiration(soil.model.fluxes), []
    for done, degree in enumerate([0.0, *degrees]):
        progress(done, len(degrees) + 1, f"degree {degree:g}")
        shrunken = _shrunk_soil(soil, degree)
        curves.append(np.asarray(follow_soil(design, shrunken, save).values))
    progress(len(degrees) + 1, len(degrees) + 1, "")
    mean_field, curves = curves[0], np.stack(curves[1:])
    deviation = np.abs(curves - mean_field).max(axis=1) / mean_field.max()
    return Sweep(np.asarray(degrees), design.times, curves, mean_field, deviation)


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


def _shrunk_soil(soil: Soil, degree: float) -> Soil:
    shrink = lambda leaf: shrunk(leaf, degree) if jnp.ndim(leaf) else leaf
    state, params = jax.tree.map(shrink, (soil.state, soil.params))
    return Soil(soil.model, state, params)
