"""No random soil ends wrong in silence, whatever the law and the method."""

import os

import pytest
from random_soils import METHODS, TIGHT, ends, outcome, soils

from jaxsoc.physics.kinetics import KINETICS

pytestmark = pytest.mark.optimised


def check(law, count, names):
    model, problem = soils(law, count, seed=1)
    exact, _, _ = ends(model, TIGHT, problem)
    wrong = 0
    for name in names:
        found = outcome(model, METHODS[name], problem, exact)
        assert not found.silently_wrong.any(), name
        wrong += int((found.error > 0.01).sum())
    return wrong


def test_soils_that_end_wrong_say_so():
    wrong = check("michaelis_menten", 40, ("rk4, 8 h",))
    assert wrong > 3  # else there is nothing to say


@pytest.mark.slow
@pytest.mark.parametrize("law", sorted(KINETICS))
def test_soils_of_every_law_that_end_wrong_by_any_method_say_so(law):
    check(law, int(os.environ.get("JAXSOC_RANDOM_SOILS", 60)), METHODS)
