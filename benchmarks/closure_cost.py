"""What a closure costs per member of a batch, beside the fast distributed method."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.experiments import examples
from jaxsoc.experiments.training import MeanRespiration
from jaxsoc.models import TwoPool
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import Steps, integrate, map_members
from jaxsoc.upscale import respiration_of_many

from .closure_cases import CORES, Case, Drawn, design
from .timing import medians

BATCH = 1000


def cost(case: Case, drawn: Drawn, made: Any) -> dict[str, float]:
    """Seconds per member of a batch, beside those of the fast distributed method.

    Daily respiration on both sides, each with the loosest steps whose largest error is
    at most 1e-5 of its own peak.
    """
    plan = design(drawn.plan.seed, 24.0)
    few = examples(plan, *case, range(CORES), drawn=drawn.plain)
    soils, times = (few.state, few.params), jnp.asarray(few.times)
    describe = eqx.filter_jit(jax.vmap(lambda s, p: made.initial(s, p)))
    tile = lambda x: jnp.concatenate([x] * (BATCH // CORES))
    batch = jax.tree.map(tile, describe(*soils))

    def closed(courant):
        run = lambda b: respiration_of_many(made, *b, times, courant=courant)
        return jax.jit(run)

    def whole(method):
        model = TwoPool(KINETICS[case.kinetics].law)
        save = MeanRespiration(model.fluxes)
        one = lambda soil: (
            integrate(
                model, *soil, plan.times, save=save, method=method, throw=False
            ).values
        )
        return jax.jit(lambda soils: map_members(one, soils))

    exact = np.asarray(closed(0.05)(batch))
    courant, fast = _loosest(closed, (2.0, 1.0, 0.5, 0.35, 0.25, 0.1), batch, exact)
    methods = (
        Steps(6.0, devices=1),
        Steps(4.0, devices=1),
        Steps(2.0, devices=1),
        Steps(1.0, devices=1),
        Steps(courant=1.0, devices=1),
        Steps(courant=0.5, devices=1),
        Steps(courant=0.25, devices=1),
    )
    # Equal steps suit most cases best; the others are for stiff cells.
    methods = methods[4:] if case.stiff else methods[:4]
    _, slow = _loosest(whole, methods, soils, few.respiration)
    seconds = medians(
        {
            "closure": lambda: fast(batch).block_until_ready(),
            "describe": lambda: jax.block_until_ready(describe(*soils)),
            "distributed": lambda: slow(soils).block_until_ready(),
        },
        5,
    )
    each = {
        "closure": seconds["closure"] / BATCH,
        "describe": seconds["describe"] / CORES,
        "distributed": seconds["distributed"] / CORES,
    }
    both = each["closure"] + each["describe"]
    return each | {
        "courant": courant,
        "speedup": each["distributed"] / each["closure"],
        "speedup_with_description": each["distributed"] / both,
    }


def _loosest(made, choices, given, exact):
    """The first choice with an error of at most 1e-5 of the peak, else the last."""
    for choice in choices:
        program = made(choice)
        found = np.asarray(program(given))
        if np.max(np.abs(found - exact)) <= 1e-5 * np.max(exact):
            break
    return choice, program
