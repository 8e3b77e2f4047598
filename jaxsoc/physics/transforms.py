"""From where a parameter may lie to the whole line and back, from its declaration."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .parameters import Interval
from .shapes import Cells

REAL = Interval(-np.inf, np.inf)


class Transform(eqx.Module):
    """Takes an interval to the whole line: log, logit, or nothing at all.

    (low, high): z = log((x - low) / (high - x)); (low, ∞): z = log(x - low);
    (-∞, high): z = -log(high - x); (-∞, ∞): z = x

    The ends are arrays, so that one compilation serves intervals of one kind.
    """

    low: Any
    high: Any
    ends: tuple[bool, bool] = eqx.field(static=True)

    def to_line(self, value: Cells) -> Float[Array, "..."]:
        """Where on the line a value lies; its own unit in, none out."""
        match self.ends:
            case (True, True):
                return jnp.log((value - self.low) / (self.high - value))
            case (True, False):
                return jnp.log(value - self.low)
            case (False, True):
                return -jnp.log(self.high - value)
        return jnp.asarray(value)

    def from_line(self, z: Cells) -> Float[Array, "..."]:
        """The value at a place on the line."""
        match self.ends:
            case (True, True):
                return self.low + (self.high - self.low) * jax.nn.sigmoid(z)
            case (True, False):
                return self.low + jnp.exp(z)
            case (False, True):
                return self.high - jnp.exp(-z)
        return jnp.asarray(z)


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

    A number that nobody declared lies on the whole line and has no unit.
    """
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    found = {}
    for place, (path, _) in enumerate(paths):
        name = ".".join(str(_step(key)) for key in path)
        known = _metadata(params, path)
        found[name] = Leaf(
            place,
            known.get("bounds", REAL),
            known.get("unit", ""),
            known.get("meaning", name),
        )
    return found


def _step(key: Any) -> Any:
    """The name or number in one entry of a path through a pytree."""
    match key:
        case jax.tree_util.GetAttrKey(name=name):
            return name
        case (
            jax.tree_util.DictKey(key=inner)
            | jax.tree_util.FlattenedIndexKey(key=inner)
        ):
            return inner
        case jax.tree_util.SequenceKey(idx=index):
            return index
    raise ValueError(f"cannot name the place {key!r} in the parameters")


def _metadata(params: Any, path: tuple) -> Any:
    node, known = params, {}
    for key in path:
        known = {}
        if isinstance(key, jax.tree_util.GetAttrKey):
            if dataclasses.is_dataclass(node):
                declared = {field.name: field for field in dataclasses.fields(node)}
                known = declared[key.name].metadata
            node = getattr(node, key.name)
        else:
            node = node[_step(key)]
    return known if "bounds" in known else {}
