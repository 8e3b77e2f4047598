"""The budget of a mean rate over time: it closes, and says where the papers err."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxsoc import plots
from jaxsoc.experiments import (
    Design,
    Supplied,
    budget,
    budgets,
    case,
    draw_member,
)
from jaxsoc.io import load_fields, save_dataset, to_dataset
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.parameters import declarations
from jaxsoc.plots.budget import TERM_LINES
from jaxsoc.solve import Steps, integrate
from jaxsoc.upscale import moments

MULT, MM = "multiplicative", "michaelis_menten"


def fields():
    """Pools and constants of 256 cells, of no pattern: nothing is compiled for them."""
    rng = np.random.default_rng(3)
    spread = lambda mean, by: mean * (1 + by * rng.uniform(-1, 1, 256))
    biomass = spread(1.2, 0.9)
    plain = lambda sign: 121.0 + sign * 60.0 * (biomass - 1.2) + spread(2.0, 1.0)
    like = lambda sign: (field := plain(sign)) * (121.0 / field.mean())
    return Supplied(
        biomass,
        {"positive": like(1), "negative": like(-1)},
        {
            name: {
                constant.name: spread(constant.default, 0.8)
                for constant in declarations(kinetics.constants)
            }
            for name, kinetics in KINETICS.items()
        },
    )


@pytest.fixture(scope="module")
def small():
    design = Design(
        kinetics=(MULT,),
        heterogeneity=("biophysical", "biochemical", "full"),
        duration=480.0,
        every=48.0,
        method=Steps(4.0),
    )
    return design, to_dataset(budgets(design, fields(), order=3))


def of(results, *names):
    """The budget of one case."""
    cases = ("kinetics", "heterogeneity", "correlation")
    return results.sel(dict(zip(cases, names, strict=True)))


def test_mean_field_terms_and_remainder_are_the_distributed_model(small):
    design, results = small
    names = (MULT, "full", "negative")
    soil = case(design, draw_member(design, 0, fields()), *names)
    apart = integrate(
        *soil,
        design.times,
        save=moments.of(soil.model.fluxes),
        method=Steps(4.0),
    )
    exact = np.asarray(apart.values.flux.respiration)
    one = of(results, *names)
    np.testing.assert_allclose(one.exact, exact, rtol=1e-12)
    # k S B is a polynomial of degree 3: its series ends there.
    last = results.remainder.sel(order=3)
    assert np.all(np.abs(last) <= 1e-12 * results.exact)
    for sums in (
        results.contribution.sum("term"),
        results.order_sum[..., 1:].sum("order"),
    ):
        whole = results.mean_field + sums + last
        np.testing.assert_allclose(whole, results.exact, rtol=1e-12)
    np.testing.assert_array_equal(results.order_sum.sel(order=0), results.mean_field)
    assert not results.order_sum.sel(order=1).any()
    assert np.abs(one.remainder.sel(order=2) / one.exact).max() > 0.01


def test_terms_are_the_published_ones(small):
    """F̄ - F(x̄) = k C_SB + B C_kS + S C_kB + <k'S'B'>, times 1 - Y."""
    _, results = small
    one = of(results, MULT, "full", "positive")
    parts = one.contribution.sel(term=["C_SB", "C_kS", "C_kB", "M_kSB"])
    # the others are zero, so these are all that differs from the mean field
    np.testing.assert_allclose(
        one.mean_field + parts.sum("term"), one.exact, rtol=1e-12
    )
    term = one.sel(term="C_SB")
    np.testing.assert_allclose(
        term.contribution, term.derivative * term.moment, rtol=1e-14
    )
    assert str(one.moment_unit.sel(term="C_kS").values) == "(mgC/g) (1/h/(mgC/g))"
    assert str(one.moment_unit.sel(term="V_S").values) == "(mgC/g)^2"


@pytest.mark.parametrize("kinetics", KINETICS)
def test_the_biochemical_column_holds_at_the_start_alone(kinetics):
    design = Design(
        kinetics=(kinetics,),
        heterogeneity=("biochemical",),
        correlation=("positive",),
        duration=480.0,
        every=480.0,
        method=Steps(4.0),
    )
    results = to_dataset(budgets(design, fields(), of="decomposition"))
    one = of(results, kinetics, "biochemical", "positive")
    assert (one.term_order == 2).all()
    of_pools = one.term.isin(["V_S", "C_SB", "V_B", "C_kS", "C_kB", "C_SK", "C_BK"])
    relative = np.abs(one.contribution / one.mean_field).isel(term=of_pools)
    assert (relative.sel(time=0) < 1e-12).all()
    assert relative.sel(time=20).max() > 0.02
    published = one.without_pool_moments.values
    series = (one.exact - one.remainder.sel(order=2)).values
    assert published[0] == pytest.approx(series[0], rel=1e-12)
    if kinetics != "linear":  # whose only term is C_kS
        assert abs(published[1] / series[1] - 1) > 0.01


