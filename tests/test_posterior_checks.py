"""Posteriors of columns are right: ranks of truths, on four layers."""

import numpy as np
import pytest

from benchmarks.posterior_checks import calibration, recovery
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.physics.columns import SoilColumn

pytestmark = [pytest.mark.slow, pytest.mark.optimised]

FOUR = SoilColumn((0.1, 0.3, 0.7, 1.5))


@pytest.mark.parametrize("model", ["clm5", "compas"])
def test_ranks_of_truths_are_even(model):
    found = calibration(model, 200, column=FOUR)
    assert found["failed"] == [] and found["replicates"] == 200
    assert {"log_likelihood", "stock", "carbon_error"} < set(found["p_values"])
    assert found["share_rhat_below_1.03"] > 0.9


def test_a_fault_of_the_error_is_found():
    found = calibration("clm5", 200, fault=2.0, column=FOUR)
    assert "carbon_error" in found["failed"]


def test_recovery_counts_what_intervals_cover():
    short = BatchHMC(steps=16, warmup=250, draws=250, chains=4)
    found = recovery("clm5", 8, short)
    low, high = found["band_pooled_99"]
    assert low < 0.9 < high and low <= found["coverage_pooled"] <= high
    assert set(found["r2"]) == set(found["contraction"]) == set(found["coverage"])
    assert np.isfinite(list(found["contraction"].values())).all()
    assert np.isfinite(found["largest_rhat"])
