"""Where a microbial column has a steady state: margins, a barrier, and a search."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from jaxsoc.physics.parameters import from_unit, to_unit
from jaxsoc.solve.precision import require_x64

from .compas import COMPAS, Margins
from .compas_parameters import COMPASParameters
from .equilibrium import column_steady_state, linear_pools

SOIL_PER_MICROBES = 10.0
"""Least soil carbon per microbial carbon, in the column, that PRODA accepts."""

# Margins count as no larger than this where a sum of exponentials is taken.
_FAR = 50.0


def margins(model: COMPAS, params: COMPASParameters) -> Margins:
    """How far each layer of a column is from losing its steady state.

    h_2 = ln[v_a (u_MIC + η (u_DOC + u_SOC)) / (k_MIC (u_MIC + u_DOC + u_SOC))],
    h_3 = ln[(v_d k_p / k_e) / (p k_d + u_SOC k_MIC / g)]

    All pools are positive where both are; see `Margins`.
    Source: conditions of Eq. 9 of Tao et al. (2024), doi:10.1111/gcb.17297.
    """
    around = model.surroundings(params)
    return model.margins(around, linear_pools(model, around, params).inflow, params)


def smallest(margins: Margins) -> Float[Array, ""]:
    """The smallest margin of a column, of any kind and in any layer."""
    return jnp.min(jnp.stack([jnp.min(margin) for margin in margins]))


def barrier(margins: Margins, *, width: float = 0.1) -> Float[Array, ""]:
    """A smooth penalty on losing the steady state, for gradients on both sides.

    Σ log(1 + exp(-h / width)): almost nothing where margins are several widths above
    zero, and growing by h / width below.

    **Arguments:** `width`: margin over which the penalty sets in.
    """
    near = [jnp.minimum(margin, _FAR * width) / width for margin in margins]
    return sum((jnp.sum(jax.nn.softplus(-h)) for h in near), jnp.zeros(()))


def soil_per_microbes(model: COMPAS, state: Any) -> Float[Array, ""]:
    """Soil organic carbon of a column per carbon of its microbes.

    PRODA takes less than 10 for no solution, which no equation says.
    """
    thickness = model.forcing.column.thickness
    soil = jnp.sum(model.organic_carbon(state) * thickness)
    return soil / jnp.sum(state.mic * thickness)


def most_feasible(
    models: Sequence[COMPAS],
    start: COMPASParameters | None = None,
    *,
    pull: float = 4.0,
    width: float = 0.1,
) -> COMPASParameters:
    """Parameters far from losing the steady state: a search that maximises the margins.

    max over u of softmin(h_2, h_3, ln(SOC / MIC / 10)) - pull Σ (u - ½)², over all
    layers of all columns given, u the places in the priors

    **Arguments:** `models`: columns in which the parameters are to be feasible;
    `start`: where the search begins, by default the default parameters; `pull`: weight
    that keeps parameters that do not matter in the middle of their priors; `width`: of
    the soft minimum.
    **Raises:** `ValueError` without a column; `RuntimeError` with 32-bit floats.
    """
    require_x64("a search for feasible parameters")
    if not models:
        raise ValueError("give at least one column to be feasible in, got none")
    start = COMPASParameters() if start is None else start
    place = jnp.clip(to_unit(start), 0.01, 0.99)

    def objective(free, _):
        u = jax.nn.sigmoid(free)
        params = from_unit(COMPASParameters, u)
        found = [h for model in models for h in _all_margins(model, params)]
        softmin = -width * jax.nn.logsumexp(-jnp.concatenate(found) / width)
        return pull * jnp.sum((u - 0.5) ** 2) - softmin

    solver = optx.BFGS(rtol=1e-8, atol=1e-8)
    free = jnp.log(place) - jnp.log1p(-place)
    found = optx.minimise(objective, solver, free, max_steps=2000, throw=False)
    return from_unit(COMPASParameters, jax.nn.sigmoid(found.value))


def _all_margins(model, params):
    around = model.surroundings(params)
    found = model.margins(around, linear_pools(model, around, params).inflow, params)
    state = column_steady_state(model, params)
    # Where margins are negative the ratio means nothing; it must not win there.
    ratio = jnp.maximum(soil_per_microbes(model, state), 1e-3)
    capped = [jnp.minimum(margin, _FAR) for margin in found]
    return [*capped, jnp.log(ratio / SOIL_PER_MICROBES)[None]]
