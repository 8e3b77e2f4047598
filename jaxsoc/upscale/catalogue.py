"""Every closure by name, in one call, and what a fitted one was fitted on."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsoc.physics.options import check_option
from jaxsoc.physics.safe import ratio

from .closures import CLOSURES
from .learned import EffectiveKinetics, Learned
from .macroscale import AbstractMacroModel, MeanField
from .moment_models import ClosedMoments, FunctionsOfMeans
from .predict import Prediction, predict
from .quantities import Quantities, named
from .representative import starting
from .training import Examples

# How each starts; representative cells do from training cores as well.
_STARTS: dict[str, Callable] = {
    "mean_field": MeanField,
    "two_strata": partial(MeanField, dead="biomass"),
    **{name: partial(ClosedMoments, closure=law) for name, law in CLOSURES.items()},
    "prescribed_moments": FunctionsOfMeans,
    # No partial: an array made on import would have the precision of then.
    "functions_of_means": lambda model, **options: FunctionsOfMeans(
        model, powers=jnp.ones(2), **options
    ),
    "learned": Learned.untrained,
    **{
        f"effective_{law}": partial(EffectiveKinetics.nominal, kinetics=law)
        for law in ("multiplicative", "michaelis_menten")
        + ("inverse_michaelis_menten", "eca")
    },
    "representative_statistics": partial(
        starting, groups=5, members=3, reads="statistics"
    ),
    "representative_cells": starting,
}
# What each reads of the initial field: all of it, or at most twenty numbers.
TRACKS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(_STARTS, "statistics") | {"representative_cells": "field"}
)
# Closures with numbers that a fit improves.
FITTED = tuple(
    name
    for name in TRACKS
    if name.startswith(("functions", "learned", "effective", "representative"))
)


def closure(
    name: str,
    model: Any,
    varying: tuple[str, ...] = (),
    examples: Examples | None = None,
    **options: Any,
) -> AbstractMacroModel:
    """A closure by its name, fitted ones as they start.

    **Arguments:** `name`: one of `TRACKS`; `model`, `varying`: see
    `AbstractMacroModel`; `examples`: cores, which representative cells start from;
    `options`: of the closure.
    **Raises:** `ValueError` for a name that is not known, or missing `examples`.
    """
    check_option("closure", name, TRACKS)
    if name.startswith("representative"):
        if examples is None or not examples.cores:
            raise ValueError(f"{name} starts from training cores: none were given")
        options |= {"states": examples.state, "params": examples.params}
    return _STARTS[name](model, varying=varying, **options)


class OutsideFittedRange(UserWarning):
    """A closure is used on a soil unlike those that it was fitted on."""


class FittedClosure(eqx.Module):
    """A closure with its name, and the range of soils that it was fitted on.

    `lowest`, `highest`: of each number of `names` over the training cores.
    """

    name: str
    kinetics: str
    closure: AbstractMacroModel
    names: tuple[str, ...]
    lowest: np.ndarray
    highest: np.ndarray

    @classmethod
    def on(
        cls, name: str, kinetics: str, closure: AbstractMacroModel, examples: Examples
    ) -> "FittedClosure":
        """With the range that these training cores span."""
        one = lambda s, p: description(closure, s, p)
        found = jax.jit(jax.vmap(one))(examples.state, examples.params)
        table = np.stack([np.asarray(x) for x in found.values()])
        low, high = table.min(axis=1), table.max(axis=1)
        return cls(name, kinetics, closure, tuple(found), low, high)

    def novelty(self, state: Any, params: Any) -> dict[str, Any]:
        """How far outside the fitted range a core is, by number, in widths of it.

        0 within; 1 as far outside as the range is wide. A range narrower than a tenth
        of its middle counts as that wide.
        """
        found = description(self.closure, state, params)
        values = jnp.stack([found[name] for name in self.names])
        middle = 0.5 * np.abs(self.lowest + self.highest)
        width = np.maximum(self.highest - self.lowest, 0.1 * np.maximum(middle, 1e-12))
        width = np.where(middle < 1e-12, np.maximum(width, 0.1), width)
        beyond = jnp.maximum(self.lowest - values, values - self.highest)
        far = jnp.maximum(beyond, 0.0) / width
        return dict(zip(self.names, far, strict=True))

    def check(self, model: Callable, varying: tuple[str, ...]) -> None:
        """Raises `ValueError` for a soil of other laws than those fitted."""
        for what, part in (("kinetics", "decomposition"), ("mortality", "mortality")):
            laws = (getattr(m, part, None) for m in (self.closure.model, model))
            known, got = (getattr(law, "__name__", repr(law)) for law in laws)
            if known != got:
                raise ValueError(
                    f"this closure was fitted for {known} {what}, got a soil of {got}"
                )
        if set(varying) - set(self.closure.varying):
            raise ValueError(
                "this closure was fitted for cores that differ in "
                f"{', '.join(('pools', *self.closure.varying))}, got "
                f"{', '.join(('pools', *varying))}"
            )

    def warn_outside(self, far: Mapping[str, Any]) -> None:
        """Warns, as `OutsideFittedRange`, of a core whose `novelty` is too far out."""
        if any(isinstance(x, Tracer) for x in far.values()):
            return
        worst = max(far, key=lambda name: float(far[name]))
        if float(far[worst]) > 0.5:
            place = self.names.index(worst)
            warnings.warn(
                f"{self.name} is used outside what it was fitted on: {worst} is "
                f"{float(far[worst]):.1f} widths outside of "
                f"{self.lowest[place]:.4g} to {self.highest[place]:.4g}",
                OutsideFittedRange,
                stacklevel=3,
            )

    def predict(
        self, state: Any, params: Any, times: Any, **options: Any
    ) -> Prediction:
        """As `predict`, with a warning for a core outside the fitted range."""
        self.warn_outside(self.novelty(state, params))
        return predict(self.closure, state, params, times, **options)


def description(closure: AbstractMacroModel, state: Any, params: Any) -> dict[str, Any]:
    """What a core is like, in numbers: of these the error indicator knows the range.

    Live share, means and variations of what differs, correlations, and every parameter.
    """
    known = Quantities.of(closure.model, closure.varying, state, params)
    cells = known.census(state, params, "biomass" if "biomass" in known.names else None)
    mean, covariance = cells.mean, cells.covariance
    sd = jnp.sqrt(jnp.diagonal(covariance))
    found = {"live share": cells.share}
    for i, name in enumerate(known.names):
        found[f"mean {name}"] = mean[i]
        found[f"variation of {name}"] = ratio(sd[i], mean[i])
    for i, name in enumerate(known.names):
        for j in range(i):
            found[f"correlation of {known.names[j]} and {name}"] = ratio(
                covariance[i, j], sd[i] * sd[j]
            )
    others = named(cells.params).items()
    return found | {name: x for name, x in others if name not in known.names}
