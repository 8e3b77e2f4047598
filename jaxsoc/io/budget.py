"""Budgets as an xarray dataset with units and provenance."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Budget, Design
from jaxsoc.experiments.budget import Case
from jaxsoc.physics.units import HOURS_PER_DAY

from .results import plain, provenance

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
    arrays = _filled(cases, axes, terms, first)
    coordinates = dict(zip(_CASE, axes, strict=True)) | {
        "time": (
            "time",
            first.times / HOURS_PER_DAY,
            {"units": "d", "long_name": "time since the start in days"},
        ),
        "term": (
            "term",
            np.asarray(terms, str),
            {"long_name": "variance (V), covariance (C) or higher moment (M)"},
        ),
        "order": ("term", np.asarray([order_of[name] for name in terms], int)),
        "degree": (
            "degree",
            np.arange(first.order + 1),
            {"long_name": "order of the series; 0 is the mean field"},
        ),
    }
    known = provenance(design) | {
        "title": f"Budget of mean {first.of}: mean field, terms and remainder",
        "flux": first.of,
        "order": first.order,
    }
    known |= dict(attributes or {})
    return xr.Dataset(arrays, coordinates, {k: plain(v) for k, v in known.items()})


def _filled(cases, axes, terms, first):
    shape = tuple(map(len, axes))
    over_time, by_term = (*_CASE, "time"), (*_CASE, "time", "term")
    empty = lambda *more: np.full((*shape, *more), np.nan)
    times, degrees = first.times.size, range(first.order + 1)
    of, flux = first.of, {"units": _FLUX}
    moment = {"units": "see moment_unit"}
    arrays: dict[str, Any] = {
        "exact": (
            over_time,
            empty(times),
            flux | {"long_name": f"mean {of} of the distributed model"},
        ),
        "mean_field": (
            over_time,
            empty(times),
            flux | {"long_name": f"{of} at the mean pools and mean constants"},
        ),
        "without_pool_moments": (
            over_time,
            empty(times),
            flux | {"long_name": "series without moments of pools alone, as published"},
        ),
        "contribution": (
            by_term,
            empty(times, len(terms)),
            flux | {"long_name": "term: derivative times moment over factorials"},
        ),
        "derivative": (
            by_term,
            empty(times, len(terms)),
            {
                "units": "mgC g-1 h-1 per moment_unit",
                "long_name": f"mixed derivative of {of} at the means",
            },
        ),
        "moment": (
            by_term,
            empty(times, len(terms)),
            moment | {"long_name": "central moment over cells"},
        ),
        "order_sum": (
            (*over_time, "degree"),
            empty(times, len(degrees)),
            flux | {"long_name": "sum of the terms of one order"},
        ),
        "remainder": (
            (*over_time, "degree"),
            empty(times, len(degrees)),
            flux | {"long_name": "exact minus the series up to this order"},
        ),
        "moment_unit": (
            ("kinetics", "term"),
            np.full((shape[0], len(terms)), "", object),
            {"long_name": "unit of the moment of a term"},
        ),
        "error_estimate": (
            _CASE,
            empty(),
            {"units": "1", "long_name": "estimated relative error of the mean pools"},
        ),
        "method": (
            _CASE,
            np.full(shape, "", object),
            {"long_name": "road through time chosen for the case"},
        ),
    }
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
    return {
        name: (dims, values.astype(str) if values.dtype == object else values, about)
        for name, (dims, values, about) in arrays.items()
    }
