"""Results as xarray datasets with units and provenance, and as netCDF-4 files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Run
from jaxsoc.experiments.design import design_provenance
from jaxsoc.experiments.run import DIMENSIONS
from jaxsoc.tables import Table, about, time_axis, variable

from . import labels
from .atomic import replacing
from .labels import dataset, provenance

_CARBON, _FLUX, _SQUARE = "mgC g-1", "mgC g-1 h-1", "(mgC g-1)2"

# name -> (unit, long name); units of moments of the rate constant depend on the law.
SERIES = {
    "substrate": (_CARBON, "mean substrate carbon per soil"),
    "biomass": (_CARBON, "mean microbial carbon per soil"),
    "co2": (_CARBON, "mean carbon respired since the start per soil"),
    "decomposition": (_FLUX, "mean decomposition rate"),
    "mortality": (_FLUX, "mean microbial mortality"),
    "respiration": (_FLUX, "mean respiration rate"),
    "respiration_mean_field": (
        _FLUX,
        "respiration at the mean pools and mean constants (mean-field approximation)",
    ),
    "respiration_higher_order": (
        _FLUX,
        "mean respiration minus its mean-field approximation",
    ),
    "specific_growth_rate": (
        "h-1",
        "growth per mean biomass, Y D / B (not SGR in Chakrawal et al. 2020)",
    ),
    "specific_respiration_rate": (
        "h-1",
        "respiration per mean biomass, R / B (SGR in Chakrawal et al. 2020)",
    ),
    "substrate_variance": (_SQUARE, "spatial variance of substrate"),
    "biomass_variance": (_SQUARE, "spatial variance of biomass"),
    "substrate_biomass_covariance": (
        _SQUARE,
        "spatial covariance of substrate and biomass",
    ),
    "rate_variance": ("rate2", "spatial variance of the rate constant"),
    "half_saturation_variance": (
        _SQUARE,
        "spatial variance of the half-saturation constant",
    ),
    "rate_half_saturation_covariance": (
        f"rate {_CARBON}",
        "spatial covariance of the rate and half-saturation constants",
    ),
    "rate_substrate_covariance": (
        f"rate {_CARBON}",
        "spatial covariance of the rate constant and substrate",
    ),
    "rate_biomass_covariance": (
        f"rate {_CARBON}",
        "spatial covariance of the rate constant and biomass",
    ),
    "half_saturation_substrate_covariance": (
        _SQUARE,
        "spatial covariance of the half-saturation constant and substrate",
    ),
    "half_saturation_biomass_covariance": (
        _SQUARE,
        "spatial covariance of the half-saturation constant and biomass",
    ),
    "rate_substrate_biomass_third_moment": (
        f"rate {_SQUARE}",
        "third central moment of the rate constant, substrate and biomass",
    ),
}
CHECKS = {
    "carbon_balance_error": ("1", "largest relative error of the carbon balance"),
    "error_estimate": ("1", "estimated relative error of the mean pools"),
    "respiration_error_estimate": (
        "1",
        "estimated error of respiration relative to its peak",
    ),
    "largest_damkohler": ("1", "largest Damköhler number of a cell along the run"),
    "share_not_well_mixed": (
        "1",
        "largest share of cells with a Damköhler number above 0.1 along the run",
    ),
    "smallest_pool": (_CARBON, "smallest pool of a cell along the run"),
}


def to_dataset(
    run: Run | Table, attributes: Mapping[str, Any] | None = None
) -> xr.Dataset:
    """A run as a dataset over kinetics, heterogeneity, correlation, member and time.

    A table comes with the names, dimensions and units that it has.

    **Arguments:** `attributes`: more provenance, for example the command's options;
    what is not text or a number is stored as JSON.
    **Returns:** time in days, carbon in mgC per g soil, rates per hour; configuration,
    seed and versions as attributes. Moments of the rate constant are in the unit of
    that constant ("rate"), which the attribute `rate_units` names for each kinetics.
    """
    if isinstance(run, Table):
        return labels.to_dataset(run, attributes)
    design = run.design
    over_time = (*DIMENSIONS, "time")
    variables = {
        name: variable(over_time, run.series[name], *said)
        for name, said in SERIES.items()
    }
    for name, said in CHECKS.items():
        variables[name] = variable(DIMENSIONS, run.checks[name], *said)
    variables["method"] = (
        DIMENSIONS,
        run.methods,
        about(None, "road through time chosen for the case"),
    )
    coordinates = {
        "kinetics": list(design.kinetics),
        "heterogeneity": list(design.heterogeneity),
        "correlation": list(run.correlation),
        "member": np.arange(design.members),
        "time": time_axis(run.times),
    }
    said = provenance(**design_provenance(design))
    return dataset(variables, coordinates, said, attributes)


def save_dataset(results: xr.Dataset, path: Path | str) -> Path:
    """Writes netCDF-4, compressed; the file is whole or absent.

    **Raises:** `OSError` if it cannot be written.
    """
    path = Path(path)
    encoding = {
        name: {"zlib": True, "complevel": 4, "shuffle": True}
        for name, variable in results.data_vars.items()
        if variable.dtype.kind == "f"
    }
    with replacing(path) as temporary:
        results.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    return path
