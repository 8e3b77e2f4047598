"""Measured soil profiles: one table of many, and how well a model predicts them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.columns import SoilColumn
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import NON_NEGATIVE, POSITIVE
from jaxsoc.physics.pedotransfer import (
    PUBLISHED,
    BulkDensityConstants,
    bulk_density,
    carbon_density,
)
from jaxsoc.physics.profiles import METHODS, layer_means, profile_at

SOURCES = ("", "measured", "filled", "pedotransfer")
"""Where a bulk density comes from: not known, weighed, filled by the compilers of a
set, or `with_bulk_density`."""
GAP = 0.01
"""Metres that layers may leave out, or overlap, without leaving a gap."""


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=float)


def _layer(kind: Any = float) -> Any:
    return eqx.field(converter=lambda x: np.asarray(x, kind), metadata={"by": "layer"})


def _profile(kind: Any = float) -> Any:
    return eqx.field(
        converter=lambda x: np.asarray(x, kind), metadata={"by": "profile"}
    )


class Profiles(eqx.Module):
    """Many soil profiles: their layers, profile by profile and from the top down.

    By layer, NaN where it is not known: `profile`: place of its profile among the
    others; `top`, `bottom`: m below the surface; `content`: gC per kg fine earth;
    `bulk_density`: g cm⁻³, and `bulk_density_from`: one of `SOURCES`;
    `coarse_fragments`: share, as recorded, by volume or mass; `density`: gC m⁻³;
    `radiocarbon`: Δ14C, permil.
    By profile: `name`; `site`: what profiles of one place share; `source`: set or
    study; `latitude`, `longitude`: degrees; `year`; `land_cover`, `soil`: as recorded;
    `temperature`: mean annual, °C, and `precipitation`, mm yr⁻¹, as the site gives
    them; `urban`, `peat`, `wet`: flags; `covariates`: more numbers by name.

    **Raises:** `ValueError` for lengths that differ, layers that are not in order, a
    bottom that is not below its top, or negative carbon.
    """

    profile: np.ndarray = _layer(int)
    top: np.ndarray = _layer()
    bottom: np.ndarray = _layer()
    content: np.ndarray = _layer()
    bulk_density: np.ndarray = _layer()
    bulk_density_from: np.ndarray = _layer("<U12")
    coarse_fragments: np.ndarray = _layer()
    density: np.ndarray = _layer()
    radiocarbon: np.ndarray = _layer()
    name: np.ndarray = _profile(str)
    site: np.ndarray = _profile(str)
    source: np.ndarray = _profile(str)
    latitude: np.ndarray = _profile()
    longitude: np.ndarray = _profile()
    year: np.ndarray = _profile()
    land_cover: np.ndarray = _profile(str)
    soil: np.ndarray = _profile(str)
    temperature: np.ndarray = _profile()
    precipitation: np.ndarray = _profile()
    urban: np.ndarray = _profile(bool)
    peat: np.ndarray = _profile(bool)
    wet: np.ndarray = _profile(bool)
    covariates: Mapping[str, np.ndarray] = eqx.field(
        default_factory=dict,
        converter=lambda found: {name: _numbers(x) for name, x in found.items()},
    )

    def __check_init__(self):
        sizes = {"layer": self.profile.shape, "profile": self.name.shape}
        for by, shape in sizes.items():
            held = {name: getattr(self, name) for name in fields_by(by)}
            held |= self.covariates if by == "profile" else {}
            for name, values in held.items():
                if values.shape != shape:
                    raise ValueError(
                        f"{name} must have one value per {by}, {shape}, got "
                        f"{values.shape}"
                    )
        index = self.profile
        outside = (index < 0) | (index >= len(self))
        if (np.diff(index) < 0).any() or outside.any():
            raise ValueError(
                f"layers must come profile by profile, counted from 0 to "
                f"{len(self) - 1}, got {index.tolist()[:10]} ..."
            )
        NON_NEGATIVE.check("top of a layer", self.top, "m")
        POSITIVE.check("thickness of a layer", self.bottom - self.top, "m")
        for name in ("content", "density"):
            values = np.nan_to_num(getattr(self, name))
            NON_NEGATIVE.check(f"{name} of carbon", values)

    def __len__(self) -> int:
        return self.name.size

    def __iter__(self) -> Iterator["Profiles"]:
        """One profile after the other, each as profiles of which there is one."""
        return (self[[place]] for place in range(len(self)))

    @property
    def place_in_profile(self) -> np.ndarray:
        """Of each layer among those of its profile, from 0 for the uppermost."""
        first = np.searchsorted(self.profile, self.profile)
        return np.arange(self.profile.size) - first

    @property
    def most_layers(self) -> int:
        """Layers of the profile that has most of them."""
        return int(self.place_in_profile.max(initial=0)) + 1

    def by_profile(
        self, values: np.ndarray, *, width: int | None = None, fill: float = np.nan
    ) -> np.ndarray:
        """Values by layer as a table of profiles, filled up behind their layers.

        **Arguments:** `values`: leading by layer; `width`: layers of the table, as many
        as the profile with most has where it is not given.
        **Returns:** (profile, place of the layer, ...).
        """
        shape = len(self), width or self.most_layers
        table = np.full((*shape, *values.shape[1:]), fill)
        table[self.profile, self.place_in_profile] = values
        return table

    def __getitem__(self, chosen: Any) -> "Profiles":
        """Those at places, a mask or a slice, or of a name, in the order asked for.

        **Raises:** `ValueError` for a name that no profile has.
        """
        if isinstance(chosen, str):
            places = np.flatnonzero(self.name == chosen)
            if not places.size:
                some = ", ".join(self.name[:3])
                raise ValueError(f"no profile {chosen!r}: there are {some}, ...")
        else:
            places = np.atleast_1d(np.arange(len(self))[chosen])
        start = np.searchsorted(self.profile, places)
        count = np.searchsorted(self.profile, places, side="right") - start
        new = np.repeat(np.arange(places.size), count)
        within = np.arange(new.size) - np.repeat(np.cumsum(count) - count, count)
        rows = np.repeat(start, count) + within
        taken: dict[str, Any] = {}
        taken |= {name: getattr(self, name)[rows] for name in fields_by("layer")}
        taken |= {name: getattr(self, name)[places] for name in fields_by("profile")}
        known = {name: values[places] for name, values in self.covariates.items()}
        return Profiles(**taken | {"profile": new, "covariates": known})

    def count(self, layers: Any) -> np.ndarray:
        """Layers of each profile for which something holds, a mask by layer."""
        return np.bincount(self.profile[layers], minlength=len(self))

    @property
    def known(self) -> np.ndarray:
        """Layers of which carbon per volume is known."""
        return ~np.isnan(self.density)

    @property
    def deepest(self) -> np.ndarray:
        """Lower end of the deepest layer with carbon per volume, m, 0 without any."""
        ends = np.zeros(len(self))
        np.maximum.at(ends, self.profile[self.known], self.bottom[self.known])
        return ends

    @property
    def thickness(self) -> np.ndarray:
        """Of each layer, m."""
        return self.bottom - self.top

    def stocks(self, depths: Any, gap: float = GAP) -> np.ndarray:
        """Carbon from the surface down to depths, gC m⁻², by profile and depth.

        Σ_layers density clip(d - top, 0, bottom - top)

        NaN where layers with carbon leave out more than `gap`, m, above the depth,
        as they do below the deepest.

        **Raises:** `ValueError` for a depth that is not positive.
        """
        POSITIVE.check("depths from the surface down", depths, "m")
        found = []
        for depth in np.atleast_1d(_numbers(depths)):
            part = np.clip(depth - self.top, 0.0, self.thickness) * self.known
            total = lambda x: np.bincount(self.profile, x, minlength=len(self))
            held = total(part * np.nan_to_num(self.density))
            # Room for the rounding of depths.
            whole = total(part) >= depth - gap - 1e-9
            found.append(np.where(whole, held, np.nan))
        return np.stack(found, axis=-1)

    def climate(self, own: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Mean annual temperature, °C, and precipitation, mm yr⁻¹, of each profile.

        **Arguments:** `own`: what the site gives comes first, that of the grid, the
        covariates `grid_mat_c` and `grid_map_mm`, in its absence; else the grid's.
        """
        missing = np.full(len(self), np.nan)
        names = "grid_mat_c", "grid_map_mm"
        grid = [self.covariates.get(name, missing) for name in names]
        given = self.temperature, self.precipitation
        use = [own & ~np.isnan(x) for x in given]
        warmth, rain = (
            np.where(u, x, g) for u, x, g in zip(use, given, grid, strict=True)
        )
        return warmth, rain


