"""Gradients of columns: against differences, implicit against unrolled, never NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from column_cases import draws, sites, unthawed
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns import barrier, feasibility
from jaxsoc.columns.components import components
from jaxsoc.models import CLM5, COMPAS, CLM5Parameters, COMPASParameters
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.parameters import declarations, from_unit, from_vector, to_vector
from jaxsoc.solve import layered
from jaxsoc.solve.layered import LayeredSystem, solve_layered

# A shallow active layer, so that both kinds of mixing count somewhere.
REFERENCE = idealised(active_layer=1.0)
CASES = [("clm5", CLM5, CLM5Parameters), ("compas", COMPAS, COMPASParameters)]
_NAMES = ("name", "cls", "numbers")
by_model = pytest.mark.parametrize(_NAMES, CASES)
# COMPAS takes longer to compile.
clm5_first = pytest.mark.parametrize(_NAMES, slow_but(CASES[:1], CASES))


def ranges(numbers):
    return np.array([np.subtract(*d.range()[::-1]) for d in declarations(numbers)])


def outputs(cls, forcing, vector):
    """Stocks to four depths, the profile, and what components are made of."""
    model = cls(forcing)
    params = from_vector(cls.parameters, vector)
    around = model.surroundings(params)
    pools = steady_state(model, params)
    soil = model.organic_carbon(pools)
    column = forcing.column
    lost = model.respiration(pools, around, params) * column.thickness
    return jnp.concatenate([
        column.share_above((0.3, 1.0, 2.0, 8.6)) @ soil,
        soil,
        jnp.cumsum(lost),
        jnp.stack([jnp.sum(pool * column.thickness) for pool in pools]),
        jnp.stack(list(components(model, params, pools))),
    ])  # fmt: skip


def differences(function, at, widths):
    """Central differences extrapolated twice (Romberg), by column, and their error."""
    columns, errors = [], []
    for i, width in enumerate(widths):
        table = []
        for step in width * np.array([1e-2, 5e-3, 2.5e-3, 1.25e-3]):
            up, down = (at.at[i].add(sign * step) for sign in (1, -1))
            table.append((function(up) - function(down)) / (2 * step))
        for level in (4, 16, 64):
            previous = table
            table = [
                (level * b - a) / (level - 1)
                for a, b in zip(table, table[1:], strict=False)
            ]
        columns.append(table[0])
        errors.append(jnp.abs(table[0] - previous[-1]))
    return jnp.stack(columns, axis=1), jnp.stack(errors, axis=1)


@clm5_first
@pytest.mark.parametrize(
    "active_layer", [1.0, pytest.param(3.5, marks=pytest.mark.slow)]
)
def test_gradients_are_those_of_differences(name, cls, numbers, active_layer):
    forcing = idealised(active_layer=active_layer)
    function = jax.jit(lambda v: outputs(cls, forcing, v))
    at = to_vector(numbers())
    jacobian = jax.jit(jax.jacfwd(function))(at)
    width = np.minimum(ranges(numbers), 0.15 * np.abs(at))
    expected, _ = differences(function, at, width)
    value = function(at)
    scale = np.maximum(np.abs(expected), np.abs(value)[:, None] / ranges(numbers))
    assert np.max(np.abs(jacobian - expected) / scale) <= 1e-6
    backward = jax.jit(jax.jacrev(function))(at)
    np.testing.assert_allclose(backward, jacobian, rtol=1e-9, atol=1e-9 * np.max(scale))


@pytest.mark.slow
@by_model
def test_every_parameter_counts(name, cls, numbers):
    """All 44 but the enzyme turnover's other reading change something somewhere."""
    jacobians = [
        jax.jacfwd(lambda v, a=a: outputs(cls, idealised(active_layer=a), v))(
            to_vector(numbers())
        )
        for a in (1.0, 3.5)
    ]
    assert np.all(np.max(np.abs(np.concatenate(jacobians)), axis=0) > 0)


@pytest.mark.slow
def test_the_published_enzyme_turnover_ignores_its_parameter():
    forcing = idealised()

    def stock(params):
        model = COMPAS(forcing, enzyme_turnover="proda_v22")
        return jnp.sum(model.organic_carbon(steady_state(model, params)))

    middle = from_unit(COMPASParameters, jnp.full(23, 0.5), published=True)
    slopes = jax.grad(stock)(middle)
    assert float(slopes.tau_enzyme) == 0.0
    assert float(slopes.half_saturation_uptake) != 0.0


