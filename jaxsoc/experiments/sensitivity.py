"""Which cells, and which numbers, matter: gradients of what a soil core respires."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import IntegrationError, Method, Steps, integrate, require_x64
from jaxsoc.upscale import moments

from .objectives import Objective, peak_respiration
from .soils import Soil

# Halvings of the step before giving up.
_MOST_HALVINGS = 16
# RK4: the difference of two runs is 2⁴ - 1 errors of the one with half the steps.
_DIFFERENCE_PER_ERROR = 15.0


class Sensitivity(NamedTuple):
    """An objective and its gradient by every cell and every number, by name.

    `value`: of the objective, in `unit`; `at`: where the gradient was taken, a field
    or a number by name, in `units`; `gradient`: ∂(objective)/∂x of the same shape, by
    cell where x is a field, in `unit` per unit of x; `method`: the one taken. One
    cell of N moves the mean by 1/N, and so do its gradients.
    """

    objective: str
    unit: str
    value: float
    at: dict[str, np.ndarray]
    gradient: dict[str, np.ndarray]
    units: dict[str, str]
    method: Method

    @property
    def elasticity(self) -> dict[str, np.ndarray]:
        """Share by which the objective grows per share by which x grows, by cell.

        ε = N x/R ∂R/∂x, dimensionless: the mean over cells is the elasticity by all
        cells growing together, so that a cell of ε = 1 counts like the average cell of
        a soil in which R is proportional to x.
        """
        scale = lambda x: np.size(x) / self.value * x
        return {
            name: np.asarray(scale(x) * self.gradient[name])
            for name, x in self.at.items()
        }

    def unit_of(self, name: str) -> str:
        """Unit of a gradient."""
        return f"{self.unit} per {self.units[name]}"


def sensitivity_map(
    soil: Soil,
    times: Any,
    *,
    of: Objective = peak_respiration,
    method: Method | None = None,
    tolerance: float = 1e-5,
) -> Sensitivity:
    """Gradient of an objective by every cell's pools and by every parameter.

    ∂J/∂x for x = S₀, B₀ of each cell and every constant, field or number, in reverse
    mode: a few runs' worth of time for all cells at once, with memory in proportion to
    √steps. Initial CO2 is left out, since nothing depends on it.

    **Arguments:** `soil`: from `case`, or any model, pools and parameters; `times`: h,
    saved; `of`: the objective; `method`: one with reverse mode, by default
    `Steps(dt)` with a step found by `resolved_step`; `tolerance`: for that step.

    **Raises:** `RuntimeError` without 64-bit floats; `ValueError` for times or shapes
    that do not fit; `IntegrationError` if no step meets the tolerance.
    """
    require_x64("a sensitivity")
    soil = soil._replace(params=jax.tree.map(jnp.asarray, soil.params))
    if method is None:
        method = Steps(resolved_step(soil, times, tolerance=tolerance))
    saved_times = tuple(map(float, np.asarray(times)))
    arguments = (soil.state.substrate, soil.state.biomass, soil.params)
    value, gradient = _reverse(
        of, soil.model, method, saved_times, arguments, soil.state.co2
    )
    at, gradient = _by_name(*arguments), _by_name(*gradient)
    declared = leaves_by_name(soil.params)
    units = {"substrate": "mgC/g", "biomass": "mgC/g"}
    units |= {name: leaf.unit or "?" for name, leaf in declared.items()}
    return Sensitivity(of.name, of.unit, float(value), at, gradient, units, method)


def objective_of(
    model: TwoPool, method: Method, times: Any, of: Objective
) -> Callable[[Pools, Any], Any]:
    """The objective as a pure function of initial pools and parameters."""
    save = moments.of(model.fluxes)

    def function(state, params):
        soil = Soil(model, state, params)
        run = integrate(*soil, times, save=save, method=method, throw=False)
        return of.value(run.times, run.values)

    return function


@eqx.filter_jit
def _reverse(of, model, method, times, arguments, co2):
    function = objective_of(model, method, times, of)
    by = lambda S, B, params: function(Pools(S, B, co2), params)
    return jax.value_and_grad(by, argnums=(0, 1, 2))(*arguments)


def resolved_step(soil: Soil, times: Any, *, tolerance: float = 1e-5) -> float:
    """A step (h) that is short enough for every cell.

    Steps are halved until a run with twice the steps changes the final pools of no
    cell, and neither mean pools nor respiration at any time, by more than the
    tolerance, with Richardson's factor. Found outside of any gradient.

    **Arguments:** `times`: h, saved; `tolerance`: relative, of a cell to its own
    carbon, of a series to its largest value.

    **Raises:** `IntegrationError` if sixteen halvings are not enough.
    """
    longest = float(np.diff(np.asarray(times, dtype=float)).max())
    save = moments.of(soil.model.fluxes)

    def run(dt):
        return integrate(*soil, times, save=save, method=Steps(dt), throw=False)

    steps = [longest / 2 * 0.5**halving for halving in range(_MOST_HALVINGS + 1)]
    coarse, error = run(steps[0]), math.inf
    for dt in steps[1:]:
        fine = run(dt)
        error = _difference(coarse, fine) / _DIFFERENCE_PER_ERROR
        if error <= tolerance:
            return dt
        coarse = fine
    raise IntegrationError(
        f"steps of {steps[-1]:.2g} h still leave an estimated error of {error:.2g}, "
        f"above the tolerance {tolerance:g}: give `method` by hand, or leave out the "
        "fastest cells"
    )


def _difference(one, other):
    """Largest relative difference, infinite where a run left the finite numbers."""
    carbon = sum(jnp.abs(pool) for pool in other.final)
    carbon = jnp.where(carbon == 0, 1.0, carbon)
    cells = [
        jnp.max(jnp.abs(a - b) / carbon)
        for a, b in zip(one.final, other.final, strict=True)
    ]
    series = lambda run: [*run.values.mean, run.values.flux.respiration]
    means = [
        jnp.max(jnp.abs(a - b)) / jnp.where(jnp.max(b) > 0, jnp.max(b), 1.0)
        for a, b in zip(series(one), series(other), strict=True)
    ]
    worst = float(jnp.max(jnp.stack([*cells, *means])))
    return worst if math.isfinite(worst) else math.inf


def _by_name(substrate, biomass, params):
    """Arrays by dotted name, as in the moments."""
    named = dict(zip(leaves_by_name(params), jax.tree.leaves(params), strict=True))
    every = {"substrate": substrate, "biomass": biomass} | named
    return {name: np.asarray(x) for name, x in every.items()}
