"""The soils of the benchmarks: the published recipes of scenario 2, positive fields."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.experiments import Design, Soil, case, draw_member
from jaxsoc.physics.grids import CellGrid

SEED = 0
CORRELATION = "positive"
CASES = {
    "multiplicative_full": ("multiplicative", "full"),
    "mm_biophysical": ("michaelis_menten", "biophysical"),
    "mm_full": ("michaelis_menten", "full"),
}
STIFF = ("mm_full",)
"""One percent of the cells of these are stiff: they choose their own steps."""


def soils(side: int) -> tuple[dict[str, Soil], np.ndarray]:
    """Every case on side x side cells, and the times: each day of the 200, in h."""
    design = Design(
        scenario=2,
        kinetics=("multiplicative", "michaelis_menten"),
        correlation=(CORRELATION,),
        seed=SEED,
        every=24.0,
        grid=CellGrid((side, side)),
    )
    member = draw_member(design)
    made = {
        name: case(design, member, kinetics, heterogeneity, CORRELATION)
        for name, (kinetics, heterogeneity) in CASES.items()
    }
    return {name: flat(soil) for name, soil in made.items()}, design.times


def flat(soil: Soil) -> Soil:
    """The same soil with its cells in one row, all numbers 64-bit arrays."""
    row = lambda x: jnp.asarray(x, jnp.float64).reshape(-1 if jnp.ndim(x) else ())
    state, params = jax.tree.map(row, (soil.state, soil.params))
    return Soil(soil.model, state, params)


def sample(soil: Soil, cells: int) -> Soil:
    """Random cells of a soil, the same ones every time."""
    total = soil.state.substrate.size
    picked = np.random.default_rng(SEED).choice(total, min(cells, total), replace=False)
    pick = lambda x: x[picked] if jnp.ndim(x) else x
    state, params = jax.tree.map(pick, (soil.state, soil.params))
    return Soil(soil.model, state, params)


def cast(soil: Soil, dtype: str) -> Soil:
    """The same soil in numbers of another width."""
    narrow = lambda x: x.astype(dtype)
    state, params = jax.tree.map(narrow, (soil.state, soil.params))
    return Soil(soil.model, state, params)
