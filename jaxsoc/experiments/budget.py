"""What a mean rate owes to each moment, over time, against the distributed model."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from jaxsoc.models.two_pool import Fluxes
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import Method, integrate, require_x64
from jaxsoc.upscale import taylor

from .design import Design, Supplied
from .soils import Case, Soil, over_cases

_POOLS = {"substrate": "mgC/g", "biomass": "mgC/g", "co2": "mgC/g"}


class Budget(NamedTuple):
    """The mean of one flux over time as the flux at the means and its terms.

    F̄(t) = F(x̄) + Σ ∂^α F(x̄) ⟨(x - x̄)^α⟩ / α! + remainder

    `of`: the flux, mgC/g/h; `times`: h; `exact`: F̄ of the distributed model;
    `mean_field`: F(x̄); `derivative`, `moment`, `contribution`: by time and term;
    `names`, `orders`: of the terms; `quantities`: what each is a moment of; `units`: of
    the moments; `order`: up to which the terms go; `error`: estimated relative error
    of the mean pools; `method`: of the run through time.
    """

    of: str
    times: np.ndarray
    exact: np.ndarray
    mean_field: np.ndarray
    derivative: np.ndarray
    moment: np.ndarray
    contribution: np.ndarray
    names: tuple[str, ...]
    orders: tuple[int, ...]
    quantities: tuple[tuple[str, ...], ...]
    units: tuple[str, ...]
    order: int
    error: float
    method: str

    def term(self, name: str) -> taylor.Term:
        """A term over time: derivative, moment, contribution.

        **Raises:** `KeyError` that lists the terms there are.
        """
        if name not in self.names:
            raise KeyError(f"no term {name!r}: the terms are {', '.join(self.names)}")
        i = self.names.index(name)
        every: Any = self.derivative, self.moment, self.contribution
        return taylor.Term(*(x[:, i] for x in every))

    def of_order(self, order: int) -> np.ndarray:
        """Sum of the contributions of one order; the mean field for order 0.

        **Raises:** `ValueError` for an order that was not expanded to.
        """
        if not 0 <= order <= self.order:
            raise ValueError(
                f"the series was expanded to order {self.order}, asked for {order}"
            )
        if order == 0:
            return self.mean_field
        return self.contribution[:, np.asarray(self.orders, int) == order].sum(axis=1)

    def partial_sum(self, order: int | None = None) -> np.ndarray:
        """F̄ as the terms up to this order have it, all of them by default."""
        most = self.order if order is None else order
        return np.sum([self.of_order(n) for n in range(most + 1)], axis=0)

    def remainder(self, order: int | None = None) -> np.ndarray:
        """What the terms up to this order miss: F̄ minus the partial sum."""
        return self.exact - self.partial_sum(order)

    def without_pool_moments(self, order: int | None = None) -> np.ndarray:
        """The partial sum without the moments of pools alone, as published.

        F(x̄) + Σ terms in which a constant takes part, |α| ≤ order

        Right for uniform pools alone, so for biochemical heterogeneity at t = 0: where
        constants differ, so do the pools from then on.
        Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eq. 17 (order 2)
        and Table 2, whose middle column has this at all times.
        """
        most = self.order if order is None else order
        chosen = [
            n <= most and not all(name in _POOLS for name in quantities)
            for n, quantities in zip(self.orders, self.quantities, strict=True)
        ]
        kept = self.contribution[:, np.asarray(chosen, bool)]
        return self.mean_field + kept.sum(axis=1)


class TableRow(NamedTuple):
    """One term of one case at one time.

    `hours`: h; `derivative`, `moment`: in their own units; `contribution`: mgC/g/h;
    `relative`: the same in units of the mean field, see `taylor.relative`; `pools`: how
    many of its quantities are pools, the others being constants.
    """

    kinetics: str
    heterogeneity: str
    correlation: str
    term: str
    hours: float
    derivative: float
    moment: float
    contribution: float
    relative: float
    pools: int


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
) -> Budget:
    """Runs a soil and splits the mean of a flux into its terms at each time.

    F̄ = F(x̄) + Σ 1/α! ∂^α F(x̄) ⟨(x - x̄)^α⟩ + remainder,  2 ≤ |α| ≤ order

    Means and moments are those of the distributed model: nothing is closed.

    **Arguments:** `soil`: from `case`, or any two-pool model, pools (mgC/g) and
    parameters; `times`: h, saved; `order`: of the last terms; `of`: decomposition,
    mortality, growth or respiration; `method`, `tolerance`: see `integrate`.

    **Raises:** `ValueError` for an order below 1, a flux that is not known, or times
    that do not fit; `RuntimeError` without 64-bit floats; `IntegrationError`.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 7-10, Fig. 8.
    """
    require_x64("a budget")
    checked_choice(order, of)
    model, state, params = soil
    run = integrate(
        model,
        state,
        params,
        times,
        save=_Saver(model.fluxes, of, order),
        method=method,
        rate=model.fastest_rate,
        tolerance=tolerance,
        estimate_error=True,
    )
    found = jax.tree.map(np.asarray, run.values)
    units = _POOLS | {n: p.unit or "?" for n, p in leaves_by_name(params).items()}
    return Budget(
        of=of,
        times=np.asarray(run.times),
        exact=found.exact,
        mean_field=found.mean_field,
        derivative=found.derivative,
        moment=found.moment,
        contribution=found.contribution,
        names=found.names,
        orders=found.orders,
        quantities=found.quantities,
        units=tuple(_unit([units[name] for name in q]) for q in found.quantities),
        order=order,
        error=float(run.relative_error),
        method=run.method.name,
    )


def budgets(
    design: Design,
    supplied: Supplied | None = None,
    *,
    order: int = 2,
    of: str = "respiration",
    progress: Callable[[int, int, str], None] = lambda done, total, case: None,
) -> dict[Case, Budget]:
    """The budget of every case of a design, by kinetics, heterogeneity, correlation.

    Soils that start uniform are equal for all correlations, and run once.

    **Arguments:** `supplied`: fields that take the place of generated ones; `order`,
    `of`: see `budget`; `progress`: called with cases done, cases in all, and the name
    of the next.

    **Raises:** as `budget`; `ValueError` for a design of several members.
    """
    require_x64("a budget")
    checked_choice(order, of)
    if design.members > 1:
        raise ValueError(f"a budget is of one member, got members {design.members}")
    options = {"method": design.method, "tolerance": design.tolerance}
    one = lambda soil: budget(soil, design.times, order=order, of=of, **options)
    found = over_cases(design, supplied, one, progress)
    return {names: result for names, (result,) in found.items()}


def second_order_table(
    cases: Mapping[Case, Budget], hours: Sequence[float]
) -> list[TableRow]:
    """The terms of order 2 of every case at some of its times: Table 2, in numbers.

    The published column of biochemical heterogeneity has the terms of constants alone,
    with Michaelis-Menten kinetics V_K and C_kK. The table says when that holds: rows
    with `pools` > 0 are zero at t = 0, and not from then on.

    **Arguments:** `cases`: from `budgets`; `hours`: saved times, h.

    **Raises:** `ValueError` for a time that was not saved.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Table 2.
    """
    rows = []
    for (names, one), hour in product(cases.items(), hours):
        at = int(np.argmin(np.abs(one.times - hour)))
        if not math.isclose(one.times[at], hour, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(
                f"hours must be saved times, got {hour:g}; the nearest is "
                f"{one.times[at]:g}"
            )
        shares = np.asarray(taylor.relative(one.contribution, one.mean_field))
        for i, name in enumerate(one.names):
            if one.orders[i] != 2:
                continue
            rows.append(
                TableRow(
                    *names,
                    term=name,
                    hours=float(one.times[at]),
                    derivative=float(one.derivative[at, i]),
                    moment=float(one.moment[at, i]),
                    contribution=float(one.contribution[at, i]),
                    relative=float(shares[at, i]),
                    pools=sum(name in _POOLS for name in one.quantities[i]),
                )
            )
    return rows


def checked_choice(order: int, of: str) -> None:
    """Refuses an order below 1 and a flux that the model does not have.

    **Raises:** `ValueError`, which names what was received and what there is.
    """
    if order < 1 or order != int(order):
        raise ValueError(f"order must be a whole number from 1 on, got {order}")
    if of not in Fluxes._fields:
        raise ValueError(
            f"unknown flux {of!r}: expected one of {', '.join(Fluxes._fields)}"
        )


def _unit(units):
    """Product of units, as (mgC/g)^2 (1/h)."""
    counted = Counter(unit for unit in units if unit != "1")
    power = lambda unit, n: f"({unit})^{n}" if n > 1 else f"({unit})"
    return " ".join(power(unit, n) for unit, n in counted.items()) or "1"
