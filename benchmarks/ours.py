"""Our side: the method of jaxsoc that is measured, named in one place."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.experiments import Soil
from jaxsoc.solve import Steps as Method
from jaxsoc.solve import integrate
from jaxsoc.upscale import moments

from .climit import Steps


def prepare(soil: Soil, times: np.ndarray, steps: Steps) -> Callable[[], Any]:
    """A compiled run from the soil to its daily moments: call it for `Moments`."""
    solve = _solve(soil, times, steps)
    compiled = jax.jit(solve).lower(soil.state, soil.params).compile()
    arguments = _placed(compiled, soil.state, soil.params)
    return lambda: jax.block_until_ready(compiled(*arguments))


def _placed(compiled, *arguments):
    """The arguments where the program wants them, before the clock starts."""
    wanted, _ = compiled.input_shardings
    return jax.block_until_ready(jax.device_put(arguments, wanted))


def _solve(soil, times, steps):
    dt = None if steps.courant else 24.0 / steps.per_day
    method = Method(dt, courant=steps.courant or None)
    save = moments.of(soil.model.fluxes)

    def solve(state, params):
        return integrate(
            soil.model, state, params, times, save=save, method=method, throw=False
        ).values

    return solve


def reversible(steps: Steps) -> bool:
    """Whether the method has reverse-mode gradients: not where steps are counted."""
    return not steps.courant


def prepare_gradient(soil: Soil, times: np.ndarray, steps: Steps) -> Callable[[], Any]:
    """A compiled run for moments, peak respiration, and its gradient.

    Reverse mode, with respect to the initial substrate and biomass of every cell and
    to every constant that has a value by cell; the moments are delivered too, so that
    the run does all that the forward one does.
    """
    solve = _solve(soil, times, steps)
    leaves, tree = jax.tree.flatten(soil.params)
    varying = [i for i, leaf in enumerate(leaves) if jnp.ndim(leaf) > 0]
    fields = (
        soil.state.substrate,
        soil.state.biomass,
        [leaves[i] for i in varying],
    )

    def peak(fields, co2, leaves):
        substrate, biomass, constants = fields
        leaves = list(leaves)
        for i, constant in zip(varying, constants, strict=True):
            leaves[i] = constant
        state = soil.state._replace(substrate=substrate, biomass=biomass, co2=co2)
        values = solve(state, jax.tree.unflatten(tree, leaves))
        return jnp.max(values.flux.respiration), values

    function = jax.jit(jax.value_and_grad(peak, has_aux=True))
    compiled = function.lower(fields, soil.state.co2, leaves).compile()
    arguments = _placed(compiled, fields, soil.state.co2, leaves)
    return lambda: jax.block_until_ready(compiled(*arguments))


def columns(values: moments.Moments) -> dict[str, np.ndarray]:
    """`Moments` as the columns that rk4.c gives, by the same names."""
    pools = lambda title, tree: {
        f"{title} {name}": leaf for name, leaf in tree._asdict().items()
    }
    found = pools("mean", values.mean)
    found |= {f"mean {name}": m for name, m in values.parameter_mean.items()}
    found |= {f"covariance {name}": c for name, c in values.covariance.items()}
    found |= pools("flux", values.flux) | pools("minimum", values.minimum)
    return {name: np.asarray(column, np.float64) for name, column in found.items()}
