"""Constants of the pedotransfer function from layers that were weighed."""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from jaxsoc.physics.parameters import NON_NEGATIVE, POSITIVE, Interval
from jaxsoc.physics.pedotransfer import (
    PUBLISHED,
    BulkDensityConstants,
    bulk_density,
    carbon_density,
)

_COUNT = Interval(3, np.inf, closed_low=True)


class PedotransferScores(NamedTuple):
    """How well bulk density, g cm⁻³, and with it carbon, gC m⁻³, are predicted.

    `bias` predicted less observed; `r2` = 1 - Σ (m - o)² / Σ (o - ō)²; `explained`,
    the squared correlation; `rmse`; of `layers` layers.
    """

    layers: int
    bias: float
    r2: float
    explained: float
    rmse: float
    carbon_bias: float
    carbon_r2: float
    carbon_explained: float
    carbon_rmse: float


def fit_bulk_density(content: Any, measured: Any) -> BulkDensityConstants:
    """Constants of `bulk_density` by least squares, all three positive.

    **Arguments:** `content`: gC kg⁻¹; `measured`: bulk density, g cm⁻³, by layer.
    **Raises:** `ValueError` as `pedotransfer_scores`.
    """
    soc, observed = _measured(content, measured)

    def residuals(logs):
        return np.asarray(bulk_density(soc, BulkDensityConstants(*np.exp(logs)))) - (
            observed
        )

    found = optimize.least_squares(residuals, np.log(PUBLISHED))
    return BulkDensityConstants(*np.exp(found.x).tolist())


def pedotransfer_scores(
    content: Any, measured: Any, constants: BulkDensityConstants = PUBLISHED
) -> PedotransferScores:
    """Scores of the pedotransfer function on layers whose bulk density was measured.

    **Arguments:** `content`: gC kg⁻¹; `measured`: bulk density, g cm⁻³, by layer.
    **Raises:** `ValueError` for fewer than three layers, other lengths, a negative
    content or a bulk density that is not positive.
    """
    soc, observed = _measured(content, measured)
    predicted = np.asarray(bulk_density(soc, constants))
    carbon = [np.asarray(carbon_density(soc, x)) for x in (predicted, observed)]
    return PedotransferScores(
        soc.size, *_scores(predicted, observed), *_scores(*carbon)
    )


def _scores(m, o):
    square = np.mean((m - o) ** 2)
    shared = np.corrcoef(m, o)[0, 1] ** 2
    found = np.mean(m - o), 1 - square / np.var(o), shared, np.sqrt(square)
    return [float(x) for x in found]


def _measured(content, measured):
    soc, observed = np.asarray(content, float), np.asarray(measured, float)
    if soc.shape != observed.shape or soc.ndim != 1:
        raise ValueError(
            "one bulk density per carbon content is needed, got arrays of shape "
            f"{observed.shape} and {soc.shape}"
        )
    _COUNT.check("number of layers", soc.size)
    NON_NEGATIVE.check("carbon content", soc, "gC/kg")
    POSITIVE.check("bulk density", observed, "g/cm³")
    return soc, observed
