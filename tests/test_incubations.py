"""Soils that are not well mixed against the homogeneous one, judged by what comes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import incubations
from jaxsoc.experiments import RIVALS, SoilCore, predict_held_out
from jaxsoc.experiments.heterogeneous import (
    PatchyCore,
    PatchySeries,
    SecondPoolCore,
    SecondPoolSeries,
    representative_cells,
)
from jaxsoc.experiments.soil_series import TwoPoolSeries
from jaxsoc.infer import log_predictive_density, paired_differences
from jaxsoc.io import load_cores
from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.observe import QUANTITIES, Respiration, mean_rates, observed
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.solve import Steps, rodas3

TIMES = np.array([0.0, 24.0, 100.0, 400.0, 1000.0])
LAWS = ("linear", "multiplicative", "michaelis_menten", "eca")
STEPS = Steps(10.0)


def core_of(name, **pools) -> SoilCore:
    pools = {"initial_substrate": 20.0, "initial_biomass": 2.0} | pools
    core = SoilCore(TwoPoolParameters(KINETICS[name].constants()), **pools)
    return jax.tree.map(lambda x: jnp.asarray(x, float), core)


def predicted(series, params, quantity, times=TIMES):
    params = jax.tree.map(lambda x: jnp.asarray(x, float), params)
    return np.asarray(jax.jit(series)(params, observed(times, quantity)))


@pytest.mark.parametrize("name", LAWS)
def test_both_extended_soils_contain_the_homogeneous_one(name):
    """No spread of rates and biomass; two substrates that are equally fast."""
    core, model = core_of(name), TwoPool(KINETICS[name].law)
    alone = predicted(TwoPoolSeries(model, STEPS), core, "respiration")
    cells = predicted(
        PatchySeries(model, STEPS), PatchyCore(core, 0.0, 0.0), "respiration"
    )
    pools = predicted(
        SecondPoolSeries(model, STEPS), SecondPoolCore(core, 0.3, 1.0), "respiration"
    )
    np.testing.assert_allclose(cells, alone, rtol=1e-12)
    np.testing.assert_allclose(pools, alone, rtol=1e-12)


@pytest.mark.parametrize("model", ["second_pool", "patchy"])
def test_carbon_is_neither_made_nor_lost(model):
    rival = RIVALS[model]
    core = core_of("michaelis_menten")
    series = rival.series(TwoPool(KINETICS["michaelis_menten"].law), STEPS)
    given = float(core.soil.input) * TIMES[1:]
    pools = [
        predicted(series, rival.around(core), name) for name in list(QUANTITIES)[:3]
    ]
    np.testing.assert_allclose(sum(pools), 22.0 + given, rtol=1e-12)


def test_extended_soils_add_equally_many_constants():
    added = {name: len(rival.extra) for name, rival in RIVALS.items()}
    assert added == {"homogeneous": 0, "second_pool": 2, "patchy": 2}


def test_cells_have_the_moments_of_a_normal_distribution():
    x, w = representative_cells(5)
    moments = [float(np.sum(w * x**n)) for n in range(10)]
    np.testing.assert_allclose(moments, [1, 0, 1, 0, 3, 0, 15, 0, 105, 0], atol=1e-12)
    with pytest.raises(ValueError, match="at least 1 cell is needed, got 0"):
        representative_cells(0)


def test_seven_cells_are_enough_for_a_spread_of_one():
    core, model = core_of("multiplicative"), TwoPool()
    params, implicit = PatchyCore(core, 1.0, 0.5), Steps(10.0, stepper=rodas3)
    few, many = (
        predicted(PatchySeries(model, implicit, cells=cells), params, "respiration")
        for cells in (7, 21)
    )
    np.testing.assert_allclose(few, many, rtol=0.02)


def test_linear_decay_of_patches_slows_as_the_slow_ones_are_left():
    """R = (1 - Y) S Σ wᵢ kᵢ exp(-kᵢ t) where nothing dies or grows."""
    constants = KINETICS["linear"].constants(rate=2e-3)
    soil = TwoPoolParameters(constants, input=0.0, carbon_use_efficiency=1e-9)
    core = SoilCore(soil, 10.0, 1e-12)
    model = TwoPool(KINETICS["linear"].law)
    x, w = representative_cells(7)
    k = 2e-3 * np.exp(x) / np.sum(w * np.exp(x))
    expected = [np.sum(w * 10.0 * k * np.exp(-k * t)) for t in TIMES[1:]]
    found = predicted(
        PatchySeries(model, Steps(2.0)), PatchyCore(core, 1.0, 0.0), "respiration"
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_law_without_a_rate_is_told():
    core = SoilCore(TwoPoolParameters({"k": 1.0}), 10.0, 1.0)
    with pytest.raises(ValueError, match="must have a field `rate`, got dict"):
        predicted(PatchySeries(), PatchyCore(core), "respiration")


def test_densities_are_those_of_gauss_and_student():
    y, f, s = np.array([0.0, 1.5, -20.0]), 0.5, np.array([1.0, 0.2, 3.0])
    z = (y - f) / s
    gauss = log_predictive_density(y, f, s)
    closed = -0.5 * z**2 - np.log(s) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(gauss, closed, rtol=1e-12)
    cauchy = log_predictive_density(y, f, s, 1.0)
    np.testing.assert_allclose(cauchy, -np.log(np.pi * s * (1 + z**2)), rtol=1e-12)
    assert log_predictive_density([1.0], [np.nan], 1.0)[0] == -np.inf
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        log_predictive_density(y, f, 0.0)
    with pytest.raises(ValueError, match="freedom must be positive, got -1"):
        log_predictive_density(y, f, s, -1.0)


def test_a_study_counts_once():
    """Groups' means 1 and 3 and 5: mean 3, error 2/√3."""
    first, second = [1.0, 2.0, 3.0, 5.0, 7.0], [0.0, 1.0, 2.0, 2.0, 2.0]
    found = paired_differences(first, second, ["a", "a", "a", "b", "c"])
    assert found.mean == pytest.approx(3.0)
    assert found.error == pytest.approx(2 / np.sqrt(3))
    assert (found.median, found.wins, found.series, found.groups) == (1.0, 5, 5, 3)
    assert np.isnan(paired_differences([1.0], [0.0], ["a"]).error)
    with pytest.raises(ValueError, match="one number per series .* got .* 1 groups"):
        paired_differences(first, second, ["a"])
    with pytest.raises(ValueError, match="must be finite, got -inf"):
        paired_differences([-np.inf], [0.0], ["a"])


