"""What drives a soil column: a climatological year of monthly means, checked."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from .columns import CLM5_COLUMN, SoilColumn
from .parameters import AbstractParameters, declarations

MONTHS = 12
# The deepest node of CLM5, m: deeper than any soil that holds permafrost.
NO_PERMAFROST = 42.0
LITTER = ("cwd", "metabolic litter", "cellulose litter", "lignin litter")


class _Range(NamedTuple):
    low: float
    high: float
    unit: str
    hint: str = ""


# What a soil can be; Celsius where kelvin is expected lies outside.
_TEMPERATURE = _Range(180.0, 350.0, "K", "; degrees Celsius need 273.15 added")
_SHARE = _Range(0.0, 1.0, "as a share")
_DEPTH = _Range(0.0, np.inf, "m")
_INPUT = _Range(0.0, np.inf, "gC m⁻² month⁻¹")
_PERCENT = _Range(0.0, 100.0, "%")
_AXES = {
    **dict.fromkeys(("temperature", "water", "oxygen", "nitrogen"), ("layer", "month")),
    **dict.fromkeys(("active_layer", "bedrock"), ("month",)),
    "litter": ("litter", "month"),
}
# Components whose numbers belong to a whole column.
_WHOLE = ("V", "xi", "B")


class Forcing(eqx.Module):
    """A year of monthly means that drives a soil column.

    `temperature`: of the soil, K; `water`, `oxygen`, `nitrogen`: scalars of
    decomposition between 0 and 1; `active_layer`: depth that thaws, m, the larger of
    this year's and last year's largest; `frozen`: whether last year's was never above
    zero; `bedrock`: number of the last layer above it, from 1; `litter`: carbon that
    enters as coarse woody debris, metabolic, cellulose and lignin litter,
    gC m⁻² month⁻¹; `profile`: share of it that enters each layer, None to have it from
    a parameter; `sand`: %, None where not known.

    Use it as `Forcing(...)`, which takes the arguments of the same names and checks
    them; those constant in time or depth may be given as one number, `litter` as four
    annual inputs, gC m⁻² yr⁻¹. Many sites are one `Forcing` whose leaves lead by site:
    `jax.tree.map(lambda *x: jnp.stack(x), *forcings)`.

    **Raises:** `ValueError` that names what was received and what was expected.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, Table S3.
    """

    temperature: Float[Array, "layer month"]
    water: Float[Array, "layer month"]
    oxygen: Float[Array, "layer month"]
    nitrogen: Float[Array, "layer month"]
    active_layer: Float[Array, " month"]
    frozen: Any
    bedrock: Float[Array, " month"]
    litter: Float[Array, "litter month"]
    profile: Float[Array, "litter layer"] | None
    sand: Float[Array, " layer"] | None
    column: SoilColumn = eqx.field(static=True)

    def __init__(
        self,
        temperature: Any,
        water: Any,
        litter: Any,
        *,
        oxygen: Any = 1.0,
        nitrogen: Any = 1.0,
        active_layer: Any = NO_PERMAFROST,
        active_layer_last_year: Any = None,
        bedrock: Any = None,
        profile: Any = None,
        sand: Any = None,
        column: SoilColumn = CLM5_COLUMN,
    ):
        layers = column.layers
        last = (
            active_layer if active_layer_last_year is None else active_layer_last_year
        )
        by_month = lambda name, value: _filled(name, value, (MONTHS,), ("months",))
        by_layer = lambda name, value: _filled(
            name, value, (layers, MONTHS), ("layers", "months")
        )
        self.column = column
        self.temperature = _within(
            "temperature", by_layer("temperature", temperature), _TEMPERATURE
        )
        self.water = _within("water", by_layer("water", water), _SHARE)
        self.oxygen = _within("oxygen", by_layer("oxygen", oxygen), _SHARE)
        self.nitrogen = _within("nitrogen", by_layer("nitrogen", nitrogen), _SHARE)
        this = by_month("active_layer", active_layer)
        last = by_month("active_layer_last_year", last)
        for name, depth in (("active_layer", this), ("active_layer_last_year", last)):
            _within(name, depth, _DEPTH)
        self.active_layer = jnp.maximum(jnp.asarray(this), jnp.asarray(last))
        self.frozen = jnp.asarray(jnp.mean(jnp.asarray(last)) <= 0)
        self.bedrock = _layer_number(
            by_month("bedrock", layers if bedrock is None else bedrock), layers
        )
        self.litter = _within("litter", _litter(litter), _INPUT)
        self.profile = None if profile is None else _profile(profile, layers)
        self.sand = None
        if sand is not None:
            filled = _filled("sand", sand, (layers,), ("layers",))
            self.sand = _within("sand", filled, _PERCENT)

    @classmethod
    def from_layers(
        cls, temperature: Any, water: Any, litter_by_layer: Any, **others: Any
    ) -> "Forcing":
        """Forcing whose litter is known by layer, as CESM gives it.

        **Arguments:** `litter_by_layer`: (litter, layer, month), gC m⁻³ month⁻¹; the
        others as `Forcing`. Its sum over the layers becomes `litter`, its distribution
        over them in the year `profile`; `without_profile` has that from a parameter.
        """
        column = others.get("column", CLM5_COLUMN)
        layers, names = column.layers, ("litters", "layers", "months")
        given = _filled(
            "litter_by_layer", litter_by_layer, (len(LITTER), layers, MONTHS), names
        )
        given = jnp.asarray(_within("litter_by_layer", given, _INPUT))
        stock = given * jnp.asarray(column.thickness)[None, :, None]
        total = jnp.sum(stock, axis=(1, 2))
        share = jnp.sum(stock, axis=2) / jnp.where(total > 0, total, 1.0)[:, None]
        even = jnp.asarray(column.thickness / column.bottom[-1])[None, :]
        share = jnp.where((total > 0)[:, None], share, even)
        return cls(temperature, water, stock.sum(axis=1), profile=share, **others)

    def without_profile(self) -> "Forcing":
        """The same with the distribution of litter left to a parameter."""
        return eqx.tree_at(
            lambda f: f.profile, self, None, is_leaf=lambda leaf: leaf is None
        )

    def month(self, month: Any) -> "Forcing":
        """A year made of one month, 0 for January, as long as that month."""
        one = lambda x: jnp.take(x, jnp.atleast_1d(month), axis=-1)
        monthly = lambda f: (
            *(f.temperature, f.water, f.oxygen, f.nitrogen),
            *(f.active_layer, f.bedrock, f.litter),
        )
        return eqx.tree_at(monthly, self, [one(x) for x in monthly(self)])


def idealised(
    *,
    warmth: float = 8.0,
    amplitude: float = 14.0,
    litter: Any = (60.0, 180.0, 240.0, 120.0),
    active_layer: Any = 3.5,
    bedrock: Any = None,
    sand: Any = 45.0,
    column: SoilColumn = CLM5_COLUMN,
) -> Forcing:
    """Forcing of an idealised temperate site, for examples, tests and comparisons.

    T = 273.15 + warmth + amplitude exp(-z / 2 m) cos(2π (m - 7) / 12),
    W = 0.55 + 0.25 cos(2π (m - 1) / 12), oxygen 0.95, nitrogen 0.9

    **Arguments:** `warmth`: mean soil temperature, °C; `amplitude`: at the surface, K;
    the others as `Forcing`.
    """
    month = np.arange(1, MONTHS + 1)
    wave = np.cos(2 * np.pi * (month - 7) / MONTHS)
    damped = np.exp(-column.nodes / 2.0)[:, None] * wave
    water = 0.55 + 0.25 * np.cos(2 * np.pi * (month - 1) / MONTHS)
    return Forcing(
        273.15 + warmth + amplitude * damped,
        np.broadcast_to(water, damped.shape),
        litter,
        oxygen=0.95,
        nitrogen=0.9,
        active_layer=active_layer,
        bedrock=bedrock,
        sand=sand,
        column=column,
    )


def check_one_site(forcing: Forcing, params: AbstractParameters) -> None:
    """Refuses a batch, whose leading axis would be taken for layers or months.

    **Raises:** `ValueError` for a forcing of many sites, or a parameter that is neither
    one number nor, where it may differ between layers, one by layer.
    """
    layers, advice = forcing.column.layers, "; for many sites use vmap or map_sites"
    for name, axes in _AXES.items():
        shape = jnp.shape(getattr(forcing, name))
        if len(shape) != len(axes) or ("layer" in axes and shape[0] != layers):
            raise ValueError(
                f"expected the forcing of one site, {name} by {' and '.join(axes)}, "
                f"got an array of shape {shape}{advice}"
            )
    whole = {d.name for d in declarations(type(params)) if d.component in _WHOLE}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name, shape = jax.tree_util.keystr(path).strip("."), jnp.shape(leaf)
        if shape and (name in whole or shape != (layers,)):
            other = "" if name in whole else f", or {layers} layers"
            raise ValueError(
                f"expected the parameters of one site, {name} a number{other}, got an "
                f"array of shape {shape}{advice}"
            )


def _filled(name, value, shape, words):
    """The array, one number repeated; else of the shape expected."""
    try:
        array = value if isinstance(value, Tracer) else np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {value!r}") from None
    if array.ndim == 0:
        return (
            np.broadcast_to(array, shape)
            if isinstance(array, np.ndarray)
            else (jnp.broadcast_to(array, shape))
        )
    expected = " x ".join(f"{n} {word}" for n, word in zip(shape, words, strict=True))
    if array.ndim != len(shape):
        raise ValueError(
            f"{name} must be one number or {expected} of one site, got an array of "
            f"shape {array.shape}"
        )
    for size, wanted, word in zip(array.shape, shape, words, strict=True):
        if size != wanted:
            raise ValueError(
                f"{name} has {size} {word}, expected {wanted} ({expected})"
            )
    return array


def _within(name, array, known):
    if not isinstance(array, Tracer):
        values = np.asarray(array)
        off = ~((values >= known.low) & (values <= known.high))
        if off.any():
            first = values[off].flat[0]
            place = tuple(int(i) + 1 for i in np.argwhere(off)[0])
            span = (
                f"at least {known.low:g}"
                if np.isinf(known.high)
                else f"between {known.low:g} and {known.high:g}"
            )
            raise ValueError(
                f"{name} must be {span} {known.unit}, got {first:g} (place "
                f"{', '.join(map(str, place))}, {off.sum()} of {values.size} values)"
                f"{known.hint}"
            )
    return jnp.asarray(array)


def _layer_number(value, layers):
    if not isinstance(value, Tracer):
        numbers = np.asarray(value)
        off = ~((numbers >= 1) & (numbers <= layers) & (numbers == np.round(numbers)))
        if off.any():
            raise ValueError(
                "bedrock must be the number of the last layer above it, a whole number "
                f"from 1 to {layers}, got {numbers[off].flat[0]:g}"
            )
    return jnp.asarray(value, float)


def _litter(value):
    names = ("litter inputs", "months")
    if not isinstance(value, Tracer):
        value = np.asarray(value, dtype=float)
    if value.shape == (len(LITTER),):
        month = value[:, None] / MONTHS
        return (
            np.broadcast_to(month, (len(LITTER), MONTHS))
            if isinstance(value, np.ndarray)
            else jnp.broadcast_to(month, (len(LITTER), MONTHS))
        )
    if value.ndim == 0:
        raise ValueError(
            f"litter must be {len(LITTER)} annual inputs ({', '.join(LITTER)}) or "
            f"{len(LITTER)} x {MONTHS} monthly ones, got one number {value}"
        )
    return _filled("litter", value, (len(LITTER), MONTHS), names)


def _profile(value, layers):
    profile = _filled("profile", value, (len(LITTER), layers), ("litters", "layers"))
    profile = _within("profile", profile, _SHARE)
    if not isinstance(profile, Tracer):
        sums = np.asarray(profile).sum(axis=1)
        if not np.allclose(sums, 1.0, rtol=0, atol=1e-9):
            raise ValueError(
                "profile must sum to 1 over the layers for each litter, got "
                f"{sums[np.argmax(np.abs(sums - 1))]:.10g}"
            )
    return profile
