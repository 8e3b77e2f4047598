"""The benchmark of columns compares the same columns on every side. Never timed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import column_rivals, column_runs, columns
from jaxsoc.models import CLM5, COMPAS
from jaxsoc.physics.forcing import idealised


@pytest.mark.slow
def test_rivals_find_the_same_profiles(monkeypatch):
    monkeypatch.setattr(column_rivals, "CHUNK", 4)
    made = columns.case(CLM5, 8)
    one = lambda v, f: columns.profile(CLM5, v, f)
    mine = np.asarray(jax.jit(jax.vmap(one))(made.vectors, made.forcing))
    sides = (
        column_rivals.batched_lapack(made),
        column_rivals.numpy_lapack(made, 1),
        column_rivals.numpy_lapack(made, 2),
    )
    for side in sides:
        assert columns._agreement(mine, side())["largest"] < 1e-10


@pytest.mark.slow
def test_only_sites_with_a_steady_state_are_stepped():
    made = columns._feasible(columns.case(COMPAS, 40), 3)
    assert made.vectors.shape == (3, 23)
    one = lambda v, f: columns.profile(COMPAS, v, f)
    profiles = np.asarray(jax.jit(jax.vmap(one))(made.vectors, made.forcing))
    assert np.all(profiles >= 0)
    assert np.all(np.asarray(made.forcing.active_layer) > 0)


def test_drift_is_the_largest_relative_change_of_a_stock():
    column = idealised().column
    before = (jnp.ones(20), jnp.full(20, 2.0))
    after = (jnp.full(20, 1.01), jnp.full(20, 2.0))
    assert float(columns._drift(before, after, column)) == pytest.approx(0.01)


@pytest.mark.slow
def test_every_side_of_a_run_ends_at_the_exact_stocks():
    made = columns.case(CLM5, column_runs.RIVAL_SITES)
    few = [column_runs._months(made, site) for site in range(column_runs.RIVAL_SITES)]
    exact = [column_runs._exact(site, column_runs.RIVAL_YEARS) for site in few]
    sides = {
        "ours": column_runs._ours_few(made, ("second_order", 4)),
        "bdf": [column_runs._bdf(site, 1e-6) for site in few],
        "splu": [column_runs._splu(site, 8)(column_runs.RIVAL_YEARS) for site in few],
    }
    for name, found in sides.items():
        assert column_runs._error(made, exact, found) <= column_runs.ACCURACY, name
    # Years that change nothing would make every side right.
    start = [
        np.repeat(site[0][None], len(x), axis=0)
        for site, x in zip(few, exact, strict=True)
    ]
    assert column_runs._error(made, exact, start) > column_runs.ACCURACY


def test_a_dataset_of_sites_goes_in_and_comes_out(monkeypatch):
    monkeypatch.setattr(columns, "THOUSAND", 3)
    said = []
    found = columns.files(1, said.append)
    assert found["thousand_sites_from_dataset_seconds"] > 0 and "3 sites" in said[0]
