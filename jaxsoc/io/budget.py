"""Budgets as an xarray dataset with units and provenance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Budget, Design, design_provenance
from jaxsoc.experiments.budget import Case
from jaxsoc.tables import blank, time_axis, variable

from .labels import dataset, provenance

_FLUX = "mgC g-1 h-1"
_CASE = ("kinetics", "heterogeneity", "correlation")


def budget_to_dataset(
    design: Design,
    cases: Mapping[Case, Budget],
    attributes: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Budgets as a dataset over kinetics, heterogeneity, correlation, time and term.

    exact = mean_field + Σ contribution + remainder at the highest `degree`

    A term that a case does not have, since something is uniform there, is NaN in it, so
    that sums over `term` are right. Coordinates of `term`: its name and its order;
    `degree`: order of the last terms counted, 0 for the mean field.

    **Arguments:** `cases`: of this design, from `budgets`; `attributes`: more
    provenance, for example the command's options.
    **Returns:** time in days, rates in mgC per g soil and hour; moments in the units
    that `moment_unit` names, derivatives in the rate's over those; configuration, seed
    and versions as attributes.
    """
    axes = [list(dict.fromkeys(names[i] for names in cases)) for i in range(3)]
    first = next(iter(cases.values()))
    order_of = {
        term: n
        for one in cases.values()
        for term, n in zip(one.names, one.orders, strict=True)
    }
    terms = sorted(order_of, key=lambda name: order_of[name])  # stable: as expanded
    coordinates = dict(zip(_CASE, axes, strict=True)) | {
        "time": time_axis(first.times),
        "term": variable(
            "term",
            np.asarray(terms, str),
            long_name="variance (V), covariance (C) or higher moment (M)",
        ),
        "order": ("term", np.asarray([order_of[name] for name in terms], int)),
        "degree": variable(
            "degree",
            np.arange(first.order + 1),
            long_name="order of the series; 0 is the mean field",
        ),
    }
    return dataset(
        _filled(cases, axes, terms, first),
        coordinates,
        provenance(**design_provenance(design)),
        {
            "title": f"Budget of mean {first.of}: mean field, terms and remainder",
            "flux": first.of,
            "order": first.order,
        },
        attributes,
    )


def _filled(cases, axes, terms, first):
    sizes = dict(zip(_CASE, map(len, axes), strict=True))
    sizes |= {"time": first.times.size, "term": len(terms), "degree": first.order + 1}
    arrays = blank(sizes, _variables(first.of))
    degrees = range(first.order + 1)
    for names, one in cases.items():
        at = tuple(axis.index(name) for axis, name in zip(axes, names, strict=True))
        columns = [terms.index(name) for name in one.names]
        for name in ("contribution", "derivative", "moment"):
            arrays[name][1][at][:, columns] = getattr(one, name)
        arrays["moment_unit"][1][at[0], columns] = one.units
        for name, value in (
            ("exact", one.exact),
            ("mean_field", one.mean_field),
            ("without_pool_moments", one.without_pool_moments()),
            ("order_sum", np.stack([one.of_order(n) for n in degrees], -1)),
            ("remainder", np.stack([one.remainder(n) for n in degrees], -1)),
            ("error_estimate", one.error),
            ("method", one.method),
        ):
            arrays[name][1][at] = value
    return arrays


def _variables(of):
    """Dimensions, unit and long name of each variable of a budget of this flux."""
    time = (*_CASE, "time")
    term, degree = (*time, "term"), (*time, "degree")
    per_moment = f"{_FLUX} per moment_unit"
    return {
        "exact": (time, _FLUX, f"mean {of} of the distributed model"),
        "mean_field": (time, _FLUX, f"{of} at the mean pools and mean constants"),
        "without_pool_moments": (
            time,
            _FLUX,
            "series without moments of pools alone, as published",
        ),
        "contribution": (
            term,
            _FLUX,
            "term: derivative times moment over factorials",
        ),
        "derivative": (term, per_moment, f"mixed derivative of {of} at the means"),
        "moment": (term, "see moment_unit", "central moment over cells"),
        "order_sum": (degree, _FLUX, "sum of the terms of one order"),
        "remainder": (degree, _FLUX, "exact minus the series up to this order"),
        "moment_unit": (("kinetics", "term"), None, "unit of the moment of a term"),
        "error_estimate": (_CASE, "1", "estimated relative error of the mean pools"),
        "method": (_CASE, None, "road through time chosen for the case"),
    }
