"""What a mean rate owes to each moment, over time, against the distributed model."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from jaxsoc.models.two_pool import Fluxes
from jaxsoc.physics.options import check_option
from jaxsoc.solve import Method, integrate, require_x64
from jaxsoc.tables import Table, blank, time_axis, variable
from jaxsoc.upscale import taylor

from .design import Design, Supplied, design_provenance
from .series import CHECKS, DIMENSIONS, FLUX
from .soils import Soil, over_cases, units_of


def budget(
    soil: Soil,
    times: Any,
    *,
    order: int = 2,
    of: str = "respiration",
    method: Method | None = None,
    tolerance: float = 1e-5,
) -> Table:
    """Runs a soil and splits the mean of a flux into its terms at each time.

    F̄ = F(x̄) + Σ 1/α! ∂^α F(x̄) ⟨(x - x̄)^α⟩ + remainder,  2 ≤ |α| ≤ order

    Means and moments are those of the distributed model: nothing is closed.

    **Arguments:** `soil`: from `case`, or any two-pool model, pools (mgC/g) and
    parameters; `times`: h, saved; `order`: of the last terms; `of`: decomposition,
    mortality, growth or respiration; `method`, `tolerance`: see `integrate`.

    **Returns:** as `budgets`, without the dimensions of its cases.

    **Raises:** `ValueError` for an order below 1, a flux that is not known, or times
    that do not fit; `RuntimeError` without 64-bit floats; `IntegrationError`.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 7-10, Fig. 8.
    """
    require_x64("a budget")
    checked_choice(order, of)
    one = _run(soil, times, order, of, method=method, tolerance=tolerance)
    return _table({(): one}, times, of, order, {})


def budgets(
    design: Design,
    supplied: Supplied | None = None,
    *,
    order: int = 2,
    of: str = "respiration",
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Table:
    """The budget of every case of a design, by kinetics, heterogeneity, correlation.

    exact = mean_field + Σ contribution + remainder at the highest `order`

    Soils that start uniform are equal for all correlations, and run once. A term that a
    case does not have, since something is uniform there, is NaN in it, so that sums
    over `term` are right. Coordinates of `term`: its name and its `term_order`;
    `order`: of the last terms counted, 0 for the mean field.

    `without_pool_moments` is F(x̄) + Σ terms in which a constant takes part, as
    published: right for uniform pools alone, so for biochemical heterogeneity at t = 0.
    Where constants differ, so do the pools from then on.

    **Arguments:** `supplied`: fields that take the place of generated ones; `order`,
    `of`: see `budget`; `progress`: called with cases done, cases in all, and the name
    of the next.

    **Returns:** time in days, rates in mgC per g soil and hour; moments in the units
    that `moment_unit` names, derivatives in the rate's over those; `error_estimate`:
    relative, of the mean pools.

    **Raises:** as `budget`; `ValueError` for a design of several members.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eq. 17 (order 2)
    and Table 2, whose middle column has `without_pool_moments` at all times.
    """
    require_x64("a budget")
    checked_choice(order, of, design.members)
    options = {"method": design.method, "tolerance": design.tolerance}
    one = lambda soil: _run(soil, design.times, order, of, **options)
    found = over_cases(design, supplied, one, progress)
    cases = {names: result for names, (result,) in found.items()}
    return _table(cases, design.times, of, order, design_provenance(design))


def checked_choice(order: int, of: str, members: int = 1) -> None:
    """Refuses an order below 1, a flux that the model does not have, several members.

    **Raises:** `ValueError`, which names what was received and what there is.
    """
    if order < 1 or order != int(order):
        raise ValueError(f"order must be a whole number from 1 on, got {order}")
    check_option("flux", of, Fluxes._fields)
    if members > 1:
        raise ValueError(f"a budget is of one member, got members {members}")


def _run(
    soil: Soil, times: Any, order: int, of: str, **options: Any
) -> tuple[taylor.Expansion, dict[str, Any]]:
    """The series of a soil by time, and the values of `_variables` by name."""
    # A module rather than a closure: two equal ones share one compilation.
    save = eqx.Partial(_expand, soil.model.fluxes, of, order)
    run = integrate(*soil, times, save=save, estimate_error=True, **options)
    series = jax.tree.map(np.asarray, run.values)
    units, orders = units_of(soil), range(order + 1)
    of_constants = [not set(q) <= set(soil.state._fields) for q in series.quantities]
    kept = series.contribution[:, np.asarray(of_constants, bool)]
    return series, {
        "exact": series.exact,
        "mean_field": series.mean_field,
        "without_pool_moments": series.mean_field + kept.sum(axis=1),
        "contribution": series.contribution,
        "derivative": series.derivative,
        "moment": series.moment,
        "order_sum": np.stack([series.of_order(n) for n in orders], -1),
        "remainder": np.stack([series.remainder(n) for n in orders], -1),
        "moment_unit": [_unit([units[n] for n in q]) for q in series.quantities],
        "error_estimate": float(run.relative_error),
        "method": run.method.name,
    }


def _expand(fluxes, of, order, t, state, params) -> taylor.Expansion:
    rate = lambda *at: getattr(fluxes(*at), of)
    return taylor.expand(rate, state, params, order=order, t=t)


def _unit(units):
    """Product of units, as (mgC/g)^2 (1/h)."""
    counted = Counter(unit for unit in units if unit != "1")
    power = lambda unit, n: f"({unit})^{n}" if n > 1 else f"({unit})"
    return " ".join(power(unit, n) for unit, n in counted.items()) or "1"


def _table(
    cases: Mapping[tuple[str, ...], Any], times, of, order: int, about: dict
) -> Table:
    """What `_run` gave by the names of its case, which has none if it is the only."""
    order_of: dict[str, int] = {}
    for series, _ in cases.values():
        order_of |= zip(series.names, series.orders, strict=True)
    terms = sorted(order_of, key=lambda name: order_of[name])  # stable: as expanded
    axes = {
        dim: list(dict.fromkeys(names))
        for dim, names in zip(DIMENSIONS, zip(*cases, strict=True), strict=False)
    }
    sizes = {dim: len(names) for dim, names in axes.items()}
    sizes |= {"time": len(times), "term": len(terms), "order": order + 1}
    arrays = blank(sizes, _variables(of, tuple(axes)))
    for names, (series, values) in cases.items():
        columns = [terms.index(name) for name in series.names]
        case = dict(zip(axes, names, strict=True))
        for name, value in values.items():
            dims, array, _ = arrays[name]
            place = tuple(axes[dim].index(case[dim]) for dim in dims if dim in case)
            if "term" in dims:
                array[place][..., columns] = value
            else:
                array[place] = value
    coordinates = axes | {
        "time": time_axis(times),
        "term": variable(
            "term",
            np.asarray(terms, str),
            long_name="variance (V), covariance (C) or higher moment (M)",
        ),
        "term_order": ("term", np.asarray([order_of[name] for name in terms], int)),
        "order": variable(
            "order",
            np.arange(order + 1),
            long_name="order of the series; 0 is the mean field",
        ),
    }
    title = f"Budget of mean {of}: mean field, terms and remainder"
    known = about | {"title": title, "flux": of, "order": order}
    return Table(arrays, coordinates, known)


def _variables(of, case):
    """Dimensions, unit and long name of each variable of a budget of this flux."""
    time = (*case, "time")
    term, by_order = (*time, "term"), (*time, "order")
    per_moment = f"{FLUX} per moment_unit"
    published = "series without moments of pools alone, as published"
    return {
        "exact": (time, FLUX, f"mean {of} of the distributed model"),
        "mean_field": (time, FLUX, f"{of} at the mean pools and mean constants"),
        "without_pool_moments": (time, FLUX, published),
        "contribution": (term, FLUX, "term: derivative times moment over factorials"),
        "derivative": (term, per_moment, f"mixed derivative of {of} at the means"),
        "moment": (term, "see moment_unit", "central moment over cells"),
        "order_sum": (by_order, FLUX, "sum of the terms of one order"),
        "remainder": (by_order, FLUX, "exact minus the series up to this order"),
        "moment_unit": ((*case[:1], "term"), None, "unit of the moment of a term"),
        "error_estimate": (case, *CHECKS["error_estimate"]),
        "method": (case, *CHECKS["method"]),
    }
