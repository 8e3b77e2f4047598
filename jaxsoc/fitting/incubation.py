"""The two-pool model fitted to measured respiration, one series or many."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import Kinetics
from jaxsoc.physics.mortality import LinearMortalityConstants
from jaxsoc.physics.parameters import Interval, declarations, default

from .kinetics import decomposition_names, known_kinetics
from .least_squares import fit, silent
from .observe import SoilCore, TwoPoolSeries, observed
from .result import Fit
from .series import Respiration, compared

# A gram of soil that is nothing but carbon: the bound where soil carbon is not known.
_PURE_CARBON = 1000.0  # mgC/g
_POOLS = ("initial_substrate", "initial_biomass")
_MAY_BE_FREE = (*_POOLS, "mortality.rate", "carbon_use_efficiency")


class Incubation(eqx.Module):
    """What is assumed of an incubated soil, and what is left to the data.

    **Arguments:** `free`: what is fitted beside the constants of decomposition, among
    "initial_substrate", "initial_biomass", "mortality.rate" and
    "carbon_use_efficiency"; `initial_substrate`, `initial_biomass`: mgC/g, to start
    from or, where not free, to keep, by default from the carbon respired: substrate
    twice what had to be decomposed for it, biomass a tenth of that; `input`: mgC/g/h,
    none in a jar; `carbon_use_efficiency`, `mortality_rate` (1/h): the published ones,
    since respiration alone says little about them.

    **Raises:** `ValueError` for a free parameter that is not one of these.
    """

    free: tuple[str, ...] = _POOLS
    initial_substrate: float | None = None
    initial_biomass: float | None = None
    input: float = 0.0
    carbon_use_efficiency: float = default(TwoPoolParameters, "carbon_use_efficiency")
    mortality_rate: float = default(LinearMortalityConstants, "rate")

    def __check_init__(self):
        for name in self.free:
            if name not in _MAY_BE_FREE:
                raise ValueError(
                    f"unknown parameter {name!r} to be free: expected some of "
                    f"{', '.join(_MAY_BE_FREE)}"
                )

    def core(
        self, law: Kinetics, series: Respiration, constants: Any = None
    ) -> SoilCore:
        """The soil from which the search starts, of the size of the data."""
        most = 0.9 * (series.soil_carbon or _PURE_CARBON)
        decomposed = max(series.respired, 1e-6) / (1 - self.carbon_use_efficiency)
        given = lambda value, usual: usual if value is None else value
        substrate = given(self.initial_substrate, min(2 * decomposed, most))
        biomass = given(self.initial_biomass, 0.1 * substrate)
        if constants is None:
            constants = _constants(law, substrate, biomass, decomposed, series)
        soil = TwoPoolParameters(
            constants,
            LinearMortalityConstants(self.mortality_rate),
            self.carbon_use_efficiency,
            self.input,
        )
        return SoilCore(soil, substrate, biomass)


INCUBATION = Incubation()


def _constants(law, substrate, biomass, decomposed, series):
    """Constants that decompose, at the start, what the data say was on average.

    A constant in mgC/g starts at ten times the initial substrate, far from saturation,
    where the saturating laws agree with the multiplicative one; a rate, by proportion.
    """
    known = {
        d.name: 10 * substrate if d.unit == "mgC/g" else d.default
        for d in declarations(law.constants)
    }
    trial = law.constants(**known)
    pools = [jnp.asarray(x, dtype=float) for x in (substrate, biomass)]
    speed = float(law.law(*pools, jax.tree.map(jnp.asarray, trial)))
    wanted = decomposed / float(series.times[-1])
    if "rate" in known and speed > 0:
        known["rate"] *= wanted / speed
    return law.constants(**known)


def fit_respiration(
    series: Respiration,
    kinetics: str | Kinetics = "multiplicative",
    *,
    incubation: Incubation = INCUBATION,
    constants: Any = None,
    points: int | None = None,
    independent_errors: bool = False,
    **options: Any,
) -> Fit:
    """Fits the two-pool model to a measured series of respiration.

    Rates are compared with respiration at that moment, unless the series says that
    they are means since the point before. Cumulative CO2 is compared by its increments,
    whose errors are independent, and the data of the fit are then mean rates. Initial
    pools lie below the soil's carbon, where it is known. Points, or increments, are
    weighted with one over their standard deviation, where known, else equally.

    **Arguments:** `series`: see `Respiration`; `kinetics`: by name or a user's own;
    `incubation`: what is assumed and what else is free; `constants`: of the law, to
    start from; `points`: length to fill the series up to, so that series of different
    lengths share one compilation, by default the next power of two;
    `independent_errors`: compare cumulative CO2 as it is, each value with an error of
    its own; `options`: see `fit`.

    **Raises:** `ValueError` for names or a series that do not fit, among them as many
    free constants as points, and as `compared`.
    """
    law = known_kinetics(kinetics)
    core = incubation.core(law, series, constants)
    bounds = pool_bounds(series)
    series, weights = compared(series, independent_errors=independent_errors)
    times = filled_times(series, points)
    fill = lambda x: np.pad(x, (0, times.size - 1 - x.size))
    return fit(
        TwoPoolSeries(TwoPool(law.law)),
        core,
        fill(series.values),
        observed(times, series.quantity),
        free=(*decomposition_names(core), *incubation.free),
        bounds=bounds,
        weights=fill(weights),
        **options,
    )


def pool_bounds(series: Respiration) -> dict[str, Interval]:
    """Where the initial pools may lie: below the soil's carbon, in mgC/g."""
    most = Interval(0.0, series.soil_carbon or _PURE_CARBON)
    return dict.fromkeys(_POOLS, most)


def filled_times(series: Respiration, points: int | None) -> np.ndarray:
    """The start and the times of a series, filled up with later ones to a length.

    **Arguments:** `points`: times after the start, by default as `common_length`.
    **Raises:** `ValueError` for fewer than the series has.
    """
    count = series.times.size
    length = common_length([series]) if points is None else points
    if length < count:
        raise ValueError(f"points must be at least {count}, got {length}")
    # Hardly later, so that the run is the same, but not equal: no step is empty.
    later = series.times[-1] * (1 + 1e-9 * np.arange(1, length - count + 1))
    return np.concatenate([[0.0], series.times, later])


def common_length(series: Iterable[Respiration]) -> int:
    """A length to fill all these series up to, a power of two, at least 16."""
    return max(16, *(2 ** math.ceil(math.log2(one.times.size)) for one in series))


def fit_respirations(
    series: Iterable[Respiration],
    kinetics: Sequence[str] = ("multiplicative",),
    *,
    progress: Callable[[int, int, str], None] = silent,
    **options: Any,
) -> dict[tuple[str, str], Fit]:
    """Fits every series with every kinetics, by name of the series and of the law.

    A search that fails is told in its `Fit`, never raised.

    **Arguments:** `progress`: called with fits done, fits in all, and the next one;
    `options`: see `fit_respiration`.

    **Raises:** as `fit_respiration`, and `ValueError` for two series of one name.
    """
    series = list(series)
    names = [one.name for one in series]
    if len(set(names)) < len(names):
        raise ValueError("two series have one name")
    options.setdefault("points", common_length(series) if series else None)
    total = len(series) * len(kinetics)
    fits = {}
    for law in kinetics:
        for one in series:
            progress(len(fits), total, f"{law} {one.name}")
            fits[one.name, law] = fit_respiration(one, law, **options)
    progress(total, total, "")
    return fits
