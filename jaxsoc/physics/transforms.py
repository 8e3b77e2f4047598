"""Parameters unconstrained: from where one may lie to all real numbers, and back."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import AbstractParameters, Declaration, Interval, declarations
from .shapes import Cells

REAL = Interval(-np.inf, np.inf)


class Transform(eqx.Module):
    """Takes an interval to all real numbers: log, logit, or nothing at all.

    (low, high): z = log((x - low) / (high - x)); (low, ∞): z = log(x - low);
    (-∞, high): z = -log(high - x); (-∞, ∞): z = x

    The ends are arrays, so that one compilation serves intervals of one kind.
    """

    low: Any
    high: Any
    ends: tuple[bool, bool] = eqx.field(static=True)

    def unconstrained(self, value: Cells) -> Float[Array, "..."]:
        """The value, unconstrained; its own unit in, none out."""
        match self.ends:
            case (True, True):
                return jnp.log((value - self.low) / (self.high - value))
            case (True, False):
                return jnp.log(value - self.low)
            case (False, True):
                return -jnp.log(self.high - value)
        return jnp.asarray(value)

    def constrained(self, z: Cells) -> Float[Array, "..."]:
        """The value of an unconstrained number."""
        match self.ends:
            case (True, True):
                return self.low + (self.high - self.low) * jax.nn.sigmoid(z)
            case (True, False):
                return self.low + jnp.exp(z)
            case (False, True):
                return self.high - jnp.exp(-z)
        return jnp.asarray(z)

    def log_slope(self, z: Cells) -> Float[Array, "..."]:
        """log |dθ/dz| at a place on the line, θ the value: the log-determinant."""
        match self.ends:
            case (True, True):
                both = jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-jnp.asarray(z))
                return both + jnp.log(self.high - self.low)
            case (True, False):
                return jnp.asarray(z)
            case (False, True):
                return -jnp.asarray(z)
        return jnp.zeros_like(jnp.asarray(z))


def transform(bounds: Interval) -> Transform:
    """The transform that suits an interval.

    **Raises:** `ValueError` for an interval without inside.
    """
    if not bounds.low < bounds.high:
        raise ValueError(f"bounds must be an interval low < high, got {bounds}")
    return Transform(
        jnp.asarray(float(bounds.low)),
        jnp.asarray(float(bounds.high)),
        (bool(np.isfinite(bounds.low)), bool(np.isfinite(bounds.high))),
    )


class Leaf(NamedTuple):
    """A number within parameters: its place among the leaves, and what is known."""

    place: int
    bounds: Interval
    unit: str
    meaning: str


def leaves_by_name(params: Any) -> dict[str, Leaf]:
    """Every number of a pytree by its dotted name, with what `parameter` declared.

    A number that nobody declared is any real number and has no unit.
    """
    return {
        name: Leaf(place, known.bounds, known.unit, known.meaning or name)
        for place, (name, known) in enumerate(_declared(params, "", _UNKNOWN))
    }


_UNKNOWN = Declaration("", np.nan, REAL, unit="", meaning="")


def _declared(node: Any, name: str, known: Declaration) -> Iterator:
    """Every leaf of a pytree by its dotted name, in order, and what is known of it."""
    inner = jax.tree_util.tree_leaves_with_path(node, is_leaf=lambda x: x is not node)
    if inner and inner[0][1] is node:
        yield name, known
        return
    own = isinstance(node, AbstractParameters)
    fields = {d.name: d for d in declarations(type(node))} if own else {}
    for path, child in inner:
        step = jax.tree_util.keystr(path, simple=True)
        known = fields.get(step, _UNKNOWN)
        yield from _declared(child, f"{name}.{step}" if name else step, known)
