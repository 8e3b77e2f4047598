"""The constants of one kinetics that do best what another kinetics, or a soil, does."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.models import TwoPool, TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS, Kinetics
from jaxsoc.physics.mortality import LinearMortalityConstants
from jaxsoc.physics.parameters import AbstractParameters, default
from jaxsoc.solve import Method

from .least_squares import fit
from .observe import FITTING_METHOD, SoilCore, TwoPoolSeries, observed
from .result import Fit

_SUBSTRATE = default(SoilCore, "initial_substrate")


class Setting(eqx.Module):
    """The run in which two kinetics are compared; the defaults are the published ones.

    **Arguments:** `times`: h, the first at the initial pools, 500 over 24 000 h;
    `initial_substrate`, `initial_biomass`: mgC/g; `input`: mgC/g/h, the initial
    substrate in 200 000 h; `carbon_use_efficiency`; `mortality`: of biomass, linear.
    Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Sect. 2.5, and the
    authors' scripts.
    """

    times: np.ndarray = eqx.field(
        default_factory=lambda: np.linspace(0.0, 24_000.0, 500),
        converter=lambda times: np.asarray(times, dtype=float),
    )
    initial_substrate: float = _SUBSTRATE
    initial_biomass: float = default(SoilCore, "initial_biomass")
    input: float = _SUBSTRATE / 200_000.0
    carbon_use_efficiency: float = default(TwoPoolParameters, "carbon_use_efficiency")
    mortality: AbstractParameters = LinearMortalityConstants()

    def __check_init__(self):
        steps = np.diff(self.times)
        ordered = (steps > 0).all() and np.isfinite(self.times).all()
        if self.times.size < 3 or not ordered:
            raise ValueError(
                f"times of a setting must be at least 3, increase and be finite, got "
                f"{self.times.size} from {self.times.min():g} to {self.times.max():g}"
            )

    def core(self, constants: Any) -> SoilCore:
        """The soil with these constants of decomposition."""
        soil = TwoPoolParameters(
            constants, self.mortality, self.carbon_use_efficiency, self.input
        )
        return SoilCore(soil, self.initial_substrate, self.initial_biomass)


PUBLISHED = Setting()


def known_kinetics(kinetics: str | Kinetics) -> Kinetics:
    """A kinetics by name, or as given.

    **Raises:** `ValueError` for a name that is not known.
    """
    if isinstance(kinetics, Kinetics):
        return kinetics
    if kinetics not in KINETICS:
        raise ValueError(
            f"unknown kinetics {kinetics!r}: expected one of {', '.join(KINETICS)}"
        )
    return KINETICS[kinetics]


def fit_kinetics(
    kinetics: str | Kinetics,
    target: str | Kinetics | np.ndarray = "michaelis_menten",
    *,
    to: str = "biomass",
    constants: Any = None,
    target_constants: Any = None,
    setting: Setting = PUBLISHED,
    free: Sequence[str] | None = None,
    method: Method = FITTING_METHOD,
    **options: Any,
) -> Fit:
    """Fits the constants of a kinetics to the output of another, or to a mean series.

    With an array, such as the mean respiration of a heterogeneous soil over members,
    the result is its effective kinetics: the constants of a uniform soil that does the
    same.

    **Arguments:** `kinetics`: whose constants are fitted, by name or a user's own;
    `target`: kinetics whose output is the data, or the data themselves at
    `setting.times`, in mgC/g or mgC/g/h; `to`: one of `QUANTITIES`; `constants`: to
    start from, by default the declared ones; `target_constants`: of the target;
    `setting`: pools, input and times; `free`: names, by default all constants of the
    law; `method`: road with forward-mode gradients; `options`: see `fit`.

    **Raises:** `ValueError` for names or data that do not fit.
    """
    law = known_kinetics(kinetics)
    seen = observed(setting.times, to, at_start=True)
    if isinstance(target, str | Kinetics):
        other = known_kinetics(target)
        truth = other.constants() if target_constants is None else target_constants
        data = _output(
            TwoPoolSeries(TwoPool(other.law), method), setting.core(truth), seen
        )
    else:
        data = np.asarray(target, dtype=float)
        if data.shape != setting.times.shape:
            raise ValueError(
                f"data must be one value per time of the setting, got {data.shape} "
                f"for {setting.times.size} times"
            )
    core = setting.core(law.constants() if constants is None else constants)
    free = decomposition_names(core) if free is None else free
    series = TwoPoolSeries(TwoPool(law.law), method)
    return fit(series, core, data, seen, free=free, **options)


@eqx.filter_jit
def _output(series, core, seen):
    return series(jax.tree.map(lambda x: jnp.asarray(x, float), core), seen)


def decomposition_names(core: SoilCore) -> tuple[str, ...]:
    """Full names of the constants of decomposition."""
    count = len(jax.tree.leaves(core.soil.decomposition))
    paths = jax.tree_util.tree_flatten_with_path(core)[0][:count]
    return tuple(jax.tree_util.keystr(path).lstrip(".") for path, _ in paths)
