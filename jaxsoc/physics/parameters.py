"""One line per parameter: default, bounds, unit, meaning; checked at construction."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float


class Interval(NamedTuple):
    """Where a parameter may lie; open ends unless said otherwise."""

    low: float
    high: float
    closed_low: bool = False
    closed_high: bool = False

    def contains(self, values: np.ndarray) -> np.ndarray:
        """Elementwise membership; NaN is outside every interval."""
        above = values >= self.low if self.closed_low else values > self.low
        below = values <= self.high if self.closed_high else values < self.high
        return np.asarray(above & below)

    def check(self, what: str, value: Any, unit: str = "1", hint: str = "") -> None:
        """Refuses numbers outside; what is not known yet, see `numbers`, passes.

        **Arguments:** `what`: the value's name; `hint`: what to add to the sentence.
        **Raises:** `ValueError` that says what was received and what is expected.
        """
        values = numbers(what, value)
        if values is None or (inside := self.contains(values)).all():
            return
        first = ", ".join(str(i + 1) for i in np.argwhere(~inside)[0])
        where = f" (place {first}; {np.sum(~inside)} of {values.size} values)"
        raise ValueError(
            f"{what} must lie in {self}{'' if unit == '1' else f' {unit}'}, got "
            f"{values[~inside].flat[0]:g}{where if values.ndim else ''}{hint}"
        )

    def __str__(self) -> str:
        ends = "[" if self.closed_low else "(", "]" if self.closed_high else ")"
        return f"{ends[0]}{self.low:g}, {self.high:g}{ends[1]}"


def numbers(what: str, value: Any) -> np.ndarray | None:
    """The numbers of a value, None where they are not known yet.

    They are not while JAX traces a program, nor where a transformation rebuilds a
    module with placeholders in place of numbers.

    **Raises:** `ValueError` for text and lists that are no numbers.
    """
    if isinstance(value, Tracer):
        return None
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        if isinstance(value, str | list | tuple):
            raise ValueError(f"{what} must be a number, got {value!r}") from None
        return None


POSITIVE = Interval(0.0, np.inf)
NON_NEGATIVE = Interval(0.0, np.inf, closed_low=True)
FRACTION = Interval(0.0, 1.0)
BELOW_ONE = Interval(0.0, 1.0, closed_low=True)
SHARE = Interval(0.0, 1.0, closed_low=True, closed_high=True)
PERCENT = Interval(0.0, 100.0, closed_low=True, closed_high=True)


class Declaration(NamedTuple):
    """What is said of a parameter, once and for all its uses.

    `bounds`: where a value makes sense; `prior`: the published range to calibrate in;
    `floor`: lower end in its place where that makes the model singular; `component`:
    what of the model it belongs to, as "A", "K", "xi", "B" or "V"; `published`: its
    name in the source, if another.
    """

    name: str
    default: float
    bounds: Interval
    unit: str
    meaning: str
    prior: tuple[float, float] | None = None
    floor: float | None = None
    component: str | None = None
    published: str | None = None

    def range(self, published: bool = False) -> tuple[float, float]:
        """Ends of the prior, from the floor on unless as published."""
        if self.prior is None:
            raise ValueError(f"{self.name} has no prior range")
        low, high = self.prior
        return (low if published or self.floor is None else self.floor), high


def parameter(default: float, **declared: Any) -> Any:
    """Declares a field of a `Parameters` class, in the words of `Declaration`.

    **Arguments:** `declared`: `bounds`, `unit`, `meaning` and, where there are any,
    `prior`, `floor`, `component` and `published`.
    """
    declaration = Declaration("", float(default), **declared)
    return eqx.field(default=default, metadata={"declaration": declaration})


class AbstractParameters(eqx.Module):
    """Numbers one may fit. A heterogeneous parameter is a leaf with cell axes.

    **Raises:** `ValueError` at construction for a value outside its bounds or not a
    number, naming the parameter, what was received and what was expected.
    """

    def __check_init__(self):
        for d in declarations(type(self)):
            d.bounds.check(f"{d.name} ({d.meaning})", getattr(self, d.name), d.unit)


def declarations(parameters: type[AbstractParameters]) -> tuple[Declaration, ...]:
    """The parameters that a class declares, in order."""
    return tuple(
        field.metadata["declaration"]._replace(name=field.name)
        for field in dataclasses.fields(parameters)
        if "declaration" in field.metadata
    )


def default(parameters: type[AbstractParameters], name: str) -> float:
    """The default that a class declares for a parameter."""
    return {d.name: d.default for d in declarations(parameters)}[name]


def to_vector(params: AbstractParameters) -> Float[Array, "param ..."]:
    """The values of all declared parameters, in the order of their declaration."""
    values = [jnp.asarray(getattr(params, d.name)) for d in declarations(type(params))]
    return jnp.stack(jnp.broadcast_arrays(*values))


def from_vector(
    parameters: type[AbstractParameters], values: Float[Any, "param ..."]
) -> Any:
    """Parameters from their values, in the order of declaration.

    **Raises:** `ValueError` for another number of values, or as the class.
    """
    names = [d.name for d in declarations(parameters)]
    if len(values) != len(names):
        raise ValueError(
            f"{parameters.__name__} takes {len(names)} values, got {len(values)}"
        )
    return parameters(**dict(zip(names, values, strict=True)))


def from_unit(
    parameters: type[AbstractParameters],
    unit: Float[Any, "param ..."],
    *,
    published: bool = False,
) -> Any:
    """Parameters from their places in the prior ranges, 0 the low and 1 the high end.

    p = low + u (high - low)

    **Arguments:** `published`: the published ranges, whose low ends may make the model
    singular, in place of those that begin at the floors.
    **Raises:** `ValueError` for a place outside [0, 1], naming the parameter.
    """
    declared = declarations(parameters)
    if jnp.shape(unit)[:1] != (len(declared),):
        raise ValueError(
            f"expected {len(declared)} places in the prior ranges, got an array of "
            f"shape {jnp.shape(unit)}"
        )
    if not isinstance(unit, Tracer):
        for d, place in zip(declared, unit, strict=True):
            SHARE.check(f"the place of {d.name} in its prior range", place)
    low, high = _ends(parameters, published, jnp.ndim(unit))
    return from_vector(parameters, jnp.asarray(unit) * (high - low) + low)


def to_unit(
    params: AbstractParameters, *, published: bool = False
) -> Float[Array, "param ..."]:
    """Places of the parameters in their prior ranges: the inverse of `from_unit`."""
    values = to_vector(params)
    low, high = _ends(type(params), published, values.ndim)
    return (values - low) / (high - low)


def _ends(parameters, published, axes):
    """Low and high ends of the prior ranges, leading by parameter."""
    ends = np.array([d.range(published) for d in declarations(parameters)])
    return ends.T.reshape(2, -1, *[1] * (axes - 1))


def outside_prior(
    params: AbstractParameters, *, published: bool = True
) -> tuple[str, ...]:
    """A sentence for each parameter that leaves its prior range, none if all lie in."""
    found = []
    for d in declarations(type(params)):
        prior = Interval(*d.range(published), closed_low=True, closed_high=True)
        try:
            what = f"to be in its prior, {d.name} ({d.meaning})"
            prior.check(what, getattr(params, d.name), d.unit)
        except ValueError as outside:
            found.append(str(outside))
    return tuple(found)