def test_correlations_share_a_soil_that_starts_uniform(small):
    _, results = small
    pair = [of(results, MULT, "biochemical", c) for c in ("positive", "negative")]
    assert pair[0].drop_vars("correlation").equals(pair[1].drop_vars("correlation"))


@pytest.fixture(scope="module")
def supplied(data):
    return load_fields(data / "chakrawal_fields" / "scenario2.npz")


@pytest.mark.slow
@pytest.mark.reference
def test_first_instant_of_figures_a3_and_a4(supplied):
    """The corrected sum of second-order terms, and what it should be."""
    design = Design(
        kinetics=(MM,),
        heterogeneity=("biophysical",),
        duration=1.0,
        every=1.0,
        method=Steps(1.0),
    )
    results = to_dataset(budgets(design, supplied))
    expected = {
        "positive": (0.0366, 0.0333),
        "negative": (-0.0322, -0.0385),
        "uncorrelated": (-0.1095, -0.2694),
    }
    for name, (second, true) in expected.items():
        one = of(results, MM, "biophysical", name).isel(time=0)
        ratio = one[["order_sum", "exact"]] / one.mean_field
        assert ratio.order_sum.sel(order=2) == pytest.approx(second, abs=6e-5)
        assert ratio.exact - 1 == pytest.approx(true, abs=6e-5)


@pytest.mark.slow
@pytest.mark.reference
def test_what_the_published_biochemical_expressions_give_on_day_20(supplied):
    """5.2 (Eq. 17) and 3.5 (Table 2) times what is decomposed; whole, it closes."""
    design = Design(
        kinetics=(MULT,),
        heterogeneity=("biochemical",),
        correlation=("positive",),
        duration=480.0,
        every=24.0,
    )
    names = (MULT, "biochemical", "positive")
    second, third = (
        of(to_dataset(budgets(design, supplied, order=n, of="decomposition")), *names)
        for n in (2, 3)
    )
    ratio = lambda one: (one.without_pool_moments / one.exact).values
    assert ratio(second)[0] == pytest.approx(1, rel=1e-12)
    assert ratio(second)[-1] == pytest.approx(5.2, abs=0.05)
    assert ratio(third)[-1] == pytest.approx(3.5, abs=0.05)
    assert np.all(np.abs(third.remainder.sel(order=3)) <= 1e-12 * third.exact)


@pytest.mark.slow
@pytest.mark.reference
def test_covariance_changes_sign_when_it_should(supplied):
    design = Design(heterogeneity=("biophysical",), duration=720.0)
    results = to_dataset(budgets(design, supplied))
    days = {
        MULT: (13.5, 15.75),
        MM: (20.5, 27.0),
        "inverse_michaelis_menten": (11.5, 18.25),
    }
    for kinetics, expected in days.items():
        term = lambda c, k=kinetics: (
            of(results, k, "biophysical", c).contribution.sel(term="C_SB").values
        )
        assert (term("negative") < 0).all()
        for name, day in zip(("positive", "uncorrelated"), expected, strict=True):
            values = term(name)
            assert design.times[np.argmax(values < 0)] / 24 == day
            assert (np.diff(np.sign(values)) != 0).sum() == 1


def test_mortality_that_varies_has_terms_of_its_own(small):
    """mean(m B) = m B + C_mB, exactly."""
    design, _ = small
    soil = case(
        design, draw_member(design, 0, fields()), MULT, "biophysical", "positive"
    )
    rate = 2.8e-4 * (1 + 0.3 * jnp.sin(jnp.arange(256.0)))
    params = soil.params.__class__(
        soil.params.decomposition, soil.params.mortality.__class__(rate)
    )
    found = budget(
        soil._replace(params=params),
        [0.0, 24.0],
        of="mortality",
        method=Steps(4.0),
    )
    one = to_dataset(found)
    assert one.exact.dims == ("time",) and one.moment_unit.dims == ("term",)
    assert set(one.term.values) == {"V_B", "C_Bm", "V_m"}
    assert np.all(np.abs(one.remainder[..., -1]) <= 1e-12 * one.exact)