@clm5_first
@pytest.mark.parametrize("count", [50, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_gradient_is_nan_over_the_prior(name, cls, numbers, count):
    """Draws, frozen and infeasible ones among them, and corners of the box."""
    params = draws(numbers, count, seed=5)
    rng = np.random.default_rng(6)
    corners = rng.integers(0, 2, (200, len(declarations(numbers)))).astype(float)
    ends = np.array([d.range() for d in declarations(numbers)])
    vectors = np.concatenate([
        np.stack([np.asarray(leaf) for leaf in jax.tree.leaves(params)], axis=1),
        ends[:, 0] + corners * (ends[:, 1] - ends[:, 0]),
    ])  # fmt: skip
    forcing = sites(len(vectors), seed=7)

    def loss(vector, forcing):
        return jnp.sum(jnp.tanh(outputs(cls, forcing, vector) / 1e4))

    def masked(vector, forcing):
        """What a calibration over many sites adds up: those without one add nothing."""
        params = from_vector(cls.parameters, vector)
        pools, found = steady_state(cls(forcing), params, throw=False)
        stocks = jnp.where(found, jnp.stack(pools), 0.0)
        return jnp.sum(jnp.tanh(stocks / 1e4)), found

    given = jnp.asarray(vectors), forcing
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss)))(*given)
    alone = jax.jit(jax.vmap(jax.value_and_grad(masked, has_aux=True)))
    (stocks, found), others = alone(*given)
    found = np.asarray(found)
    np.testing.assert_array_equal(np.isfinite(values), found)
    assert np.isfinite(slopes)[found].all()
    assert np.isfinite(stocks).all() and np.isfinite(others).all()
    assert np.all(np.asarray(others)[~found] == 0)
    assert found.all() == (name == "clm5")


@pytest.mark.slow
def test_no_gradient_of_the_barrier_is_nan_over_the_prior():
    params, forcing = draws(COMPASParameters, 500, seed=8), sites(500, seed=8)
    slope = jax.grad(lambda p, f: barrier(feasibility(COMPAS(f), p)))
    found = jax.jit(jax.vmap(slope))(params, forcing)
    assert np.isfinite(np.stack(jax.tree.leaves(found))).all()


def unrolled(system, right, mixed):
    """The same elimination, differentiated operation by operation."""
    return layered._substitute(mixed, layered._factor(mixed, False, system), right)


@pytest.mark.parametrize("size", [1, 3])
def test_implicit_gradients_are_the_unrolled_ones(size, rng):
    layers, mixed = 7, (True,) * size
    number = lambda: jnp.asarray(rng.uniform(0.1, 1.0, layers))
    off = tuple(
        tuple(number() + 2.0 if i == j else -0.3 * number() for j in range(size))
        for i in range(size)
    )
    above, below = number().at[0].set(0.0), number().at[-1].set(0.0)
    system = LayeredSystem(off, above, below)
    right = tuple(number() for _ in range(size))
    loss = lambda solve: jax.grad(
        lambda s, r: sum(jnp.sum(jnp.sin(x)) for x in solve(s, r)), argnums=(0, 1)
    )

    # What the ends of the column exchange is no number of the problem.
    def inner(found):
        system, right = found
        return system._replace(above=system.above[1:], below=system.below[:-1]), right

    mine = inner(loss(lambda s, r: solve_layered(s, r, mixed=mixed))(system, right))
    theirs = inner(loss(lambda s, r: unrolled(s, r, mixed))(system, right))
    for one, other in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_the_gradient_of_newton_is_that_of_the_closed_form():
    forcing = unthawed()

    def stock(params, mixes):
        model = COMPAS(forcing, mixes_soil=mixes)
        pools = steady_state(model, params)
        return jnp.sum(model.organic_carbon(pools) * forcing.column.thickness)

    closed, newton = (
        jax.jit(jax.grad(lambda p, mixes=mixes: stock(p, mixes)))(COMPASParameters())
        for mixes in (False, True)
    )
    for one, other in zip(
        jax.tree.leaves(closed), jax.tree.leaves(newton), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)
