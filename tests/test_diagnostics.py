"""Stocks, profiles, components, budgets and ages of soil columns."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from jaxsoc import steady_state
from jaxsoc.columns.ages import mean_ages
from jaxsoc.columns.budgets import column_budget, layer_budget
from jaxsoc.columns.components import components
from jaxsoc.columns.network import flows, network
from jaxsoc.models import (
    CLM5,
    COMPAS,
    MIMICS,
    CLM5Parameters,
    COMPASParameters,
    MIMICSParameters,
)
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.columns import CLM5_COLUMN, SoilColumn
from jaxsoc.physics.forcing import Forcing, idealised
from jaxsoc.physics.parameters import AbstractParameters, from_unit
from jaxsoc.physics.profiles import profile_at, stock

COLUMN = CLM5_COLUMN
# How the released program of COMPAS averages its scalars.
OF_MEANS = "product_of_means"
SMALL = SoilColumn((0.1, 0.3, 0.7, 1.5))


# Numbers that are not arrays are compiled in, once for each.
arrays = lambda params: jax.tree.map(jnp.asarray, params)
steady = eqx.filter_jit(steady_state)
whole = eqx.filter_jit(components)
budget_of = eqx.filter_jit(column_budget)
ages_of = eqx.filter_jit(mean_ages)


@pytest.fixture(scope="module")
def clm5():
    model, params = CLM5(idealised()), arrays(CLM5Parameters())
    return model, params, steady(model, params)


@pytest.fixture(scope="module")
def compas():
    model, params = COMPAS(idealised()), arrays(COMPASParameters())
    return model, params, steady(model, params)


# Stocks


def test_stocks_of_one_gram_per_volume_are_depths():
    ones = jnp.ones(COLUMN.layers)
    for depth in (0.005, 0.3, 1.0, 2.0, 8.6):
        assert float(stock(ones, COLUMN, depth)) == pytest.approx(depth, rel=1e-14)
    several = stock(ones, COLUMN, (20.0, 0.3, 1.0))
    np.testing.assert_allclose(several, [8.6, 0.3, 1.0], rtol=1e-14)


def test_stock_grows_with_depth_by_what_is_there(rng):
    values = jnp.asarray(rng.uniform(1, 2, COLUMN.layers))
    slope = jax.grad(lambda depth: stock(values, COLUMN, depth))
    assert float(slope(0.31)) == pytest.approx(float(values[4]), rel=1e-14)


def test_missing_depths_have_no_stock_and_no_gradient(rng):
    values = jnp.asarray(rng.uniform(1, 2, COLUMN.layers))
    depths = jnp.asarray([0.3, jnp.nan])
    found = stock(values, COLUMN, depths)
    assert np.isnan(found).tolist() == [False, True]
    gradient = jax.grad(lambda v: jnp.nansum(stock(v, COLUMN, depths)))(values)
    np.testing.assert_allclose(gradient, COLUMN.share_above([0.3])[0], rtol=1e-14)


@pytest.mark.parametrize(
    "refused, words",
    [
        (
            lambda v: stock(v, COLUMN, [0.3, 0.0]),
            r"\(0, inf\) m, got 0 \(place 2; 1 of 2",
        ),
        (lambda v: stock(v, COLUMN, np.inf), "got inf"),
        (lambda v: profile_at(v, COLUMN, [0.1, -0.2]), r"\[0, inf\) m, got -0.2"),
        (
            lambda v: profile_at(v, COLUMN, 0.1, "spline"),
            "method 'spline', expected one of pchip, linear",
        ),
    ],
)
def test_depths_that_make_no_sense_are_refused(refused, words):
    with pytest.raises(ValueError, match=words) as error:
        refused(jnp.ones(COLUMN.layers))
    assert "\n" not in str(error.value)


# Profiles

DEPTHS = np.concatenate([[0.0, 0.004], COLUMN.nodes, np.linspace(0.02, 9.5, 80)])


READ = {
    method: jax.jit(lambda v, d, m=method: profile_at(v, COLUMN, d, m))
    for method in ("pchip", "linear")
}
FORWARD, REVERSE = (
    {method: jax.jit(by(read)) for method, read in READ.items()}
    for by in (jax.jacfwd, jax.jacrev)
)


def profiles(rng):
    n = COLUMN.layers
    steps = np.where(np.arange(n) < 10, 3.0, 1.0)
    return {
        "decaying": 4e4 * np.exp(-COLUMN.nodes / 0.7),
        "signs": rng.normal(size=n),
        "flat": np.full(n, 7.0),
        "steps": steps,
        "zeros": np.where(np.arange(n) % 3 == 0, rng.normal(size=n), 0.0),
        "tiny": 1e-250 * np.exp(-COLUMN.nodes),
    }


@pytest.mark.parametrize(
    "kind", ["decaying", "signs", "flat", "steps", "zeros", "tiny"]
)
def test_cubics_are_those_of_scipy(rng, kind):
    values = profiles(rng)[kind]
    expected = PchipInterpolator(COLUMN.nodes, values, extrapolate=True)(DEPTHS)
    found = READ["pchip"](values, DEPTHS)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12 * scale)


def test_columns_of_two_and_three_layers_have_cubics(rng):
    for ends in ((0.1, 0.5), (0.1, 0.5, 0.6)):
        column = SoilColumn(ends)
        values = rng.normal(size=len(ends))
        expected = PchipInterpolator(column.nodes, values)(DEPTHS[::9])
        read = jax.jit(lambda v, column=column: profile_at(v, column, DEPTHS[::9]))
        found = read(values)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_cubics_go_through_the_nodes_and_overshoot_none(rng):
    values = jnp.asarray(rng.normal(size=COLUMN.layers))
    there = READ["pchip"](values, COLUMN.nodes)
    np.testing.assert_allclose(there, values, rtol=0, atol=1e-14)
    between = np.linspace(COLUMN.nodes[:-1], COLUMN.nodes[1:], 30)
    found = np.asarray(READ["pchip"](values, between))
    pairs = np.sort(np.stack([values[:-1], values[1:]]), axis=0)
    assert (found >= pairs[0] - 1e-12).all()
    assert (found <= pairs[1] + 1e-12).all()


def test_lines_are_straight_between_nodes_and_constant_outside(rng):
    values = rng.normal(size=COLUMN.layers)
    found = READ["linear"](values, DEPTHS)
    expected = np.interp(DEPTHS, COLUMN.nodes, values)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    assert float(found[-1]) == values[-1]


@pytest.mark.parametrize(
    "kind", ["decaying", "signs", "flat", "steps", "zeros", "tiny"]
)
@pytest.mark.parametrize("method", ["pchip", "linear"])
def test_gradients_of_profiles_are_finite_and_right(rng, kind, method):
    values = jnp.asarray(profiles(rng)[kind])
    read = lambda v: READ[method](v, DEPTHS)
    slopes = REVERSE[method](values, DEPTHS)
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(FORWARD[method](values, DEPTHS), slopes, atol=1e-12)
    if kind in ("decaying", "signs"):  # elsewhere a step crosses a kink
        scale = float(jnp.abs(values).max())
        aside = jnp.asarray(rng.normal(size=COLUMN.layers)) * values
        h = 1e-6
        change = (read(values + h * aside) - read(values - h * aside)) / (2 * h)
        np.testing.assert_allclose(slopes @ aside, change, atol=2e-8 * scale)


def test_profiles_scale_with_their_values(rng):
    values = rng.normal(size=COLUMN.layers)
    once, thrice = READ["pchip"](values, DEPTHS), READ["pchip"](3 * values, DEPTHS)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["pchip", "linear"])
def test_missing_depths_have_no_value_and_no_gradient(rng, method):
    values = jnp.asarray(rng.normal(size=COLUMN.layers))
    padded = jnp.asarray([0.5, jnp.nan, 0.1, jnp.nan])
    assert np.isnan(READ[method](values, padded)).tolist() == [
        *(False, True, False, True)
    ]
    gradient = jax.jit(jax.grad(lambda v, d: jnp.nansum(READ[method](v, d))))
    gradient, known = (
        gradient(values, padded),
        gradient(values, padded[jnp.array([0, 2])]),
    )
    np.testing.assert_allclose(gradient, known, rtol=1e-14)


def test_many_profiles_are_read_as_one_is(rng):
    values = jnp.asarray(rng.normal(size=(COLUMN.layers, 5)))
    depths = jnp.asarray(rng.uniform(0, 9, (4, 5)))
    many = jax.jit(
        jax.vmap(
            lambda v, d: (profile_at(v, COLUMN, d), stock(v, COLUMN, d)),
            in_axes=-1,
            out_axes=-1,
        )
    )(values, depths)
    for i in range(5):
        one = READ["pchip"](values[:, i], depths[:, i])
        np.testing.assert_allclose(many[0][:, i], one, rtol=1e-12, atol=1e-13)
        held = stock(values[:, i], COLUMN, depths[:, i])
        np.testing.assert_allclose(many[1][:, i], held, rtol=1e-12, atol=1e-13)


# Components


def digits(found, expected):
    """Equal to the digits that are given of the number."""
    for name, text in expected.items():
        value = float(getattr(found, name))
        assert value == pytest.approx(
            float(text), abs=0.51 * 10 ** -len(text.split(".")[1])
        ), name


@pytest.mark.reference
def test_components_of_clm5_are_those_computed_independently(clm5):
    @eqx.filter_jit
    def variants(model, params, state):
        return (
            components(model, params, state, cte="released"),
            components(model, params, state, cte_with_cwd=False, k_pools="soil"),
            components(
                model, params, state, cte="released", cte_with_cwd=True,
                beta_depth="node",
            ),
            components(model, params, state),
        )  # fmt: skip

    released, flux, wood, printed = variants(*clm5)
    digits(
        released,
        {
            **dict(CTE="0.488360", K="0.119993", xi="0.0483475", V="0.00951654"),
            **dict(residence_time="126.4317", litter_to_soil="0.485", B="0.950000"),
        },
    )
    digits(flux, {"CTE": "0.488547", "K": "0.0590393"})
    digits(wood, {"CTE": "0.511985", "B": "0.940159"})
    assert float(wood.below_5cm) == pytest.approx(float(wood.B) ** 5, rel=1e-13)
    digits(printed, {"CTE": "0.513432"})


@pytest.mark.reference
def test_components_over_permafrost_are_those_computed_independently(clm5):
    model, params = CLM5(idealised(active_layer=1.0)), clm5[1]
    found = whole(model, params, steady(model, params))
    digits(found, {"xi": "0.0775304", "V": "0.0668842"})


@pytest.mark.slow
@pytest.mark.reference
def test_components_of_compas_are_those_computed_independently(compas):
    params = arrays(from_unit(COMPASParameters, jnp.full(23, 0.5), published=True))
    same = {"CTE": "0.654588", "V": "0.334068", "litter_to_soil": "0.54625"}
    for turnover, K, xi in (
        ("proda_v22", "0.553443", "0.175203"),
        ("own", "1.08102", "0.195753"),
    ):
        model = COMPAS(idealised(), OF_MEANS, enzyme_turnover=turnover)
        state = steady(model, params)
        found = whole(model, params, state, cte="released")
        digits(found, same | {"K": K, "xi": xi})
    model, params = COMPAS(idealised(), OF_MEANS), compas[1]
    digits(
        whole(model, params, steady(model, params), cte="released"),
        {"CTE": "0.6029", "K": "0.4688", "xi": "0.1491", "V": "0.04084"},
    )


@pytest.mark.reference
@pytest.mark.parametrize(
    "beta, node, interface",
    [
        (0.6, 0.543537, 0.600000),
        (0.95, 0.940159, 0.950000),
        (0.99, 0.987922, 0.989953),
        (0.9999, 0.998232, 0.998505),
    ],
)
def test_the_shape_of_the_input_is_recovered(clm5, beta, node, interface):
    model, params, state = clm5
    params = eqx.tree_at(lambda p: p.beta, params, jnp.asarray(beta))
    shape = lambda depth: float(whole(model, params, state, beta_depth=depth).B)
    found = {depth: shape(depth) for depth in ("node", "interface")}
    assert found["node"] == pytest.approx(node, abs=6e-7)
    assert found["interface"] == pytest.approx(interface, abs=6e-7)


def test_input_on_top_has_no_shape_and_a_gradient(clm5):
    frozen = CLM5(idealised(active_layer=0.0))
    params, state = clm5[1:]
    shape = lambda beta: (
        components(frozen, eqx.tree_at(lambda p: p.beta, params, beta), state).B
    )
    assert float(shape(0.95)) == 0
    assert np.isfinite(jax.jit(jax.grad(shape))(0.95))


def test_components_of_an_even_column_are_its_numbers():
    """One temperature and water, no depth: ξ, K and CTE are averages of one value."""
    forcing = Forcing(288.15, 0.5, [60.0, 180.0, 240.0, 120.0], oxygen=0.9)
    params = arrays(CLM5Parameters(efolding=1e9, tau_s1=2.0, tau_s2=2.0, tau_s3=2.0))
    model = CLM5(forcing)
    found = whole(model, params, steady(model, params), k_pools="soil")
    assert float(found.xi) == pytest.approx(0.5 / 1.5, rel=1e-8)
    assert float(found.K) == pytest.approx(0.5, rel=1e-12)


def total_of(budget):
    """The terms summed over pools; what one passes on, another receives."""
    return type(budget)(*map(sum, budget))


def change_of(budget):
    """change = input + received + mixing - passed_on - respired, by pool."""
    return jax.tree.map(lambda i, r, m, p, c: i + r + m - p - c, *budget)


def test_transfer_efficiency_as_printed_follows_from_the_balance(clm5, compas):
    """What is not passed on is respired, and all input is respired at rest."""
    for model, params, state in (clm5, compas):
        total = total_of(budget_of(model, params, state))
        efficiency = whole(model, params, state).CTE
        decomposed = float(total.passed_on + total.respired)
        assert float(efficiency) == pytest.approx(1 - 600 / decomposed, rel=1e-12)


def test_compas_knows_one_transfer_efficiency(compas):
    of = lambda **options: float(whole(*compas, **options).CTE)
    assert of(cte="released") == of(cte="printed", cte_with_cwd=False)
    assert of(cte="released", cte_with_cwd=True) == of()


def test_mixed_soil_counts_in_the_rate_of_mixing(compas):
    model, params, state = compas
    mixed = whole(COMPAS(idealised(), mixes_soil=True), params, state).V
    diagonal = model.surroundings(params).exchange.diagonal
    held = model.organic_carbon(state) * COLUMN.thickness
    expected = 365 * float(jnp.sum(diagonal * held) / jnp.sum(held))
    assert float(mixed) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    "option", [{"cte": "own"}, {"k_pools": "litter"}, {"beta_depth": "top"}]
)
def test_unknown_options_are_refused(clm5, option):
    (name, value), *_ = option.items()
    with pytest.raises(ValueError, match=f"unknown {name} {value!r}, expected one of"):
        components(*clm5, **option)


def test_components_need_a_scalar_that_processes_share():
    model, params = MIMICS(idealised()), MIMICSParameters()
    state = model.pools(*[jnp.ones(20)] * 8)
    with pytest.raises(ValueError, match="MIMICS has no one scalar"):
        components(model, params, state)


# A model that knows nothing of either


class TwoPools(NamedTuple):
    litter: jax.Array
    humus: jax.Array


class Simple(AbstractParameters):
    bioturbation: float = 2e-4
    cryoturbation: float = 5e-4
    q10: float = 2.0
    water_scaling: float = 1.0
    beta: float = 0.9
    kept: float = 0.3


class TwoPoolColumn(AbstractColumnModel):
    """All litter in one pool, which becomes humus; each moves, or neither does."""

    mixed: frozenset = eqx.field(static=True, default=frozenset(TwoPools._fields))
    depth: float = 1.0

    pools: ClassVar = TwoPools
    processes: ClassVar = {"decay": "litter", "loss": "humus"}
    linear: ClassVar = frozenset(("decay", "loss"))
    litter: ClassVar = ("litter",) * 4
    soil: ClassVar = ("humus",)
    parameters: ClassVar = Simple

    def efolding(self, params):
        return self.depth

    def fluxes(self, pools, environment, params):
        return {
            "decay": environment.litter / 365 * pools.litter,
            "loss": environment.soil / (365 * 20.0) * pools.humus,
        }

    def transfers(self, params):
        return {("humus", "decay"): params.kept}


def test_a_third_model_has_components_budgets_and_ages(simple):
    model, params, state = simple
    found = whole(model, params, state, k_pools="soil")
    # Litter 600, of which 30 % become humus: 180 of 780 decomposed are... passed on.
    assert float(found.CTE) == pytest.approx(180 / 780, rel=1e-12)
    assert float(found.litter_to_soil) == pytest.approx(0.3, rel=1e-12)
    assert float(found.K) == pytest.approx(1 / 20, rel=1e-12)
    assert float(found.B) == pytest.approx(
        np.mean([cut(0.9, d) for d in (10, 30, 70)]), rel=1e-12
    )
    budget = budget_of(model, params, state)
    assert float(budget.received.humus) == pytest.approx(180, rel=1e-12)
    assert np.isfinite(jnp.stack(ages_of(model, params).layers)).all()


@pytest.fixture(scope="module")
def simple():
    model, params = TwoPoolColumn(idealised(column=SMALL)), arrays(Simple())
    return model, params, steady(model, params)


@pytest.mark.parametrize(
    "which",
    ["simple"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("clm5", "compas")],
)
def test_components_have_gradients_alone_and_in_batches(request, which):
    model, params, state = request.getfixturevalue(which)
    own = ("kept",) if which == "simple" else ("tau_l2", "f_cwd_l2")
    names = ("q10", "beta", "bioturbation", *own)
    where = lambda p: tuple(getattr(p, name) for name in names)

    def of(values):
        p = eqx.tree_at(where, params, tuple(values))
        return jnp.stack(components(model, p, steady_state(model, p)))

    values = jnp.asarray(where(params))
    many = jax.jit(jax.vmap(of, in_axes=-1, out_axes=-1))
    n = len(names)
    sizes = 1 + 1e-5 * jnp.concatenate([jnp.zeros((n, 1)), jnp.eye(n), -jnp.eye(n)], 1)
    found = many(values[:, None] * sizes)
    expected = jnp.stack(whole(model, params, state))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-11)
    difference = (found[:, 1 : n + 1] - found[:, n + 1 :]) / (2e-5 * values)[None, :]
    slopes = jax.jit(jax.jacrev(of))(values)
    relative = np.asarray(values)[None, :] / np.asarray(expected)[:, None]
    np.testing.assert_allclose(
        relative * slopes, relative * difference, rtol=1e-6, atol=1e-9
    )


def cut(beta, depth, bottom=150):
    """β of a profile that ends at the bottom of the column."""
    below = (beta**depth - beta**bottom) / (1 - beta**bottom)
    return below ** (1 / depth)


# Budgets


@pytest.mark.parametrize("which", ["clm5", "compas"])
def test_budgets_close_at_rest(request, which):
    model, params, state = request.getfixturevalue(which)
    budget = budget_of(model, params, state)
    for pool in model.pools._fields:
        terms = [float(abs(getattr(term, pool))) for term in budget]
        assert abs(float(getattr(change_of(budget), pool))) <= 1e-12 * max(terms), pool
    total = total_of(budget)
    assert float(total.input) == pytest.approx(600, rel=1e-13)
    assert float(total.respired) == pytest.approx(600, rel=1e-12)
    assert abs(float(total.mixing)) <= 1e-12 * 600
    assert float(total.received) == pytest.approx(float(total.passed_on), rel=1e-13)
    around = model.surroundings(params)
    respired = model.respiration(state, around, params)
    yearly = 365 * float(respired @ COLUMN.thickness)
    assert float(total.respired) == pytest.approx(yearly, rel=1e-13)


@pytest.mark.parametrize("which", ["clm5", "compas"])
def test_budgets_away_from_rest_add_up_to_the_tendency(request, rng, which):
    model, params, state = request.getfixturevalue(which)
    state = jax.tree.map(lambda x: x * rng.uniform(0.5, 2, x.shape), state)
    change = change_of(layer_budget(model, model.surroundings(params), params, state))
    tendency = model(0.0, state, params)
    for found, expected in zip(change, tendency, strict=True):
        scale = float(jnp.abs(expected).max()) * 365
        np.testing.assert_allclose(found, 365 * expected, atol=1e-12 * scale)


def test_what_the_published_bedrock_loses_is_in_the_mixing(clm5):
    model, params = CLM5(idealised(bedrock=12), bedrock="proda"), clm5[1]
    total = total_of(budget_of(model, params, steady(model, params)))
    assert float(total.mixing) == pytest.approx(-600 * 0.00063, rel=0.01)
    assert float(total.respired - total.mixing) == pytest.approx(600, rel=1e-12)


# Ages


def dense(model, params):
    """M of all pools and layers, of concentrations, and b, per day."""
    around = model.surroundings(params)
    zero = model.pools(
        *(jnp.zeros(model.forcing.column.layers),) * len(model.pools._fields)
    )
    flat, back = jax.flatten_util.ravel_pytree(zero)
    rate = jax.jit(
        lambda x: jax.flatten_util.ravel_pytree(
            model.tendency(back(x), around, params)
        )[0]
    )
    return np.asarray(jax.jacfwd(rate)(flat)), np.asarray(rate(flat))


@pytest.mark.parametrize(
    "bedrock", ["closed", pytest.param("proda", marks=pytest.mark.slow)]
)
def test_ages_are_those_of_the_whole_matrix(bedrock):
    column = SoilColumn((0.05, 0.15, 0.4, 0.8, 1.3), below=2.0)
    rock = None if bedrock == "closed" else 3
    forcing = idealised(column=column, bedrock=rock)
    model, params = CLM5(forcing, bedrock=bedrock), CLM5Parameters(efolding=5.0)
    M, b = dense(model, params)
    dz = np.tile(column.thickness, 7)
    # In stocks, as the literature has it.
    M, b = dz[:, None] * M / dz, dz * b
    X = np.linalg.solve(M, -b)
    age = np.linalg.solve(M, -X) / X / 365
    found = ages_of(model, params)
    np.testing.assert_allclose(np.concatenate(found.layers), age, rtol=1e-9)
    one = np.ones_like(b)
    system = (one @ np.linalg.solve(M, np.linalg.solve(M, b))) / X.sum() / 365
    assert float(found.system) == pytest.approx(system, rel=1e-10)
    transit = -(one @ np.linalg.solve(M, b)) / b.sum() / 365
    assert float(found.transit_time) == pytest.approx(transit, rel=1e-10)
    by_pool = (age * X).reshape(7, -1).sum(1) / X.reshape(7, -1).sum(1)
    np.testing.assert_allclose(jnp.stack(found.pools), by_pool, rtol=1e-9)
    soil = slice(4 * 5, None)
    assert float(found.soil_mean) == pytest.approx(
        (age * X)[soil].sum() / X[soil].sum(), rel=1e-10
    )


def test_the_age_of_what_is_respired_is_the_transit_time(clm5):
    model, params, state = clm5
    ages = ages_of(model, params)
    around = model.surroundings(params)
    respired = layer_budget(model, around, params, state).respired
    weighted = jax.tree.map(
        lambda r, a: jnp.sum(r * a * COLUMN.thickness), respired, ages.layers
    )
    found = float(sum(weighted)) / 600
    assert found == pytest.approx(float(ages.transit_time), rel=1e-10)


def test_one_pool_is_as_old_as_it_lives():
    """Without depth and mixing: litter 1/k; humus 1/k + τ/ξ."""
    forcing = Forcing(298.15, 1.0, [60.0, 180.0, 240.0, 120.0], column=SMALL)
    model = TwoPoolColumn(forcing, mixed=frozenset(), depth=1e30)
    ages = ages_of(model, Simple(kept=0.25))
    np.testing.assert_allclose(ages.layers.litter, 1.0, rtol=1e-13)
    np.testing.assert_allclose(ages.layers.humus, 21.0, rtol=1e-13)
    assert float(ages.transit_time) == pytest.approx(1 + 0.25 * 20, rel=1e-13)
    assert float(ages.system) == pytest.approx((1 + 5 * 21) / 6, rel=1e-13)
    # Where rates are even, mixing brings old carbon down, but makes none older.
    mixed = ages_of(TwoPoolColumn(forcing, depth=1e30), Simple(kept=0.25))
    assert np.all(np.diff(mixed.layers.humus) > 1)
    np.testing.assert_allclose(mixed.pools.humus, 21.0, rtol=1e-12)


def test_no_carbon_has_no_age_and_poisons_no_gradient():
    frozen = idealised(active_layer=0.0, column=SMALL)
    model = TwoPoolColumn(frozen)
    ages = ages_of(model, Simple())
    assert np.isnan(ages.layers.humus).tolist() == [False, True, True, True]
    mean = lambda q10: mean_ages(model, eqx.tree_at(lambda p: p.q10, Simple(), q10))
    slope = jax.jit(jax.grad(lambda q10: jnp.nansum(mean(q10).layers.humus)))(2.0)
    assert np.isfinite(slope) and slope != 0


def test_ages_have_gradients(simple):
    model, params, _ = simple
    age = lambda q10: (
        mean_ages(model, eqx.tree_at(lambda p: p.q10, params, q10)).soil_mean
    )
    both, h = jax.jit(jax.value_and_grad(age)), 1e-4
    difference = (both(2 + h)[0] - both(2 - h)[0]) / (2 * h)
    assert float(both(2.0)[1]) == pytest.approx(float(difference), rel=1e-6)


def test_ages_of_models_that_are_not_linear_are_refused(compas):
    with pytest.raises(ValueError, match="COMPAS is not linear .*doc.*not of"):
        mean_ages(compas[0], compas[1])


def test_the_response_to_a_source_of_soil_carbon(clm5):
    model, params, _ = clm5
    around, net = model.surroundings(params), network(model, params)
    source = dict.fromkeys(net.pools, jnp.zeros(COLUMN.layers))
    source |= {"s2": jnp.linspace(0.0, 1.0, COLUMN.layers)}
    found = net.solve(flows(net, model, around, params), 0.0, source)
    state = model.pools(**found)
    assert float(jnp.abs(state.l1).max()) == 0
    respired = model.respiration(state, around, params) @ COLUMN.thickness
    given = source["s2"] @ COLUMN.thickness
    assert float(respired) == pytest.approx(float(given), rel=1e-12)
