"""The budget of a mean rate over time: it closes, and says where the papers err."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxsoc import plots
from jaxsoc.experiments import (
    Budget,
    Design,
    Supplied,
    budget,
    budgets,
    case,
    draw_member,
    second_order_table,
)
from jaxsoc.io import budget_to_dataset, load_fields, save_dataset
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
    return design, budgets(design, fields(), order=3)


def test_mean_field_terms_and_remainder_are_the_distributed_model(small):
    design, cases = small
    names = (MULT, "full", "negative")
    soil = case(design, draw_member(design, 0, fields()), *names)
    apart = integrate(
        *soil,
        design.times,
        save=moments.of(soil.model.fluxes),
        method=Steps(4.0),
    )
    exact = np.asarray(apart.values.flux.respiration)
    np.testing.assert_allclose(cases[names].exact, exact, rtol=1e-12)
    for one in cases.values():
        whole = one.mean_field + one.contribution.sum(axis=1) + one.remainder()
        np.testing.assert_allclose(whole, one.exact, rtol=1e-12)
        # k S B is a polynomial of degree 3: its series ends there.
        assert np.all(np.abs(one.remainder()) <= 1e-12 * one.exact)
        by_order = sum(one.of_order(n) for n in range(4))
        np.testing.assert_allclose(by_order, one.partial_sum(), rtol=1e-14)
        np.testing.assert_allclose(one.of_order(1), 0, atol=0)
    assert np.abs(cases[names].remainder(2) / cases[names].exact).max() > 0.01


def test_terms_are_the_published_ones(small):
    """F̄ - F(x̄) = k C_SB + B C_kS + S C_kB + <k'S'B'>, times 1 - Y."""
    _, cases = small
    one = cases[MULT, "full", "positive"]
    parts = {n: one.term(n).contribution for n in ("C_SB", "C_kS", "C_kB", "M_kSB")}
    # the others are zero, so these are all that differs from the mean field
    np.testing.assert_allclose(
        one.mean_field + sum(parts.values()), one.exact, rtol=1e-12
    )
    product = one.term("C_SB").derivative * one.term("C_SB").moment
    np.testing.assert_allclose(parts["C_SB"], product, rtol=1e-14)
    assert one.units[one.names.index("C_kS")] == "(mgC/g) (1/h/(mgC/g))"
    assert one.units[one.names.index("V_S")] == "(mgC/g)^2"
    with pytest.raises(KeyError, match="no term 'C_QQ': the terms are V_S, C_SB"):
        one.term("C_QQ")
    with pytest.raises(ValueError, match="expanded to order 3, asked for 4"):
        one.of_order(4)


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
    cases = budgets(design, fields(), of="decomposition")
    (one,) = cases.values()
    rows = second_order_table(cases, (0.0, 480.0))
    assert len(rows) == 2 * one.orders.count(2)
    of_pools = lambda hour: [r for r in rows if r.pools and r.hours == hour]
    assert all(abs(row.relative) < 1e-12 for row in of_pools(0.0))
    assert max(abs(row.relative) for row in of_pools(480.0)) > 0.02
    published = one.without_pool_moments()
    assert published[0] == pytest.approx(one.partial_sum()[0], rel=1e-12)
    if kinetics != "linear":  # whose only term is C_kS
        assert abs(published[1] / one.partial_sum()[1] - 1) > 0.01
    with pytest.raises(ValueError, match="saved times, got 24; the nearest is 0"):
        second_order_table(cases, (24.0,))


def test_correlations_share_a_soil_that_starts_uniform(small):
    _, cases = small
    pair = [cases[MULT, "biochemical", c] for c in ("positive", "negative")]
    assert pair[0] is pair[1]


