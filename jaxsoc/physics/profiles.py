"""What a column holds: stocks down to depths, and values between the nodes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .columns import SoilColumn
from .options import check_option
from .parameters import NON_NEGATIVE
from .safe import quotient
from .shapes import Number


def stock(
    values: Float[Number, " layer"], column: SoilColumn, depths: Any
) -> Float[Array, "..."]:
    """What a column holds from the surface down to each depth, gC m⁻².

    Σ_z X_z clip(d - z_top, 0, Δz), the whole column for depths below its end

    **Arguments:** `values`: of a pool by layer, gC m⁻³; `depths`: one or several, m, in
    any order; NaN, as of a list filled up to a length, has the stock NaN.
    **Raises:** `ValueError` for a depth that is not positive.
    """
    return _read(lambda d: column.share_above(d) @ jnp.asarray(values), depths)


def pchip(
    nodes: Float[Number, " layer"],
    values: Float[Number, " layer"],
    at: Float[Array, "*depth"],
) -> Float[Array, "*depth"]:
    """Cubics that overshoot no node; those at the ends go on outside, as in MATLAB.

    y = y_k + d_k s + (3 m - 2 d_k - d_{k+1}) s² / h + (d_k + d_{k+1} - 2 m) s³ / h²,
    s = z - z_k, h = z_{k+1} - z_k, m = (y_{k+1} - y_k) / h

    **Arguments:** `nodes`: increasing; `values`: there; `at`: where wanted.
    Source: Fritsch and Carlson (1980), SIAM J. Numer. Anal. 17:238, with the slopes d
    of `pchip_slopes`.
    """
    z, y = jnp.asarray(nodes), jnp.asarray(values)
    h = jnp.diff(z)
    m = jnp.diff(y) / h
    d = pchip_slopes(h, m)
    square = (3 * m - 2 * d[:-1] - d[1:]) / h
    cube = (d[:-1] + d[1:] - 2 * m) / h**2
    k = jnp.clip(jnp.searchsorted(z, at, side="right") - 1, 0, h.size - 1)
    s = at - z[k]
    return y[k] + s * (d[k] + s * (square[k] + s * cube[k]))


def pchip_slopes(
    h: Float[Array, " interval"], m: Float[Array, " interval"]
) -> Float[Array, " layer"]:
    """Slopes at the nodes: weighted harmonic means of those beside, zero at extremes.

    (w₁ + w₂) / (w₁ / m_{k-1} + w₂ / m_k),  w₁ = 2 h_k + h_{k-1}, w₂ = h_k + 2 h_{k-1}

    At the ends a parabola through three nodes, limited so that it keeps the shape.

    **Arguments:** `h`: lengths of the intervals; `m`: slopes over them.
    Source: Fritsch and Butland (1984), SIAM J. Sci. Stat. Comput. 5:300.
    """
    if h.size == 1:
        return jnp.concatenate([m, m])
    before, after = m[:-1], m[1:]
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    one_way = jnp.sign(before) * jnp.sign(after) > 0
    # Divided by the steeper slope alone: finite, with its gradient, for flat profiles.
    first = jnp.abs(before) < jnp.abs(after)
    flat, steep = jnp.where(first, before, after), jnp.where(first, after, before)
    of_flat, of_steep = jnp.where(first, w1, w2), jnp.where(first, w2, w1)
    share = quotient(flat, jnp.where(one_way, steep, 1.0))
    bottom = jnp.where(one_way, of_flat + of_steep * share, 1.0)
    inner = jnp.where(one_way, (w1 + w2) * flat / bottom, 0.0)
    ends = _end(h[0], h[1], m[0], m[1]), _end(h[-1], h[-2], m[-1], m[-2])
    return jnp.concatenate([ends[0][None], inner, ends[1][None]])


def _end(h, h_next, m, m_next):
    """Slope at an end: of the parabola, of the same sign as m and at most 3 m."""
    d = ((2 * h + h_next) * m - h * m_next) / (h + h_next)
    turns = jnp.sign(m) != jnp.sign(m_next)
    d = jnp.where(turns & (jnp.abs(d) > 3 * jnp.abs(m)), 3 * m, d)
    return jnp.where(jnp.sign(d) == jnp.sign(m), d, 0.0)


def layer_means(
    values: Float[Number, "*batch layer"], column: SoilColumn, top: Any, bottom: Any
) -> Float[Array, "*batch interval"]:
    """Means of a profile over intervals of depth, as of layers that were sampled.

    Σ_z X_z w_z / Σ_z w_z,  w_z the metres of layer z between top and bottom

    **Arguments:** `values`: by layer; `top`, `bottom`: of each interval, m; the part
    below the column does not count, and an interval of which there is none above its
    end, or with a NaN, has the mean NaN.
    **Raises:** `ValueError` for a negative depth.
    """
    NON_NEGATIVE.check("depths from the surface down", np.nan_to_num(top), "m")

    def above(depths):
        inside = depths > 0
        share = column.share_above(np.where(inside, depths, 1.0))
        return jnp.where(inside[:, None], share, 0.0)

    inside = above(np.asarray(bottom, float)) - above(np.asarray(top, float))
    whole = inside.sum(axis=1)
    weights = inside / jnp.where(whole > 0, whole, jnp.nan)[:, None]
    return jnp.asarray(values) @ weights.T


METHODS: Mapping[str, Callable] = MappingProxyType(
    {"pchip": pchip, "linear": lambda nodes, values, at: jnp.interp(at, nodes, values)}
)
"""Ways to read a profile between its nodes: `(nodes, values, depths) -> values`."""


def profile_at(
    values: Float[Number, " layer"],
    column: SoilColumn,
    depths: Any,
    method: str = "pchip",
) -> Float[Array, "..."]:
    """Values of a profile at depths, as they were observed.

    **Arguments:** `values`: at the nodes; `depths`: one or several, m, in any order;
    NaN, as of a list filled up to a length, has the value NaN, with no gradient;
    `method`: "pchip", which goes on with its cubics beyond the nodes, as the programs
    of Tao et al. (2024), doi:10.1111/gcb.17297; "linear", constant beyond them.
    **Raises:** `ValueError` for a negative depth or an unknown method.
    """
    check_option("method", method, METHODS)

    def at(depth):
        NON_NEGATIVE.check("depths from the surface down", depth, "m")
        return METHODS[method](column.nodes, jnp.asarray(values), jnp.asarray(depth))

    return _read(at, depths)


def _read(at, depths):
    """What `at` has at depths; NaN, without a gradient, at those that are missing."""
    xp = jnp if isinstance(depths, Tracer) else np
    known = ~xp.isnan(depths)
    return jnp.where(known, at(xp.where(known, depths, 1.0)), jnp.nan)
