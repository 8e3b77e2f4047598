"""Newton's method in layers, and the groups of pools that it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from column_cases import unthawed
from slow_cases import slow_but

from jaxsoc import steady_state
from jaxsoc.columns.network import linear_groups, network
from jaxsoc.models.clm5 import CLM5
from jaxsoc.models.clm5_parameters import CLM5Parameters
from jaxsoc.models.compas import COMPAS
from jaxsoc.models.compas_parameters import COMPASParameters
from jaxsoc.models.mimics import MIMICS
from jaxsoc.models.mimics_parameters import MIMICSParameters
from jaxsoc.physics.forcing import idealised
from jaxsoc.solve.layered import small_inverse
from jaxsoc.solve.newton import newton_layered

NONE = (jnp.zeros(3), jnp.zeros(3))
MIXED = (jnp.array([0.0, 0.3, 0.1]), jnp.array([0.3, 0.1, 0.0]))
RATES = jnp.array([1.0, 1e-3, 1e-6])


def members(model, params):
    return [{*group} for group in linear_groups(model, model.transfers(params))]


LITTER = [{name} for name in ("cwd", "l1", "l2", "l3")]


def test_groups_of_clm5_are_the_soil_pools_and_each_litter_by_itself():
    model, params = CLM5(idealised()), CLM5Parameters()
    assert members(model, params) == [*LITTER, {"s1", "s2", "s3"}]
    stages = [[{*group} for group in stage] for stage in network(model, params).stages]
    assert stages[0] == [{"cwd"}] and stages[-1] == [{"s1", "s2", "s3"}]


def test_groups_of_compas_and_mimics_are_without_what_is_nonlinear_together():
    assert members(COMPAS(idealised()), COMPASParameters()) == LITTER
    assert members(MIMICS(idealised()), MIMICSParameters()) == [{"cwd"}]


def consumers(x, given):
    """Food and those who eat it, at rates of their own by layer."""
    food, eaters = x
    supply, half = given
    eaten = 2.0 * RATES * food * eaters / (half + food)
    return RATES * supply - eaten, 0.5 * eaten - 0.4 * RATES * eaters


@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_newton_finds_the_known_root_of_layers_by_themselves(factor):
    # 0.5 · 2 F / (K + F) = 0.4 and s = 0.8 E, whatever the rates.
    start = (jnp.full(3, factor), jnp.full(3, 2.0 * factor))
    food, eaters = newton_layered(consumers, start, (1.5, 3.0), NONE)
    np.testing.assert_allclose(food, 0.4 * 3.0 / 0.6, rtol=1e-13)
    np.testing.assert_allclose(eaters, 1.5 / 0.8, rtol=1e-13)


def test_newton_finds_where_reactions_and_exchange_balance():
    start = (jnp.ones(3), jnp.ones(3))
    supply = jnp.array([1.0, 2.0, 0.5])
    found = newton_layered(consumers, start, (supply, 3.0), MIXED, mixed=(True, False))
    food, eaters = found
    above, below = MIXED
    upper, lower = jnp.array([0, food[0], food[1]]), jnp.array([food[1], food[2], 0])
    sent = above * (food - upper) + below * (food - lower)
    made = consumers(found, (supply, 3.0))
    scale = jnp.abs(above * food) + jnp.abs(below * food) + RATES
    assert np.all(np.abs(made[0] - sent) <= 1e-13 * scale)
    assert np.all(np.abs(made[1]) <= 1e-13 * RATES * eaters)
    assert np.all(np.asarray(food) > 0) and np.all(np.asarray(eaters) > 0)


@pytest.mark.parametrize("few", [0.0, 1e-12, 1e-6, 1e-2])
def test_a_step_slower_than_growth_does_not_end_below_zero(few):
    # Eaters could grow e²⁸-fold in the step, whose other root, close by, is negative.
    begin, shift = (jnp.full(3, 100.0), jnp.full(3, few)), 0.02 * RATES

    def stepped(x, given):
        made = consumers(x, (1.5, 3.0))
        comes = 0.0, 1e-9 * RATES
        return tuple(
            m + c + shift * (b - v)
            for m, c, b, v in zip(made, comes, begin, x, strict=True)
        )

    floor = jnp.full(3, 1e-6)
    start = tuple(jnp.maximum(x, floor) for x in begin)
    food, eaters = newton_layered(stepped, start, None, NONE, floor=floor)
    assert np.all(np.asarray(food) > 0) and np.all(np.asarray(eaters) > 1.0)
    for residual in stepped((food, eaters), None):
        assert np.all(np.abs(residual) <= 1e-13 * RATES * (100.0 + food))


def test_newton_says_nan_where_there_is_no_steady_state():
    # Eaters that die faster than they can grow: food piles up without end.
    dying = lambda x, given: (
        consumers(x, given)[0],
        consumers(x, given)[1] - RATES * x[1],
    )
    found = newton_layered(dying, (jnp.ones(3), jnp.ones(3)), (1.5, 3.0), NONE)
    assert np.all(np.isnan(found))


def test_implicit_derivatives_are_those_of_the_root():
    start = (jnp.ones(3), jnp.ones(3))

    def root(given):
        above = MIXED[0] * given[2]
        below = MIXED[1] * given[2]
        found = newton_layered(consumers, start, given[:2], (above, below))
        return jnp.sum(jnp.log(found[0]) + 0.3 * jnp.log(found[1]))

    at = (1.5, 3.0, 1.0)
    found = jax.grad(root)(at)
    _, forward = jax.jvp(root, (at,), ((1.0, 0.0, 0.0),))
    assert float(forward) == pytest.approx(float(found[0]), rel=1e-12)
    for place in range(3):
        step = 1e-5 * at[place]
        moved = lambda h, i=place: tuple(v + h * (i == j) for j, v in enumerate(at))
        slope = (root(moved(step)) - root(moved(-step))) / (2 * step)
        assert float(found[place]) == pytest.approx(float(slope), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("start", [0.1, 1.0, 3.0])
@pytest.mark.slow
def test_newton_agrees_with_the_closed_form_of_compas(start):
    forcing, params = unthawed(), COMPASParameters()
    closed = steady_state(COMPAS(forcing), params)
    began = jax.tree.map(lambda x: start * x, closed)
    found = steady_state(COMPAS(forcing, mixes_soil=True), params, start=began)
    for name, own, other in zip(closed._fields, closed, found, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("pivot", [False, True])
@pytest.mark.parametrize("size", slow_but([1, 2, 4], [1, 2, 4, 7]))
def test_small_inverses_are_those_of_lapack(size, pivot, rng):
    matrices = rng.normal(size=(5, size, size))
    if pivot and size > 1:
        # No inverse without exchanges of rows.
        matrices[:, 0, 0] = 0.0
    rows = [[jnp.asarray(matrices[:, i, j]) for j in range(size)] for i in range(size)]
    found = np.moveaxis(np.array(small_inverse(rows, pivot=pivot)), -1, 0)
    known = np.linalg.inv(matrices)
    scale = np.abs(known).max() * np.abs(matrices).max()
    np.testing.assert_allclose(found, known, atol=1e-11 * scale)