def fields_by(dimension: str) -> tuple[str, ...]:
    """Names of what `Profiles` hold by "layer" or by "profile"."""
    return tuple(
        field.name
        for field in dataclasses.fields(Profiles)
        if field.metadata.get("by") == dimension
    )


def concatenate(sets: Iterable[Profiles]) -> Profiles:
    """Profiles of several sets as one; covariates that a set lacks are NaN."""
    sets = list(sets)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(one, name) for one in sets])
        for by in ("layer", "profile")
        for name in fields_by(by)
    }
    before = np.cumsum([0, *(len(one) for one in sets)])
    index = [one.profile + n for one, n in zip(sets, before[:-1], strict=True)]
    names = dict.fromkeys(name for one in sets for name in one.covariates)
    held = lambda one, name: one.covariates.get(name, np.full(len(one), np.nan))
    covariates = {n: np.concatenate([held(one, n) for one in sets]) for n in names}
    joined |= {"profile": np.concatenate(index), "covariates": covariates}
    return Profiles(**joined)


def with_bulk_density(
    profiles: Profiles,
    constants: BulkDensityConstants = PUBLISHED,
    *,
    which: str = "missing",
    coarse_fragments: bool = False,
) -> Profiles:
    """Carbon per volume where content alone was measured, by the pedotransfer function.

    **Arguments:** `constants`: see `jaxsoc.physics.pedotransfer`; `which`: layers to
    fill, "missing", "unmeasured", also those that the compilers of a set filled, or
    "all"; `coarse_fragments`: less their share, where it is known.
    **Raises:** `ValueError` for an unknown choice of layers.
    """
    check_option("which", which, ("missing", "unmeasured", "all"))
    filled = {
        "missing": np.isnan(profiles.density),
        "unmeasured": profiles.bulk_density_from != "measured",
        "all": np.ones(profiles.top.size, bool),
    }[which] & ~np.isnan(profiles.content)
    content = profiles.content[filled]
    predicted = np.asarray(bulk_density(content, constants))
    share = np.nan_to_num(profiles.coarse_fragments[filled]) * coarse_fragments
    of_layers = {
        "bulk_density": predicted,
        "bulk_density_from": "pedotransfer",
        "density": np.asarray(carbon_density(content, predicted, share)),
    }
    changed = {}
    for name, values in of_layers.items():
        changed[name] = getattr(profiles, name).copy()
        changed[name][filled] = values
    return dataclasses.replace(profiles, **changed)