def test_datasets_have_units_terms_and_provenance(small, tmp_path):
    design, _ = small
    found = budgets(design, fields(), order=3)
    results = to_dataset(found, {"configuration": {"order": 3}})
    path = save_dataset(results, tmp_path / "budget.nc")
    assert [p.name for p in tmp_path.iterdir()] == ["budget.nc"]
    with xr.open_dataset(path) as saved:
        assert saved.time.attrs["units"] == "d" and float(saved.time[-1]) == 20.0
        for name in ("exact", "mean_field", "contribution", "order_sum", "remainder"):
            assert saved[name].attrs["units"] == "mgC g-1 h-1"
        assert saved.contribution.dims[-2:] == ("time", "term")
        assert saved.term_order.sel(term="C_SB") == 2
        assert saved.term_order.sel(term="M_kSB") == 3
        assert list(saved.order.values) == [0, 1, 2, 3]
        unit = saved.moment_unit.sel(kinetics=MULT, term="V_S")
        assert str(unit.values) == "(mgC/g)^2"
        # no k' in a biophysical soil: NaN, which sums leave out
        bio = saved.sel(heterogeneity="biophysical")
        assert np.isnan(bio.contribution.sel(term="C_kS")).all()
        for sums in (
            saved.mean_field + saved.contribution.sum("term"),
            saved.order_sum.sum("order"),
        ):
            whole = sums + saved.remainder.isel(order=-1)
            np.testing.assert_allclose(whole, saved.exact, rtol=1e-12)
        known = saved.attrs
        assert known["seed"] == 0 and known["flux"] == "respiration"
        assert '"order": 3' in known["configuration"] and "jaxsoc" in known["versions"]


def test_figure_has_every_case_labels_and_a_legend(small):
    _, results = small
    figure = plots.figure_budget(results)
    axes = [ax for ax in figure.axes if ax.axison]
    assert len(axes) == 2 * 5  # biochemical once, for both correlations
    titles = [ax.get_title() for ax in axes if ax.get_title()]
    assert "biochemical, all correlations" in titles and "full, negative" in titles
    labels = [ax.get_ylabel() for ax in axes if ax.get_ylabel()]
    assert len(labels) == 6 and all("mgC g$^{-1}$ h$^{-1}$" in text for text in labels)
    assert axes[-1].get_xlabel() == "time (days)"
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[:4] == [
        "all cells (distributed)",
        "mean field",
        "mean field + order 2",
        "mean field + order 2 to 3",
    ]
    assert {"$C_{SB}$", "$M_{kSB}$", "remainder after order 3"} <= set(texts)
    exact = of(results, MULT, "biophysical", "positive").exact
    assert any(np.array_equal(line.get_ydata(), exact) for line in axes[0].lines)


def test_soils_that_start_uniform_take_one_column(small):
    results = small[1].sel(heterogeneity=["biochemical"])
    first, second = plots.figure_budget(results).axes
    assert first.get_title() == "biochemical, all correlations"
    assert second.get_xlabel() == "time (days)"
    # the sum as published, right at the start alone
    published = results.without_pool_moments.values[0, 0, 0]
    off = np.abs(published / results.exact.values[0, 0, 0] - 1)
    assert off[0] < 1e-12 and off[-1] > 0.01
    assert any(np.array_equal(line.get_ydata(), published) for line in first.lines)


def test_terms_differ_in_colour_or_dashes():
    looks = [(line["color"], str(line["linestyle"])) for line in TERM_LINES.values()]
    assert len(set(looks)) == len(looks)


def test_command_writes_a_table_a_file_and_a_figure(jaxsoc, tmp_path):
    given = fields()
    substrate = given.substrate["positive"]
    np.savez(tmp_path / "mine.npz", biomass=given.biomass, substrate_positive=substrate)
    out = tmp_path / "out"
    options = "--units mgC/g --kinetics mult --heterogeneity biophysical --days 2"
    files = ["--fields", tmp_path / "mine.npz", "--out", out]
    code, printed, errors = jaxsoc("budget", *files, *options.split())
    assert (code, errors) == (0, "")
    for word in ("biophysical, positive", "C_SB", "remainder after order 2", "on"):
        assert word in printed
    assert sorted(p.name for p in out.iterdir()) == [
        "budget.nc",
        "budget_multiplicative.png",
    ]
    with xr.open_dataset(out / "budget.nc") as saved:
        assert '"order": 2' in saved.attrs["configuration"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--order", "0"], "order must be a whole number from 1 on, got 0"),
        (["--order", "two"], "order: input should be a valid integer"),
        (["--of", "heat"], "unknown flux 'heat', expected one of decomposition"),
        (["--kinetics", "cubic"], "unknown kinetics 'cubic'"),
        (["--units", "mgC/g"], "use --fields FILE"),
        (["--days", "-1"], "days must lie in (0, inf), got -1"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(jaxsoc, options, words, tmp_path):
    code, printed, errors = jaxsoc("budget", "--out", tmp_path / "o", *options)
    assert (code, printed) == (2, "")
    assert errors.startswith("jaxsoc: error: ") and errors.count("\n") == 1
    assert words in errors
    assert not (tmp_path / "o").exists()


def test_a_budget_is_of_one_member():
    with pytest.raises(ValueError, match="one member, got members 2"):
        budgets(Design(members=2))
