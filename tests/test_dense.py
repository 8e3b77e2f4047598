"""Dense matrices one after the other are those of LAPACK, with their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsoc.solve import Sites, dense, map_sites


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_solutions_and_derivatives_are_those_of_plain_solves(rng, shape):
    matrix = jnp.asarray(rng.normal(size=(5, 5)) + 5 * np.eye(5))
    right = jnp.asarray(rng.normal(size=shape))
    ours, plain = (
        (lambda A, b, f=f: jnp.sum(jnp.sin(f(A, b))))
        for f in (dense.solve, jnp.linalg.solve)
    )
    for lift in (lambda f: f, jax.grad, lambda f: jax.hessian(f, 1)):
        wanted = lift(plain)(matrix, right)
        np.testing.assert_allclose(lift(ours)(matrix, right), wanted, rtol=1e-12)
    twice = lambda f: jax.hessian(f)(matrix, right)
    np.testing.assert_allclose(twice(ours), twice(plain), rtol=1e-10)
    rights = jnp.stack([right, 2 * right])
    found = jax.vmap(jax.grad(ours, 1), (None, 0))(matrix, rights)
    wanted = jax.vmap(jax.grad(plain, 1), (None, 0))(matrix, rights)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    many = jnp.stack([matrix, 2 * matrix, matrix.T])
    found = jax.vmap(jax.grad(ours), (0, None))(many, right)
    for one, A in zip(found, many, strict=True):
        np.testing.assert_allclose(one, jax.grad(plain)(A, right), rtol=1e-12)


def test_a_matrix_of_many_right_sides_is_factored_once():
    many = jax.vmap(dense.solve, (None, 0))
    text = str(jax.make_jaxpr(many)(jnp.eye(4), jnp.ones((7, 4))))
    loops = [line for line in text.split("scan[")[1:]]
    assert text.count(" lu ") == 1 and not any(" lu " in loop for loop in loops)


def test_batches_on_all_devices_come_back(rng):
    roots = rng.normal(size=(8, 40, 40))
    matrices = jnp.asarray(roots @ roots.transpose(0, 2, 1) + 40 * np.eye(40))

    def one(matrix):
        factor, (values, _) = dense.cholesky(matrix), dense.eigh(matrix)
        inverse = dense.solve(matrix, jnp.eye(40))
        return factor @ factor.T, values, inverse @ matrix

    sites = Sites.of((matrices,), block=2)
    run = jax.jit(lambda sites: map_sites(lambda at: one(*at), sites))
    again, values, unit = run(sites).leading()
    np.testing.assert_allclose(again, matrices, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrices), rtol=1e-12)
    wanted = np.broadcast_to(np.eye(40), unit.shape)
    np.testing.assert_allclose(unit, wanted, atol=1e-12)
