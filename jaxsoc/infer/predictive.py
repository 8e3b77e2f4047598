"""Posterior predictive checks: whether what was seen could have come from the model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.handlers import seed, substitute, trace, uncondition

from .posterior import Posterior, is_data
from .scatter import Scattered


class PredictiveCheck(NamedTuple):
    """What draws would have seen, beside what was seen, by observed site.

    `replicates`: (draw, ...); `below`: share of replicates less than what was seen, by
    number: 0 or 1 where it lies outside them all; `p_value`: share of draws under which
    their replicate is less likely than what was seen: near 0 where the data scatter
    more than the model says, near 1 where they scatter less.
    """

    replicates: dict[str, np.ndarray]
    below: dict[str, np.ndarray]
    p_value: dict[str, float]


def predictive_check(
    posterior: Posterior, draws: Mapping[str, Any], key: Any, *args: Any
) -> PredictiveCheck:
    """Replicates of the data of a numpyro model, one for each draw.

    p = mean over draws of [log p(y_rep | θ) < log p(y | θ)],  y_rep ~ p(y | θ)

    Masked data do not count in p; of them `below` says nothing.

    **Arguments:** `posterior`: of any model; of a `SiteModel` take `sampled()`, since
    replicates have the error scale of their draw; `draws`: of the latent sites by name,
    leading by draw; `args`: of the model.
    **Raises:** `ValueError` for a model that integrates error scales out, or draws that
    lack a latent site.
    Source: Gelman et al. (1996), Statistica Sinica 6:733, with the likelihood as the
    discrepancy.
    """

    if missing := [name for name in posterior.names if name not in draws]:
        raise ValueError(f"no draws of {', '.join(missing)}: expected all latent sites")

    def one(values, key):
        model = substitute(posterior.model, data=values)
        seen = _observed(trace(seed(model, key)).get_trace(*args))
        made = trace(seed(uncondition(model), key)).get_trace(*args)
        found = {}
        for name, site in seen.items():
            if isinstance(site["fn"], Scattered):
                raise ValueError(
                    f"the error scale of {name} is integrated out, and replicates need "
                    "that of each draw: give Posterior(model.sampled(), ...), and "
                    "draws with those of model.errors"
                )
            y, new = site["value"], made[name]["value"]
            likely = lambda x, law=site["fn"]: jnp.sum(law.log_prob(x))
            found[name] = new, y, likely(new) < likely(y)
        return found

    some = {name: jnp.asarray(draws[name]) for name in posterior.names}
    keys = jax.random.split(key, len(next(iter(some.values()))))
    many = eqx.filter_jit(lambda *x: jax.lax.map(lambda at: one(*at), x))
    found = jax.device_get(many(some, keys))
    return PredictiveCheck(
        {name: new for name, (new, _, _) in found.items()},
        {name: np.mean(new < y, axis=0) for name, (new, y, _) in found.items()},
        {name: float(np.mean(less)) for name, (_, _, less) in found.items()},
    )


def _observed(sites):
    return {name: site for name, site in sites.items() if is_data(site)}
