"""Fitted closures as JSON: every number by its name, and what they were fitted on."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import Pools, TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.options import check_option
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.upscale.catalogue import FittedClosure, closure
from jaxsoc.upscale.macroscale import AbstractMacroModel
from jaxsoc.upscale.representative import RepresentativeCells

from .atomic import replacing
from .reading import read_text, reading

FORMAT = 1
# What a file holds under each name.
_HELD = {
    "closure": (str, "a name"),
    "kinetics": (str, "a name"),
    "varying": (list, "a list of names"),
    "numbers": (dict, "a table of numbers"),
    "fitted_on": (dict, "a table of one range at least"),
}


def closure_to_json(
    fitted: FittedClosure, attributes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A fitted closure as plain numbers, with provenance.

    **Arguments:** `attributes`: more provenance, anything that JSON can hold.
    **Raises:** `ValueError` for what a file cannot hold: kinetics, mortality,
    functions and settings of a user's own.
    """
    if fitted.kinetics not in KINETICS:
        raise ValueError(
            f"only closures of the known kinetics can be saved, got {fitted.kinetics!r}"
        )
    numbers, settings, structure = _parts(fitted.closure)
    ends = np.stack([fitted.lowest, fitted.highest], axis=1).tolist()
    content = {
        "format": FORMAT,
        "source": f"jaxsoc {version('jaxsoc')}",
        "closure": fitted.name,
        "kinetics": fitted.kinetics,
        "varying": list(fitted.closure.varying),
        "dead": fitted.closure.dead,
        "reads": "field" if fitted.closure.numbers_read() is None else "statistics",
        "numbers": {name: _rounded(value) for name, value in numbers.items()},
        "fitted_on": dict(zip(fitted.names, ends, strict=True)),
    }
    _, known, form = _parts(_skeleton(content))
    if (settings, structure) != (known, form):
        differ = [n for n in settings if settings[n] != known.get(n)] or ["class"]
        raise ValueError(
            f"a file holds the numbers of {fitted.name} for the two-pool model with "
            f"{fitted.kinetics} kinetics and linear mortality, and cannot hold "
            f"{', '.join(differ)} of one's own"
        )
    return content | dict(attributes or {})


def closure_from_json(content: Any) -> FittedClosure:
    """The closure that `closure_to_json` wrote.

    **Raises:** `ValueError` for content that is no such thing.
    """
    try:
        return _fitted(content)
    except KeyError as error:
        reason = f"{error} is missing"
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as bad:
        reason = str(bad)
    raise ValueError(f"not a fitted closure: {reason}")


def _fitted(content):
    if not isinstance(content, dict):
        raise ValueError(f"it is {_short(content)}, expected a table")
    if content["format"] != FORMAT:
        raise ValueError(
            f"format {content['format']} of a closure is not known: this version reads "
            f"format {FORMAT}"
        )
    for name, (kind, expected) in _HELD.items():
        value = content[name]
        if not isinstance(value, kind) or (name == "fitted_on" and not value):
            raise ValueError(f"{name} is {_short(value)}, expected {expected}")
    made, ranges = _filled(_skeleton(content), content["numbers"]), content["fitted_on"]
    ends = np.stack([_numbers(*one, shape=(2,)) for one in ranges.items()])
    for number, (low, high) in zip(ranges, ends, strict=True):
        if low > high:
            raise ValueError(
                f"{number} was fitted from {low:g} to {high:g}, expected the lowest "
                "first"
            )
    name, kinetics = content["closure"], content["kinetics"]
    return FittedClosure(name, kinetics, made, tuple(ranges), *ends.T)


