"""Linear systems carried through a time in which they are constant, without steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Poles z_k and weights a_k of e^z - 1 ≈ 2 Re Σ a_k z / (z - z_k) on z <= 0, of degree
# 14: poles by the Carathéodory-Fejér method, weights fitted again so that the slope at
# zero is one to rounding, which keeps the mass. The error is below 2e-13 everywhere.
# Trefethen, Weideman & Schmelzer (2006), doi:10.1007/s10543-006-0077-9.
_POLES = np.array(
    [
        5.62317153475742 + 1.1940664287021552j,
        5.089374564875054 + 3.5888160956028452j,
        3.993400429650635 + 6.0048180601390158j,
        2.2698165258521406 + 8.4617178068772034j,
        -0.20872377764902525 + 10.991232026333313j,
        -3.703239160176677 + 13.656333463712498j,
        -8.897735413180298 + 16.630935208424461j,
    ]
)
_WEIGHTS = np.array(
    [
        -8.434532904762856 - 16.374854327111944j,
        10.383324425216827 + 1.646705609436252j,
        -2.4751065358380053 + 2.267327308716653j,
        -0.0034831444962703465 - 0.56904990270495881j,
        0.03113648528259817 + 0.03365086673950192j,
        -0.0013468285559981464 - 0.00032593502928439524j,
        8.503153710322907e-06 - 2.4780423292486546e-07j,
    ]
)


class Moved(NamedTuple):
    """What a time brings: `change`: x(h) - x(0); `excess`: mean of x(s) - x(0)."""

    change: Any
    excess: Any


def move_linear(solve: Callable, slope: Any, time: Any) -> Moved:
    """Exact course of dx/ds = M x + b, all of M's eigenvalues real and not positive.

    x(h) - x = 2 Re Σ a_k (M - z_k/h)⁻¹ (M x + b)
    mean of x(s) - x = 2 Re Σ (a_k / z_k) (M - z_k/h)⁻¹ (M x + b)

    What changes slowly is computed from what it changes, so that no digits are lost.

    **Arguments:** `solve`: `(shift, right) -> (shift - M)⁻¹ right`, complex; `slope`:
    M x + b at the start, a pytree of real arrays; `time`: h.
    Source: Trefethen, Weideman & Schmelzer (2006), doi:10.1007/s10543-006-0077-9, for
    rational approximations of the exponential.
    """

    def add(sums, term):
        pole, weight = term
        found = solve(pole / time, slope)
        twice = lambda factor, y: 2 * (factor * y).real
        return tuple(
            jax.tree.map(lambda x, y, w=w: x - twice(w, y), total, found)
            for total, w in zip(sums, (weight, weight / pole), strict=True)
        ), None

    none = jax.tree.map(jnp.zeros_like, slope)
    terms = jnp.asarray(_POLES), jnp.asarray(_WEIGHTS)
    time = lax.convert_element_type(time, terms[0].dtype)
    (change, excess), _ = lax.scan(add, (none, none), terms)
    return Moved(change, excess)