def test_cumulative_co2_becomes_rates_between_points():
    sums = Respiration([2.0, 4.0, 8.0], [1.0, 2.0, 6.0], "co2", name="a", study="b")
    rates = mean_rates(sums)
    assert rates.quantity == "mean_rate" and (rates.name, rates.study) == ("a", "b")
    np.testing.assert_allclose(rates.values, [0.5, 0.5, 1.0])
    from_zero = mean_rates(Respiration([0.0, 2.0, 4.0, 8.0], [0, 1, 2, 6], "co2"))
    np.testing.assert_allclose(from_zero.values, rates.values)
    np.testing.assert_allclose(from_zero.times, rates.times)
    assert mean_rates(rates) is rates


CORES = """core,time_h,homogenization,antecedent_moisture,wetting,amendment,\
co2c_rate_mg_gsoil_s
7_intact,0.5,Intact,fm,precip,control,1e-6
7_intact,1.0,Intact,fm,precip,control,0
7_intact,1.5,Intact,fm,precip,control,2e-6
7_intact,2.0,Intact,fm,precip,control,5e-7
"""


def test_cores_come_in_carbon_per_hour_without_place_holders(tmp_path):
    path = tmp_path / "flux.csv"
    path.write_text(CORES)
    (core,) = load_cores(path)
    assert (core.number, core.intact, core.zeros) == (7, True, 1)
    assert core.treatment == ("fm", "precip", "control")
    # 1e-6 mgC/g/s for 3600 s
    np.testing.assert_allclose(core.series.values, [3.6e-3, 7.2e-3, 1.8e-3])
    np.testing.assert_allclose(core.series.times, [0.5, 1.5, 2.0])
    assert core.series.soil_carbon is None and core.series.study == "fm precip control"
    assert load_cores(path, keep_zeros=True)[0].series.times.size == 4


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("Intact,", "Whole,", "unknown homogenization 'Whole': expected one of Int"),
        ("7_intact", "seven", "must start with its number, got 'seven'"),
        ("wetting", "rain", "has no column wetting"),
    ],
)
def test_a_table_of_cores_that_makes_no_sense_is_refused(tmp_path, old, new, words):
    path = tmp_path / "flux.csv"
    path.write_text(CORES.replace(old, new))
    with pytest.raises(ValueError, match=words):
        load_cores(path)


def test_both_collections_are_there_in_full(data):
    found = incubations.chosen(data, quick=False)
    assert len(found["sidb"]) == 30 and len({s.study for s in found["sidb"]}) == 10
    assert (len(found["intact"]), len(found["homogenised"])) == (35, 33)
    quick = incubations.chosen(data, quick=True)
    assert [len(members) for members in quick.values()] == [4, 2, 2]


def soil_series(rng, params, series, noise=0.05, count=24) -> Respiration:
    times = 24.0 * np.linspace(1.0, 14.0, count) ** 2
    rates = predicted(series, params, "respiration", np.concatenate([[0.0], times]))
    return Respiration(times, rates * np.exp(noise * rng.standard_normal(count)))


