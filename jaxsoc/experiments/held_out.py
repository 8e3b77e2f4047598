"""Models fitted to the first two thirds of a series, which predict the last third.

The rules, the same for every model and set before any series was looked at:

- Rates are compared as arsinh(y / c), c a tenth of the mean size of those fitted:
  relative for most rates, absolute for the smallest. Cumulative CO2 is compared as mean
  rates between its points, since the errors of sums are not independent.
- Every free constant has a normal prior on its line, centred at the start, with
  standard deviation 2: a factor of e² either way for a positive one. Within the search
  it is weighed as if the noise were 10 %; the starts come from the fitted part alone.
- σ² = Σ r² / (n - p'), with p' = tr J (JᵀJ + P)⁻¹ Jᵀ constants that the data use, not
  below 1 %; the prediction has variance σ² + j C jᵀ with C = (JᵀJ/σ² + 1/2²)⁻¹, and
  Student's density with n - p' degrees of freedom.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxsoc.infer import Fit, fit, log_predictive_density
from jaxsoc.infer.problem import evaluate
from jaxsoc.models import TwoPool
from jaxsoc.observe import Respiration, mean_rates
from jaxsoc.physics.kinetics import Kinetics
from jaxsoc.physics.options import check_option
from jaxsoc.solve import Method, Steps, rodas3

from .heterogeneous import PatchyCore, PatchySeries, SecondPoolCore, SecondPoolSeries
from .incubation import INCUBATION, Incubation, filled_problem
from .kinetics import known_kinetics
from .soil_series import AbstractSeries, SoilCore, TwoPoolSeries

STEPS = 16
"""Steps of the integration between two points."""
_SMALL = 0.1  # share of the mean size below which errors are absolute
_PRIOR = 2.0  # standard deviation of the prior, on the line
_NOISE = 0.1  # noise at which the prior is weighed in the search
_LEAST = 0.01  # noise below which no series of respiration is believed


class Rival(NamedTuple):
    """A model to compare: its prediction, its parameters around a core, what is free.

    `series`: `(TwoPool, Method) -> prediction`; `around`: `SoilCore -> parameters`;
    `extra`: names of the constants that it adds.
    """

    series: Callable[[TwoPool, Method], AbstractSeries]
    around: Callable[[SoilCore], Any]
    extra: tuple[str, ...] = ()


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        "homogeneous": Rival(TwoPoolSeries, lambda core: core),
        "second_pool": Rival(
            SecondPoolSeries, SecondPoolCore, ("second_share", "second_pace")
        ),
        "patchy": Rival(PatchySeries, PatchyCore, ("rate_spread", "biomass_slope")),
    }
)


class HeldOut(NamedTuple):
    """A series, what a model made of it, and how well it predicts the last third.

    `fit`: of the compressed rates; `size`: c, mgC/g/h; `compressed`: by point,
    arsinh(y / c); `predicted`: the same of the model; `scale`, `freedom`: of Student's
    density of the last points; `log_density`: of each of these; `fitted`: how many
    points were; `noise`: σ; `used`: constants that the data use.
    """

    fit: Fit
    size: float
    compressed: np.ndarray
    predicted: np.ndarray
    scale: np.ndarray
    freedom: float
    log_density: np.ndarray
    fitted: int
    noise: float
    used: float

    @property
    def score(self) -> float:
        """Mean log predictive density of a held-out point."""
        return float(self.log_density.mean())

    @property
    def error(self) -> float:
        """Root mean squared error of the held-out points, on the compressed scale."""
        off = (self.compressed - self.predicted)[self.fitted :]
        return float(np.sqrt(np.mean(off**2)))


class _Compressed(eqx.Module):
    """arsinh of a prediction over a size."""

    series: AbstractSeries
    size: Any

    def __call__(self, params, seen):
        return jnp.arcsinh(self.series(params, seen) / self.size)


def predict_held_out(
    series: Respiration,
    model: str | Rival = "patchy",
    kinetics: str | Kinetics = "multiplicative",
    *,
    incubation: Incubation = INCUBATION,
    points: int | None = None,
    steps: int = STEPS,
    starts: int = 4,
    **options: Any,
) -> HeldOut:
    """Fits a model to the first two thirds of a series and predicts the last third.

    minimise Σ (z - f(θ))² + Σ (0.1 (θ - θ₀) / 2)²,  θ on its line, z = arsinh(y / c)

    **Arguments:** `series`: mgC/g and h, more points in its first two thirds than
    there are free constants; `model`: a name in `RIVALS`, or one's own; `kinetics`: by
    name or a user's own, with a constant `rate`; `incubation`: what is assumed and free
    beside the constants of decomposition; `points`: length to fill up to, so that
    series share a compilation; `steps`: of the integration between two points, even;
    `starts`, `options`: see `fit`.

    **Raises:** `ValueError` for names or series that do not fit, among them too few
    points.
    """
    law, rival, series = known_kinetics(kinetics), _known(model), mean_rates(series)
    count = series.times.size
    kept = count - count // 3
    # The part of the series that may be looked at.
    times, values = series.times[:kept], series.values[:kept]
    first = replace(series, times=times, values=values, deviation=None)
    size = _SMALL * float(np.mean(np.abs(values)))
    if not size > 0:
        raise ValueError(f"{series.name}: every fitted rate is zero")
    compressed = np.arcsinh(series.values / size)
    soil = rival.series(TwoPool(law.law), _implicit(series, steps))
    problem = filled_problem(
        _Compressed(soil, jnp.asarray(size)),
        rival.around(incubation.core(law, first)),
        replace(series, values=compressed),
        (np.arange(count) < kept).astype(float),
        incubation,
        points,
        extra=rival.extra,
        priors=_PRIOR,
        noise=_NOISE,
        name=series.name,
    )
    found = fit(problem, starts=starts, **options)
    # the program that the search compiled
    place = jnp.asarray(problem.on_lines(found.params))
    predicted, slopes = (np.asarray(x)[:count] for x in evaluate(problem, place))
    return _judged(found, size, compressed, predicted, slopes, kept)


def _implicit(series, steps):
    """Equal implicit steps, as many between any two points: some cells are stiff."""
    longest = np.diff(series.times, prepend=0.0).max()
    # an array, so that one compilation serves every length of step
    method = Steps(1.0, stepper=rodas3)
    return eqx.tree_at(lambda m: m.dt, method, jnp.asarray(longest / steps))


def _known(model):
    if isinstance(model, Rival):
        return model
    check_option("model", model, RIVALS)
    return RIVALS[model]


def _judged(found, size, compressed, predicted, slopes, kept):
    J, later = slopes[:kept], slopes[kept:]
    residuals = (compressed - predicted)[:kept]
    one = np.eye(J.shape[1])
    used = float(
        np.trace(np.linalg.solve(J.T @ J + (_NOISE / _PRIOR) ** 2 * one, J.T @ J))
    )
    freedom = kept - used
    noise = max(float(np.sqrt(residuals @ residuals / freedom)), _LEAST)
    covariance = np.linalg.inv(J.T @ J / noise**2 + one / _PRIOR**2)
    spread = np.einsum("pi,ij,pj->p", later, covariance, later)
    scale = np.sqrt(noise**2 + np.maximum(spread, 0.0))
    density = log_predictive_density(
        compressed[kept:], predicted[kept:], scale, freedom
    )
    return HeldOut(
        found, size, compressed, predicted, scale, freedom, density, kept, noise, used
    )
