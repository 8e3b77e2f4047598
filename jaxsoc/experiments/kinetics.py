"""The constants of one kinetics that do best what another kinetics, or a soil, does."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.infer import Problem
from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.observe import Observed
from jaxsoc.physics.kinetics import KINETICS, Kinetics
from jaxsoc.physics.options import check_option
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import Method
from jaxsoc.solve.checks import checked_times

from .soil_series import FITTING_METHOD, SoilCore, TwoPoolSeries

_PUBLISHED_TIMES = np.linspace(0.0, 24_000.0, 500)  # h


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
    target: str | Kinetics | np.ndarray = "michaelis_menten",
    *,
    to: str = "biomass",
    core: SoilCore | None = None,
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
    data themselves at `times`, in mgC/g or mgC/g/h; `to`: one of `QUANTITIES`; `core`:
    pools, input and everything else of both soils, with the constants to start from, by
    default as declared; `times`: h, the first at the initial pools, 500 over 24 000 h;
    `free`: names, by default all constants of the law; `method`: with forward-mode
    gradients.

    **Raises:** `ValueError` for names, times or data that do not fit.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Sect. 2.5, and the
    authors' scripts.
    """
    law = known_kinetics(kinetics)
    core = SoilCore(TwoPoolParameters(law.constants())) if core is None else core
    seen = Observed(checked_times(times), to, at_start=True)
    if isinstance(target, str | Kinetics):
        other = known_kinetics(target)
        soil = eqx.tree_at(lambda c: c.soil.decomposition, core, other.constants())
        data = _output(TwoPoolSeries(TwoPool(other.law), method), soil, seen)
    else:
        data = target
    if np.shape(data) != seen.times.shape:
        raise ValueError(
            f"data must be one value per time, got {np.shape(data)} for "
            f"{seen.times.size} times"
        )
    series = TwoPoolSeries(TwoPool(law.law), method)
    free = decomposition_names(core) if free is None else free
    return Problem(series, core, data, seen, free=free)


@eqx.filter_jit
def _output(series, core, seen):
    return series(jax.tree.map(lambda x: jnp.asarray(x, float), core), seen)


def decomposition_names(params: Any) -> tuple[str, ...]:
    """Full names of the constants of decomposition."""
    return tuple(n for n in leaves_by_name(params) if "soil.decomposition" in n)
