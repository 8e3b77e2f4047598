"""One steady state for a point, cells, a coupled grid and a column; what it is like."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from column_cases import draws, sites
from slow_cases import slow_but

from jaxsoc import stability, steady_state
from jaxsoc.columns import (
    column_budget,
    components,
    feasibility,
    matrices,
    mean_ages,
    periodic_state,
    step_year,
)
from jaxsoc.io.columns import matrices_dataset
from jaxsoc.models import (
    CLM5,
    COMPAS,
    MIMICS,
    CLM5Parameters,
    COMPASParameters,
    MIMICSParameters,
    Pools,
    TwoPool,
    TwoPoolParameters,
)
from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.kinetics import (
    MichaelisMentenConstants,
    MultiplicativeConstants,
    multiplicative,
)
from jaxsoc.physics.units import HOURS_PER_DAY, HOURS_PER_YEAR
from jaxsoc.solve import Sites, map_sites

SMALL = SoilColumn((0.1, 0.3, 0.7, 1.5))
COLUMNS = {
    "clm5": (CLM5, CLM5Parameters),
    "compas": (COMPAS, COMPASParameters),
    "mimics": (MIMICS, MIMICSParameters),
}


def small(name, **forcing):
    model, parameters = COLUMNS[name]
    return model(idealised(column=SMALL, **forcing)), parameters()


# A point, cells, a coupled row.


def row(t, state, params):
    """Cells of multiplicative kinetics in a row along which substrate diffuses."""
    change = TwoPool(multiplicative)(t, state, params)
    S = state.substrate
    left, right = jnp.concatenate([S[:1], S[:-1]]), jnp.concatenate([S[1:], S[-1:]])
    moved = 2e-4 * (left + right - 2 * S)
    return change._replace(substrate=change.substrate + moved)


CELLS = TwoPoolParameters(MultiplicativeConstants(jnp.linspace(2e-5, 8e-5, 12)))
START = Pools(jnp.full(12, 6.0), jnp.full(12, 1.0), jnp.full(12, 3.0))


def test_a_coupled_row_is_at_rest_as_a_whole():
    found = steady_state(row, CELLS, start=START)
    change = row(0.0, found, CELLS)
    assert np.all(np.abs(change.substrate) <= 1e-12 * CELLS.input)
    assert np.all(np.abs(change.biomass) <= 1e-12 * CELLS.input)
    # Cells by themselves would stand elsewhere; respired carbon is left as it was.
    alone = steady_state(TwoPool(multiplicative), CELLS)
    assert np.max(np.abs(found.substrate / alone.substrate - 1)) > 0.01
    np.testing.assert_array_equal(found.co2, START.co2)
    # No carbon but that which comes in leaves.
    assert float(jnp.sum(change.co2)) == pytest.approx(12 * CELLS.input, rel=1e-12)


def test_a_grid_of_rows_and_cells_that_are_not_coupled():
    """The whole is solved for as cells by themselves are."""
    plain = lambda t, state, params: TwoPool(multiplicative)(t, state, params)
    found = steady_state(plain, CELLS, start=START)
    known = steady_state(TwoPool(multiplicative), CELLS)
    np.testing.assert_allclose(found.substrate, known.substrate, rtol=1e-12)
    np.testing.assert_allclose(found.biomass, known.biomass, rtol=1e-12)


def test_derivatives_of_a_coupled_row_are_implicit_in_both_modes():
    def total(factor):
        params = TwoPoolParameters(
            MultiplicativeConstants(factor * CELLS.decomposition.rate)
        )
        return jnp.sum(jnp.log(steady_state(row, params, start=START).substrate))

    h = 1e-4
    slope = (total(1 + h) - total(1 - h)) / (2 * h)
    assert float(jax.grad(total)(1.0)) == pytest.approx(float(slope), rel=1e-6)
    _, forward = jax.jvp(total, (1.0,), (1.0,))
    assert float(forward) == pytest.approx(float(slope), rel=1e-6)


def test_a_law_that_is_not_concave_has_its_steady_state():
    def holling(S, B, c):
        return c.rate * B * S**2 / (c.half_saturation**2 + S**2)

    constants = MichaelisMentenConstants(
        rate=jnp.asarray([0.02, 0.05]), half_saturation=jnp.asarray([30.0, 10.0])
    )
    model, params = TwoPool(holling), TwoPoolParameters(constants)
    found = steady_state(model, params)
    # k B S² / (K² + S²) = I / (1 - Y), B = Y I / ((1 - Y) m)
    Y, m = params.carbon_use_efficiency, params.mortality.rate
    share = m / Y / constants.rate
    known = constants.half_saturation * jnp.sqrt(share / (1 - share))
    np.testing.assert_allclose(found.substrate, known, rtol=1e-12)
    rest = steady_state(
        model,
        TwoPoolParameters(
            MichaelisMentenConstants(jnp.asarray([0.02, 1e-4]), jnp.full(2, 30.0))
        ),
        throw=False,
    )
    assert rest.found.tolist() == [True, False]
    assert np.isnan(rest.pools.substrate).tolist() == [False, True]


def test_what_has_no_steady_state_is_said():
    with pytest.raises(ValueError, match="of row needs a `start` to search from"):
        steady_state(row, CELLS)
    hungry = TwoPoolParameters(CELLS.decomposition, input=0.0)
    with pytest.raises(ValueError, match="of row was found.*grows without end"):
        steady_state(row, hungry, start=START)
    pools, found = steady_state(row, hungry, start=START, throw=False)
    assert not found and np.isnan(pools.substrate).all()
    many = jax.tree.map(lambda x: jnp.ones(5000), START)
    with pytest.raises(ValueError, match="10000 unknowns at once is not supported"):
        steady_state(row, TwoPoolParameters(MultiplicativeConstants()), start=many)


@pytest.mark.reference
def test_a_point_swings_with_the_published_period_and_damping():
    model = TwoPool(multiplicative)
    found = stability(model, TwoPoolParameters(MultiplicativeConstants()))
    assert found.eigenvalues[0].real == pytest.approx(-7.471e-5, rel=3e-4)
    assert abs(found.eigenvalues[0].imag) == pytest.approx(1.5260e-4, rel=3e-4)
    assert found.period / HOURS_PER_YEAR == pytest.approx(4.700, abs=6e-4)
    assert found.damping_time / HOURS_PER_DAY == pytest.approx(557.7, abs=0.06)
    assert found.stable and found.eigenvalues.shape == (2,)


def test_a_linear_column_is_stable_and_swings_nowhere():
    model, params = small("clm5")
    found = stability(model, params)
    assert found.stable and found.period == np.inf and np.isnan(found.damping_time)
    assert found.eigenvalues.shape == (28,)


# Columns.


@pytest.mark.parametrize("name", slow_but(["clm5", "compas"], COLUMNS))
def test_matrices_add_up_to_nothing_at_rest(name):
    model, params = small(name)
    found = matrices(model, params)
    terms = np.einsum("rpz,pz->rz", np.abs(found.A), found.xi * found.K * found.X)
    terms += np.einsum("pzd,pd->pz", np.abs(found.V), found.X) + found.B * found.I
    assert np.all(np.abs(found.residual) <= 1e-12 * terms)
    assert float(found.I) == pytest.approx(600 / 365, rel=1e-12)
    shares = np.asarray(found.B) @ SMALL.thickness
    assert float(shares.sum()) == pytest.approx(1.0, rel=1e-12)
    # Mixing makes no carbon, and nothing is passed on that was not decomposed.
    made = SMALL.thickness @ np.moveaxis(np.asarray(found.V), 1, 0).reshape(4, -1)
    assert np.abs(made).max() <= 1e-15
    assert np.sum(found.A, axis=0).max() <= 1e-15


def test_matrices_of_clm5_are_what_the_model_is_made_of():
    model, params = small("clm5")
    found = matrices(model, params)
    years = [params.tau_cwd, params.tau_l1, params.tau_l2, params.tau_l2]
    years += [params.tau_s1, params.tau_s2, params.tau_s3]
    np.testing.assert_allclose(found.K[:, 0], 1 / (365 * np.array(years)), rtol=1e-14)
    scalar = model.environment(params)
    np.testing.assert_allclose(found.xi[0], scalar.soil, rtol=1e-14)
    np.testing.assert_allclose(found.xi[1], scalar.litter, rtol=1e-14)
    place = found.pools.index
    assert float(found.A[place("l2"), place("cwd"), 0]) == params.f_cwd_l2
    data = matrices_dataset(model, params, found)
    cell = data.A.sel(receiver="l2", pool="cwd").isel(layer=0)
    assert float(cell) == params.f_cwd_l2
    assert data.K.attrs["units"] == "d-1" and data.V.dims[-1] == "donor_layer"


def test_no_draw_without_a_steady_state_comes_back_with_numbers():
    """On the way of thousands of sites: pools, or NaN and a flag."""
    count = 200
    params, forcing = draws(COMPASParameters, count, seed=1), sites(count, seed=2)
    solve = lambda p, f: steady_state(COMPAS(f), p, throw=False)
    far = lambda p, f: jnp.min(jnp.stack(feasibility(COMPAS(f), p)))
    both = lambda p, f: (solve(p, f), far(p, f))
    (pools, found), least = jax.jit(lambda p, f: map_sites(both, p, f))(
        Sites.of(params, block=64), Sites.of(forcing, block=64)
    ).leading()
    pools, found = np.stack(pools), np.asarray(found)
    np.testing.assert_array_equal(found, np.asarray(least) > 0)
    assert 0.02 * count < np.sum(~found) < 0.3 * count
    assert np.all(pools[:, found] >= 0)
    assert np.isnan(pools[:, ~found]).all()


@pytest.mark.slow
def test_parameters_that_respire_nothing_are_refused():
    model, _ = small("clm5")
    closed = CLM5Parameters(
        f_s1_s2=1.0, f_s1_s3=0.0, f_s2_s1=1.0, f_s2_s3=0.0, f_s3_s1=1.0
    )
    with pytest.raises(ValueError, match="of the carbon that comes in never leaves"):
        steady_state(model, closed)
    with pytest.raises(ValueError, match="no year of CLM5 ends as it began"):
        periodic_state(model, closed)
    found = jax.jit(lambda p: steady_state(model, p))(closed)
    assert np.isnan(np.stack(found)).all()


@pytest.mark.parametrize(
    "name", ["clm5", pytest.param("compas", marks=pytest.mark.slow)]
)
def test_a_dry_column_has_no_year_and_says_so(name):
    cls, parameters = COLUMNS[name]
    forcing = idealised(column=SMALL)
    dry = cls(type(forcing)(280.0, 0.0, (60.0, 180.0, 240.0, 120.0), column=SMALL))
    with pytest.raises(ValueError, match="no year of .* ends as it began"):
        periodic_state(dry, parameters())


@pytest.mark.slow
def test_frozen_layers_of_a_mixed_column_stay_empty():
    model = COMPAS(idealised(active_layer=0.0, column=SMALL), mixes_soil=True)
    found = steady_state(model, COMPASParameters())
    still = steady_state(
        COMPAS(idealised(active_layer=0.0, column=SMALL)), COMPASParameters()
    )
    for one, other in zip(found, still, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    assert np.all(np.stack(found)[:, 1:] == 0)


@pytest.mark.parametrize("count", [3, 4, 12])
def test_many_sites_without_vmap_are_refused(count):
    """Whatever their number: that of layers and of months among them."""
    model, _ = small("clm5")
    many = draws(CLM5Parameters, count)
    for verb in (steady_state, periodic_state, mean_ages, matrices):
        with pytest.raises(ValueError, match="parameters of one site.*use vmap"):
            verb(model, many)
    forcing = jax.tree.map(lambda x: jnp.stack([x] * count), model.forcing)
    with pytest.raises(ValueError, match="the forcing of one site.*use vmap"):
        steady_state(CLM5(forcing), CLM5Parameters())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            lambda f: CLM5(f, bedrock="open"),
            "bedrock .open., expected one of closed",
        ),
        (lambda f: CLM5(f, averaging="mean"), "unknown averaging 'mean', expected"),
        (lambda f: COMPAS(f, enzyme_turnover="v22"), "unknown enzyme_turnover 'v22'"),
        (lambda f: COMPAS(f, kinetics="monod"), "unknown kinetics 'monod'"),
        (
            lambda f: feasibility(CLM5(f), CLM5Parameters()),
            "closed form, such as COMPAS, got CLM5",
        ),
        (
            lambda f: periodic_state(CLM5(f.month(0)), CLM5Parameters()),
            "a forcing of 12 months, got 1",
        ),
    ],
)
def test_misspelt_options_are_refused_with_their_choices(wrong, words, monkeypatch):
    # Type checks of these tests would speak first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=words):
        wrong(idealised(column=SMALL))


def test_public_verbs_are_compiled_once(monkeypatch):
    traced = []
    plain = CLM5.transfers

    def transfers(self, params):
        traced.append(1)
        return plain(self, params)

    monkeypatch.setattr(CLM5, "transfers", transfers)
    verbs = {
        "steady_state": lambda m, p, s: steady_state(m, p),
        "periodic_state": lambda m, p, s: periodic_state(m, p),
        "step_year": lambda m, p, s: step_year(m, p, s),
        "components": lambda m, p, s: components(m, p, s),
        "column_budget": lambda m, p, s: column_budget(m, p, s),
        "mean_ages": lambda m, p, s: mean_ages(m, p),
        "matrices": lambda m, p, s: matrices(m, p),
    }
    column = SoilColumn((0.2, 0.5, 1.1))
    state = None
    for name, verb in verbs.items():
        counts = []
        for warmth in (8.0, 9.0):
            model = CLM5(idealised(warmth=warmth, column=column))
            params = CLM5Parameters(q10=1.5 + 0.01 * warmth)
            if state is None:
                state = steady_state(model, params)
            traced.clear()
            verb(model, params, state)
            counts.append(len(traced))
        assert counts[1] == 0, (name, counts)
        assert name in ("steady_state", "column_budget") or counts[0] > counts[1], name


@pytest.mark.parametrize("start", [1, jnp.float32(1.0), 1.0])
def test_a_start_of_any_kind_of_number_is_searched_from_in_64_bits(start):
    found = steady_state(lambda t, x, p: p - x**3, 8.0, start=start)
    assert found.dtype == jnp.float64 and float(found) == pytest.approx(2.0, rel=1e-14)


def test_what_is_only_added_up_may_be_so_inside_a_compiled_tendency():
    """CO2 stays as it began: the trace is read inside other programs, too."""

    def respiring(t, pools, p):
        return {"soil": p - 0.5 * pools["soil"], "co2": 0.5 * pools["soil"]}

    start = {"soil": 1.0, "co2": 3.0}
    for tendency in (respiring, jax.jit(respiring), jax.checkpoint(respiring)):
        found = steady_state(tendency, 2.0, start=start)
        assert float(found["soil"]) == pytest.approx(4.0, rel=1e-14)
        assert float(found["co2"]) == 3.0


def test_a_tendency_that_depends_on_no_pool_is_refused():
    with pytest.raises(ValueError, match="steady state of 0 unknowns"):
        steady_state(lambda t, x, p: p, 1.0, start=1.0)


def test_a_column_without_litter_is_empty_at_rest():
    forcing = idealised(column=SMALL)
    bare = CLM5(type(forcing)(280.0, 0.5, (0.0, 0.0, 0.0, 0.0), column=SMALL))
    assert np.all(np.stack(steady_state(bare, CLM5Parameters())) == 0)


def test_the_refusal_is_the_same_under_a_derivative():
    model, _ = small("compas")
    starved = COMPASParameters(cue=0.01, tau_death=0.01)
    one = lambda p: jnp.sum(steady_state(model, p)[0])
    for verb in (one, jax.grad(one)):
        with pytest.raises(ValueError, match="no steady state"):
            verb(starved)
