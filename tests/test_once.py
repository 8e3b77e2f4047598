"""A value that several results share is computed once, and stays the same value."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxsoc.physics.once import computed_once


def products(share):
    """Three results of one product of three numbers, in a loop."""

    def step(_, state):
        x, y, z = state
        shared = share(x * y * z)
        return x - shared, y + 0.3 * shared, z + 0.7 * shared

    return lambda *state: jax.lax.fori_loop(0, 5, step, state)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_value_is_the_same_to_the_bit(dtype):
    values = jnp.asarray([0.0, -0.0, 1e-30, 1.5, -np.inf, np.nan], dtype)
    for function in (computed_once, jax.jit(computed_once), jax.vmap(computed_once)):
        found = function(values)
        assert found.dtype == dtype
        assert np.asarray(found).tobytes() == np.asarray(values).tobytes()


def test_derivatives_are_those_of_the_product():
    state = [jnp.linspace(0.1, 0.5, 6) + i / 9 for i in range(3)]
    shared, plain = products(computed_once), products(lambda x: x)
    check_grads(lambda *s: shared(*s)[0], state, order=2, modes=("fwd",))
    total = lambda function: lambda state: jnp.sum(function(*state)[1] ** 2)
    tangent = [jnp.ones(6), jnp.ones(6), jnp.ones(6)]
    forward = jax.jvp(total(shared), (state,), (tangent,))[1]
    expected = jax.jvp(total(plain), (state,), (tangent,))[1]
    assert float(forward) == pytest.approx(float(expected), rel=1e-15)
    one = computed_once
    slope = jax.grad(lambda x: jnp.sum(one(x) * one(x)))(jnp.arange(3.0))
    assert slope.tolist() == [0.0, 2.0, 4.0]


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="a matter of CPU loops")
def test_a_processor_computes_it_once():
    state = [jnp.linspace(0.1, 0.9, 64)] * 3

    def multiplications(share):
        program = jax.jit(products(share)).lower(*state).compile().as_text()
        lines = [line.split(" = ") for line in program.splitlines() if " = " in line]
        return sum("multiply(" in line[1] for line in lines)

    # Two for the product, and two of the results scale it.
    assert multiplications(computed_once) == 4
    assert multiplications(lambda x: x) > 4
