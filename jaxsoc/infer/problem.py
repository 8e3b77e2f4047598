"""A model, what of it is free, and the data that it is to meet: what is fitted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import POSITIVE, Interval
from jaxsoc.physics.transforms import Leaf, leaves_by_name, transform

PROFILED, FREE = "profiled", "free"
_number = lambda x: np.asarray(x, dtype=float)


class Normal(eqx.Module):
    """Normal distribution of a value, or with `OnLine` of its place, before the data.

    **Raises:** `ValueError` for a deviation that is not positive and finite.
    """

    mean: Any = eqx.field(converter=_number)
    deviation: Any = eqx.field(converter=_number)

    def __check_init__(self):
        POSITIVE.check("deviation", self.deviation)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        return norm.logpdf(value, self.mean, self.deviation)


class OnLine(eqx.Module):
    """A prior of the place on the whole line, not of the value; flat without one."""

    distribution: Any = None


class Problem(eqx.Module):
    """Named parameters of a model that may move, and the data that it is to meet.

    y = f(θ) + σ ε / w,  ε standard normal,  θ = T(z), z on the whole line
    log p(z | y) = log p(y | θ, σ) + log p(θ) + log |dθ/dz| + constant

    What searches and samplers need: `residuals`, `log_density`, `natural`, `start`.

    **Arguments:** `predict`: `(params, args) -> prediction`, shaped as the data and
    differentiable in forward mode; an `eqx.Module` compiles once for all its calls;
    `params`: to start from, any pytree; `data`: y, one dimension, no NaN; `args`:
    arrays that `predict` gets and that are not fitted; `free`: names of the parameters
    to fit, the end of a dotted name being enough where only one has it, by default all
    declared ones; `bounds`: by such names, where they differ from the declared ones;
    `priors`: by such names, each with `log_prob` of the value or an `OnLine` of its
    place, by default uniform within the bounds; or one number, the standard deviation
    of a normal prior on every line about the start; `noise`: σ if it is known,
    "profiled" for the most likely at every place, "free" for log σ as the last of z,
    with a flat prior; `weights`: w, one over the standard deviation of each point in
    units of σ, zero to leave a point out; `name`: for errors.

    **Raises:** `ValueError` for names, bounds, priors or data that do not fit, among
    them no more points than constants (with a known noise, fewer), which leave no error
    to estimate.
    """

    predict: Callable
    params: Any
    data: np.ndarray
    args: Any
    weights: np.ndarray
    transforms: tuple
    priors: tuple
    noise: Any
    start: np.ndarray
    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)
    places: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        predict: Callable[[Any, Any], Any],
        params: Any,
        data: Any,
        args: Any = None,
        *,
        free: Sequence[str] | None = None,
        bounds: Mapping[str, Interval] | None = None,
        priors: Mapping[str, Any] | float | None = None,
        noise: float | str = PROFILED,
        weights: Any = None,
        name: str = "",
    ):
        self.predict, self.args = predict, args
        self.params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), params)
        self.data, self.weights = _checked_data(data, weights)
        self.noise = _checked_noise(noise)
        leaves = _named_leaves(params, free, bounds)
        self.names = tuple(leaves)
        self.units = tuple(leaf.unit for leaf in leaves.values())
        self.places = tuple(leaf.place for leaf in leaves.values())
        _check_count(self.points, self.names, self.known_noise, name)
        self.transforms = tuple(transform(leaf.bounds) for leaf in leaves.values())
        _check_start(jax.tree.leaves(self.params), leaves)
        start = self.on_lines(self.params)
        self.priors = _checked_priors(priors, self.names, start)
        last = [np.log(self.scale)] if noise == FREE else []
        self.start = np.append(start, last)

    @property
    def points(self) -> int:
        """How many points count."""
        return int((self.weights > 0).sum())

    @property
    def known_noise(self) -> bool:
        """Whether σ is a number."""
        return not isinstance(self.noise, str)

    def on_lines(self, params: Any) -> np.ndarray:
        """Places of the free parameters on their lines."""
        flat = jax.tree.leaves(params)
        pairs = zip(self.transforms, self.places, strict=True)
        return np.array([float(t.unconstrained(flat[place])) for t, place in pairs])

    def natural(self, z: Any) -> Any:
        """Free parameters in natural units from their places on the lines."""
        pairs = zip(self.transforms, z, strict=False)
        return jnp.stack([t.constrained(x) for t, x in pairs])

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

    def log_likelihood(self, z: Any) -> Any:
        """Logarithm of the density of the data, of all points that count.

        Profiled, σ² = Σ w² (y - f)² / n; but for a constant this is also what is left
        when σ is integrated out under a prior that is flat in log σ.
        """
        used = self.weights > 0
        w = jnp.where(used, self.weights, 1.0)
        off = jnp.where(used, w * (self.data - self(z)), 0.0)
        n, squares = jnp.sum(jnp.where(used, 1.0, 0.0)), jnp.sum(off**2)
        log_noise = 0.5 * jnp.log(squares / n)
        if self.known_noise:
            log_noise = jnp.log(self.noise)
        elif self.noise == FREE:
            log_noise = z[-1]
        chi = 0.5 * squares * jnp.exp(-2 * log_noise)
        return jnp.sum(jnp.log(w)) - chi - n * (log_noise + 0.5 * np.log(2 * np.pi))

    def log_prior(self, z: Any) -> Any:
        """Logarithm of the prior density of z: log p(θ) + log |dθ/dz|."""
        total = jnp.zeros(())
        for t, prior, value, x in zip(
            self.transforms, self.priors, self.natural(z), z, strict=False
        ):
            if isinstance(prior, OnLine):
                one = prior.distribution
                total += 0.0 if one is None else one.log_prob(x)
            else:
                width = jnp.log(t.high - t.low) if all(t.ends) else 0.0
                own = -width if prior is None else prior.log_prob(value)
                total += own + t.log_slope(x)
        return total

    def log_density(self, z: Any) -> Any:
        """Logarithm of the posterior density of z but for a constant, for samplers.

        Minus infinity where the prediction is not finite. As differentiable as
        `predict`; under `jit` the problem may be an argument or closed over.
        """
        found = self.log_likelihood(z) + self.log_prior(z)
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    @property
    def scale(self) -> float:
        """Size of the weighted data, by which one tolerance suits all units."""
        size = float(np.sqrt(np.mean((self.weights * self.data) ** 2)))
        return size if size > 0 else 1.0

    def residuals(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """w (y - f) over `scale`, then those of normal priors, and their Jacobian.

        NaN, all of them, where the slopes of the prediction are not finite.

        **Raises:** `ValueError` for a prediction that is not shaped as the data, and
        for priors that are no sum of squares.
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
        rows = [
            self._prior_row(i, prior, z)
            for i, prior in enumerate(self.priors)
            if not _flat(prior)
        ]
        if rows:
            own, slope = (np.stack(x) for x in zip(*rows, strict=True))
            r, J = np.append(r, own / scale), np.concatenate([J, slope / scale])
        return r if np.isfinite(J).all() else np.full_like(r, np.nan), J

    def _prior_row(self, i, prior, z):
        """σ (μ - x) / s of a normal prior and its slopes, x the value or its place."""
        on_line = isinstance(prior, OnLine)
        normal = prior.distribution if on_line else prior
        if not (isinstance(normal, Normal) and self.known_noise):
            raise ValueError(
                f"least squares takes a prior of {self.names[i]} that is normal, with "
                f"a known noise to weigh it by, got {type(normal).__name__} and "
                f"noise {self.noise}; give these, or sample the problem"
            )
        pull = self.noise / normal.deviation
        x, slope = z[i], 1.0
        if not on_line:
            t = self.transforms[i]
            x, slope = float(t.constrained(z[i])), np.exp(float(t.log_slope(z[i])))
        return pull * (normal.mean - x), -pull * slope * np.eye(z.size)[i]


def _flat(prior):
    return prior is None or (isinstance(prior, OnLine) and prior.distribution is None)


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


def _checked_noise(noise):
    if isinstance(noise, str):
        check_option("noise", noise, (PROFILED, FREE))
        return noise
    POSITIVE.check("noise", noise)
    return np.asarray(noise, dtype=float)


def _checked_priors(priors, names, start):
    """One for each constant, None for uniform within its bounds."""
    if priors is not None and not isinstance(priors, Mapping):
        return tuple(OnLine(Normal(z, priors)) for z in start)
    given = {full_name(name, names): prior for name, prior in (priors or {}).items()}
    for name, prior in given.items():
        if not (isinstance(prior, OnLine) or hasattr(prior, "log_prob")):
            raise ValueError(
                f"the prior of {name} must have a log_prob, as Normal(mean, deviation) "
                f"does, or be an OnLine, got {prior!r}"
            )
    return tuple(map(given.get, names))


def _check_count(points, names, known_noise, name):
    # As many constants as points go through every point, and leave no residual from
    # which the errors of the data, and of the constants, could be told.
    least = len(names) + (not known_noise)
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
