"""The numpyro model of a site: priors of its constants, what is seen, its error."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import POSITIVE, AbstractParameters, declarations

from .scatter import ErrorScale, Scattered

Law = Literal["log-normal", "normal", "student-t", "published-error", "published-nse"]
"""How measurements scatter about what is predicted; the last two are costs."""

ERROR = ErrorScale(2.0, 0.15)
"""Prior of the error scale, relative: 0.18 to 0.65 in nine of ten cases, median 0.3, as
four layers that differ by 0.27 from what is predicted would tell."""

# Of the published cost by layers: relative error, and weights from 10 down to 1.
_PUBLISHED_ERROR, _HEAVIEST = 0.6, 10.0
# Of the published cost by the efficiency.
_PER_NSE = 5.0


class Measured(eqx.Module):
    """Measurements of one kind, NaN for those that are missing.

    log-normal: log y = log f + s e;  normal: y = f + s |y| e;  student-t: the same with
    heavy tails.  published-error: J = Σ w (f - y)² / (2 (0.6 y)²); published-nse:
    J = 5 Σ (f - y)² / Σ (y - ȳ)²; density exp(-J) of both.

    **Arguments:** `values`: y; `error`: s where it is known, of all or of each; None to
    infer one for all; `scale`: in place of |y|, for values about zero such as
    radiocarbon; `weights`: w, see `rank_weights`; `law`; `freedom`: degrees, of
    Student's t.
    **Raises:** `ValueError` for an unknown law, or an error that is not positive.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, for the published costs.
    """

    values: Any
    error: Any = None
    scale: Any = None
    weights: Any = 1.0
    law: str = eqx.field(static=True, default="log-normal")
    freedom: float = eqx.field(static=True, default=4.0)

    def __check_init__(self):
        check_option("law", self.law, Law)
        POSITIVE.check("freedom", self.freedom)
        if isinstance(self.error, float | int):
            POSITIVE.check("error", self.error)

    @property
    def published(self) -> bool:
        """Whether a cost stands for a law, which tells nothing of the error."""
        return self.law.startswith("published")

    def distribution(self, predicted: Any, error: Any) -> dist.Distribution:
        """Of what is measured.

        **Arguments:** `predicted`: f, positive where the law is log-normal; `error`: s.
        """
        if self.law == "log-normal":
            return dist.LogNormal(jnp.log(predicted), error)
        size = self._size()
        if self.law == "normal":
            return dist.Normal(predicted, error * size)
        return dist.StudentT(self.freedom, predicted, error * size)

    def scattered(self, predicted: Any, scale: ErrorScale) -> Scattered:
        """Of what is measured, whatever its error scale.

        **Arguments:** `predicted`: as of `distribution`, where nothing was measured
        positive as well; `scale`: the prior of s.
        """
        logarithmic = self.law == "log-normal"
        location = jnp.log(predicted) if logarithmic else predicted
        size = jnp.ones_like(location) if logarithmic else self._size()
        known = jnp.isfinite(self.values)
        return Scattered(location, size, scale, known, logarithmic=logarithmic)

    def _size(self):
        if self.scale is not None:
            return self.scale
        return jnp.where(jnp.isfinite(self.values), jnp.abs(self.values), 1.0)

    def cost(self, predicted: Any) -> Any:
        """J, of a published cost."""
        known = jnp.isfinite(self.values)
        y = jnp.where(known, self.values, 1.0)
        square = jnp.where(known, (jnp.where(known, predicted, 1.0) - y) ** 2, 0.0)
        if self.law == "published-error":
            each = self.weights * square / (2 * (_PUBLISHED_ERROR * y) ** 2)
            return jnp.sum(jnp.where(known, each, 0.0))
        count = jnp.maximum(jnp.sum(known, dtype=y.dtype), 1.0)
        mean = jnp.sum(jnp.where(known, y, 0.0)) / count
        spread = jnp.sum(jnp.where(known, (y - mean) ** 2, 0.0))
        return _PER_NSE * jnp.sum(square) / jnp.where(spread > 0, spread, 1.0)


def rank_weights(values: Any, depths: Any) -> np.ndarray:
    """Weights of measured layers as published, 1 where nothing is measured.

    w = max(1, 10 exp(1 - r)),  r the mean of the ranks, from 1 for the largest on, of
    |y - ȳ| and |d - d̄|

    **Arguments:** `values`: by layer, of one profile; `depths`: m.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, and its released programs.
    """
    values, depths = np.asarray(values, float), np.asarray(depths, float)
    known = np.isfinite(values)
    weights = np.ones(values.shape)
    if not known.any():
        return weights

    def ranks(x):
        away = -np.abs(x - x.mean())
        return 1 + np.argsort(np.argsort(away, kind="stable"), kind="stable")

    mean = 0.5 * (ranks(values[known]) + ranks(depths[known]))
    weights[known] = np.maximum(1.0, _HEAVIEST * np.exp(1.0 - mean))
    return weights


def uniform_priors(
    parameters: type[AbstractParameters], *, published: bool = False
) -> dict[str, dist.Distribution]:
    """Uniform priors in the declared ranges of all parameters that have one.

    **Arguments:** `published`: the published ranges, whose low ends may make the model
    singular, in place of those that begin at the floors.
    """
    return {
        d.name: dist.Uniform(*map(float, d.range(published)))
        for d in declarations(parameters)
        if d.prior is not None
    }


def priors_of(
    parameters: type[AbstractParameters],
    given: Mapping[str, dist.Distribution] | None = None,
    *,
    published: bool = False,
) -> dict[str, dist.Distribution]:
    """`uniform_priors`, with others by name in their place.

    **Raises:** `ValueError` for a name that is no parameter with a range.
    """
    priors = uniform_priors(parameters, published=published)
    for name, law in (given or {}).items():
        check_option("parameter", name, tuple(priors))
        priors[name] = law
    return priors


def factor_prior(deviation: float) -> dist.Distribution:
    """Of a positive factor about 1, known to within a deviation of its logarithm."""
    return dist.LogNormal(0.0, deviation)


def root_prior() -> dist.Distribution:
    """Of the share of roots in soil respiration: 0.40 ± 0.16, of 152 sites of SRDB-V5.

    Source: Jian et al. (2021), doi:10.5194/essd-13-255-2021.
    """
    return dist.Beta(3.4, 5.1)


class SiteModel:
    """A numpyro model `(site, measured)` of anything that predicts what is seen.

    θ ~ priors,  s ~ `error`,  y ~ law(f(θ), s), times exp(-penalty(θ))

    Called with `measured`, by kind a `Measured` as long as its prediction.

    An `ErrorScale` is integrated out where what is seen is normal or log-normal, and
    drawn afterwards, see `errors`: the draws are the same, and few layers no hindrance.

    **Arguments:** `predict`: `(values by name, site) -> (predictions by kind,
    penalty)`, the penalty infinite, and smooth before that, where the model has no
    state; `priors`: by name; `error`: prior of the error scale of each kind that has
    none of its own; `integrated`: False to sample that like any other constant.
    """

    def __init__(
        self,
        predict: Callable[[dict[str, Any], Any], tuple[Mapping[str, Any], Any]],
        priors: Mapping[str, dist.Distribution],
        error: dist.Distribution = ERROR,
        *,
        integrated: bool = True,
    ):
        self.predict, self.priors, self.error = predict, dict(priors), error
        self.integrated = integrated and isinstance(error, ErrorScale)

    def __call__(self, site: Any, measured: Mapping[str, Measured]) -> None:
        """The model itself, for any handler and sampler of numpyro."""
        if not measured:
            raise ValueError("nothing is measured: give at least one kind")
        values = {name: numpyro.sample(name, law) for name, law in self.priors.items()}
        predicted, penalty = self.predict(values, site)
        numpyro.factor("feasible", -penalty)
        for kind, seen in measured.items():
            self._seen(kind, seen, predicted[kind])

    def sampled(self) -> "SiteModel":
        """The same model, error scales that are not known being latent sites."""
        return SiteModel(self.predict, self.priors, self.error, integrated=False)

    def errors(
        self,
        key: Any,
        values: Mapping[str, Any],
        site: Any,
        measured: Mapping[str, Measured],
    ) -> dict[str, Any]:
        """A draw of each error scale that was integrated out, given all else.

        s² | y, θ ~ inverse gamma(a + n/2, b + Σr²/2)

        **Arguments:** `values`: by name, of a draw.
        """
        kinds = [kind for kind, seen in measured.items() if self._integrated(seen)]
        if not kinds:
            return {}
        predicted, _ = self.predict(dict(values), site)
        found = {}
        for kind, use in zip(kinds, jax.random.split(key, len(kinds)), strict=True):
            law, seen = self._scattered(measured[kind], predicted[kind])
            found[f"{kind}_error"] = law.scale.given(*law.squares(seen)).sample(use)
        return found

    def _integrated(self, seen):
        conjugate = seen.law in ("log-normal", "normal")
        return conjugate and seen.error is None and self.integrated

    def _scattered(self, seen, predicted):
        # What is not measured is nowhere: no NaN in values or slopes.
        known = jnp.isfinite(seen.values)
        law = seen.scattered(jnp.where(known, predicted, 1.0), self.error)
        return law, jnp.where(known, seen.values, 1.0)

    def _seen(self, kind, seen, predicted):
        if seen.published:
            numpyro.factor(kind, -seen.cost(predicted))
            return
        if self._integrated(seen):
            law, values = self._scattered(seen, predicted)
            numpyro.sample(kind, law, obs=values)
            return
        error = seen.error
        if error is None:
            error = numpyro.sample(f"{kind}_error", self.error)
        known = jnp.isfinite(seen.values)
        law = seen.distribution(jnp.where(known, predicted, 1.0), error)
        values = jnp.where(known, seen.values, 1.0)
        numpyro.sample(kind, law.mask(known).to_event(1), obs=values)
