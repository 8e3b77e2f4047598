"""What drives a soil column: a climatological year of monthly means, checked."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .columns import CLM5_COLUMN, SoilColumn
from .parameters import (
    NON_NEGATIVE,
    PERCENT,
    SHARE,
    AbstractParameters,
    Interval,
    declarations,
    numbers,
)
from .units import DAYS_PER_YEAR, ZERO_CELSIUS

MONTHS = 12
DAYS_PER_MONTH = DAYS_PER_YEAR / MONTHS
# The deepest node of CLM5, m: deeper than any soil that holds permafrost.
NO_PERMAFROST = 42.0
LITTER = ("cwd", "metabolic litter", "cellulose litter", "lignin litter")


class _Kind(NamedTuple):
    """What the numbers of a series are given by, and where they may lie."""

    axes: tuple[str, ...]
    bounds: Interval = NON_NEGATIVE
    unit: str = "1"
    hint: str = ""


_SCALAR = _Kind(("layer", "month"), SHARE)
_DEPTH = _Kind(("month",), NON_NEGATIVE._replace(closed_high=True), "m")
_WARM = Interval(180.0, 350.0, closed_low=True, closed_high=True)
# What a soil can be; Celsius where kelvin is expected lies outside.
_KINDS = {
    "temperature": _Kind(
        ("layer", "month"), _WARM, "K", "; degrees Celsius need 273.15 added"
    ),
    **dict.fromkeys(("water", "oxygen", "nitrogen"), _SCALAR),
    **dict.fromkeys(("active_layer", "active_layer_last_year"), _DEPTH),
    "bedrock": _Kind(("month",)),
    "litter": _Kind(("litter", "month"), unit="gC m⁻² month⁻¹"),
    "litter_by_layer": _Kind(("litter", "layer", "month"), unit="gC m⁻³ month⁻¹"),
    "profile": _Kind(("litter", "layer"), SHARE),
    "sand": _Kind(("layer",), PERCENT, "%"),
}
_MONTHLY = (
    *("temperature", "water", "oxygen", "nitrogen"),
    *("active_layer", "bedrock", "litter"),
)
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
    a parameter; `sand`: %, None where not known; `litter_of_year`: of a month that
    stands for a year, what came in the year that it is of, gC m⁻² yr⁻¹, else None.

    Use it as `Forcing(...)`, which takes the arguments of the same names and checks
    them; those constant in time or depth may be given as one number, `litter` as four
    annual inputs, gC m⁻² yr⁻¹. Many sites are one `Forcing` whose leaves lead by site,
    see `forcing_of_sites`.

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
    litter_of_year: Float[Array, " litter"] | None
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
        checked = lambda name, value: _checked(name, value, column.layers)
        this = last = checked("active_layer", active_layer)
        if active_layer_last_year is not None:
            last = checked("active_layer_last_year", active_layer_last_year)
        self.column = column
        self.temperature = checked("temperature", temperature)
        self.water = checked("water", water)
        self.oxygen = checked("oxygen", oxygen)
        self.nitrogen = checked("nitrogen", nitrogen)
        self.active_layer = jnp.maximum(this, last)
        self.frozen = jnp.asarray(jnp.mean(last) <= 0)
        self.bedrock = _layer_number(bedrock, column.layers)
        self.litter = checked("litter", _by_month(litter))
        self.profile = None if profile is None else _profile(profile, column.layers)
        self.sand = None if sand is None else checked("sand", sand)
        self.litter_of_year = None

    @classmethod
    def from_layers(
        cls, temperature: Any, water: Any, litter_by_layer: Any, **others: Any
    ) -> "Forcing":
        """Forcing whose litter is known by layer, as CESM gives it.

        **Arguments:** `litter_by_layer`: (litter, layer, month), gC m⁻³ month⁻¹; the
        others as `Forcing`. Its sum over the layers becomes `litter`, its distribution
        over them in the year `profile`.
        """
        column = others.get("column", CLM5_COLUMN)
        given = _checked("litter_by_layer", litter_by_layer, column.layers)
        stock = given * jnp.asarray(column.thickness)[None, :, None]
        total = jnp.sum(stock, axis=(1, 2))
        share = jnp.sum(stock, axis=2) / jnp.where(total > 0, total, 1.0)[:, None]
        even = jnp.asarray(column.thickness / column.bottom[-1])[None, :]
        share = jnp.where((total > 0)[:, None], share, even)
        return cls(temperature, water, stock.sum(axis=1), profile=share, **others)

    def month(self, month: Any) -> "Forcing":
        """A year made of one month, 0 for January, as long as that month.

        What came in the whole year stays known, since some models need it.
        """
        one = lambda x: jnp.take(x, jnp.atleast_1d(month), axis=-1)
        monthly = lambda f: [getattr(f, name) for name in _MONTHLY]
        of_year = self.litter_of_year
        if of_year is None:
            of_year = jnp.sum(self.litter, axis=-1)
        return eqx.tree_at(
            lambda f: [*monthly(f), f.litter_of_year],
            self,
            [*(one(x) for x in monthly(self)), of_year],
            is_leaf=lambda x: x is None,
        )


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
        ZERO_CELSIUS + warmth + amplitude * damped,
        np.broadcast_to(water, damped.shape),
        litter,
        oxygen=0.95,
        nitrogen=0.9,
        active_layer=active_layer,
        bedrock=bedrock,
        sand=sand,
        column=column,
    )


def forcing_of_sites(
    given: Mapping[str, Any],
    *,
    column: SoilColumn = CLM5_COLUMN,
    name: Callable[[int], str] = lambda site: f"site {site + 1}",
) -> Forcing:
    """Forcing of many sites, whose leaves lead by site, checked and made all at once.

    **Arguments:** `given`: arguments of `Forcing`, or of `Forcing.from_layers`, by
    name, each an array that leads by site; `name`: of a site, from 0, for errors.
    **Raises:** `ValueError` as for one site, naming the first that is refused.
    """
    by_layer = "litter_by_layer" in given
    arrays = {known: np.asarray(values, float) for known, values in given.items()}
    counts = sorted({len(values) for values in arrays.values()})
    if len(counts) != 1 or not counts[0]:
        raise ValueError(
            f"all arrays must lead by the same number of sites, got {counts}"
        )
    bad = np.zeros(counts[0], bool)
    for known, values in arrays.items():
        bad |= _off(known, values, column.layers).reshape(counts[0], -1).any(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        try:
            one = {known: values[first] for known, values in arrays.items()}
            _maker(by_layer)(**one, column=column)
        except ValueError as error:
            raise ValueError(f"{name(first)}: {error}") from None
    return _made(by_layer, column, arrays)


@eqx.filter_jit
def _made(by_layer, column, arrays):
    return jax.vmap(lambda one: _maker(by_layer)(**one, column=column))(arrays)


def _maker(by_layer):
    return Forcing.from_layers if by_layer else Forcing


def check_one_site(forcing: Forcing, params: AbstractParameters) -> None:
    """Refuses a batch, whose leading axis would be taken for layers or months.

    **Raises:** `ValueError` for a forcing of many sites, or a parameter that is neither
    one number nor, where it may differ between layers, one by layer.
    """
    layers, advice = forcing.column.layers, "; for many sites use vmap or map_sites"
    for name in _MONTHLY:
        axes, shape = _KINDS[name].axes, jnp.shape(getattr(forcing, name))
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


def _checked(name, value, layers):
    """The array, one number repeated; of the shape and in the range expected."""
    kind, given = _KINDS[name], numbers(name, value)
    array = value if given is None else given
    sizes = {"layer": layers, "month": MONTHS, "litter": len(LITTER)}
    shape = tuple(sizes[axis] for axis in kind.axes)
    if jnp.shape(array) not in ((), shape):
        expected = " x ".join(f"{sizes[axis]} {axis}s" for axis in kind.axes)
        raise ValueError(
            f"{name} must be one number or {expected} of one site, got an array of "
            f"shape {jnp.shape(array)}"
        )
    kind.bounds.check(name, array, kind.unit, kind.hint)
    return jnp.broadcast_to(array, shape)


def _off(name, values, layers):
    """Which numbers of a series, of one site or of many, cannot be."""
    off = ~_KINDS[name].bounds.contains(values)
    if name == "bedrock":
        off |= (values < 1) | (values > layers) | (values != np.round(values))
    if name == "profile":
        off = off | (np.abs(values.sum(axis=-1, keepdims=True) - 1) > 1e-9)
    return off


def _layer_number(value, layers):
    value = layers if value is None else value
    given = numbers("bedrock", value)
    if given is not None and (off := _off("bedrock", given, layers)).any():
        raise ValueError(
            "bedrock must be the number of the last layer above it, a whole number "
            f"from 1 to {layers}, got {given[off].flat[0]:g}"
        )
    return jnp.asarray(_checked("bedrock", value, layers), float)


def _by_month(litter):
    """Litter inputs by month: annual ones are shared out evenly."""
    given = numbers("litter", litter)
    value = litter if given is None else given
    if jnp.ndim(value) == 0:
        raise ValueError(
            f"litter must be {len(LITTER)} annual inputs ({', '.join(LITTER)}) or "
            f"{len(LITTER)} x {MONTHS} monthly ones, got one number {value}"
        )
    if value.shape != (len(LITTER),):
        return value
    return (value / MONTHS)[:, None].repeat(MONTHS, axis=1)


def _profile(value, layers):
    profile, given = _checked("profile", value, layers), numbers("profile", value)
    if given is not None:
        sums = np.broadcast_to(given, profile.shape).sum(axis=1)
        if not np.allclose(sums, 1.0, rtol=0, atol=1e-9):
            raise ValueError(
                "profile must sum to 1 over the layers for each litter, got "
                f"{sums[np.argmax(np.abs(sums - 1))]:.10g}"
            )
    return profile
