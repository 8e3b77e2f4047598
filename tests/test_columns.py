"""Soil columns: laws first, then the numbers of an independent implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from column_cases import dense_form, draws, sites, stocks
from hypothesis import given
from hypothesis import strategies as st

from jaxsoc import steady_state
from jaxsoc.models import CLM5, COMPAS, CLM5Parameters, COMPASParameters
from jaxsoc.physics.allocation import root_profile
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.mixing import diffusivity, mixing
from jaxsoc.physics.parameters import (
    from_unit,
)

YEAR = 365.0
REFERENCE = idealised()
MIDDLE = from_unit(COMPASParameters, jnp.full(23, 0.5), published=True)
CASES = [("clm5", CLM5, CLM5Parameters), ("compas", COMPAS, COMPASParameters)]
by_model = pytest.mark.parametrize(("name", "cls", "numbers"), CASES)
close = lambda *digits: pytest.approx(np.array(digits), rel=1e-6, abs=0.6e-3)


def total(model, profile):
    return float(jnp.sum(profile * model.forcing.column.thickness))


# The column and what drives it.


def test_layers_fill_the_column():
    column = CLM5_COLUMN
    assert column.layers == 20
    assert column.thickness.sum() == pytest.approx(8.6, rel=1e-15)
    np.testing.assert_allclose(column.nodes[[0, 5, 19]], [0.01, 0.40, 8.03], rtol=1e-14)
    assert column.levels[-2:].mean() == pytest.approx(9.795, rel=1e-14)
    assert SoilColumn((0.1, 0.3)).levels[-1] == pytest.approx(0.5)


@given(st.floats(0.001, 9.0))
def test_a_constant_profile_holds_its_depth(depth):
    share = CLM5_COLUMN.share_above((depth,))
    assert share.sum() == pytest.approx(min(depth, 8.6), rel=1e-13)


def test_litter_falls_as_roots_are_distributed():
    shares = root_profile(0.95, CLM5_COLUMN)
    assert float(shares.sum()) == pytest.approx(1.0, rel=1e-14)
    expected = [0.0975, 0.167408, 0.194732, 0.181874, 0.164774]
    np.testing.assert_allclose(shares[:5], expected, atol=5e-7)
    below = 1 - np.cumsum(np.asarray(shares))
    depth = np.array(CLM5_COLUMN.interfaces) * 100
    whole = 1 - 0.95 ** depth[-1]
    found = below[:-1] * whole + 0.95 ** depth[-1]
    np.testing.assert_allclose(found, 0.95 ** depth[:-1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("bedrock", [1, 8, 20])
@pytest.mark.parametrize("active_layer", [0.0, 1.0, 3.5])
def test_mixing_moves_carbon_without_making_any(active_layer, bedrock, rng):
    made = mixing(
        jnp.full(12, active_layer),
        jnp.full(12, float(bedrock)),
        1e-4,
        5e-4,
        CLM5_COLUMN,
    )
    pool = jnp.asarray(rng.uniform(0.0, 1e5, 20))
    change = made(pool) * CLM5_COLUMN.thickness
    assert abs(float(change.sum())) <= 1e-15 * float(jnp.abs(change).sum() + 1)
    # No flux across the bedrock, and an even column stays as it is.
    assert np.all(np.asarray(made.diagonal)[bedrock:] == 0)
    assert np.all(made(jnp.full(20, 3.0)) == 0)
    dz = CLM5_COLUMN.thickness
    flux = dz[1:] * made.above[1:] - dz[:-1] * made.below[:-1]
    assert np.all(np.abs(flux) <= 1e-18)


def test_mixing_has_the_known_numbers():
    year = np.full(12, 3.5), np.full(12, 20.0)
    made = mixing(*year, 1e-4, 5e-4, CLM5_COLUMN)
    rows = [0.166667, 0.133333, 0.0571429, 0.0303571, 0.0142857, 0.00793651]
    np.testing.assert_allclose(made.diagonal[:6] * YEAR, rows, rtol=3e-6)
    assert float(made.diagonal[19]) * YEAR == pytest.approx(8.04764e-5, rel=1e-6)
    known = [float(made.above[1]), float(made.below[0]), float(made.below[1])]
    np.testing.assert_allclose(
        np.array(known) * YEAR, [0.0833333, 0.1666667, 0.05], rtol=1e-6
    )
    D = diffusivity(1.0, 20.0, 1e-4, 5e-4, CLM5_COLUMN)
    taper = [5e-4, 4.5e-4, 3.7e-4, 2.8e-4, 1.8e-4, 7e-5, 0.0]
    np.testing.assert_allclose(D[7:14], taper, rtol=1e-12, atol=1e-18)


def test_a_taper_without_room_ends_at_once():
    # The interface under the bedrock lies where the active layer ends: 0 / 0.
    depth = CLM5_COLUMN.interfaces[8]
    D = lambda depth: diffusivity(depth, 8.0, 1e-4, 5e-4, CLM5_COLUMN)
    assert np.all(np.asarray(D(depth))[8:] == 0)
    assert np.isfinite(jax.jacfwd(D)(depth)).all()


def test_scalars_have_the_known_numbers():
    params = CLM5Parameters()
    product = CLM5(REFERENCE).environment(params)
    means = CLM5(REFERENCE, averaging="product_of_means").environment(params)
    np.testing.assert_allclose(
        product.soil[:4], [0.2436486, 0.2293846, 0.2074603, 0.1802711], atol=5e-8
    )
    np.testing.assert_allclose(
        means.soil[:4], [0.2779812, 0.2611995, 0.2354846, 0.2037384], atol=5e-8
    )
    np.testing.assert_allclose(product.litter, 0.9 * product.soil, rtol=1e-14)


def test_a_month_alone_is_that_month():
    january = REFERENCE.month(0)
    assert january.temperature.shape == (20, 1)
    litter = CLM5(january).source(CLM5Parameters())["l1"]
    np.testing.assert_allclose(litter, CLM5(REFERENCE).source(CLM5Parameters())["l1"])
    months = [
        CLM5(REFERENCE.month(m)).environment(CLM5Parameters()).soil for m in range(12)
    ]
    whole = CLM5(REFERENCE).environment(CLM5Parameters()).soil
    np.testing.assert_allclose(np.mean(months, axis=0), whole, rtol=1e-14)


def test_litter_known_by_layer_is_kept_as_it_is(rng):
    given = rng.uniform(0.0, 40.0, (4, 20, 12))
    forcing = Forcing.from_layers(REFERENCE.temperature, 0.5, given)
    source = CLM5(forcing).source(CLM5Parameters())
    for place, pool in enumerate(("cwd", "l1", "l2", "l3")):
        np.testing.assert_allclose(source[pool], given[place].sum(axis=-1) / YEAR)


# CLM5.


def clm5_stocks(params=None, treatment="closed", **forcing):
    model = CLM5(idealised(**forcing), bedrock=treatment)
    pools = steady_state(model, CLM5Parameters() if params is None else params)
    return model, pools, stocks(model, model.organic_carbon(pools))


def test_clm5_has_the_known_steady_state():
    model, pools, found = clm5_stocks()
    soil = model.organic_carbon(pools)
    assert soil[:5] == close(42028.831, 41319.331, 38906.971, 34842.953, 29336.209)
    assert found == close(10548.825, 22277.389, 30669.687, 75859.037)
    by_pool = np.array([total(model, pool) for pool in pools])
    known = (1338.576, 72.389, 434.235, 204.346, 327.297, 8948.866, 66582.874)
    assert by_pool == close(*known)


@pytest.mark.parametrize(
    ("treatment", "forcing", "known"),
    [
        ("closed", {"active_layer": 1.0}, (9442.037, 23488.040, 37786.244, 47155.499)),
        ("proda", {"bedrock": 12}, (10475.911, 21737.242, 27768.073, 29366.210)),
        ("closed", {"bedrock": 12}, (10557.418, 22341.071, 31017.815, 33185.203)),
        ("proda", {"bedrock": 8}, (10249.353, 20053.607, 21518.111, 21567.658)),
        ("closed", {"bedrock": 8}, (10818.852, 23341.953, 24309.477, 24359.024)),
        ("closed", {"active_layer": 0.0}, (12745.373,) * 4),
    ],
)
def test_clm5_has_the_known_stocks(treatment, forcing, known):
    model, pools, found = clm5_stocks(treatment=treatment, **forcing)
    assert found == close(*known)
    if forcing == {"active_layer": 0.0}:
        top = float(model.organic_carbon(pools)[0])
        assert top == pytest.approx(637268.653, abs=6e-4)


def test_without_mixing_the_input_profile_may_be_kept():
    profile = np.broadcast_to(root_profile(0.95, CLM5_COLUMN), (4, 20))
    frozen = idealised(active_layer=0.0)
    kept = Forcing(
        frozen.temperature, frozen.water, frozen.litter,
        oxygen=0.95, nitrogen=0.9, active_layer=0.0, profile=profile,
    )  # fmt: skip
    model = CLM5(kept)
    soil = model.organic_carbon(steady_state(model, CLM5Parameters()))
    assert stocks(model, soil) == close(12447.071, 19766.939, 20734.462, 20784.010)


def test_clm5_with_its_own_efolding_depth():
    *_, found = clm5_stocks(CLM5Parameters(efolding=10.0))
    assert found == close(7744.153, 12305.725, 12878.962, 12912.071)


@pytest.mark.parametrize(
    ("bedrock", "percent"),
    [(12, 0.063), (8, 0.26), (18, 0.017), (15, 0.029), (2, 1.2), (1, 0.97), (19, 0.0)],
)
def test_the_published_bedrock_leaks_and_the_closed_one_does_not(bedrock, percent):
    for treatment, expected in (("proda", percent), ("closed", 0.0)):
        model, pools = _at_bedrock(bedrock, treatment)
        params = CLM5Parameters()
        lost = model.respiration(pools, model.surroundings(params), params)
        share = 1 - total(model, lost) * YEAR / 600.0
        digits = 0.5 * 10.0 ** -(3 if expected < 0.1 else 2 if expected < 1 else 1)
        if expected == 0:
            assert abs(share) < 1e-12
        else:
            assert share * 100 == pytest.approx(expected, abs=digits)


def _at_bedrock(layer, treatment):
    model = CLM5(idealised(bedrock=layer), bedrock=treatment)
    return model, steady_state(model, CLM5Parameters())


def test_sand_gives_the_customary_transfers():
    params = CLM5Parameters().with_sand(jnp.full(20, 45.0))
    np.testing.assert_allclose(params.f_s1_s2, 0.520, atol=1e-12)
    np.testing.assert_allclose(params.f_s1_s3, 0.004, rtol=1e-12)
    by_layer = CLM5(REFERENCE)
    one = steady_state(by_layer, CLM5Parameters())
    np.testing.assert_allclose(steady_state(by_layer, params), one, rtol=1e-13)


@pytest.fixture(scope="module", params=[50, pytest.param(2000, marks=pytest.mark.slow)])
def many(request):
    """Draws of CLM5 at sites that differ, structured, by draw."""
    params, forcing = draws(CLM5Parameters, request.param), sites(request.param)
    solve = lambda p, f: steady_state(CLM5(f), p)
    return params, forcing, jax.jit(jax.vmap(solve))(params, forcing)


def test_structured_and_dense_solves_agree_over_the_prior(many):
    params, forcing, pools = many
    parts = jax.jit(jax.vmap(lambda p, f: dense_form(CLM5(f), p)))(params, forcing)
    upper = CLM5_COLUMN.bottom <= 2.3
    to_depth = CLM5_COLUMN.share_above((0.3, 1.0, 2.0, 8.6))
    profiles, sums, residuals = [], [], []
    parts, pools = jax.tree.map(np.asarray, (parts, np.stack(pools, axis=1)))
    for i, x in enumerate(pools):
        M, b = (part[i] for part in parts)
        other = np.linalg.solve(M, b).reshape(7, 20)[4:].sum(0)
        mine = x[4:].sum(0)
        profiles.append(np.max(np.abs(mine / other - 1)[upper]))
        sums.append(np.max(np.abs(to_depth @ mine / (to_depth @ other) - 1)))
        flat = x.ravel()
        scale = np.abs(M) @ np.abs(flat) + np.abs(b)
        residuals.append(np.max(np.abs(M @ flat - b) / scale))
    assert max(profiles) <= 1e-10
    assert max(sums) <= 1e-10
    assert max(residuals) <= 1e-12


def test_what_comes_in_goes_out_over_the_prior(many):
    params, forcing, pools = many

    def lost(params, forcing, pools):
        model = CLM5(forcing)
        out = model.respiration(pools, model.surroundings(params), params)
        return jnp.sum(out * CLM5_COLUMN.thickness) * YEAR

    found = jax.vmap(lost)(params, forcing, pools)
    np.testing.assert_allclose(found, 600.0, rtol=1e-12)


def test_the_steady_state_is_where_time_ends():
    """exp(-M t) forgets where a column began, within 1e10 years, to 1e-8."""
    model, params = CLM5(REFERENCE), CLM5Parameters()
    M, b = map(np.asarray, dense_form(model, params))
    x = np.stack(steady_state(model, params)).ravel()
    # x + exp(-M t) (0 - x) is the column that began empty, if x is at rest.
    assert np.max(np.abs(M @ x - b) / (np.abs(M) @ x)) < 1e-14
    left = scipy.linalg.expm(-M * 1e10 * YEAR) @ -x
    np.testing.assert_allclose(x + left, x, rtol=1e-8)


@pytest.mark.slow
def test_a_shallow_column_fills_up_to_its_steady_state():
    """The exponential with its input, where 64 bits hold it: a metre in 1e6 years."""
    column = SoilColumn(CLM5_COLUMN.interfaces[:9])
    model, params = CLM5(idealised(column=column)), CLM5Parameters()
    M, b = map(np.asarray, dense_form(model, params))
    size, time = b.size, 1e6 * YEAR
    whole = np.zeros((size + 1, size + 1))
    whole[:size, :size], whole[:size, size] = -M * time, b * time
    limit = scipy.linalg.expm(whole)[:size, size]
    x = np.stack(steady_state(model, params)).ravel()
    np.testing.assert_allclose(limit, x, rtol=1e-8)
