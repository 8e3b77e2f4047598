"""Many sites at once are each site by itself, however they are laid out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from column_cases import draws, sites
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.models import CLM5, COMPAS, CLM5Parameters, COMPASParameters
from jaxsoc.solve import Sites, map_sites

CASES = [("clm5", CLM5, CLM5Parameters), ("compas", COMPAS, COMPASParameters)]


@pytest.mark.parametrize("block", [4, 256])
def test_blocks_are_laid_out_and_back(rng, block):
    tree = {"a": rng.uniform(size=(11, 3, 2)), "b": rng.uniform(size=11)}
    made = Sites.of(tree, block=block)
    assert made.blocks["a"].shape[1:3] == (3, 2)
    for one, other in zip(
        jax.tree.leaves(made.leading()), jax.tree.leaves(tree), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("name", "cls", "numbers"), slow_but(CASES[1:], CASES))
def test_sites_are_each_by_itself(name, cls, numbers):
    params, forcing = draws(numbers, 11, seed=1), sites(11, seed=2)
    solve = lambda p, f: steady_state(cls(f), p)
    found = jax.jit(lambda p, f: map_sites(solve, p, f))(
        Sites.of(params, block=4), Sites.of(forcing, block=4)
    ).leading()
    one = jax.jit(solve)
    for i in range(11):
        pick = lambda tree, i=i: jax.tree.map(lambda leaf: leaf[i], tree)
        for a, b in zip(pick(found), one(pick(params), pick(forcing)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_numbers_of_sites_must_agree(rng):
    with pytest.raises(ValueError, match="same number of sites, got 3, 4"):
        Sites.of((np.ones(3), np.ones(4)))
    with pytest.raises(ValueError, match="same number of sites, got 3, 4"):
        map_sites(lambda a, b: a + b, Sites.of(jnp.ones(3)), Sites.of(jnp.ones(4)))
