"""Laws of decomposition: limits, bounds, inverses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxsoc.physics.kinetics import (
    KINETICS,
    ECAConstants,
    InverseMichaelisMentenConstants,
    MichaelisMentenConstants,
    MultiplicativeConstants,
    eca,
    inverse_michaelis_menten,
    michaelis_menten,
    multiplicative,
    quadratic,
)

NAMES = sorted(KINETICS)
SOLVED = [name for name in NAMES if KINETICS[name].substrate_at is not None]
amount = st.floats(1e-3, 1e3)


def rate(name, S, B):
    return KINETICS[name].law(S, B, KINETICS[name].constants())


@pytest.mark.parametrize("name", SOLVED)
@given(S=amount, B=amount)
def test_law_solved_for_substrate_gives_the_substrate_back(name, S, B):
    kinetics = KINETICS[name]
    constants = kinetics.constants()
    D = kinetics.law(S, B, constants)
    found = kinetics.substrate_at(D, B, constants)
    # the saturated laws lose digits where D hardly depends on S
    slope = jax.grad(lambda S: kinetics.law(S, B, constants))(S)
    assert abs(float(found) - S) <= 1e-12 * S + 1e-14 * float(D / slope)


@pytest.mark.parametrize("name", NAMES)
@given(S=amount, B=amount)
def test_rates_are_positive_increasing_and_concave_where_declared(name, S, B):
    law = lambda S: rate(name, S, B)
    assert law(S) > 0
    assert jax.grad(law)(S) > 0
    assert not KINETICS[name].concave or jax.grad(jax.grad(law))(S) <= 1e-15


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_finite_and_right_at_zero(name):
    kinetics = KINETICS[name]
    constants = jax.tree.map(jnp.asarray, kinetics.constants())
    for S, B in [(0.0, 0.0), (0.0, 1.2), (120.0, 0.0), (120.0, 1.2)]:
        value, slopes = jax.value_and_grad(kinetics.law, argnums=(0, 1, 2))(
            S, B, constants
        )
        assert np.isfinite(value)
        for slope, step in zip(slopes[:2], np.eye(2) * 1e-4, strict=True):
            ahead, behind = [S, B] + step, [S, B] - step
            difference = (
                kinetics.law(*ahead, constants) - kinetics.law(*behind, constants)
            ) / 2e-4
            assert float(slope) == pytest.approx(float(difference), rel=1e-6, abs=1e-12)
        assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(slopes[2]))


@given(S=amount, B=amount, K=amount)
def test_quadratic_law_is_the_textbook_root_and_never_exceeds_either_partner(S, B, K):
    constants = ECAConstants(0.5, K)
    D = float(quadratic(S, B, constants))
    a = K + S + B
    textbook = 0.25 * (a - np.sqrt(a * a - 4 * S * B))
    assert pytest.approx(textbook, rel=1e-7, abs=1e-13 * a) == D
    assert 0.5 * min(S, B) * (1 + 1e-12) >= D


def test_eca_and_quadratic_have_the_two_michaelis_menten_limits():
    few = 1e-6
    for law in (eca, quadratic):
        assert float(law(30.0, few, ECAConstants(0.02, 25.0))) == pytest.approx(
            float(michaelis_menten(30.0, few, MichaelisMentenConstants(0.02, 25.0))),
            rel=1e-6,
        )
        inverse = InverseMichaelisMentenConstants(0.02, 25.0)
        assert float(law(few, 30.0, ECAConstants(0.02, 25.0))) == pytest.approx(
            float(inverse_michaelis_menten(few, 30.0, inverse)), rel=1e-6
        )


def test_eca_is_the_first_order_of_the_quadratic_law():
    """The relative difference is S B / (K + S + B)² to leading order."""
    S, B, constants = 2.0, 1.0, ECAConstants(0.02, 400.0)
    a = 400.0 + S + B
    ratio = float(quadratic(S, B, constants) / eca(S, B, constants))
    assert ratio - 1 == pytest.approx(S * B / a**2, rel=1e-3)


def test_michaelis_menten_is_multiplicative_where_substrate_is_scarce():
    constants = MichaelisMentenConstants(0.018, 25.0)
    scarce = MultiplicativeConstants(0.018 / 25.0)
    assert float(michaelis_menten(1e-7, 1.2, constants)) == pytest.approx(
        float(multiplicative(1e-7, 1.2, scarce)), rel=1e-8
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_law_at_a_point_is_the_law_on_a_grid(name, rng):
    S, B = rng.uniform(0, 100, (2, 4, 5))
    on_grid = rate(name, jnp.asarray(S), jnp.asarray(B))
    one_by_one = [float(rate(name, *cell)) for cell in zip(S.flat, B.flat, strict=True)]
    np.testing.assert_allclose(on_grid.reshape(-1), one_by_one, rtol=1e-15)
