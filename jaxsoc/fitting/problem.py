"""A model, what of it is free, and the data that it is to meet: what is fitted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.parameters import Interval
from jaxsoc.physics.transforms import Leaf, leaves_by_name, transform


class Problem(eqx.Module):
    """Named parameters of a model that may move, and the data that it is to meet.

    minimise Σ w² (y - f(θ))² + Σ p² (z - z₀)²,  z the place of θ on its whole line,
    by the transform of its bounds, and z₀ that of the start

    **Arguments:** `predict`: `(params, args) -> prediction`, shaped as the data and
    differentiable in forward mode; an `eqx.Module` compiles once for all its calls;
    `params`: to start from, any pytree; `data`: y, one dimension, no NaN; `args`:
    arrays that `predict` gets and that are not fitted; `free`: names of the parameters
    to fit, the end of a dotted name being enough where only one has it, by default all
    declared ones; `bounds`: by such names, where they differ from the declared ones;
    `weights`: w, one over the standard deviation of each point, up to a common factor,
    zero to leave a point out; `prior`: p, one over the standard deviation of a normal
    prior on each line, in the same measure, zero for none; `absolute`: the weights are
    one over the standard deviation, no common factor; `name`: for errors.

    **Raises:** `ValueError` for names, bounds or data that do not fit, among them no
    more points than constants (with `absolute`, fewer), which leave no error to
    estimate.
    """

    predict: Callable
    params: Any
    data: np.ndarray
    args: Any
    weights: np.ndarray
    transforms: tuple
    start: np.ndarray
    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)
    prior: float = eqx.field(static=True)
    absolute: bool = eqx.field(static=True)

    def __init__(
        self,
        predict: Callable[[Any, Any], Any],
        params: Any,
        data: Any,
        args: Any = None,
        *,
        free: Sequence[str] | None = None,
        bounds: Mapping[str, Interval] | None = None,
        weights: Any = None,
        prior: float = 0.0,
        absolute: bool = False,
        name: str = "",
    ):
        self.predict, self.args = predict, args
        self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), params)
        self.data, self.weights = _checked_data(data, weights)
        leaves = _named_leaves(params, free, bounds)
        self.names = tuple(leaves)
        self.units = tuple(leaf.unit for leaf in leaves.values())
        self.places = tuple(leaf.place for leaf in leaves.values())
        self.prior, self.absolute = prior, absolute
        _check_count(self.points, self.names, absolute, name)
        self.transforms = tuple(transform(leaf.bounds) for leaf in leaves.values())
        _check_start(jax.tree.leaves(self.params), leaves)
        self.start = self.on_lines(self.params)

    @property
    def points(self) -> int:
        """How many points count."""
        return int((self.weights > 0).sum())

    def on_lines(self, params: Any) -> np.ndarray:
        """Places of the free parameters on their lines."""
        flat = jax.tree.leaves(params)
        pairs = zip(self.transforms, self.places, strict=True)
        return np.array([float(t.to_line(flat[place])) for t, place in pairs])

    def natural(self, z: Any) -> Any:
        """Free parameters in natural units from their places on the lines."""
        pairs = zip(self.transforms, z, strict=True)
        return jnp.stack([t.from_line(x) for t, x in pairs])

    def filled(self, z: Any) -> Any:
        """All parameters, with the free ones in place."""
        leaves, structure = jax.tree.flatten(self.params)
        for place, value in zip(self.places, self.natural(z), strict=True):
            leaves[place] = value
        return jax.tree.unflatten(structure, leaves)

    def __call__(self, z: Any) -> Any:
        """Prediction; NaN where rounding takes a constant to an end of its interval."""
        pairs = zip(self.transforms, self.natural(z), strict=True)
        inside = [(t.low < value) & (value < t.high) for t, value in pairs]
        predicted = self.predict(self.filled(z), self.args)
        return jnp.where(jnp.all(jnp.stack(inside)), predicted, jnp.nan)

    @property
    def scale(self) -> float:
        """Size of the weighted data, by which one tolerance suits all units."""
        size = float(np.sqrt(np.mean((self.weights * self.data) ** 2)))
        return size if size > 0 else 1.0

    def residuals(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Residuals over `scale`, those of the prior behind, and their Jacobian.

        NaN, all of them, where the slopes of the prediction are not finite.
        """
        predicted, slopes = map(np.asarray, evaluate(self, jnp.asarray(z)))
        if predicted.shape != self.data.shape:
            raise ValueError(
                "the model must predict one value per point, got "
                f"{predicted.shape} for {self.data.shape}"
            )
        used, scale = self.weights > 0, self.scale
        factor = self.weights[used] / scale
        r = factor * (self.data[used] - predicted[used])
        J = -factor[:, None] * slopes[used]
        if self.prior > 0:
            pull = self.prior / scale
            r = np.concatenate([r, pull * (self.start - z)])
            J = np.concatenate([J, -pull * np.eye(z.size)])
        return r if np.isfinite(J).all() else np.full_like(r, np.nan), J


@eqx.filter_jit
def evaluate(problem: Problem, z: Any) -> Any:
    """Prediction and its Jacobian, by point and constant."""
    # The basis is pushed forward together, beside one run of the model itself.
    run = lambda direction: jax.jvp(problem, (z,), (direction,))
    return jax.vmap(run, out_axes=(None, -1))(jnp.eye(z.size))


def full_name(name: str, known: Iterable[str]) -> str:
    """The one dotted name that ends in another one, whole words only.

    **Raises:** `ValueError` where none, or more than one, does.
    """
    hits = [full for full in known if f".{full}".endswith(f".{name}")]
    if len(hits) != 1:
        what = "unknown" if not hits else "ambiguous"
        names = ", ".join(hits or known)
        raise ValueError(f"{what} parameter {name!r}: expected one of {names}")
    return hits[0]


def _named_leaves(params, free, bounds) -> dict[str, Leaf]:
    known = leaves_by_name(params)
    if free is None:
        free = [name for name, leaf in known.items() if leaf.unit]
    if not free:
        raise ValueError(f"nothing is free: expected some of {', '.join(known)}")
    names = [full_name(name, known) for name in free]
    if len(set(names)) < len(names):
        raise ValueError(f"free names one twice: {', '.join(free)}")
    given = {full_name(name, known): b for name, b in (bounds or {}).items()}
    return {
        name: known[name]._replace(bounds=given.get(name, known[name].bounds))
        for name in names
    }


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


def _check_count(points, names, absolute, name):
    # As many constants as points go through every point, and leave no residual from
    # which the errors of the data, and of the constants, could be told.
    least = len(names) + (not absolute)
    if points < least:
        raise ValueError(
            f"{name}{': ' if name else ''}{points} points cannot determine "
            f"{len(names)} constants ({', '.join(names)}) and their errors: at least "
            f"{least} are needed; free fewer"
        )


def _check_start(flat, leaves):
    for name, leaf in leaves.items():
        value, bounds = flat[leaf.place], leaf.bounds
        if value.ndim:
            raise ValueError(f"{name} must be one number to be fitted, got a field")
        if not bounds.low < value < bounds.high:
            raise ValueError(f"{name} must start in {bounds}, got {value:g}")
