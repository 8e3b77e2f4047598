"""The closure benchmark: what is stored, what its last line says. Never timed."""

import jax
import numpy as np
import pytest

from benchmarks.closure_cases import CASES, SHIFTS, Case, Drawn, Shift
from benchmarks.closure_errors import Result
from benchmarks.closure_fits import FITTED, closures_of, stored
from benchmarks.closures import over_null, scale_invariance, summary
from jaxsoc.experiments import Design, draw_members, examples
from jaxsoc.models import TwoPool
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.upscale import TRACKS, closure, respiration_of_many
from jaxsoc.upscale.training import respiration

SMALL = Design(grid=CellGrid((8, 8)), duration=240.0, every=24.0)


def result(scale, shifted=True):
    """Errors that grow with the place of the closure; the learned one is the best."""
    names = ["null", "mean_field", *FITTED]
    unseen = {n: np.full(3, scale * (i + 1)) for i, n in enumerate(names)}
    training = {n: 1.0 for n in FITTED} | {"learned": 0.1}
    moved = {label: {n: 2 * e for n, e in unseen.items()} for label in SHIFTS}
    states = {n: 3 for n in names}
    return Result(unseen, moved if shifted else {}, states, training)


def test_the_last_line_is_about_the_closure_that_was_best_in_training():
    results = {case: result(1.0 + case.stiff) for case in CASES}
    found = summary(results)
    assert found["best"] == "representative_cells"
    assert found["statistics_best"] == "learned"
    place = 3 + FITTED.index("learned")
    assert found["statistics_best_median_error"] == place
    assert found["statistics_best_worst_error"] == place
    assert found["statistics_mm_full_error"] == 2 * place
    assert found["statistics_best_over_null"] == place
    assert found["statistics_shifted_median_error"] == 2 * place
    assert found["null_median_error"] == 1.0 and found["mean_field_median_error"] == 2.0


def test_a_closure_that_leaves_the_possible_is_not_a_good_one():
    results = {case: result(1.0) for case in CASES}
    for one in results.values():
        one.unseen["representative_cells"][:2] = np.inf
    assert summary(results)["best_median_error"] == np.inf
    assert over_null([1.0, np.inf, np.inf], [1.0, 1.0, 1.0]) == np.inf


def test_scale_invariance_is_one_for_a_law_that_keeps_its_form():
    results = {case: result(1.0) for case in CASES}
    for case, one in results.items():
        perfect = case.kinetics == "inverse_michaelis_menten"
        own = one.unseen[f"effective_{case.kinetics}"]
        own[:] = 0.0 if perfect else one.unseen["mean_field"]
    found = scale_invariance(results)
    assert found["inverse_michaelis_menten"] == 1.0
    assert found["multiplicative"] == found["michaelis_menten"] == 0.0


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_fit_is_stored_and_reads_no_more_than_its_track_may(case):
    made = closures_of(case, stored(case), FITTED)
    assert set(made) == set(FITTED)
    for name, one in made.items():
        numbers = jax.tree.leaves(one)
        assert all(np.isfinite(x).all() for x in numbers if hasattr(x, "shape"))
        if TRACKS[name] == "statistics" and hasattr(one, "numbers_read"):
            assert one.numbers_read() <= 20
    # Pools of the cells, of the dead ones, and respired carbon.
    assert 2 * made["representative_cells"].split.size + 3 <= 32


def test_there_are_eighteen_cases_and_three_are_told_apart():
    assert len(set(CASES)) == 18
    assert sum(case.stiff for case in CASES) == 3
    assert Case("eca", "full", "positive").name == "eca_full_positive"


@pytest.mark.slow
def test_a_core_does_not_depend_on_the_others():
    some = lambda numbers: examples(
        SMALL, "multiplicative", "full", "positive", numbers
    )
    three, one = some([0, 1, 2]), some([1])
    for a, b in zip(jax.tree.leaves(three[:2]), jax.tree.leaves(one[:2]), strict=True):
        np.testing.assert_array_equal(a[1], b[0])
    np.testing.assert_allclose(three.respiration[1], one.respiration[0], rtol=1e-12)


def test_shifts_are_what_they_say():
    case = Case("multiplicative", "biophysical", "positive")
    drawn = Drawn(SMALL, draw_members(SMALL, range(1)), {}, 1)
    plain, moved = drawn.run(case), drawn.run(case, Shift(2.0, 3.0))
    np.testing.assert_allclose(moved.state.substrate, 2 * plain.state.substrate)
    np.testing.assert_allclose(moved.params.input, 3 * plain.params.input)
    np.testing.assert_array_equal(moved.state.biomass, plain.state.biomass)
    with pytest.raises(ValueError, match="members.*empty"):
        examples(SMALL, *case, [])


@pytest.mark.slow
def test_many_cores_at_a_time_are_each_by_itself():
    case = ("michaelis_menten", "full", "positive")
    cores = examples(SMALL, *case, range(3))
    varying = ("decomposition.rate", "decomposition.half_saturation")
    model = TwoPool(KINETICS[case[0]].law)
    made = closure("representative_cells", model, varying, cores, groups=4)
    times = jax.numpy.asarray(cores.times)
    alone = lambda s, p: respiration(made, s, p, times, 96)
    expected = jax.jit(jax.vmap(alone))(cores.state, cores.params)
    batch = jax.vmap(made.initial)(cores.state, cores.params)
    found = jax.jit(lambda b: respiration_of_many(made, *b, times))(batch)
    np.testing.assert_allclose(found, expected, rtol=3e-6)
    with pytest.raises(ValueError, match="courant must lie in"):
        respiration_of_many(made, *batch, times, courant=3.0)
