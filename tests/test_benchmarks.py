"""The benchmarks measure what they say: the same runs on every side. Never timed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import slow_but

from benchmarks import measure, microscale, ours, rivals
from benchmarks.climit import CLimit, Steps, compiler, law_of, names
from jaxsoc.experiments import Soil
from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS

TIMES = 24.0 * np.arange(4)
CASES = [("multiplicative", True), ("michaelis_menten", False)]
CASES += [("michaelis_menten", True)]
needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")


def patchy(rng, name, heterogeneous, cells=700) -> Soil:
    spread = lambda c: jnp.asarray(c * 10 ** rng.uniform(-0.5, 0.5, cells))
    constants = KINETICS[name].constants()
    if heterogeneous:
        constants = jax.tree.map(spread, constants)
    pools = Pools(rng.uniform(0, 250, cells), rng.gamma(1.0, 1.2, cells), 0.0)
    state = jax.tree.map(lambda x: jnp.broadcast_to(jnp.asarray(x), cells), pools)
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(constants))
    return Soil(TwoPool(KINETICS[name].law), state, params)


@needs_compiler
@pytest.mark.parametrize(
    ("name", "heterogeneous"), slow_but([("michaelis_menten", False)], CASES)
)
def test_c_gives_the_same_moments(rng, name, heterogeneous):
    soil = patchy(rng, name, heterogeneous)
    with CLimit() as limit:
        # With a Courant number, blocks of other sizes take other steps.
        for steps, close in ((Steps(12), 1e-9), (Steps(courant=0.1), 1e-6)):
            mine = ours.columns(ours.prepare(soil, TIMES, steps)())
            theirs, work = limit.prepare(soil, TIMES, steps)()
            assert set(names(law_of(soil))) <= set(mine)
            assert measure.disagreement(mine, theirs, law_of(soil)) < close
            assert work >= 3 * 700 * (1 if steps.courant else steps.per_day)


@pytest.mark.parametrize(("name", "heterogeneous"), CASES)
def test_rivals_solve_the_same_soil(rng, name, heterogeneous):
    soil = patchy(rng, name, heterogeneous, cells=5)
    mine = ours.columns(ours.prepare(soil, TIMES, Steps(courant=0.02))())
    R = mine["flux respiration"]
    assert measure.error(rivals.dop853(soil, TIMES), R) < 1e-7
    assert measure.error(rivals.prepare_lsoda(soil, TIMES)(1e-9), R) < 1e-6


def test_the_loosest_accurate_setting_is_taken():
    errors = {1: 1e-3, 2: 9e-6, 3: 1e-8}
    assert measure.loosest((1, 2, 3), errors.__getitem__) == (2, 9e-6)
    assert measure.loosest((1,), errors.__getitem__) == (1, 1e-3)
    assert measure.error(np.array([np.nan]), np.array([1.0])) == np.inf


def test_a_laws_number_is_known(rng):
    assert [law_of(patchy(rng, *case)) for case in CASES] == [0, 1, 2]
    with pytest.raises(ValueError, match="no such law"):
        law_of(patchy(rng, "multiplicative", False))


def test_summary_takes_the_worst():
    keys = (*microscale.LEAST, *microscale.MOST, "error", "cell_steps_per_s_c")
    case = dict.fromkeys(keys, 2.0)
    cases = {"multiplicative_full_100": case, "mm_full_100": case}
    cases["mm_biophysical_100"] = dict.fromkeys(keys, 3.0)
    found = microscale.summary(cases)
    assert found["fraction_of_c_limit"] == 2.0
    assert found["gradient_over_forward"] == 3.0
    assert found["accuracy_met"] is False and found["c_limit_is_one"] is False
    cases["mm_full_100"] = case | {"fraction_of_c_limit": None}
    assert microscale.summary(cases)["mm_full_fraction_of_c_limit"] is None
    json.dumps(found)


def test_command_line():
    asked = microscale.parser().parse_args(["--quick", "--json"])
    assert asked.quick and asked.json
    assert not microscale.parser().parse_args([]).quick
