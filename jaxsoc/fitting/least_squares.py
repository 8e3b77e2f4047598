"""Least squares by gradients: a trust-region search from several starts.

The loop is SciPy's, outside of the compiler; compiled is one evaluation of the model
and its Jacobian.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from jaxsoc.physics.parameters import Interval
from jaxsoc.physics.transforms import Leaf, leaves_by_name, transform
from jaxsoc.solve import require_x64

from .curvature import uncertainty
from .problem import Problem, Weighted, in_natural_units, second_derivatives
from .result import Fit, Outcome, Starts, ends_with

Progress = Callable[[int, int, str], None]

# Relative fall of the sum of squares below which rounding is all there is to gain.
_LITTLE = 1e-12
# Slope of the scaled sum of squares that counts as none: an exact fit ends with it.
_FLAT = 1e-11


def silent(done: int, total: int, what: str) -> None:
    """Progress that nobody watches."""


def fit(
    predict: Callable[[Any, Any], Any],
    start: Any,
    data: Any,
    args: Any = None,
    *,
    free: Sequence[str] | None = None,
    bounds: Mapping[str, Interval] | None = None,
    weights: Any = None,
    starts: int = 8,
    spread: float = 1.5,
    key: Any = None,
    max_steps: int = 100,
    tolerance: float = 1e-7,
    exact: bool = False,
    absolute: bool = False,
    progress: Progress = silent,
) -> Fit:
    """Fits named parameters of a model to data, with uncertainty from the curvature.

    minimise Σ w² (y - f(θ))²,  θ on the whole line by the transform of its bounds

    A failure is told in the result, never raised.

    **Arguments:** `predict`: `(params, args) -> prediction`, shaped as the data and
    differentiable in forward mode; an `eqx.Module` compiles once for all its calls;
    `start`: parameters, any pytree; `data`: one dimension, no NaN; `args`: arrays that
    `predict` gets and that are not fitted; `free`: names of the parameters to fit, the
    end of a dotted name being enough where only one has it, by default all declared
    ones; `bounds`: by such names, where they differ from the declared ones; `weights`:
    one over the standard deviation of each point, up to a common factor, zero to leave
    a point out; `starts`: the given one, and others spread around it by `spread` (on
    the line: for a positive constant, in natural logarithms) drawn from `key`;
    `max_steps`: evaluations of each start, after its first; `tolerance`: relative, on
    the line; `exact`: curvature from the exact second derivatives instead of
    Gauss-Newton's; `absolute`: the weights are one over the standard deviation, no
    common factor; `progress`: called with starts done, starts in all, and a word.

    **Raises:** `ValueError` for names, bounds, options or data that do not fit, among
    them no more points than constants (with `absolute`, fewer), which leave no error to
    estimate; `RuntimeError` without 64-bit floats.
    """
    require_x64("a fit")
    data, weights = _checked_data(data, weights)
    for name, value in (("starts", starts), ("max_steps", max_steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be positive and finite, got {tolerance}")
    if not 0 <= spread < np.inf:
        raise ValueError(f"spread must be finite and not negative, got {spread}")
    leaves = named_leaves(start, free, bounds)
    check_count(int((weights > 0).sum()), tuple(leaves), absolute=absolute)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), start)
    places = tuple(leaf.place for leaf in leaves.values())
    transforms = tuple(transform(leaf.bounds) for leaf in leaves.values())
    problem = Problem(predict, params, transforms, places, args)
    key = jax.random.key(0) if key is None else key
    first = _start_on_line(params, leaves, transforms)
    z = _scattered(key, first, starts, spread)
    residuals = Weighted(problem, data, weights)
    found = []
    for one in z:
        watch = lambda: progress(len(found), starts, "starts")
        found.append(_search(residuals, one, max_steps, tolerance, watch))
    progress(starts, starts, "starts")
    return _result(residuals, leaves, z, found, exact=exact, absolute=absolute)


def check_count(
    points: int, names: Sequence[str], *, absolute: bool = False, of: str = ""
) -> None:
    """Raises `ValueError` for points too few to tell the errors of these constants.

    As many constants as points go through every point, and leave no residual from which
    the errors of the data, and of the constants, could be told.
    """
    least = len(names) + (not absolute)
    if points < least:
        raise ValueError(
            f"{of}{points} points cannot determine {len(names)} constants "
            f"({', '.join(names)}) and their errors: at least {least} are needed; free "
            "fewer"
        )


def named_leaves(
    params: Any,
    free: Sequence[str] | None,
    bounds: Mapping[str, Interval] | None = None,
) -> dict[str, Leaf]:
    """The leaves that are free, by full name, with their bounds.

    **Raises:** `ValueError` for a name that none, or more than one, has.
    """
    known = leaves_by_name(params)
    if free is None:
        free = [name for name, leaf in known.items() if leaf.unit]
    if not free:
        raise ValueError(f"nothing is free: expected some of {', '.join(known)}")
    names = [_full_name(name, known) for name in free]
    if len(set(names)) < len(names):
        raise ValueError(f"free names one twice: {', '.join(free)}")
    given = {_full_name(name, known): b for name, b in (bounds or {}).items()}
    return {
        name: known[name]._replace(bounds=given.get(name, known[name].bounds))
        for name in names
    }


def _full_name(name, known):
    hits = [full for full in known if ends_with(full, name)]
    if len(hits) != 1:
        what = "unknown" if not hits else "ambiguous"
        names = ", ".join(hits or known)
        raise ValueError(f"{what} parameter {name!r}: expected one of {names}")
    return hits[0]


def _checked_data(data, weights):
    data = np.asarray(data, dtype=float)
    if data.ndim != 1 or not data.size:
        raise ValueError(f"data must be a list of numbers, got shape {data.shape}")
    weights = np.ones_like(data) if weights is None else np.asarray(weights, float)
    if weights.shape != data.shape:
        raise ValueError(
            f"weights must be one per point, got {weights.shape} for {data.shape}"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights must be finite and not negative")
    bad = ~np.isfinite(data) & (weights > 0)
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(f"data must be finite, got {data[first]} at position {first}")
    return np.where(weights > 0, data, 0.0), weights


def _start_on_line(params, leaves, transforms):
    flat = jax.tree.leaves(params)
    z = []
    for (name, leaf), t in zip(leaves.items(), transforms, strict=True):
        value = np.asarray(flat[leaf.place])
        if value.ndim:
            raise ValueError(f"{name} must be one number to be fitted, got a field")
        if not bool(Interval(leaf.bounds.low, leaf.bounds.high).contains(value)):
            raise ValueError(f"{name} must start in {leaf.bounds}, got {value:g}")
        z.append(float(t.to_line(flat[leaf.place])))
    return np.array(z)


def _scattered(key, z, starts, spread):
    noise = np.asarray(jax.random.normal(key, (starts - 1, z.size)))
    return np.concatenate([z[None], z[None] + spread * noise])


class _End(NamedTuple):
    """Where a start ended: place, residuals, Jacobian, half the sum of squares."""

    place: np.ndarray
    residuals: np.ndarray
    jacobian: np.ndarray
    cost: float
    steps: int
    outcome: Outcome


def _search(residuals, start, max_steps, tolerance, watch):
    """Minimises half the sum of squares from one start.

    Trust-region reflective (Branch et al. 1999, doi:10.1137/S1064827595289108), with
    steps scaled by the columns of the Jacobian. A place where the model or its slopes
    are not finite is never stepped to.
    """

    @lru_cache(maxsize=1)
    def at(place):
        watch()
        r, J = residuals(np.array(place))
        sound = np.isfinite(r).all() and np.isfinite(J).all()
        return (r, J) if sound else (np.full_like(r, np.nan), J)

    r, J = at(tuple(start))
    if not np.isfinite(r).all():
        return _End(start, r, J, np.inf, 0, Outcome.NOT_FINITE)
    found = optimize.least_squares(
        lambda z: at(tuple(z))[0],
        start,
        lambda z: at(tuple(z))[1],
        x_scale="jac",
        xtol=tolerance,
        ftol=_LITTLE,
        gtol=_FLAT,
        max_nfev=max_steps + 1,
    )
    outcome = Outcome.CONVERGED if found.success else Outcome.NOT_CONVERGED
    return _End(found.x, found.fun, found.jac, found.cost, found.nfev - 1, outcome)


def _result(residuals, leaves, start, ends: list[_End], *, exact, absolute):
    problem, scale = residuals.problem, residuals.scale
    weights = residuals.weights[residuals.weights > 0]
    data = residuals.data[residuals.weights > 0]
    best = int(np.argmin([end.cost for end in ends]))
    z, r, J, _, _, outcome = ends[best]
    curvature = J.T @ J
    if exact:
        given = (jnp.asarray(x) for x in (z, residuals.data, residuals.weights))
        curvature = np.asarray(second_derivatives(problem, *given)) / scale**2
    # The residuals were divided by their common scale, and so is their variance.
    variance = 1 / scale**2 if absolute else float(r @ r) / (len(r) - len(z))
    said = uncertainty(tuple(leaves), J, curvature, variance, outcome)
    places = jnp.asarray(np.stack([*start, *(end.place for end in ends)]))
    natural, slopes = map(np.asarray, in_natural_units(problem, places))
    first, last = natural[: len(ends)], natural[len(ends) :]
    slope = slopes[len(ends) + best]
    return Fit(
        names=tuple(leaves),
        units=tuple(leaf.unit for leaf in leaves.values()),
        values=last[best],
        covariance=slope[:, None] * said.covariance * slope[None, :],
        log_error=np.sqrt(np.diag(said.covariance)),
        params=jax.tree.map(np.asarray, problem.filled(jnp.asarray(z))),
        predicted=data - scale * r / weights,
        data=data,
        weights=weights,
        starts=Starts(
            first,
            last,
            scale * np.sqrt([2 * end.cost / len(r) for end in ends]),
            np.array([end.steps for end in ends]),
            tuple(end.outcome for end in ends),
        ),
        outcome=said.outcome,
        reason=said.reason,
    )
