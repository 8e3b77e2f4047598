"""How much patchiness matters: gradients by the numbers that make the fields."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools
from jaxsoc.physics.parameters import declarations
from jaxsoc.solve import Method, Steps, require_x64
from jaxsoc.upscale.hyper import (
    SOFT_EDGE,
    Heterogeneity,
    Patterns,
    draw_patterns,
    largest_substrate_variation,
    patchy_fields,
)
from jaxsoc.upscale.spectral import check_shape

from .design import Design
from .objectives import Objective, peak_respiration
from .sensitivity import Sensitivity, objective_of, resolved_step
from .soils import Soil, initial_means, model_of

_DEFAULT = Heterogeneity()


def patchy_soil(
    design: Design,
    patterns: Patterns,
    heterogeneity: Heterogeneity,
    *,
    kinetics: str = "michaelis_menten",
    edge: float = SOFT_EDGE,
) -> Soil:
    """The soil that these numbers make of fixed patterns; runs inside `grad`.

    **Arguments:** `design`: means, constants and mortality; `edge`: of dead zones, see
    `patchy_fields`. The rate constant varies over the cells, other constants do not.
    """
    nominal = design.nominal(kinetics)
    with jax.ensure_compile_time_eval():
        substrate, biomass = initial_means(design)
    S, B, rate = patchy_fields(
        patterns,
        heterogeneity,
        mean_substrate=substrate,
        mean_biomass=biomass,
        mean_rate=nominal.rate,
        edge=edge,
    )
    params = design.parameters(dataclasses.replace(nominal, rate=rate))
    return Soil(model_of(design, kinetics), Pools(S, B, jnp.zeros_like(S)), params)


def hyper_sensitivity(
    design: Design,
    heterogeneity: Heterogeneity = _DEFAULT,
    *,
    kinetics: str = "michaelis_menten",
    of: Objective = peak_respiration,
    patterns: Patterns | None = None,
    edge: float = SOFT_EDGE,
    method: Method | None = None,
) -> Sensitivity:
    """Gradient of an objective by amplitude, correlation, dead fraction and width.

    ∂J/∂h through fields made from fixed noise, in forward mode, since the numbers are
    few.

    **Arguments:** `design`: times, means, constants, and the seed and grid of the
    patterns; `heterogeneity`: where the gradient is taken; `of`: the objective;
    `patterns`: in place of those drawn from the seed; `edge`: of dead zones, the
    gradient by the dead fraction is an average over so many cells; `method`, by
    default, and errors as in `sensitivity_map`.

    **Raises:** `ValueError` for a CV of substrate that would make a cell negative.
    """
    require_x64("a sensitivity")
    if patterns is None:
        patterns = draw_patterns(
            jax.random.key(design.seed), check_shape(design.grid.shape)
        )
    largest = largest_substrate_variation(patterns, heterogeneity, edge=edge)
    if float(heterogeneity.variation) > largest:
        raise ValueError(
            f"a CV of substrate of {heterogeneity.variation:g} makes cells negative: "
            f"at most {largest:.4g} for these patterns"
        )
    soil_of = eqx.Partial(patchy_soil, design, patterns, kinetics=kinetics, edge=edge)
    times = tuple(map(float, design.times))
    if method is None:
        soil = soil_of(heterogeneity)
        method = Steps(resolved_step(soil, times, tolerance=design.tolerance))
    at = jax.tree.map(lambda x: jnp.asarray(x, dtype=float), heterogeneity)
    value, gradient = _gradient(of, soil_of, method, times, at)
    units = {d.name: d.unit for d in declarations(Heterogeneity)}
    named = lambda h: {name: np.asarray(getattr(h, name)) for name in units}
    return Sensitivity(
        of.name, of.unit, float(value), named(at), named(gradient), units, method
    )


@eqx.filter_jit
def _gradient(of, soil_of, method, times, at):
    def function(heterogeneity):
        model, state, params = soil_of(heterogeneity)
        run = objective_of(model, method, times, of)
        value = run(state, jax.tree.map(jnp.asarray, params))
        return value, value

    gradient, value = jax.jacfwd(function, has_aux=True)(at)
    return value, gradient
