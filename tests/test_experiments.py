"""Experiments: what each case is, laws that hold for all of them, user's own parts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_cases import slow_but

from jaxsoc.experiments import (
    DISTRIBUTIONS,
    Design,
    Supplied,
    case,
    draw_member,
    estimate_cost,
    mean_steady_state,
    memory_of_run,
    run,
    summarise,
    sweep_heterogeneity,
    two_patches,
)
from jaxsoc.experiments.series import SERIES
from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.physics.grids import CellGrid, NotWellMixedWarning
from jaxsoc.physics.kinetics import (
    KINETICS,
    Kinetics,
    MichaelisMentenConstants,
    MultiplicativeConstants,
    inverse_michaelis_menten,
    michaelis_menten,
    multiplicative,
)
from jaxsoc.physics.mortality import (
    LinearMortalityConstants,
    PowerMortalityConstants,
    power_mortality,
)
from jaxsoc.upscale.distributions import LogUniform, Uniform
from jaxsoc.upscale.fields import Fields, Generator

pytestmark = pytest.mark.optimised

SMALL = Design(grid=CellGrid((24, 24)), duration=240.0)


def small(**changes):
    return dataclasses.replace(SMALL, **changes)


@pytest.fixture(
    scope="module",
    params=[("linear",), pytest.param(("quadratic", "eca"), marks=pytest.mark.slow)],
    ids=len,
)
def all_laws(request):
    # The other three run in the tests of reference, on the published fields.
    return run(small(kinetics=request.param, every=12.0))


def test_carbon_balance_and_split_of_every_case(all_laws):
    assert all_laws.values("carbon_balance_error").max() <= 1e-12
    assert all_laws.values("smallest_pool").min() >= 0
    assert all_laws.values("error_estimate").max() <= 1e-5
    series = all_laws.values
    total = series("respiration_mean_field") + series("respiration_higher_order")
    np.testing.assert_allclose(total, series("respiration"), rtol=1e-13)
    np.testing.assert_allclose(
        series("respiration"), (1 - 0.31) * series("decomposition"), rtol=1e-12
    )


@pytest.mark.slow
def test_homogeneous_soil_is_its_own_mean_field(all_laws):
    part = lambda name, h: all_laws.values(name)[:, h]
    assert np.abs(part("respiration_higher_order", 0)).max() == 0
    for name in ("substrate_variance", "rate_variance"):
        assert np.abs(part(name, 0)).max() == 0
        assert part(name, 3).min() > 0


def test_pools_are_uniform_at_the_start_of_a_biochemical_soil_only_there(all_laws):
    variance = all_laws.values("substrate_variance")[:, 2]
    assert np.abs(variance[..., 0]).max() < 1e-20
    assert variance[..., 1:].min() > 1e-12


def test_rates_per_biomass(all_laws):
    s = all_laws.values
    np.testing.assert_allclose(
        s("specific_growth_rate") * 0.69 / 0.31, s("specific_respiration_rate"), 1e-12
    )
    np.testing.assert_allclose(
        s("specific_respiration_rate") * s("biomass"), s("respiration"), 1e-12
    )


def test_means_of_all_cases_start_alike(all_laws):
    for name in ("substrate", "biomass"):
        start = all_laws.values(name)[..., 0]
        np.testing.assert_allclose(start, start.flat[0], rtol=1e-12)


def test_summary_reads_the_arrays(all_laws):
    rows = summarise(all_laws)
    # homogeneous and biochemical once, biophysical and full by correlation
    laws, c = all_laws.values("kinetics").tolist(), 0
    assert len(rows) == len(laws) * (1 + 3 + 1 + 3)
    k, law = len(laws) - 1, laws[-1]
    row = next(r for r in rows if r.kinetics == law and r.heterogeneity == "full")
    R = all_laws.values("respiration")[k, 3, c, 0]
    assert row.peak_respiration == R.max()
    assert row.peak_day == all_laws.values("time")[R.argmax()]
    control = all_laws.values("respiration")[k, 0, c, 0].max()
    assert row.peak_ratio == pytest.approx(R.max() / control)


@pytest.mark.slow
def test_a_member_does_not_depend_on_how_many_there_are():
    three = run(small(members=3, kinetics=("multiplicative",), every=60.0))
    one = run(small(members=1, kinetics=("multiplicative",), every=60.0))
    for name in SERIES:
        values = one.values(name)
        np.testing.assert_array_equal(values[..., 0, :], three.values(name)[..., 0, :])
    full = three.values("respiration")[0, 3, 0]
    assert np.ptp(full[:, 2]) > 0


def test_another_seed_is_another_soil_and_the_same_seed_the_same():
    soils = [draw_member(small(seed=s), 0, None) for s in (1, 1, 2)]
    np.testing.assert_array_equal(soils[0].fields.biomass, soils[1].fields.biomass)
    assert not np.array_equal(soils[0].fields.biomass, soils[2].fields.biomass)


def test_control_with_the_mean_constants_of_the_field():
    design = small(control="field-mean", kinetics=("michaelis_menten",))
    member = draw_member(design, 0, None)
    options = {
        "kinetics": "michaelis_menten",
        "heterogeneity": "homogeneous",
        "correlation": "positive",
    }
    soil = case(design, member, **options)
    field = member.constants["michaelis_menten"]
    assert float(soil.params.decomposition.rate) == float(jnp.mean(field.rate))
    nominal = case(small(), draw_member(small(), 0, None), **options)
    assert nominal.params.decomposition.rate == 0.018


def test_a_narrow_spread_has_a_narrower_field():
    width = lambda spread: float(
        jnp.std(
            jnp.log10(
                draw_member(small(parameter_spread=spread), 0, None)
                .constants["michaelis_menten"]
                .rate
            )
        )
    )
    assert width("case2") < 0.4 * width("case1")


def test_published_coupling_ties_the_inverse_pair_alone():
    member = draw_member(small(coupled=True), 0, None)
    rank = lambda x: np.argsort(np.argsort(np.ravel(x)))
    tied = member.constants["inverse_michaelis_menten"]
    free = member.constants["michaelis_menten"]
    correlation = lambda c: np.corrcoef(rank(c.rate), rank(c.half_saturation))[0, 1]
    assert correlation(tied) == pytest.approx(1.0)
    assert abs(correlation(free)) < 0.15


def test_own_nominal_constants_shift_the_fields_with_them():
    constants = {"michaelis_menten": MichaelisMentenConstants(0.036, 12.5)}
    own = draw_member(small(constants=constants), 0, None)
    default = draw_member(small(), 0, None)
    pick = lambda member: member.constants["michaelis_menten"]
    np.testing.assert_allclose(pick(own).rate, 2 * pick(default).rate, rtol=1e-13)
    np.testing.assert_allclose(
        pick(own).half_saturation, 0.5 * pick(default).half_saturation, rtol=1e-13
    )


@pytest.mark.slow
def test_users_own_law_runs_beside_the_known_ones():
    def holling(substrate, biomass, constants):
        S, K = substrate, constants.half_saturation
        return constants.rate * biomass * S**2 / (K**2 + S**2)

    laws = dict(KINETICS) | {
        "holling": Kinetics(holling, MichaelisMentenConstants, lambda *_: None)
    }
    design = small(
        laws=laws,
        kinetics=("michaelis_menten", "holling"),
        heterogeneity=("homogeneous", "biophysical"),
    )
    result = run(design)
    assert result.values("carbon_balance_error").max() < 1e-12
    R = result.values("respiration")
    assert np.abs(R[0] - R[1]).max() > 0.01 * R.max()
    with pytest.raises(ValueError, match="no distribution .* constants of holling"):
        run(dataclasses.replace(design, heterogeneity=("full",)))


@pytest.mark.slow
def test_nonlinear_mortality_runs():
    mortality = PowerMortalityConstants(1e-4, 1.6)
    result = run(small(mortality=mortality, kinetics=("multiplicative",), every=60.0))
    assert result.values("carbon_balance_error").max() < 1e-12


@pytest.mark.parametrize("exponent", slow_but([], [0.5, 0.8, 2.0]))
def test_any_exponent_of_mortality_runs(exponent):
    """Below 1 mortality empties cells in finite time; the run must not stumble."""
    mortality = PowerMortalityConstants(2.8e-4, exponent)
    design = small(
        mortality=mortality,
        kinetics=("multiplicative",),
        heterogeneity=("homogeneous", "full"),
        duration=4800.0,
        every=24.0,
    )
    result = run(design)
    assert result.values("carbon_balance_error").max() < 1e-12
    # never more negative than what the tolerance allows
    largest = result.values("biomass").max()
    assert result.values("smallest_pool").min() >= -design.tolerance * largest


@pytest.mark.slow
def test_a_law_without_a_slope_at_zero_runs():
    root = lambda S, B, c: c.rate * jnp.sqrt(jnp.maximum(S, 0.0)) * B
    laws = dict(KINETICS) | {"root": Kinetics(root, MultiplicativeConstants, None)}
    result = run(
        small(laws=laws, kinetics=("root",), heterogeneity=("biophysical",), every=24.0)
    )
    assert result.values("carbon_balance_error").max() < 1e-12


@pytest.mark.slow
def test_users_own_distributions_and_generator():
    def stripes(key, recipe, shape, names, *, mean_substrate, mean_biomass):
        lanes = jnp.broadcast_to(jnp.arange(shape[1], dtype=float) % 2.0, shape)
        substrate = dict.fromkeys(names, 2 * mean_substrate * lanes)
        return Fields(2 * mean_biomass * (1 - lanes), substrate)

    design = small(
        generator=stripes,
        kinetics=("michaelis_menten",),
        distributions={"michaelis_menten": {"rate": Uniform(0.01, 0.02)}},
    )
    member = draw_member(design)
    assert float((member.fields.biomass == 0).mean()) == 0.5
    constants = member.constants["michaelis_menten"]
    assert 0.01 <= float(constants.rate.min()) < float(constants.rate.max()) <= 0.02
    assert constants.half_saturation == 25.0
    result = run(design)
    R = result.values("respiration")
    # at the start, substrate and microbes never meet
    assert np.abs(R[0, 1, ..., 0]).max() == 0 < R[0, 0, ..., 0].min()


def test_equal_variance_fields_run_for_several_members():
    design = small(
        generator=Generator(equal_variance=True),
        kinetics=("multiplicative",),
        heterogeneity=("biophysical",),
        members=2,
        every=60.0,
    )
    variance = run(design).values("substrate_variance")[0, 0, :, :, 0]
    np.testing.assert_allclose(variance, variance[:1] + 0 * variance, rtol=1e-10)
    assert np.ptp(variance[0]) > 0


@pytest.mark.slow
def test_a_soil_without_carbon_is_balanced_and_one_without_microbes_runs():
    empty, full = np.zeros((4, 5)), fields()
    design = small(kinetics=("multiplicative",), input=0.0, every=60.0)
    nothing = run(design, Supplied(empty, {"given": empty}))
    assert nothing.values("carbon_balance_error").max() == 0
    rows = summarise(nothing)
    assert all(np.isnan(row.peak_ratio) for row in rows)
    lifeless = run(small(every=60.0), Supplied(empty, {"given": full}))
    assert np.abs(lifeless.values("respiration")).max() == 0


def test_the_moments_of_constants_that_a_law_lacks_are_missing(all_laws):
    lacks = [law == "linear" for law in all_laws.values("kinetics").tolist()]
    variance = all_laws.values("half_saturation_variance")
    assert [np.isnan(one).all() for one in variance] == lacks
    assert np.isfinite(all_laws.values("rate_variance")).all()


@pytest.mark.slow
@pytest.mark.reference
def test_published_constants_are_too_fast_for_their_cells_somewhere(data):
    from jaxsoc.io import load_fields

    supplied = load_fields(data / "chakrawal_fields" / "scenario2.npz")
    design = Design(
        kinetics=("michaelis_menten",),
        heterogeneity=("full",),
        correlation=("positive",),
        duration=960.0,
    )
    with pytest.warns(NotWellMixedWarning, match="michaelis_menten full positive"):
        result = run(design, supplied)
    assert 0.5 < result.values("largest_damkohler").max() < 0.8
    assert 0 < result.values("share_not_well_mixed").max() < 0.02


def test_large_cells_are_warned_about():
    fast = {"multiplicative": MultiplicativeConstants(0.01)}
    design = small(
        grid=CellGrid((24, 24), edge=1000.0),
        kinetics=("multiplicative",),
        heterogeneity=("homogeneous",),
        constants=fast,
        duration=12.0,
    )
    with pytest.warns(NotWellMixedWarning, match="1000 µm.*multiplicative homogeneous"):
        run(design)


def test_saved_times_end_with_the_duration():
    assert small(every=7.0).times[-1] == 240.0
    assert small(every=7.0).times[-2] == 238.0
    assert len(small(every=6.0).times) == 41
    assert len(Design().times) == 801


def test_cost_is_told_without_running():
    cost = estimate_cost(small())
    assert cost.cases == 24 and cost.cells == 576
    assert 1 < cost.seconds < 300 and memory_of_run(small()) > 0
    assert estimate_cost(small(members=4)).seconds > cost.seconds


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"scenario": 3}, "unknown scenario 3, expected one of 1, 2"),
        ({"kinetics": ("monod",)}, "unknown kinetics 'monod'.*linear.*eca"),
        ({"kinetics": ()}, "no kinetics given"),
        ({"kinetics": ("eca", "eca")}, "names one twice"),
        ({"heterogeneity": ("patchy",)}, "unknown heterogeneity 'patchy'.*biochemical"),
        (
            {"parameter_spread": "case3"},
            "unknown parameter_spread 'case3', expected one of case1, case2",
        ),
        ({"control": "mean"}, "unknown control 'mean'.*nominal, field-mean"),
        ({"members": 0}, r"members must lie in \[1, 2\^32\), got 0"),
        ({"every": 0.0}, r"every must lie in .* 240\] hours, got 0"),
        ({"every": 1e4}, r"every must lie in .* 240\] hours, got 10000"),
        ({"duration": -1.0}, r"duration must lie in \(0, inf\) hours, got -1"),
        ({"tolerance": 0.0}, r"tolerance must lie in \(0, inf\), got 0"),
        ({"tolerance": np.nan}, "tolerance must lie in .*, got nan"),
        ({"tolerance": np.inf}, "tolerance must lie in .*, got inf"),
        ({"every": np.nan}, "every must lie in .*, got nan"),
        ({"duration": np.nan}, "duration must lie in .*, got nan"),
        ({"input": np.inf}, r"input .* must lie in \[0, inf\) mgC/g/h, got inf"),
        ({"input": -1.0}, r"input .* must lie in \[0, inf\) mgC/g/h, got -1"),
        (
            {"distributions": {"eca": {"rate": Uniform(-2.0, 1.0)}}},
            r"rate .* must lie in \(0, inf\) 1/h, got -2",
        ),
        (
            {"distributions": {"eca": {"speed": Uniform(1.0, 2.0)}}},
            "unknown constant of eca 'speed', expected one of rate, half_saturation",
        ),
        (
            {"distributions": {"monod": {"rate": Uniform(1.0, 2.0)}}},
            "unknown kinetics 'monod'",
        ),
    ],
)
def test_impossible_designs_are_refused_when_made(change, problem):
    with pytest.raises(ValueError, match=problem):
        small(**change)


def test_unknown_correlation_is_refused_when_run():
    with pytest.raises(ValueError, match="unknown correlation 'weak'.*positive"):
        run(small(correlation=("weak",)))


def fields(shape=(4, 5)):
    return np.full(shape, 2.0)


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"biomass": np.full((3, 3), 1.0)}, r"one shape: .*\(4, 5\).*\(3, 3\)"),
        ({"substrate": {}}, "no substrate"),
        (
            {"substrate": {"positive": np.where(np.eye(4, 5), -1.0, 2.0)}},
            r"substrate \(positive\) has 4 negative cells of 20; .* \(0, 0\)",
        ),
        (
            {"biomass": np.where(np.eye(4, 5, 1), np.nan, 2.0)},
            r"biomass has 4 NaN cells of 20; the first is at index \(0, 1\)",
        ),
        ({"biomass": np.full((4, 5), np.inf)}, "biomass has 20 infinite cells of 20"),
        (
            {"constants": {"eca": {"rate": np.full((4, 5), -1.0)}}},
            "eca rate has 20 negative",
        ),
    ],
)
def test_impossible_fields_are_refused(change, problem):
    given = {"biomass": fields(), "substrate": {"positive": fields()}, "constants": {}}
    with pytest.raises(ValueError, match=problem):
        Supplied(**(given | change))


@pytest.mark.slow
def test_supplied_fields_make_one_member():
    supplied = Supplied(fields(), {"given": fields()}, {})
    with pytest.raises(ValueError, match="one member, got members 2"):
        run(small(members=2), supplied)
    result = run(small(every=60.0, kinetics=("multiplicative",)), supplied)
    assert result.values("correlation").tolist() == ["given"]


def test_controls_of_fields_with_unequal_totals_are_their_own():
    supplied = Supplied(fields(), {"poor": fields(), "rich": 10 * fields()}, {})
    design = small(kinetics=("multiplicative",), heterogeneity=("homogeneous",))
    done = run(design, supplied)
    S = done.values("substrate")[0, 0, :, 0]
    np.testing.assert_allclose(S[:, 0], [2.0, 20.0])
    assert S[1, -1] > S[0, -1]
    rows = summarise(done)
    assert [row.correlation for row in rows] == ["poor", "rich"]


def test_zero_half_saturation_in_a_field_is_refused():
    zero = {"michaelis_menten": {"half_saturation": np.zeros((4, 5))}}
    with pytest.raises(ValueError, match="half_saturation .* got 0 .*20 of 20 values"):
        Supplied(fields(), {"given": fields()}, zero)


# --- Mean steady state ---------------------------------------------------------------

SOIL = lambda kinetics, **options: TwoPoolParameters(
    KINETICS[kinetics].constants(), **options
)


@pytest.mark.reference
@pytest.mark.parametrize(
    "kinetics, spread, coupled, expected",
    [
        ("multiplicative", "case1", False, 15.10),
        ("multiplicative", "case2", False, 6.533),
        ("michaelis_menten", "case1", False, 13.265),
        ("inverse_michaelis_menten", "case1", False, 8.691),
        ("inverse_michaelis_menten", "case1", True, 4.662),
    ],
)
def test_mean_steady_states_of_the_published_distributions(
    kinetics, spread, coupled, expected
):
    found = mean_steady_state(
        TwoPool(KINETICS[kinetics].law),
        SOIL(kinetics),
        DISTRIBUTIONS[spread][kinetics],
        coupled=coupled,
    )
    assert float(found.substrate) == pytest.approx(expected, rel=4e-4)
    assert float(found.biomass) == pytest.approx(0.972457, abs=1e-6)


def test_mean_steady_states_have_their_closed_forms():
    """A13, and its analogues for Michaelis-Menten and the inverse law."""
    Y, m = 0.31, 0.00028
    biomass = Y * (125 / 206_250) / ((1 - Y) * m)
    table = DISTRIBUTIONS["case1"]
    # E[1/k] of a log-uniform distribution.
    inverse = lambda k: (10**-k.low - 10**-k.high) / (k.width * np.log(10) * k.scale)
    mean = lambda kinetics: float(
        mean_steady_state(
            TwoPool(KINETICS[kinetics].law), SOIL(kinetics), table[kinetics]
        ).substrate
    )
    k = table["multiplicative"]["rate"]
    assert mean("multiplicative") == pytest.approx(m * inverse(k) / Y, rel=1e-12)
    k, K = table["michaelis_menten"].values()
    low, high = 10**k.low, 10**k.high
    E = np.log((Y - m / high) / (Y - m / low)) / (k.width * np.log(10))
    assert mean("michaelis_menten") == pytest.approx(K.mean * m * E / m, rel=1e-11)
    k, K = table["inverse_michaelis_menten"].values()
    expected = m * (K.mean + biomass) * inverse(k) / Y
    assert mean("inverse_michaelis_menten") == pytest.approx(expected, rel=1e-12)


def test_mean_steady_state_of_fields_is_the_mean_over_cells(rng):
    rate = 10 ** rng.uniform(-4.5, -3.5, (6, 6))
    params = TwoPoolParameters(MultiplicativeConstants(rate))
    found = mean_steady_state(TwoPool(multiplicative), params)
    assert float(found.substrate) == pytest.approx((0.00028 / (0.31 * rate)).mean())


def test_mean_steady_state_of_any_law_and_mortality():
    own = TwoPool(
        lambda S, B, c: inverse_michaelis_menten(S, B, c), mortality=power_mortality
    )
    known = TwoPool(inverse_michaelis_menten, mortality=power_mortality)
    params = SOIL(
        "inverse_michaelis_menten", mortality=PowerMortalityConstants(3e-4, 2.0)
    )
    table = DISTRIBUTIONS["case2"]["inverse_michaelis_menten"]
    by = lambda model: mean_steady_state(model, params, table, nodes=16).substrate
    assert float(by(own)) == pytest.approx(float(by(known)), rel=1e-11)


def test_mean_steady_state_of_other_numbers_than_constants():
    """mean S* = E[m] / (Y k), and E[1/Y] m / k, for multiplicative kinetics."""
    model, params = TwoPool(multiplicative), SOIL("multiplicative")
    rate = params.decomposition.rate
    mean = lambda **by: float(mean_steady_state(model, params, by).substrate)
    m = {"mortality.rate": Uniform(1e-4, 5e-4)}
    assert mean(**m) == pytest.approx(3e-4 / (0.31 * rate), rel=1e-12)
    Y = {"carbon_use_efficiency": Uniform(0.2, 0.4)}
    assert mean(**Y) == pytest.approx(0.00028 / rate * np.log(2) / 0.2, rel=1e-12)


def test_mean_steady_state_says_when_it_has_not_converged():
    edge = 0.00028 / 0.31 * (1 + 1e-9)
    close = {"rate": LogUniform(np.log10(edge), -1.0)}
    with pytest.raises(ValueError, match="has not converged with 64 nodes"):
        mean_steady_state(TwoPool(michaelis_menten), SOIL("michaelis_menten"), close)
    fields = TwoPoolParameters(MichaelisMentenConstants(rate=np.full(3, 0.02)))
    with pytest.raises(ValueError, match="not both"):
        mean_steady_state(TwoPool(michaelis_menten), fields, close)


def test_mean_steady_state_refuses_what_does_not_exist():
    model, params = TwoPool(michaelis_menten), SOIL("michaelis_menten")
    with pytest.raises(ValueError, match="constant 'affinity'.*half_saturation"):
        mean_steady_state(model, params, {"affinity": Uniform(1.0, 2.0)})
    slow = {"rate": DISTRIBUTIONS["case1"]["michaelis_menten"]["rate"]}
    hungry = TwoPoolParameters(
        MichaelisMentenConstants(), LinearMortalityConstants(0.001)
    )
    with pytest.raises(ValueError, match=r"in \d+ of 32 cells.*Y k > m"):
        mean_steady_state(model, hungry, slow)


# --- Sweeps and the smallest soil -----------------------------------------------------


@pytest.mark.parametrize(
    "kinetics",
    slow_but(["multiplicative"], ["multiplicative", "michaelis_menten", "eca"]),
)
def test_deviation_from_the_mean_field_falls_as_the_square_of_the_amplitude(kinetics):
    factors = np.array([0.0025, 0.005, 0.01])
    sweep = sweep_heterogeneity(
        small(tolerance=1e-10, duration=1200.0, every=24.0),
        factors,
        kinetics=kinetics,
        heterogeneity="full",
        correlation="positive",
    )
    slope = np.polyfit(np.log(factors), np.log(sweep.deviation), 1)[0]
    assert abs(slope - 2) < 0.05
    assert sweep.deviation[-1] > 1e-4


def test_no_heterogeneity_is_the_mean_field():
    sweep = sweep_heterogeneity(
        small(),
        [0.0, 1.0],
        kinetics="multiplicative",
        heterogeneity="biophysical",
        correlation="negative",
    )
    np.testing.assert_allclose(sweep.respiration[0], sweep.mean_field, rtol=1e-9)
    homogeneous = run(
        small(kinetics=("multiplicative",), heterogeneity=("homogeneous",))
    )
    one = homogeneous.values("respiration")[0, 0, 0, 0]
    np.testing.assert_allclose(sweep.mean_field, one, rtol=1e-5)
    full = run(small(kinetics=("multiplicative",), heterogeneity=("biophysical",)))
    np.testing.assert_allclose(
        sweep.respiration[1], full.values("respiration")[0, 0, 1, 0], rtol=1e-6
    )


def test_factors_outside_their_bounds_are_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        sweep_heterogeneity(
            small(),
            [1.5],
            kinetics="eca",
            heterogeneity="full",
            correlation="positive",
        )


def test_two_patches_start_as_the_formula_says():
    """R(0) / R_homogeneous(0) = 1 ± a b for multiplicative kinetics."""
    a, b = 0.6, 0.9
    patches = two_patches(substrate_contrast=a, biomass_contrast=b)
    design = small(
        kinetics=("multiplicative",), heterogeneity=("homogeneous", "biophysical")
    )
    R = run(design, patches).values("respiration")[0, :, :, 0, 0]
    assert R[1, 0] / R[0, 0] == pytest.approx(1 + a * b, rel=1e-12)
    assert R[1, 1] / R[0, 1] == pytest.approx(1 - a * b, rel=1e-12)
    with pytest.raises(ValueError, match="biomass contrast"):
        two_patches(substrate_contrast=0.5, biomass_contrast=1.5)


def test_scenario_1_starts_at_the_steady_state_of_multiplicative_kinetics():
    design = Design(
        scenario=1,
        kinetics=("multiplicative",),
        heterogeneity=("homogeneous",),
        duration=8760.0,
        every=240.0,
        grid=CellGrid((16, 16)),
    )
    result = run(design)
    R = result.values("respiration")[0, 0, 0, 0]
    np.testing.assert_allclose(R, 125 / 206_250, rtol=1e-12)
    S = result.values("substrate")[0, 0, 0, 0]
    np.testing.assert_allclose(S, 0.00028 / (0.31 * 1.5365625e-4), rtol=1e-12)


@pytest.mark.slow
def test_scenario_1_starts_at_the_steady_state_of_the_users_soil():
    design = small(
        scenario=1,
        kinetics=("multiplicative",),
        heterogeneity=("homogeneous",),
        input=0.002,
        mortality=LinearMortalityConstants(0.001),
        duration=2400.0,
    )
    R = run(design).values("respiration")[0, 0, 0, 0]
    np.testing.assert_allclose(R, 0.002, rtol=1e-12)


def test_experiments_refuse_32_bit_floats():
    with jax.enable_x64(False), pytest.raises(RuntimeError, match="jax_enable_x64"):
        run(small())
