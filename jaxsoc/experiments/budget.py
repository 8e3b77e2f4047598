"""What a mean rate owes to each moment, over time, against the distributed model."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from jaxsoc.models.two_pool import Fluxes
from jaxsoc.physics.options import check_option
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import Method, integrate, require_x64
from jaxsoc.tables import Table, blank, time_axis, variable
from jaxsoc.upscale import taylor

from .design import Design, Supplied, design_provenance
from .soils import Soil, over_cases

_CASE = ("kinetics", "heterogeneity", "correlation")
_POOLS = {"substrate": "mgC/g", "biomass": "mgC/g", "co2": "mgC/g"}
_FLUX = "mgC g-1 h-1"


class _Budget(NamedTuple):
    """A soil's series by time; units of its moments, by term; how it was run."""

    series: taylor.Expansion
    units: tuple[str, ...]
    error: float
    method: str


class _Saver(eqx.Module):
    # A module rather than a closure: two equal savers share one compilation.
    fluxes: Callable
    of: str = eqx.field(static=True)
    order: int = eqx.field(static=True)

    def __call__(self, t: Any, state: Any, params: Any) -> taylor.Expansion:
        rate = lambda t, state, params: getattr(self.fluxes(t, state, params), self.of)
        return taylor.expand(rate, state, params, order=self.order, t=t)


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
    return _table({(): one}, times, of, {})


def budgets(
    design: Design,
    supplied: Supplied | None = None,
    *,
    order: int = 2,
    of: str = "respiration",
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> Table:
    """The budget of every case of a design, by kinetics, heterogeneity, correlation.

    exact = mean_field + Σ contribution + remainder at the highest `degree`

    Soils that start uniform are equal for all correlations, and run once. A term that a
    case does not have, since something is uniform there, is NaN in it, so that sums
    over `term` are right. Coordinates of `term`: its name and its order; `degree`:
    order of the last terms counted, 0 for the mean field.

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
    checked_choice(order, of)
    if design.members > 1:
        raise ValueError(f"a budget is of one member, got members {design.members}")
    options = {"method": design.method, "tolerance": design.tolerance}
    one = lambda soil: _run(soil, design.times, order, of, **options)
    found = over_cases(design, supplied, one, progress)
    cases = {names: result for names, (result,) in found.items()}
    return _table(cases, design.times, of, design_provenance(design))


def checked_choice(order: int, of: str) -> None:
    """Refuses an order below 1 and a flux that the model does not have.

    **Raises:** `ValueError`, which names what was received and what there is.
    """
    if order < 1 or order != int(order):
        raise ValueError(f"order must be a whole number from 1 on, got {order}")
    check_option("flux", of, Fluxes._fields)


def _run(soil, times, order, of, **options) -> _Budget:
    model, state, params = soil
    run = integrate(
        model,
        state,
        params,
        times,
        save=_Saver(model.fluxes, of, order),
        rate=model.fastest_rate,
        estimate_error=True,
        **options,
    )
    series = jax.tree.map(np.asarray, run.values)
    units = _POOLS | {n: p.unit or "?" for n, p in leaves_by_name(params).items()}
    by_term = tuple(_unit([units[name] for name in q]) for q in series.quantities)
    return _Budget(series, by_term, float(run.relative_error), run.method.name)


def _unit(units):
    """Product of units, as (mgC/g)^2 (1/h)."""
    counted = Counter(unit for unit in units if unit != "1")
    power = lambda unit, n: f"({unit})^{n}" if n > 1 else f"({unit})"
    return " ".join(power(unit, n) for unit, n in counted.items()) or "1"


def _table(
    cases: Mapping[tuple[str, ...], _Budget], times, of, about: dict[str, Any]
) -> Table:
    """Budgets by the names of their cases, which have none if there is but one."""
    order_of: dict[str, int] = {}
    for one in cases.values():
        order_of |= zip(one.series.names, one.series.orders, strict=True)
    terms = sorted(order_of, key=lambda name: order_of[name])  # stable: as expanded
    axes = {
        dim: list(dict.fromkeys(names))
        for dim, names in zip(_CASE, zip(*cases, strict=True), strict=False)
    }
    order = next(iter(cases.values())).series.order
    sizes = {dim: len(names) for dim, names in axes.items()}
    sizes |= {"time": len(times), "term": len(terms), "degree": order + 1}
    arrays = blank(sizes, _variables(of, tuple(axes)))
    for names, one in cases.items():
        at = tuple(axis.index(n) for axis, n in zip(axes.values(), names, strict=True))
        columns = [terms.index(name) for name in one.series.names]
        for name in ("contribution", "derivative", "moment"):
            arrays[name][1][at][:, columns] = getattr(one.series, name)
        arrays["moment_unit"][1][at[:1]][columns] = one.units
        for name, value in _by_time(one).items():
            arrays[name][1][at] = value
    coordinates = axes | {
        "time": time_axis(times),
        "term": variable(
            "term",
            np.asarray(terms, str),
            long_name="variance (V), covariance (C) or higher moment (M)",
        ),
        "order": ("term", np.asarray([order_of[name] for name in terms], int)),
        "degree": variable(
            "degree",
            np.arange(order + 1),
            long_name="order of the series; 0 is the mean field",
        ),
    }
    title = f"Budget of mean {of}: mean field, terms and remainder"
    known = about | {"title": title, "flux": of, "order": order}
    return Table(arrays, coordinates, known)


def _by_time(one: _Budget) -> dict[str, Any]:
    series, degrees = one.series, range(one.series.order + 1)
    of_constants = [not _POOLS.keys() >= set(q) for q in series.quantities]
    kept = series.contribution[:, np.asarray(of_constants, bool)]
    return {
        "exact": series.exact,
        "mean_field": series.mean_field,
        "without_pool_moments": series.mean_field + kept.sum(axis=1),
        "order_sum": np.stack([series.of_order(n) for n in degrees], -1),
        "remainder": np.stack([series.remainder(n) for n in degrees], -1),
        "error_estimate": one.error,
        "method": one.method,
    }


def _variables(of, case):
    """Dimensions, unit and long name of each variable of a budget of this flux."""
    time = (*case, "time")
    term, degree = (*time, "term"), (*time, "degree")
    per_moment = f"{_FLUX} per moment_unit"
    published = "series without moments of pools alone, as published"
    return {
        "exact": (time, _FLUX, f"mean {of} of the distributed model"),
        "mean_field": (time, _FLUX, f"{of} at the mean pools and mean constants"),
        "without_pool_moments": (time, _FLUX, published),
        "contribution": (term, _FLUX, "term: derivative times moment over factorials"),
        "derivative": (term, per_moment, f"mixed derivative of {of} at the means"),
        "moment": (term, "see moment_unit", "central moment over cells"),
        "order_sum": (degree, _FLUX, "sum of the terms of one order"),
        "remainder": (degree, _FLUX, "exact minus the series up to this order"),
        "moment_unit": ((*case[:1], "term"), None, "unit of the moment of a term"),
        "error_estimate": (case, "1", "estimated relative error of the mean pools"),
        "method": (case, None, "method through time chosen for the case"),
    }
