"""Least squares by gradients: Levenberg-Marquardt from several starts at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.parameters import Interval
from jaxsoc.physics.transforms import Leaf, leaves_by_name, transform
from jaxsoc.solve import require_x64

from .curvature import uncertainty
from .levenberg import Search, search
from .problem import Problem, Weighted, second_derivatives
from .result import Fit, Outcome, Starts, ends_with

Progress = Callable[[int, int, str], None]


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
    `max_steps`: of the optimiser, each start; `tolerance`: relative and absolute, on
    the line; `exact`: curvature from the exact second derivatives instead of
    Gauss-Newton's; `absolute`: the weights are one over the standard deviation, no
    common factor; `progress`: called with starts done, starts in all, and a word.

    **Raises:** `ValueError` for names, bounds, or data that do not fit; `RuntimeError`
    without 64-bit floats.
    """
    require_x64("a fit")
    data, weights = _checked_data(data, weights)
    if starts < 1:
        raise ValueError(f"starts must be at least 1, got {starts}")
    leaves = named_leaves(start, free, bounds)
    if np.count_nonzero(weights) < len(leaves):
        raise ValueError(
            f"{np.count_nonzero(weights)} points cannot determine {len(leaves)} "
            f"constants ({', '.join(leaves)}): free fewer"
        )
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), start)
    places = tuple(leaf.place for leaf in leaves.values())
    transforms = tuple(transform(leaf.bounds) for leaf in leaves.values())
    problem = Problem(predict, params, transforms, places, args)
    key = jax.random.key(0) if key is None else key
    first = _start_on_line(params, leaves, transforms)
    z = _scattered(key, first, starts, spread)
    residuals = Weighted(problem, data, weights)
    watch = lambda done: progress(done, starts, "starts")
    found = search(residuals, z, max_steps=max_steps, tolerance=tolerance, watch=watch)
    return _result(residuals, leaves, z, found, exact=exact, absolute=absolute)


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


def _outcome(cost, converged):
    if not np.isfinite(cost):
        return Outcome.NOT_FINITE
    return Outcome.CONVERGED if converged else Outcome.NOT_CONVERGED


def _result(residuals, leaves, start, found: Search, *, exact, absolute):
    problem, scale = residuals.problem, residuals.scale
    weights = residuals.weights[residuals.weights > 0]
    data = residuals.data[residuals.weights > 0]
    best = int(np.argmin(found.cost))
    z, r, J = found.place[best], found.residuals[best], found.jacobian[best]
    curvature = J.T @ J
    if exact:
        given = (jnp.asarray(x) for x in (z, residuals.data, residuals.weights))
        curvature = np.asarray(second_derivatives(problem, *given)) / scale**2
    # The residuals were divided by their common scale, and so is their variance.
    freedom = max(len(r) - len(z), 1)
    variance = 1 / scale**2 if absolute else float(r @ r) / freedom
    outcomes = tuple(map(_outcome, found.cost, found.converged))
    said = uncertainty(tuple(leaves), J, curvature, variance, outcomes[best])
    natural = lambda places: np.asarray(jax.vmap(problem.natural)(jnp.asarray(places)))
    slopes = np.diag(np.asarray(jax.jacfwd(problem.natural)(jnp.asarray(z))))
    ends = natural(found.place)
    return Fit(
        names=tuple(leaves),
        units=tuple(leaf.unit for leaf in leaves.values()),
        values=ends[best],
        covariance=slopes[:, None] * said.covariance * slopes[None, :],
        log_error=np.sqrt(np.diag(said.covariance)),
        params=jax.tree.map(np.asarray, problem.filled(jnp.asarray(z))),
        predicted=data - scale * r / weights,
        data=data,
        weights=weights,
        starts=Starts(
            natural(start),
            ends,
            scale * np.sqrt(2 * found.cost / len(r)),
            found.steps,
            outcomes,
        ),
        outcome=said.outcome,
        reason=said.reason,
    )