def predicted(
    profiles: Profiles, values: Any, column: SoilColumn, method: str = "mean"
) -> np.ndarray:
    """What a model says of each measured layer, in the unit of the values.

    **Arguments:** `values`: by profile and layer of the column; `method`: "mean" over
    the depths of the measured layer, or "pchip" or "linear" at its middle, the first as
    published, see `jaxsoc.physics.profiles.profile_at`.
    **Raises:** `ValueError` for an unknown method, or another number of profiles.
    """
    check_option("method", method, ("mean", *METHODS))
    values = jnp.asarray(values)
    if values.shape != (len(profiles), column.layers):
        raise ValueError(
            f"values must be of {len(profiles)} profiles and {column.layers} layers, "
            f"got an array of shape {values.shape}"
        )
    if method == "mean":
        weights = weights_of_layers(profiles, column)
        return np.asarray(jnp.sum(weights * values[profiles.profile], axis=1))
    middle = profiles.by_profile(0.5 * (profiles.top + profiles.bottom))
    found = np.asarray(_at_depths(values, column, middle, method))
    return found[profiles.profile, profiles.place_in_profile]


def weights_of_layers(profiles: Profiles, column: SoilColumn) -> np.ndarray:
    """Weight of each layer of a column in the mean over each measured one.

    **Returns:** (measured layer, layer), NaN where the measured one begins below the
    column.
    """
    each = np.eye(column.layers)
    return np.asarray(layer_means(each, column, profiles.top, profiles.bottom)).T


@eqx.filter_jit
def _at_depths(values, column, depths, method):
    at = lambda v, d: profile_at(v, column, d, method)
    return jax.vmap(at)(values, jnp.asarray(depths))


class Misfits(NamedTuple):
    """How well layers are predicted: `layers`, their number; `nse`, `rmse` and `bias`
    in the unit of the values; `log_nse` and `log_rmse` of natural logarithms.

    NSE = 1 - Σ (m - o)² / Σ (o - ō)², Eq. 1 of Tao et al. (2024),
    doi:10.1111/gcb.17297; NaN for fewer than two layers, or where all are observed
    alike.
    """

    layers: np.ndarray
    nse: np.ndarray
    rmse: np.ndarray
    bias: np.ndarray
    log_nse: np.ndarray
    log_rmse: np.ndarray


def misfits(
    observed: Any, predicted: Any, profile: Any = None, count: int = 1
) -> Misfits:
    """Misfits of each profile, or of all layers together.

    Layers count that are predicted and observed to hold carbon. Where a prediction is
    not positive, there is no misfit of logarithms.

    **Arguments:** `observed`, `predicted`: by layer; `profile`: the profile of each, as
    `Profiles.profile`, by default one for all; `count`: profiles.
    """
    o, m = _numbers(observed), _numbers(predicted)
    index = np.zeros(o.size, int) if profile is None else np.asarray(profile)
    both = (o > 0) & np.isfinite(o) & np.isfinite(m)
    o, m, index = o[both], m[both], index[both]
    number = np.bincount(index, minlength=count)
    safe = np.where(number > 0, number, np.nan)
    mean = lambda x: np.bincount(index, x, minlength=count) / safe

    def of(o, m):
        # Of many equal values the variance is nothing but rounding.
        about = o - mean(o)[index]
        variance = mean(about**2)
        varies = variance > 1e-20 * mean(o**2)
        square = mean((m - o) ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            nse = np.where((number > 1) & varies, 1 - square / variance, np.nan)
        return nse, np.sqrt(square)

    nse, rmse = of(o, m)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(m > 0, np.log(m), np.nan)
    log_nse, log_rmse = of(np.log(o), logarithm)
    return Misfits(number, nse, rmse, mean(m - o), log_nse, log_rmse)
