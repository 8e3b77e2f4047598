"""Effective kinetics: how far a well-mixed law of a core can stand in for its cells."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.options import check_option
from jaxsoc.physics.transforms import leaves_by_name
from jaxsoc.solve import require_x64
from jaxsoc.upscale.learned import EffectiveKinetics
from jaxsoc.upscale.training import errors, fit_closure, respiration

from .design import Design
from .soils import model_of
from .training import examples, varying_of

LAWS = ("multiplicative", "michaelis_menten", "inverse_michaelis_menten", "eca")
# An error of a core below this is one of the solvers: there is nothing to absorb.
_NO_ERROR = 1e-5
# Equal steps of the solver between two times.
_SOLVER_STEPS = 4


class Effective(NamedTuple):
    """Well-mixed laws fitted to patchy cores; arrays lead by law.

    `kinetics`: of the cells; `laws`: of the core; `nominal`, `fitted`: error on unseen
    cores with micro-scale and with fitted constants, RMSE of respiration over its
    largest value, median over cores; `names`: of the constants of each law;
    `micro`, `constants`: micro-scale and fitted ones in the units of their law, NaN
    after the last; `ratio`: of the two.
    """

    kinetics: str
    laws: tuple[str, ...]
    nominal: np.ndarray
    fitted: np.ndarray
    names: tuple[tuple[str, ...], ...]
    micro: np.ndarray
    constants: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """Fitted constants in units of the micro-scale ones."""
        return self.constants / self.micro

    @property
    def scale_invariance(self) -> float:
        """Share of the mean field's error that the cells' own law absorbs.

        1 - error(own law, constants fitted) / error(own law, micro-scale constants)

        1: the law keeps its form across scales, or there was no error; 0: other
        constants do not help; negative: they do harm on unseen cores.
        """
        own = self.laws.index(self.kinetics)
        if self.nominal[own] < _NO_ERROR:
            return 1.0
        return float(1 - self.fitted[own] / self.nominal[own])


def effective_kinetics(
    design: Design,
    kinetics: str,
    heterogeneity: str,
    correlation: str,
    *,
    laws: Sequence[str] = LAWS,
    members: Sequence[int] = range(5),
    unseen: Sequence[int] = range(5, 10),
    steps: int = 600,
    learning_rate: float = 0.1,
    dead: str | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, law: None,
) -> Effective:
    """Fits well-mixed laws to the respiration of patchy cores of one kinetics.

    minimise ⟨ (R*(x̄; k*, K*) - R̄)² ⟩ / max R̄², over all cores of `members` at once

    Fits start from micro-scale constants: the means over the cells for the cells' own
    law, the nominal ones of the design for others.

    **Arguments:** `kinetics`, `heterogeneity`, `correlation`: of the cells, see
    `Design`; `laws`: of the core, to which the cells' own is added; `members`,
    `unseen`: numbers of the cores to fit and to judge by; `steps`, `learning_rate`: see
    `fit_closure`; `dead`: "biomass" to take dead cells apart and fit the live ones;
    `progress`: called with laws done, laws in all, and the next.
    **Raises:** `ValueError` for a law that is not known, or as `examples`.
    Source: Wang and Allison (2019), doi:10.1016/j.soilbio.2019.107522, for effective
    kinetics of a heterogeneous volume.
    """
    require_x64("a fit of effective kinetics")
    laws = tuple(laws) if kinetics in laws else (kinetics, *laws)
    for law in laws:
        check_option("kinetics", law, KINETICS)
    varying = varying_of(kinetics, heterogeneity, design)
    model = model_of(design, kinetics)
    train = examples(design, kinetics, heterogeneity, correlation, members)
    judged = examples(design, kinetics, heterogeneity, correlation, unseen)
    names = tuple(tuple(leaves_by_name(design.nominal(law))) for law in laws)
    micro, constants = np.full((2, len(laws), max(map(len, names))), np.nan)
    nominal, fitted = np.empty((2, len(laws)))
    for number, law in enumerate(laws):
        progress(number, len(laws), law)
        # Of the cells where these obey the law.
        of = train.params.decomposition if law == kinetics else design.nominal(law)
        logs = jnp.log(jnp.asarray([float(np.mean(x)) for x in jax.tree.leaves(of)]))
        start = EffectiveKinetics(
            model, varying, kinetics=law, log_constants=logs, dead=dead
        )
        made, _ = fit_closure(
            start,
            train,
            validation=0.0,
            steps=steps,
            batch=train.cores,
            learning_rate=learning_rate,
            solver_steps=_SOLVER_STEPS,
        )
        assert isinstance(made, EffectiveKinetics)
        nominal[number], fitted[number] = _error(start, judged), _error(made, judged)
        micro[number, : logs.size] = np.exp(np.asarray(logs))
        constants[number, : logs.size] = np.exp(np.asarray(made.log_constants))
    progress(len(laws), len(laws), "")
    return Effective(kinetics, laws, nominal, fitted, names, micro, constants)


def _error(made, cores):
    one = lambda s, p: respiration(made, s, p, jnp.asarray(cores.times), _SOLVER_STEPS)
    found = jax.jit(jax.vmap(one))(cores.state, cores.params)
    off = np.asarray(errors(found, cores.respiration))
    return float(np.median(np.where(np.isfinite(off), off, np.inf)))
