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

from dataclasses import replace
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
from jaxsoc.solve import Steps, rodas3

from .problems import INCUBATION, Incubation, filled_problem, known_kinetics
from .samples import RIVALS, Rival, SampleSeries

_STEPS = 16  # of the integration between two points
_SMALL = 0.1  # share of the mean size below which errors are absolute
_PRIOR = 2.0  # standard deviation of the prior, on the line
_NOISE = 0.1  # noise at which the prior is weighed in the search
_LEAST = 0.01  # noise below which no series of respiration is believed


class HeldOut(NamedTuple):
    """A series, what a model made of it, and how well it predicts the last third.

    `fit`: of the compressed rates; `size`: c, mgC/g/h; `compressed`: by point,
    arsinh(y / c); `predicted`: the same of the model; `scale`: of Student's density of
    the last points; `log_density`: of each of these; `fitted`: how many points were;
    `noise`: σ; `used`: constants that the data use.
    """

    fit: Fit
    size: float
    compressed: np.ndarray
    predicted: np.ndarray
    scale: np.ndarray
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


def _compressed(series, size, params, seen):
    return jnp.arcsinh(series(params, seen) / size)


def predict_held_out(
    series: Respiration,
    model: str | Rival = "patchy",
    kinetics: str | Kinetics = "multiplicative",
    *,
    incubation: Incubation = INCUBATION,
    starts: int = 4,
    **options: Any,
) -> HeldOut:
    """Fits a model to the first two thirds of a series and predicts the last third.

    minimise Σ (z - f(θ))² + Σ (0.1 (θ - θ₀) / 2)²,  θ on its line, z = arsinh(y / c)

    **Arguments:** `series`: mgC/g and h, more points in its first two thirds than
    there are free constants; `model`: a name in `RIVALS`, or one's own; `kinetics`: by
    name or a user's own, with a constant `rate`; `incubation`: what is assumed and free
    beside the constants of decomposition; `starts`, `options`: see `fit`.

    **Raises:** `ValueError` for names or series that do not fit, among them too few
    points.
    """
    if isinstance(model, str):
        check_option("model", model, RIVALS)
        model = RIVALS[model]
    law, series = known_kinetics(kinetics), mean_rates(series)
    count = series.times.size
    kept = count - count // 3
    # The part of the series that may be looked at.
    times, values = series.times[:kept], series.values[:kept]
    first = replace(series, times=times, values=values, deviation=None)
    size = _SMALL * float(np.mean(np.abs(values)))
    if not size > 0:
        raise ValueError(f"{series.name}: every fitted rate is zero")
    compressed = np.arcsinh(series.values / size)
    # As many between any two points, implicit since some cells are stiff; an array, so
    # that one compilation serves every length of step.
    dt = jnp.asarray(np.diff(series.times, prepend=0.0).max() / _STEPS)
    method = eqx.tree_at(lambda m: m.dt, Steps(1.0, stepper=rodas3), dt)
    soil = SampleSeries(TwoPool(law.law), method)
    problem = filled_problem(
        eqx.Partial(_compressed, soil, jnp.asarray(size)),
        model(incubation.sample(law, first)),
        replace(series, values=compressed),
        (np.arange(count) < kept).astype(float),
        incubation,
        priors=_PRIOR,
        noise=_NOISE,
        name=series.name,
    )
    found = fit(problem, starts=starts, **options)
    # the program that the search compiled
    place = jnp.asarray(problem.on_lines(found.params))
    predicted, slopes = (np.asarray(x)[:count] for x in evaluate(problem, place))
    J, later = slopes[:kept], slopes[kept:]
    residuals, one = (compressed - predicted)[:kept], np.eye(J.shape[1])
    pull = (_NOISE / _PRIOR) ** 2 * one
    used = float(np.trace(np.linalg.solve(J.T @ J + pull, J.T @ J)))
    freedom = kept - used
    noise = max(float(np.sqrt(residuals @ residuals / freedom)), _LEAST)
    covariance = np.linalg.inv(J.T @ J / noise**2 + one / _PRIOR**2)
    spread = np.einsum("pi,ij,pj->p", later, covariance, later)
    scale = np.sqrt(noise**2 + np.maximum(spread, 0.0))
    coming = (compressed[kept:], predicted[kept:], scale)
    density = log_predictive_density(*coming, freedom)
    return HeldOut(
        found, size, compressed, predicted, scale, density, kept, noise, used
    )
