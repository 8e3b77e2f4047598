"""Columns through time beside SciPy: BDF month by month, and reused sparse factors.

CLM5 at sites that differ, from its steady state into years that are warmer and have
more litter; months are constant in themselves and the same every year, so that powers
of exact exponentials are the reference. On each side the loosest setting with stocks
within 1e-3 at the end of every year is timed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import splu

from jaxsoc import steady_state
from jaxsoc.columns import Change, transient
from jaxsoc.columns.seasons import MONTH
from jaxsoc.columns.transient import changed
from jaxsoc.models import CLM5
from jaxsoc.physics.forcing import MONTHS
from jaxsoc.physics.parameters import from_vector
from jaxsoc.solve import Sites, map_sites

from .column_rivals import dense, flows, litter_on, network
from .timing import medians

WARMING, LITTER = 3.0, 1.2
ACCURACY = 1e-3
DEPTHS = (0.3, 1.0, 2.0)
RTOL = tuple(10.0**-n for n in range(2, 9))
# Ours, from loose to tight.
SETTINGS = (
    *(("backward_euler", n) for n in (1, 2, 4)),
    *(("second_order", n) for n in (1, 2, 4)),
)
CENTURY = 100
# Sites and years that SciPy is timed with, scaled to a year of a site.
RIVAL_SITES, RIVAL_YEARS = 2, 3


def runs(
    case: Any, repeats: int, years: int, compiled: Callable, say: Callable
) -> dict[str, Any]:
    """Seconds of every side, and what they are to each other.

    **Arguments:** `case`: sites of CLM5; `years`: of a run that is timed.
    """
    count = len(case.vectors)
    few = [_months(case, site) for site in range(RIVAL_SITES)]
    exact = [_exact(site, RIVAL_YEARS) for site in few]
    found, chosen = {}, {}
    sides = {
        "ours": (SETTINGS, lambda s: _ours_few(case, s)),
        "bdf": (RTOL, lambda s: [_bdf(site, s) for site in few]),
        "splu": ((1, 2, 4, 8), lambda s: [_splu(site, s)(RIVAL_YEARS) for site in few]),
    }
    for name, (settings, run) in sides.items():
        for chosen[name] in settings:
            found[name] = _error(case, exact, run(chosen[name]))
            if found[name] <= ACCURACY:
                break
    vectors, forcing = (Sites.of(x).shared() for x in (case.vectors, case.forcing))
    forward = compiled(_lifted(_run(chosen["ours"], years)), vectors, forcing)
    gradient = compiled(
        _lifted(jax.value_and_grad(_misfit(chosen["ours"], years))), vectors, forcing
    )
    spent = medians({"forward": forward, "gradient": gradient}, repeats)
    factors = [_splu(site, chosen["splu"]) for site in few]
    rival = medians(
        {
            "bdf": lambda: [_bdf(site, chosen["bdf"]) for site in few],
            "splu": lambda: [solve(years) for solve in factors],
        },
        5,
    )
    ours = spent["forward"] / (count * years)
    bdf = rival["bdf"] / (RIVAL_SITES * RIVAL_YEARS)
    reused = rival["splu"] / (RIVAL_SITES * years)
    say(
        f"run: {1e6 * ours:.1f} µs a site and year by {chosen['ours']}; BDF "
        f"{1e6 * bdf:.0f} µs at rtol {chosen['bdf']:g}, reused sparse factors "
        f"{1e6 * reused:.0f} µs with {chosen['splu']} steps a month; gradient "
        f"{spent['gradient'] / spent['forward']:.1f} times the run"
    )
    return {
        "transient_speedup_over_scipy_bdf": bdf / ours,
        "transient_over_splu": reused / ours,
        "transient_microseconds_per_site_year": 1e6 * ours,
        "transient_gradient_over_forward": spent["gradient"] / spent["forward"],
        "transient_sites": count,
        "transient_years": years,
        "transient_settings": {name: str(s) for name, s in chosen.items()},
        "transient_error_of_stocks": found,
        "transient_accuracy_met": {n: bool(e <= ACCURACY) for n, e in found.items()},
        "transient_century_of_1024_sites_seconds": 1024 * CENTURY * ours,
        "transient_gradient_gib": _gib(gradient),
    }


def _gib(program: Any) -> float:
    """What a program needs besides what it is given and returns."""
    return program.run.memory_analysis().temp_size_in_bytes / 2**30


def _lifted(one: Callable) -> Callable:
    return lambda v, f: map_sites(one, v, f)


def _run(setting: Any, years: int) -> Callable:
    """Pools at the end of each year, of one site."""
    method, steps = setting
    changes = Change(jnp.full(years, WARMING), jnp.full(years, LITTER))

    def one(vector, forcing):
        params, model = from_vector(CLM5.parameters, vector), CLM5(forcing)
        return transient(
            *(model, params, steady_state(model, params)),
            changes=changes,
            method=method,
            steps=steps,
            save=lambda model, months: jax.tree.map(lambda x: x[-1], months.end.carbon),
        ).saved

    return one


def _misfit(setting: Any, years: int) -> Callable:
    run = _run(setting, years)

    def one(vector, forcing):
        saved = run(vector, forcing)
        return sum(jnp.sum(pool[-1]) for pool in saved) * 1e-3

    return one


def _ours_few(case: Any, setting: Any) -> list[np.ndarray]:
    """By site, (year, pool and layer)."""
    run = jax.jit(_run(setting, RIVAL_YEARS))
    pick = lambda site: jax.tree.map(lambda x: x[site], (case.vectors, case.forcing))
    return [np.concatenate(run(*pick(site)), axis=1) for site in range(RIVAL_SITES)]


def _months(case: Any, site: int) -> tuple[np.ndarray, list[tuple]]:
    """The start of a site, and M and b of each of its months."""
    vector, forcing = jax.tree.map(lambda x: x[site], (case.vectors, case.forcing))
    params, model = from_vector(CLM5.parameters, vector), CLM5(forcing)
    start = np.concatenate(steady_state(model, params))
    warm = changed(forcing, Change(jnp.asarray(WARMING), jnp.asarray(LITTER)))
    months, names = [], model.pools._fields
    for month in range(MONTHS):
        only = CLM5(warm.month(jnp.asarray(month)))
        around, net = only.surroundings(params), network(only, params)
        litter = litter_on(net, around)
        M = dense(net, flows(net, only, around, params), names)
        months.append((np.asarray(M), np.concatenate([litter[n] for n in names])))
    return start, months


def _exact(site: Any, years: int) -> np.ndarray:
    x, months = site
    steps = []
    for M, b in months:
        grown, rest = scipy.linalg.expm(MONTH * M), np.linalg.solve(M, -b)
        steps.append((grown, rest - grown @ rest))
    found = []
    for _ in range(years):
        for grown, added in steps:
            x = grown @ x + added
        found.append(x)
    return np.stack(found)


def _bdf(site: Any, rtol: float) -> np.ndarray:
    """Month by month, the Jacobian given as a sparse matrix."""
    x, months = site
    made = [(scipy.sparse.csc_matrix(M), b) for M, b in months]
    found = []
    for _ in range(RIVAL_YEARS):
        for M, b in made:
            # Its first difference is of memory that nothing was written to.
            with np.errstate(invalid="ignore", over="ignore"):
                x = scipy.integrate.solve_ivp(
                    *(lambda t, x, M=M, b=b: M @ x + b, (0.0, MONTH), x),
                    method="BDF",
                    jac=lambda t, x, M=M: M,
                    rtol=rtol,
                    atol=rtol * 1e-3,
                ).y[:, -1]
        found.append(x)
    return np.stack(found)


def _splu(site: Any, steps: int) -> Callable[[int], np.ndarray]:
    """Backward Euler, the factors of the twelve months made once."""
    start, months = site
    length = MONTH / steps
    unit = scipy.sparse.identity(start.size, format="csc")
    solvers = [(splu(unit / length - scipy.sparse.csc_matrix(M)), b) for M, b in months]

    def run(years):
        x, found = start, []
        for _ in range(years):
            for solver, b in solvers:
                for _ in range(steps):
                    x = solver.solve(x / length + b)
            found.append(x)
        return np.stack(found)

    return run


def _error(case: Any, exact: Any, found: Any) -> float:
    """Largest difference of a stock at the end of a year, relative."""
    column, names = case.forcing.column, CLM5.pools._fields
    weights = np.vstack([column.share_above(DEPTHS), column.thickness])

    def stocks(pools):
        by_pool = pools.reshape(len(pools), len(names), -1)
        soil = sum(by_pool[:, names.index(name)] for name in CLM5.soil)
        return soil @ weights.T

    pairs = zip(exact, found, strict=True)
    return max(float(np.max(np.abs(stocks(b) / stocks(a) - 1))) for a, b in pairs)