def save_closure(
    fitted: FittedClosure,
    path: Path | str,
    attributes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a fitted closure as JSON, all of it or nothing."""
    path = Path(path)
    content = closure_to_json(fitted, attributes)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
    return path


def load_closure(path: Path | str) -> FittedClosure:
    """Reads what `save_closure` wrote.

    **Raises:** `ValueError` for a file that is not there or holds something else.
    """
    path = Path(path)
    with reading(path):
        return closure_from_json(json.loads(read_text(path)))


def _short(value):
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _rounded(value):
    # Twelve digits are more than a fit can know, and shorter to read.
    return np.vectorize(lambda x: float(f"{x:.12g}"), otypes=[float])(value).tolist()


def _parts(made: AbstractMacroModel) -> tuple[dict, dict, Any]:
    """Arrays by name, functions and settings by name, and the form of a closure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(made)
    named = {_name(path): leaf for path, leaf in leaves}
    numbers = {n: np.asarray(leaf) for n, leaf in named.items() if _is_array(leaf)}
    settings = {n: leaf for n, leaf in named.items() if n not in numbers}
    return numbers, settings, structure


def _name(path):
    return jax.tree_util.keystr(path).strip(".")


def _is_array(leaf):
    return isinstance(leaf, jax.Array | np.ndarray)


def _skeleton(content):
    kinetics = content["kinetics"]
    check_option("kinetics", kinetics, KINETICS)
    model, varying = TwoPool(KINETICS[kinetics].law), content["varying"]
    known = leaves_by_name(TwoPoolParameters(KINETICS[kinetics].constants()))
    if not all(x in list(known) and varying.count(x) == 1 for x in varying):
        raise ValueError(f"varying is {varying!r}, expected some of {', '.join(known)}")
    numbers, varying = content["numbers"], tuple(varying)
    # Files from before it was written have each closure's own.
    options: dict[str, Any] = {"dead": content["dead"]} if "dead" in content else {}
    check_option("dead", options.get("dead"), (None, *Pools._fields))
    if content["closure"].startswith("representative"):
        # Free are the numbers of groups and of the members of each.
        groups, members = _table("split", numbers["split"]).shape
        quantities = 2 + len(varying)
        features = 2 + (quantities if content["reads"] == "field" else 2)
        shapes = {
            **{"bias": (groups,), "split": (groups, members)},
            **dict.fromkeys(("centre", "log_sharpness"), (groups, features)),
            "move": (groups, members, quantities),
        }
        options |= {name: jnp.zeros(shape) for name, shape in shapes.items()}
        options |= {"scale": np.zeros((2, features))}
        return RepresentativeCells(model, varying, reads=content["reads"], **options)
    if content["closure"] == "learned":
        named = [(n, x) for n, x in numbers.items() if n.endswith("weight")]
        weights = [_table(n, x).shape for n, x in named]
        if not weights:
            raise ValueError("numbers has no weight of a network")
        width = weights[0][0]
        # Before a network of this width is made, which its numbers would not fill.
        if any(shape != (width, width) for shape in weights[1:-1]):
            raise ValueError(f"weights have shapes {weights}")
        options |= {"depth": len(weights) - 1, "width": width}
    return closure(content["closure"], model, varying, **options)


def _filled(made, numbers):
    def fill(path, leaf):
        if not _is_array(leaf):
            return leaf
        name = _name(path)
        given = _numbers(name, numbers[name], leaf.shape)
        return jnp.asarray(given) if isinstance(leaf, jax.Array) else given

    return jax.tree_util.tree_map_with_path(fill, made)


def _array(name, values):
    try:
        return np.asarray(values)
    except ValueError:  # lists of unequal lengths
        raise ValueError(
            f"{name} is {_short(values)}, expected an array of numbers"
        ) from None


def _table(name, values):
    """An array with two axes, or a `ValueError` with its name."""
    if (given := _array(name, values)).ndim != 2:
        raise ValueError(f"{name} has shape {given.shape}, expected two axes")
    return given


def _numbers(name, values, shape):
    """Finite numbers of this shape, or a `ValueError` with their name."""
    given = _array(name, values)
    if given.shape != shape or given.dtype.kind not in "fi":
        raise ValueError(
            f"{name} has shape {given.shape} of {given.dtype}, expected {shape} of "
            "numbers"
        )
    if not np.isfinite(given).all():
        raise ValueError(f"{name} is not finite everywhere")
    return given.astype(float)
