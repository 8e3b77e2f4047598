"""The clever parts of a run change its time, never its numbers."""

import jax
import numpy as np
import pytest
from test_benchmarks import TIMES, patchy

from benchmarks import ablation, ours
from benchmarks.climit import Steps


@pytest.mark.slow
@pytest.mark.parametrize("part", ablation.PARTS)
def test_a_run_without_a_part_has_the_same_numbers(rng, part):
    soil = patchy(rng, "michaelis_menten", True)
    found = []
    for taken_out in (None, part):
        with ablation.without(taken_out):
            found.append(jax.tree.leaves(ours.prepare(soil, TIMES, Steps(4))()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
