"""Where a microbial column has a steady state: how far, a barrier, and a search."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from jaxsoc.models.column import AbstractClosedForm, AbstractColumnModel
from jaxsoc.models.compas import COMPAS
from jaxsoc.models.compas_parameters import COMPASParameters
from jaxsoc.physics.parameters import from_unit, to_unit
from jaxsoc.solve.precision import require_x64

from .checks import one_site
from .steady import feasible_by_kind, steady_pools

SOIL_PER_MICROBES = 10.0
"""Least soil carbon per microbial carbon, in the column, that PRODA accepts."""

# Feasibility counts as no larger than this where a sum of exponentials is taken.
_FAR = 50.0
# Of the soft minimum of feasibilities.
_WIDTH = 0.1


@one_site("the feasibility of a soil column")
def feasibility(model: AbstractColumnModel, params: Any) -> Any:
    """How far each layer of a column is from losing its steady state.

    All pools are positive where all of it is; it is the logarithm of what there is at
    most per what is needed; of COMPAS see `COMPAS.feasibility`.

    **Returns:** feasibility by kind, a named tuple of (layer,).
    **Raises:** `ValueError` for a model without a closed form, and as `steady_state`
    for numbers of several sites.
    """
    if not isinstance(model, AbstractClosedForm):
        raise ValueError(
            "feasibility is known for models whose steady state has a closed form, "
            f"such as COMPAS, got {type(model).__name__}"
        )
    return feasible_by_kind(model, params)


def barrier(feasibility: Any, *, width: float = 0.1) -> Float[Array, ""]:
    """A smooth penalty on losing the steady state, for gradients on both sides.

    Σ log(1 + exp(-h / width)): almost nothing where the feasibility h is several widths
    above zero, and growing by h / width below.

    **Arguments:** `width`: feasibility below which the penalty sets in.
    """
    near = [jnp.minimum(kind, _FAR * width) / width for kind in feasibility]
    return sum((jnp.sum(jax.nn.softplus(-h)) for h in near), jnp.zeros(()))


def log_barrier(feasibility: Any, *, width: float = 0.1) -> Float[Array, ""]:
    """A smooth penalty that grows without end where the steady state is lost.

    -Σ log(1 - exp(-h / width)): almost nothing where the feasibility h is several
    widths above zero, log(width / h) close to it, infinite, without a slope, below.
    Taken as a prior, exp(-penalty) is a chance, by which draws may be rejected.

    **Arguments:** `width`: feasibility below which the penalty sets in.
    """

    def one(h):
        inside = h > 0
        near = jnp.where(inside, jnp.minimum(h, _FAR * width), width) / width
        return jnp.sum(jnp.where(inside, -jnp.log(-jnp.expm1(-near)), jnp.inf))

    return sum((one(kind) for kind in feasibility), jnp.zeros(()))


def soil_per_microbes(model: AbstractColumnModel, state: Any) -> Float[Array, ""]:
    """Soil organic carbon of a column per carbon of its microbes.

    PRODA takes less than 10 for no solution, which no equation says.
    """
    soil = model.in_column(model.organic_carbon(state))
    return soil / model.in_column(state.mic)


def most_feasible(models: Sequence[COMPAS]) -> COMPASParameters:
    """Parameters far from losing the steady state: a search for feasibility.

    max over u of softmin(h_2, h_3, ln(SOC / MIC / 10)) - 4 Σ (u - ½)², over all layers
    of all columns given, u the places in the priors; the latter keeps parameters that
    do not matter in the middle. The search begins at the default parameters.

    **Arguments:** `models`: columns in which the parameters are to be feasible.
    **Raises:** `ValueError` without a column; `RuntimeError` with 32-bit floats.
    """
    require_x64("a search for feasible parameters")
    if not models:
        raise ValueError("give at least one column to be feasible in, got none")
    place = jnp.clip(to_unit(COMPASParameters()), 0.01, 0.99)

    def objective(free, _):
        u = jax.nn.sigmoid(free)
        params = from_unit(COMPASParameters, u)
        found = [h for model in models for h in _every_kind(model, params)]
        softmin = -_WIDTH * jax.nn.logsumexp(-jnp.concatenate(found) / _WIDTH)
        return 4.0 * jnp.sum((u - 0.5) ** 2) - softmin

    solver = optx.BFGS(rtol=1e-8, atol=1e-8)
    free = jnp.log(place) - jnp.log1p(-place)
    found = optx.minimise(objective, solver, free, max_steps=2000, throw=False)
    return from_unit(COMPASParameters, jax.nn.sigmoid(found.value))


def _every_kind(model, params):
    found = feasible_by_kind(model, params)
    state = steady_pools(model, model.surroundings(params), params)
    # Without a steady state there is no ratio; it must not win there.
    ratio = soil_per_microbes(model, state)
    ratio = jnp.where(ratio > 1e-3, ratio, 1e-3)
    capped = [jnp.minimum(kind, _FAR) for kind in found]
    return [*capped, jnp.log(ratio / SOIL_PER_MICROBES)[None]]