@pytest.fixture(scope="module")
def supplied(data):
    return load_fields(data / "chakrawal_fields" / "scenario2.npz")


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
    cases = budgets(design, supplied)
    expected = {
        "positive": (0.0366, 0.0333),
        "negative": (-0.0322, -0.0385),
        "uncorrelated": (-0.1095, -0.2694),
    }
    for name, (second, true) in expected.items():
        one = cases[MM, "biophysical", name]
        assert one.of_order(2)[0] / one.mean_field[0] == pytest.approx(second, abs=6e-5)
        assert one.exact[0] / one.mean_field[0] - 1 == pytest.approx(true, abs=6e-5)


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
    (one,) = budgets(design, supplied, order=3, of="decomposition").values()
    assert one.without_pool_moments(2)[0] == pytest.approx(one.exact[0], rel=1e-12)
    ratio = lambda order: one.without_pool_moments(order)[-1] / one.exact[-1]
    assert ratio(2) == pytest.approx(5.2, abs=0.05)
    assert ratio(3) == pytest.approx(3.5, abs=0.05)
    np.testing.assert_allclose(one.partial_sum(3), one.exact, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.reference
def test_covariance_changes_sign_when_it_should(supplied):
    design = Design(heterogeneity=("biophysical",), duration=720.0)
    cases = budgets(design, supplied)
    days = {
        MULT: (13.5, 15.75),
        MM: (20.5, 27.0),
        "inverse_michaelis_menten": (11.5, 18.25),
    }
    for kinetics, expected in days.items():
        term = lambda c, k=kinetics: cases[k, "biophysical", c].term("C_SB")
        assert (term("negative").contribution < 0).all()
        for name, day in zip(("positive", "uncorrelated"), expected, strict=True):
            values = term(name).contribution
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
    one = budget(
        soil._replace(params=params),
        [0.0, 24.0],
        of="mortality",
        method=Steps(4.0),
    )
    assert set(one.names) == {"V_B", "C_Bm", "V_m"}
    assert np.all(np.abs(one.remainder()) <= 1e-12 * one.exact)


def test_datasets_have_units_terms_and_provenance(small, tmp_path):
    design, cases = small
    path = save_dataset(
        budget_to_dataset(design, cases, {"configuration": {"order": 3}}),
        tmp_path / "budget.nc",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["budget.nc"]
    with xr.open_dataset(path) as saved:
        assert saved.time.attrs["units"] == "d" and float(saved.time[-1]) == 20.0
        for name in ("exact", "mean_field", "contribution", "order_sum", "remainder"):
            assert saved[name].attrs["units"] == "mgC g-1 h-1"
        assert saved.contribution.dims[-2:] == ("time", "term")
        assert saved.order.sel(term="C_SB") == 2 and saved.order.sel(term="M_kSB") == 3
        assert list(saved.degree.values) == [0, 1, 2, 3]
        unit = saved.moment_unit.sel(kinetics=MULT, term="V_S")
        assert str(unit.values) == "(mgC/g)^2"
        # no k' in a biophysical soil: NaN, which sums leave out
        bio = saved.sel(heterogeneity="biophysical")
        assert np.isnan(bio.contribution.sel(term="C_kS")).all()
        for sums in (
            saved.mean_field + saved.contribution.sum("term"),
            saved.order_sum.sum("degree"),
        ):
            whole = sums + saved.remainder.isel(degree=-1)
            np.testing.assert_allclose(whole, saved.exact, rtol=1e-12)
        known = saved.attrs
        assert known["seed"] == 0 and known["flux"] == "respiration"
        assert '"order": 3' in known["configuration"] and "jaxsoc" in known["versions"]


def test_figure_has_every_case_labels_and_a_legend(small):
    design, cases = small
    figure = plots.figure_budget(budget_to_dataset(design, cases))
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
    exact = cases[MULT, "biophysical", "positive"].exact
    assert any(np.array_equal(line.get_ydata(), exact) for line in axes[0].lines)


def test_soils_that_start_uniform_take_one_column(small):
    design, cases = small
    results = budget_to_dataset(design, cases).sel(heterogeneity=["biochemical"])
    first, second = plots.figure_budget(results).axes
    assert first.get_title() == "biochemical, all correlations"
    assert second.get_xlabel() == "time (days)"
    # the sum as published, right at the start alone
    published = results.without_pool_moments.values[0, 0, 0]
    off = np.abs(published / cases[MULT, "biochemical", "positive"].exact - 1)
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
        (["--of", "heat"], "unknown flux 'heat': expected one of decomposition"),
        (["--kinetics", "cubic"], "unknown kinetics 'cubic'"),
        (["--units", "mgC/g"], "use --fields FILE"),
        (["--days", "-1"], "duration must be positive"),
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
    assert Budget._fields[0] == "of"
