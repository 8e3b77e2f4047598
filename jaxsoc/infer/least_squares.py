"""Least squares by gradients: a trust-region search from several starts.

The loop is SciPy's, outside of the compiler; compiled is one evaluation of the model
and its Jacobian.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxsoc.physics.parameters import NON_NEGATIVE, POSITIVE, Interval
from jaxsoc.solve import require_x64
from jaxsoc.solve.progress import Progress, silent

from .curvature import uncertainty
from .problem import Problem
from .result import Fit, Outcome, Starts

_COUNT = Interval(1, np.inf, closed_low=True)
# Relative fall of the sum of squares below which rounding is all there is to gain.
_LITTLE = 1e-12
# Slope of the scaled sum of squares that counts as none: an exact fit ends with it.
_FLAT = 1e-11
# Points beyond which an evaluation is dear: steps that every start then takes, and how
# many of them, the best, go on.
_MANY, _FIRST_STEPS, _GO_ON = 10_000, 10, 2


def fit(
    problem: Problem,
    *,
    starts: int = 8,
    spread: float = 1.5,
    key: Any = None,
    max_steps: int = 100,
    tolerance: float = 1e-7,
    progress: Progress = silent,
) -> Fit:
    """Solves a problem, with uncertainty from the curvature.

    A failure is told in the result, never raised.

    Of more than 10,000 points, all starts take ten steps and the best two go on.

    **Arguments:** `problem`: see `Problem`; `starts`: the given one, and others spread
    around it by `spread` (on the line: for a positive constant, in natural logarithms)
    drawn from `key`; `max_steps`: evaluations of each start, after its first;
    `tolerance`: relative, on the line; `progress`: called with starts done, starts in
    all, and a word.

    **Raises:** `ValueError` for options that make no sense, or a prediction that is not
    shaped as the data; `RuntimeError` without 64-bit floats.
    """
    require_x64("a fit")
    _COUNT.check("starts", starts)
    _COUNT.check("max_steps", max_steps)
    POSITIVE.check("tolerance", tolerance)
    NON_NEGATIVE.check("spread", spread)
    key = jax.random.key(0) if key is None else key
    given = problem.start[: len(problem.names)]
    away = np.asarray(jax.random.normal(key, (starts - 1, given.size)))
    places = np.stack([given, *(given + spread * away)])
    ends: list[optimize.OptimizeResult] = []
    first = min(_FIRST_STEPS, max_steps) if problem.points > _MANY else max_steps
    watch = lambda: progress(len(ends), starts, "starts")
    for place in places:
        ends.append(_search(problem, place, first, tolerance, watch))
    if first < max_steps:
        for n in np.argsort([end.cost for end in ends])[:_GO_ON]:
            if not ends[n].success and np.isfinite(ends[n].cost):
                before = ends[n]
                ends[n] = _search(
                    problem, before.x, max_steps - first, tolerance, watch
                )
                ends[n].nfev += before.nfev - 1
    progress(starts, starts, "starts")
    return _result(problem, places, ends)


def fit_all(
    problems: Mapping[tuple[str, str], Problem],
    *,
    progress: Progress = silent,
    **options: Any,
) -> dict[tuple[str, str], Fit]:
    """Solves every problem, by name of the series and of the kinetics.

    A search that fails is told in its `Fit`, never raised.

    **Arguments:** `progress`: called with fits done, a fraction of one as its starts
    are, fits in all, and the one at work; `options`: see `fit`.
    **Raises:** as `fit`.
    """
    fits: dict[tuple[str, str], Fit] = {}
    for (series, law), problem in problems.items():
        watch = lambda done, starts, _, name=f"{law} {series}": progress(
            len(fits) + done / starts, len(problems), name
        )
        fits[series, law] = fit(problem, progress=watch, **options)
    return fits


def _search(problem, start, max_steps, tolerance, watch) -> optimize.OptimizeResult:
    """Minimises half the sum of squares from one start.

    Trust-region reflective (Branch et al. 1999, doi:10.1137/S1064827595289108), with
    steps scaled by the columns of the Jacobian. A place where the model or its slopes
    are not finite is never stepped to.
    """

    @lru_cache(maxsize=1)
    def at(place):
        watch()
        return problem.residuals(np.array(place))

    r, J = at(tuple(start))
    if not np.isfinite(r).all():
        return optimize.OptimizeResult(x=start, fun=r, jac=J, cost=np.inf, nfev=1)
    return optimize.least_squares(
        lambda z: at(tuple(z))[0],
        start,
        # The stub of SciPy knows names alone.
        lambda z: at(tuple(z))[1],  # pyright: ignore[reportArgumentType]
        x_scale="jac",
        xtol=tolerance,
        ftol=_LITTLE,
        gtol=_FLAT,
        max_nfev=max_steps + 1,
    )


def _outcome(end):
    if not np.isfinite(end.cost):
        return Outcome.NOT_FINITE
    return Outcome.CONVERGED if end.success else Outcome.NOT_CONVERGED


def _result(problem, starts, ends):
    scale, count = problem.scale, problem.points
    best = int(np.argmin([end.cost for end in ends]))
    z, r, J = ends[best].x, ends[best].fun, ends[best].jac
    # The residuals were divided by their common scale, and so is their variance.
    known = problem.known_noise
    variance = (problem.noise / scale) ** 2 if known else r @ r / (len(r) - len(z))
    covariance, outcome, reason = uncertainty(
        problem.names, J, variance, _outcome(ends[best])
    )
    lines = jnp.asarray(np.concatenate([starts, [end.x for end in ends]]).T)
    found = jax.jvp(problem.natural, (lines,), (jnp.ones_like(lines),))
    natural, slopes = (np.asarray(x).T for x in found)
    slope = slopes[len(ends) + best]
    used = problem.weights > 0
    data, weights = problem.data[used], problem.weights[used]
    return Fit(
        names=problem.names,
        units=problem.units,
        values=natural[len(ends) + best],
        covariance=slope[:, None] * covariance * slope[None, :],
        log_error=np.sqrt(np.diag(covariance)),
        params=jax.tree.map(np.asarray, problem.filled(jnp.asarray(z))),
        predicted=data - scale * r[:count] / weights,
        data=data,
        args=problem.args,
        starts=Starts(
            natural[: len(ends)],
            natural[len(ends) :],
            scale * np.sqrt([2 * end.cost / len(r) for end in ends]),
            np.array([end.nfev - 1 for end in ends]),
            tuple(map(_outcome, ends)),
        ),
        outcome=outcome,
        reason=reason,
    )
