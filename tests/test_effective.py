"""How far a well-mixed law of a core can stand in for its cells."""

import numpy as np
import pytest

from jaxsoc.experiments import Design, effective_kinetics
from jaxsoc.physics.grids import CellGrid
from jaxsoc.physics.kinetics import MultiplicativeConstants

TINY = Design(grid=CellGrid((16, 16)), every=24.0, duration=960.0, seed=2)
FEW = {"members": (0, 1), "unseen": (2,), "steps": 60}


@pytest.mark.slow
def test_a_homogeneous_core_keeps_its_law():
    own = {"multiplicative": MultiplicativeConstants(2e-4)}
    design = Design(
        grid=CellGrid((8, 8)), every=24.0, duration=960.0, seed=2, constants=own
    )
    found = effective_kinetics(
        design, "multiplicative", "homogeneous", "positive", laws=("eca",), **FEW
    )
    assert found.laws == ("multiplicative", "eca")
    assert found.names == (("rate",), ("rate", "half_saturation"))
    assert found.ratio[0, 0] == pytest.approx(1.0, rel=1e-3)
    assert found.constants[0, 0] == pytest.approx(2e-4, rel=1e-3)
    assert np.isnan(found.constants[0, 1])
    assert found.scale_invariance == 1.0
    # Another law is another model, which other constants bring closer.
    assert found.nominal[1] > 10 * found.fitted[0] and found.nominal[1] > 0.01
    assert found.fitted[1] < 0.5 * found.nominal[1]


@pytest.mark.slow
def test_a_patchy_core_is_not_its_law_with_other_constants():
    found = effective_kinetics(
        TINY, "multiplicative", "full", "negative", laws=(), **FEW
    )
    assert found.laws == ("multiplicative",)
    assert found.fitted[0] < found.nominal[0]
    assert 0 < found.scale_invariance < 0.99
    assert found.scale_invariance == pytest.approx(
        1 - found.fitted[0] / found.nominal[0]
    )
    # Fitted are the means over the cells, not the nominal constant, to begin with.
    assert found.micro[0, 0] != TINY.nominal("multiplicative").rate


def test_laws_that_are_not_known_are_refused():
    with pytest.raises(ValueError, match="unknown kinetics 'monod'"):
        effective_kinetics(
            TINY, "multiplicative", "biophysical", "positive", laws=("monod",), **FEW
        )
