"""Which profiles are used, why others are not, and what that does to the sample."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxsoc.physics.parameters import NON_NEGATIVE, Interval

from .profiles import Profiles

SHAPES = ("monotone", "maximum below the surface", "zigzag")
"""Of carbon with depth: never rises; rises, then never again after it first falls; or
anything else."""
TEMPERATURES = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0, 25.0)
"""Ends of the classes of mean annual temperature, °C."""
PRECIPITATIONS = (250.0, 500.0, 1000.0, 1500.0, 2000.0)
"""Ends of the classes of annual precipitation, mm."""
DEPTHS = (0.5, 1.0, 2.0)
"""Ends of the classes of the deepest layer, m."""
# Carbon content of organic soil, gC/kg, and how thick it is in a peat above 1 m.
_ORGANIC, _PEAT = 120.0, 0.4
# Words that flag a profile by its land cover and its soil, and IGBP classes of the
# site's own vegetation.
_URBAN = ("urban", "developed", "built-up")
_PEATLAND = ("peat", " bog ", " fen ", " mire ", "palsa")
_WETLAND = (*_PEATLAND, "wetland", "marsh", "swamp", "mangrove")
_HISTOSOLS = ("histosol", "histel", "fibrist", "hemist", "saprist", "folist")
_WET_SOILS = ("aqu", "gley")
# Soils by their codes alone.
_CODES = {"peat": ("his", "hs"), "wet": ("gl", "gley")}
# Urban sites among those of long-term ecological research: Baltimore and Phoenix.
_URBAN_SITES = ("LTER/BES", "LTER/CAP")

_COUNT = Interval(1, np.inf, closed_low=True)


class Screened(NamedTuple):
    """The profiles that are `kept`; `passes`, a mask of them among all; `reasons`:
    masks of those that fail each, of which a profile may fail several."""

    kept: Profiles
    passes: np.ndarray
    reasons: dict[str, np.ndarray]

    @property
    def counts(self) -> dict[str, int]:
        """Profiles that fail each reason."""
        return {reason: int(failed.sum()) for reason, failed in self.reasons.items()}

    @property
    def alone(self) -> dict[str, int]:
        """Profiles that fail this reason and no other."""
        once = np.sum(list(self.reasons.values()), axis=0) == 1
        return {name: int((x & once).sum()) for name, x in self.reasons.items()}


def screen(
    profiles: Profiles,
    *,
    fewest_layers: int = 3,
    deepest: float = 0.5,
    measured_bulk_density: bool = False,
    surface: float | None = None,
    without: tuple[str, ...] = (),
) -> Screened:
    """Profiles that a model can be compared with, and the others by reason.

    **Arguments:** `fewest_layers`: with carbon per volume; `deepest`: m, that the
    deepest of them reaches at least; `measured_bulk_density`: on as many layers;
    `surface`: m, where the first of them begins at most, by default anywhere;
    `without`: flags that exclude, of "urban", "peat" and "wet".
    **Raises:** `ValueError` for options that make no sense.
    """
    _COUNT.check("fewest_layers", fewest_layers)
    NON_NEGATIVE.check("deepest", deepest, "m")
    if unknown := set(without) - {"urban", "peat", "wet"}:
        raise ValueError(
            f"unknown flags {', '.join(sorted(unknown))}: expected urban, peat or wet"
        )
    known = profiles.known
    # Room for the rounding of depths.
    reasons = {
        f"fewer than {fewest_layers} layers with carbon per volume": (
            profiles.count(known) < fewest_layers
        ),
        f"does not reach {deepest:g} m": profiles.deepest < deepest - 1e-9,
    }
    if measured_bulk_density:
        weighed = known & (profiles.bulk_density_from == "measured")
        few = profiles.count(weighed) < fewest_layers
        reasons[f"bulk density measured on fewer than {fewest_layers} layers"] = few
    if surface is not None:
        NON_NEGATIVE.check("surface", surface, "m")
        first = np.full(len(profiles), np.inf)
        np.minimum.at(first, profiles.profile[known], profiles.top[known])
        reasons[f"begins below {surface:g} m"] = first > surface + 1e-9
    reasons |= {flag: getattr(profiles, flag) for flag in without}
    passes = ~np.any(list(reasons.values()), axis=0)
    return Screened(profiles[passes], passes, reasons)


def shapes(profiles: Profiles) -> np.ndarray:
    """The shape of carbon per volume with depth, one of `SHAPES`, by profile.

    Of layers whose carbon is known; "" for a profile with fewer than two of them. With
    three layers, to rise and to fall is a maximum below the surface, to fall and to
    rise a zigzag.
    """
    known = profiles.known
    index, density = profiles.profile[known], profiles.density[known]
    change = np.diff(density) * (np.diff(index) == 0)
    upper = index[:-1]
    count = lambda which: np.bincount(upper[which], minlength=len(profiles))
    falls = np.cumsum(change < 0)
    before = falls - (change < 0)
    start = np.searchsorted(upper, np.arange(len(profiles)))
    at_start = np.append(before, 0)[start]
    again = (change > 0) & (before > at_start[upper])
    found = np.where(count(change > 0) == 0, SHAPES[0], SHAPES[1])
    found = np.where(count(again) > 0, SHAPES[2], found)
    return np.where(profiles.count(known) > 1, found, "")


def flags(profiles: Profiles) -> dict[str, np.ndarray]:
    """Masks of profiles that no upland steady state describes.

    "urban" by land cover or site; "peat" by land cover, a Histosol or Histel, or at
    least 0.4 m with 120 gC/kg or more above 1 m; "wet" by land cover, or soils with
    water in them. They see no more than what was recorded, and IGBP's class of a
    coarse grid is not used.
    """
    # Between spaces, so that whole words can be looked for.
    cover = np.char.add(np.char.add(" ", np.char.lower(profiles.land_cover)), " ")
    soil = np.char.lower(profiles.soil)
    has = lambda texts, words: np.any(
        [np.char.find(texts, word) >= 0 for word in words], axis=0
    )
    upper = np.clip(1.0 - profiles.top, 0.0, profiles.thickness)
    organic = upper * (np.nan_to_num(profiles.content) >= _ORGANIC)
    thick = np.bincount(profiles.profile, organic, minlength=len(profiles))
    coded = lambda flag: np.isin(np.char.strip(soil), _CODES[flag])
    peat = has(cover, _PEATLAND) | has(soil, _HISTOSOLS) | coded("peat")
    return {
        "urban": has(cover, _URBAN) | has(profiles.source, _URBAN_SITES),
        "peat": peat | (thick >= _PEAT - 1e-9),
        "wet": has(cover, _WETLAND) | has(soil, _WET_SOILS) | coded("wet"),
    }


class Coverage(NamedTuple):
    """`land`: share of the land by class of temperature and precipitation; `profiles`:
    their number there; `temperatures`, `precipitations`: ends of the classes;
    `covered`: share of the land in classes with enough profiles; `unknown`: profiles
    without a climate."""

    land: np.ndarray
    profiles: np.ndarray
    temperatures: tuple[float, ...]
    precipitations: tuple[float, ...]
    covered: float
    unknown: int


def coverage(
    profiles: Profiles,
    temperature: Any,
    precipitation: Any,
    area: Any,
    *,
    temperatures: tuple[float, ...] = TEMPERATURES,
    precipitations: tuple[float, ...] = PRECIPITATIONS,
    fewest: int = 1,
    own: bool = True,
) -> Coverage:
    """How much of the world's climates profiles cover.

    **Arguments:** `temperature`, `precipitation`: annual, °C and mm, of cells of land
    in any order, NaN where there is none; `area`: of the cells, in any unit;
    `temperatures`, `precipitations`: ends of the classes, the first and last of which
    are open; `fewest`: profiles that cover a class; `own`: see `Profiles.climate`.
    **Raises:** `ValueError` for arrays of different shapes, or no land.
    """
    given = [np.asarray(x, float) for x in (temperature, precipitation, area)]
    if len({x.shape for x in given}) > 1:
        raise ValueError(
            "temperature, precipitation and area must be of the same cells, got shapes "
            f"{', '.join(str(x.shape) for x in given)}"
        )
    warmth, rain, size = (x.ravel() for x in given)
    land = np.isfinite(warmth) & np.isfinite(rain) & (size > 0)
    if not land.any():
        raise ValueError("there is no land with a climate")
    _COUNT.check("fewest", fewest)

    def table(warmth, rain, weights=None):
        classes = (len(temperatures) + 1, len(precipitations) + 1)
        at = np.digitize(warmth, temperatures), np.digitize(rain, precipitations)
        flat = np.ravel_multi_index(at, classes)
        return np.bincount(flat, weights, math.prod(classes)).reshape(classes)

    share = table(warmth[land], rain[land], size[land] / size[land].sum())
    warmth, rain = profiles.climate(own)
    known = np.isfinite(warmth) & np.isfinite(rain)
    number = table(warmth[known], rain[known])
    covered = float(share[number >= fewest].sum())
    unknown = int((~known).sum())
    return Coverage(share, number, temperatures, precipitations, covered, unknown)


class Effect(NamedTuple):
    """What screening does to one class: `profiles` before it and `kept` of them; `p`:
    probability that a choice of as many of all profiles by chance is as unlikely,
    times the number of classes compared."""

    by: str
    group: str
    profiles: int
    kept: int
    p: float

    @property
    def share(self) -> float:
        """Of the profiles of the class that are kept."""
        return self.kept / self.profiles


def classes(profiles: Profiles) -> dict[str, np.ndarray]:
    """Classes of profiles by what screening may favour, "" where it is not known."""
    warmth, rain = profiles.climate()
    igbp = profiles.covariates.get("grid_igbp_class", np.full(len(profiles), np.nan))
    of_grid = np.array(["" if np.isnan(x) else f"IGBP {x:g}" for x in igbp], str)
    recorded = np.char.lower(profiles.land_cover)
    return {
        "temperature": _named(warmth, TEMPERATURES, "°C"),
        "precipitation": _named(rain, PRECIPITATIONS, "mm"),
        "land cover": np.where(recorded == "", of_grid, recorded),
        "depth": _named(profiles.deepest, DEPTHS, "m"),
        "shape": shapes(profiles),
        "source": np.array([x.split("/")[0] for x in profiles.source], str),
    }


def _named(values, ends, unit):
    """The class of each number, by its ends."""
    names = [f"below {ends[0]:g} {unit}"]
    pairs = zip(ends[:-1], ends[1:], strict=True)
    names += [f"{low:g} to {high:g} {unit}" for low, high in pairs]
    names += [f"{ends[-1]:g} {unit} or more"]
    return np.where(np.isnan(values), "", np.array(names)[np.digitize(values, ends)])


def screening_effects(
    profiles: Profiles,
    passes: Any,
    by: Callable[[Profiles], Mapping[str, np.ndarray]] = classes,
) -> list[Effect]:
    """What share of each class of profiles is kept, beside what chance would keep.

    Fisher's exact test of each class against all others, the probability multiplied by
    the number of classes (Bonferroni). Profiles of one site are not independent: where
    there are many, the probability is too small.

    **Arguments:** `passes`: mask by profile, as of `Screened`; `by`: function that
    gives the names of the classes, by profile, for each thing to compare by.
    **Returns:** the least probable first.
    **Raises:** `ValueError` for another number of profiles.
    """
    kept = np.asarray(passes, bool)
    if kept.shape != (len(profiles),):
        raise ValueError(
            f"passes must say so of {len(profiles)} profiles, got an array of shape "
            f"{kept.shape}"
        )
    found = []
    for what, names in by(profiles).items():
        known = names != ""
        for group in np.unique(names[known]):
            of_group = names == group
            counts = (of_group, of_group & kept, known, known & kept)
            size, here, all_, all_kept = (int(x.sum()) for x in counts)
            p = _fisher(here, size, all_kept, all_)
            found.append(Effect(what, str(group), size, here, p))
    number = len(found)
    adjusted = [one._replace(p=min(1.0, number * one.p)) for one in found]
    return sorted(adjusted, key=lambda one: one.p)


def _fisher(here: int, size: int, kept: int, whole: int) -> float:
    """Probability of all tables as unlikely as this one, or more, given the margins.

    P(k) = C(K, k) C(N - K, n - k) / C(N, n)
    """
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(whole + 1), 1)))
    choose = lambda n, k: log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    low, high = max(0, size + kept - whole), min(size, kept)
    k = np.arange(low, high + 1)
    log_p = choose(kept, k) + choose(whole - kept, size - k) - choose(whole, size)
    # Ties of tables that are equally likely, up to rounding.
    return float(min(1.0, np.exp(log_p[log_p <= log_p[here - low] + 1e-7]).sum()))