@pytest.fixture(scope="module")
def patchy_soil():
    """Cells of very different speed, without input."""
    soil = TwoPoolParameters(KINETICS["multiplicative"].constants(rate=6e-4), input=0.0)
    return PatchyCore(SoilCore(soil, 10.0, 2.0), 1.5, 1.0)


def test_what_is_held_out_is_not_looked_at(rng, patchy_soil):
    one = soil_series(rng, patchy_soil.core, TwoPoolSeries(TwoPool(), STEPS))
    spoilt = Respiration(one.times, np.where(np.arange(24) < 16, one.values, 9.0))
    found, other = (predict_held_out(s, "homogeneous", starts=2) for s in (one, spoilt))
    np.testing.assert_array_equal(found.fit.values, other.fit.values)
    np.testing.assert_array_equal(found.predicted, other.predicted)
    np.testing.assert_array_equal(found.scale, other.scale)
    assert found.fitted == 16 and found.log_density.shape == (8,)
    assert other.score < found.score
    # noise of 5 % is found, and the density is that of a model that is right:
    # the mean of -log p of a Gaussian is log(s √(2πe))
    assert found.noise == pytest.approx(0.05, rel=0.5)
    assert -found.score == pytest.approx(
        np.log(0.05 * np.sqrt(2 * np.pi * np.e)), abs=1
    )


@pytest.mark.slow
def test_patches_are_preferred_where_there_are_some(rng, patchy_soil):
    """Eight soils; a single one may go either way."""
    truth = PatchySeries(TwoPool(), Steps(10.0, stepper=rodas3))
    made = [soil_series(rng, patchy_soil, truth, noise=0.02) for _ in range(8)]
    models = ("patchy", "homogeneous")
    found = {m: [predict_held_out(one, m) for one in made] for m in models}
    scores = [[one.score for one in found[m]] for m in models]
    gain = paired_differences(*scores, range(8))
    assert gain.mean > 2 * gain.error and gain.wins >= 6
    assert len(found["patchy"][0].fit.names) == 5


def test_series_are_drawn_again_around_the_forecast(rng, patchy_soil):
    one = soil_series(rng, patchy_soil.core, TwoPoolSeries(TwoPool(), STEPS))
    found = predict_held_out(one, "homogeneous", starts=2)
    made = incubations.redrawn(rng, one, found._replace(noise=0.0))
    np.testing.assert_allclose(made.values, one.values, rtol=0.2)
    np.testing.assert_array_equal(made.times, one.times)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model": "spotted"}, "unknown model 'spotted', expected one of homogeneous"),
        ({"points": 8}, "points must be at least 24, got 8"),
    ],
)
def test_a_forecast_that_makes_no_sense_is_refused(change, words):
    times = np.arange(1.0, 25.0)
    with pytest.raises(ValueError, match=words):
        predict_held_out(Respiration(times, 1 / times), **change)
    with pytest.raises(ValueError, match="4 points cannot determine 5 constants"):
        predict_held_out(Respiration(times[:6], 1 / times[:6]), "patchy")
    with pytest.raises(ValueError, match="every fitted rate is zero"):
        predict_held_out(Respiration(times, 0 * times))


def row(name, study, core, **scores):
    made = {m: {"score": s, "error": 1.0} for m, s in scores.items()}
    return {"name": name, "study": study, "core": core, **made}


def test_comparison_leaves_out_what_failed_and_pairs_cores():
    scores = {"homogeneous": 1.0, "second_pool": 2.0}
    rows = [row(f"{n}_i", "a", n, patchy=1.0 + n, **scores) for n in (1, 2)]
    rows.append(row("3_i", "b", 3, patchy=-np.inf, **scores))
    found = incubations.compared(rows) | {"rows": rows}
    assert found["left_out"] == ["3_i"]
    gain = found["differences"]["patchy-homogeneous"]
    assert gain["mean"] == 1.5 and gain["error"] is None and gain["wins"] == 2
    others = [row(f"{n}_h", "a", n, patchy=1.0, **scores) for n in (1, 2, 3)]
    pairs = {"intact": found, "homogenised": {"rows": others, "left_out": []}}
    by_core = incubations.by_core(pairs)["patchy-homogeneous"]
    assert by_core["mean"] == 1.5 and by_core["series"] == 2
    text = json.dumps(incubations.short(found), allow_nan=False)
    assert json.loads(text)["rows"][2]["patchy"]["score"] is None


def test_command_line(monkeypatch, tmp_path):
    asked = incubations.parser().parse_args(["--quick", "--json", "--out", "x.json"])
    assert asked.quick and asked.json and str(asked.out) == "x.json"
    monkeypatch.setenv("JAXSOC_DATA", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="no data: set JAXSOC_DATA"):
        incubations.data_folder()
