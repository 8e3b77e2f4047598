"""Constants of the two-pool model from another kinetics, a soil, or incubations."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.infer import Problem
from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.observe import Observed, Respiration, compared
from jaxsoc.physics.kinetics import KINETICS, Kinetics
from jaxsoc.physics.mortality import LinearMortalityConstants
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import Interval, declarations, default
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import Method
from jaxsoc.solve.checks import checked_times

from .samples import FITTING_METHOD, AbstractSample, SampleSeries, SoilSample

_PUBLISHED_TIMES = np.linspace(0.0, 24_000.0, 500)  # h
# A gram of soil that is nothing but carbon: the bound where soil carbon is not known.
_PURE_CARBON = 1000.0  # mgC/g
_POOLS = ("initial_substrate", "initial_biomass")


def known_kinetics(kinetics: str | Kinetics) -> Kinetics:
    """A kinetics by name, or as given.

    **Raises:** `ValueError` for a name that is not known.
    """
    if isinstance(kinetics, Kinetics):
        return kinetics
    check_option("kinetics", kinetics, KINETICS)
    return KINETICS[kinetics]


def kinetics_problem(
    kinetics: str | Kinetics,
    target: Any = "michaelis_menten",
    *,
    to: str = "biomass",
    sample: SoilSample | None = None,
    times: Any = _PUBLISHED_TIMES,
    free: Sequence[str] | None = None,
    method: Method = FITTING_METHOD,
) -> Problem:
    """The constants of a kinetics for the output of another, or for a mean series.

    With an array, such as the mean respiration of a heterogeneous soil over members,
    they are the constants of a well-mixed soil that does the same; for closures of
    patchy cores see `effective_kinetics`. The default run is the published one.

    **Arguments:** `kinetics`: whose constants are fitted, by name or a user's own;
    `target`: kinetics whose output, with its declared constants, is the data, or the
    data themselves at `times`, in mgC/g or mgC/g/h; `to`: one of `QUANTITIES`;
    `sample`: pools, input and everything else of both soils, with the constants to
    start from, by default as declared; `times`: h, the first at the initial pools, 500
    over 24 000 h; `free`: names, by default all constants of the law; `method`: with
    forward-mode gradients.

    **Raises:** `ValueError` for names or times that do not fit; a fit, for data that
    are not one value per time.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Sect. 2.5, and the
    authors' scripts.
    """
    law = known_kinetics(kinetics)
    sample = (
        SoilSample(TwoPoolParameters(law.constants())) if sample is None else sample
    )
    seen = Observed(checked_times(times), to, at_start=True)
    if isinstance(target, str | Kinetics):
        other = known_kinetics(target)
        soil = eqx.tree_at(lambda s: s.soil.decomposition, sample, other.constants())
        soil = jax.tree.map(lambda x: jnp.asarray(x, float), soil)
        target = eqx.filter_jit(SampleSeries(TwoPool(other.law), method))(soil, seen)
    series = SampleSeries(TwoPool(law.law), method)
    free = decomposition_names(sample) if free is None else free
    return Problem(series, sample, target, seen, free=free)


def decomposition_names(params: Any) -> tuple[str, ...]:
    """Full names of the constants of decomposition."""
    return tuple(n for n in leaves_by_name(params) if "soil.decomposition" in n)


class Incubation(eqx.Module):
    """What is assumed of an incubated soil, and what is left to the data.

    **Arguments:** `free`: what is fitted beside the constants of decomposition, such as
    "initial_substrate", "initial_biomass", "mortality.rate" or
    "carbon_use_efficiency"; `initial_substrate`, `initial_biomass`: mgC/g, to start
    from or, where not free, to keep, by default from the carbon respired: substrate
    twice what had to be decomposed for it, biomass a tenth of that; `input`: mgC/g/h,
    none in a jar; `carbon_use_efficiency`, `mortality_rate` (1/h): the published ones,
    since respiration alone says little about them.
    """

    free: tuple[str, ...] = _POOLS
    initial_substrate: float | None = None
    initial_biomass: float | None = None
    input: float = 0.0
    carbon_use_efficiency: float = default(TwoPoolParameters, "carbon_use_efficiency")
    mortality_rate: float = default(LinearMortalityConstants, "rate")

    def sample(self, law: Kinetics, series: Respiration) -> SoilSample:
        """The soil from which the search starts, of the size of the data."""
        most = 0.9 * (series.soil_carbon or _PURE_CARBON)
        decomposed = max(series.respired, 1e-6) / (1 - self.carbon_use_efficiency)
        given = lambda value, usual: usual if value is None else value
        substrate = given(self.initial_substrate, min(2 * decomposed, most))
        biomass = given(self.initial_biomass, 0.1 * substrate)
        soil = TwoPoolParameters(
            _constants(law, substrate, biomass, decomposed, series),
            LinearMortalityConstants(self.mortality_rate),
            self.carbon_use_efficiency,
            self.input,
        )
        return SoilSample(soil, substrate, biomass)


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
    if "rate" in known and speed > 0:
        known["rate"] *= decomposed / float(series.times[-1]) / speed
    return law.constants(**known)


def respiration_problem(
    series: Respiration,
    kinetics: str | Kinetics = "multiplicative",
    *,
    incubation: Incubation = INCUBATION,
    points: int | None = None,
    independent_errors: bool = False,
) -> Problem:
    """The two-pool model for a measured series of respiration.

    Rates are compared with respiration at that moment, unless the series says that
    they are means since the point before. Cumulative CO2 is compared by its increments,
    whose errors are independent, and the data of the fit are then mean rates. Initial
    pools lie below the soil's carbon, where it is known. Points, or increments, are
    weighted with one over their standard deviation, where known, else equally.

    **Arguments:** `series`: see `Respiration`; `kinetics`: by name or a user's own;
    `incubation`: what is assumed and what else is free; `points`: length to fill the
    series up to, so that series of different lengths share one compilation, by default
    as `common_length`; `independent_errors`: compare cumulative CO2 as it is, each
    value with an error of its own.

    **Raises:** `ValueError` for names or a series that do not fit, among them as many
    free constants as points, and as `compared`.
    """
    law = known_kinetics(kinetics)
    shown, weights = compared(series, independent_errors=independent_errors)
    return filled_problem(
        SampleSeries(TwoPool(law.law)),
        incubation.sample(law, series),
        shown,
        weights,
        incubation,
        points,
        name=series.name if law is kinetics else f"{series.name}, {kinetics}",
    )


def filled_problem(
    model: Callable,
    sample: AbstractSample,
    series: Respiration,
    weights: np.ndarray,
    incubation: Incubation,
    points: int | None = None,
    **more: Any,
) -> Problem:
    """A prediction of a sample and a series that is filled up to a length.

    Free are the constants of decomposition, what `incubation` leaves free, and what the
    sample adds to a `SoilSample`.

    **Arguments:** `model`: `(sample, Observed) -> series`; `weights`: of each point;
    `points`: times after the start, by default as `common_length`; `more`: see
    `Problem`.
    **Raises:** `ValueError` for fewer points than the series has, and as `Problem`.
    """
    count = series.times.size
    length = common_length([series]) if points is None else points
    if length < count:
        raise ValueError(f"points must be at least {count}, got {length}")
    # Hardly later, so that the run is the same, but not equal: no step is empty.
    later = series.times[-1] * (1 + 1e-9 * np.arange(1, length - count + 1))
    times = np.concatenate([[0.0], series.times, later])
    most = Interval(0.0, series.soil_carbon or _PURE_CARBON)
    own = [d.name for d in declarations(type(sample)) if d.name not in _POOLS]
    return Problem(
        model,
        sample,
        np.pad(series.values, (0, length - count)),
        Observed(times, series.quantity),
        free=(*decomposition_names(sample), *incubation.free, *own),
        bounds=dict.fromkeys(_POOLS, most),
        weights=np.pad(weights, (0, length - count)),
        **more,
    )


def common_length(series: Iterable[Respiration]) -> int:
    """A length to fill all these series up to: a power of two, at least 16.

    Long ones are filled by an eighth at most.
    """
    longest = max(one.times.size for one in series)
    power = max(16, 2 ** math.ceil(math.log2(longest)))
    unit = power if power <= 1024 else power // 16
    return unit * math.ceil(longest / unit)


def respiration_problems(
    series: Sequence[Respiration],
    kinetics: Sequence[str] = ("multiplicative",),
    **options: Any,
) -> dict[tuple[str, str], Problem]:
    """Every series with every kinetics, by name of the series and of the law.

    **Arguments:** `options`: see `respiration_problem`.
    **Raises:** as `respiration_problem`, and `ValueError` for two series of one name.
    """
    if len({one.name for one in series}) < len(series):
        raise ValueError("two series have one name")
    options = {"points": common_length(series)} | options
    return {
        (one.name, law): respiration_problem(one, law, **options)
        for law in kinetics
        for one in series
    }
