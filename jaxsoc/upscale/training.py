"""Closures fitted by gradients through the solver, to cores or to measured series."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxsoc.physics.parameters import BELOW_ONE
from jaxsoc.solve import History, follow, require_x64, train

from .macroscale import AbstractMacroModel


class Examples(NamedTuple):
    """Cores and how they respired.

    `state`, `params`: initial fields and numbers, leaves leading by core; `times`: h;
    `respiration`: mean over the core by core and time, mgC/g/h; NaN where not known.
    """

    state: Any
    params: Any
    times: Float[np.ndarray, " time"]
    respiration: Float[np.ndarray, "core time"]

    @property
    def cores(self) -> int:
        """How many there are."""
        return int(np.shape(self.respiration)[0])

    @classmethod
    def measured(
        cls, state: Any, params: Any, times: Any, respiration: Any
    ) -> "Examples":
        """One core with a measured series: a closure is then fitted to that.

        **Arguments:** `state`, `params`: what is known of its fields; `times`: h since
        they were known, increasing; `respiration`: mgC/g/h.
        **Raises:** `ValueError` for times and values that do not fit together.
        """
        times, values = np.asarray(times, float), np.asarray(respiration, float)
        if times.ndim != 1 or times.shape != values.shape or times.size < 2:
            raise ValueError(
                f"one value per time is needed, got {times.shape} times and "
                f"{values.shape} values"
            )
        if times[0] < 0 or not (np.diff(times) > 0).all():
            raise ValueError("times must increase, from zero hours or later")
        if not (np.isfinite(values) & (values != 0)).any():
            raise ValueError(
                f"no respiration is known: none of {values.size} values is finite and "
                "not zero"
            )
        if times[0] > 0:
            times, values = np.append(0.0, times), np.append(np.nan, values)
        lead = lambda x: np.asarray(x, float)[None]
        state, params = jax.tree.map(lead, (state, params))
        return cls(state, params, times, values[None])

    def part(self, chosen: Any) -> "Examples":
        """Some of the cores."""
        pick = lambda x: x[np.asarray(chosen)]
        state, params = jax.tree.map(pick, (self.state, self.params))
        return Examples(state, params, self.times, pick(self.respiration))


def respiration(
    closure: AbstractMacroModel, state: Any, params: Any, times: Any, steps: int | None
) -> Any:
    """Mean respiration of a core by time, mgC/g/h; not guarded, for fits."""
    core, given = closure.initial(state, params)
    cores, _ = follow(closure, core, given, times, steps=steps)
    rate = lambda t, c: closure.fluxes(t, c, given).respiration
    return jax.vmap(rate)(times, cores)


def errors(predicted: Any, observed: Any) -> Any:
    """RMSE of respiration over time divided by its largest value, by core."""
    return jnp.sqrt(_squared_errors(predicted, observed))


def _squared_errors(predicted, observed):
    known = jnp.isfinite(observed)
    target = jnp.where(known, observed, 0.0)
    off = jnp.where(known, predicted - target, 0.0)
    mean = jnp.sum(off**2, axis=-1) / jnp.sum(known, axis=-1, dtype=off.dtype)
    return mean / jnp.max(jnp.abs(target), axis=-1) ** 2


def fit_closure(
    closure: AbstractMacroModel,
    examples: Examples,
    *,
    validation: Examples | float = 0.2,
    seed: int = 0,
    solver_steps: int = 8,
    **options: Any,
) -> tuple[AbstractMacroModel, History]:
    """Improves the numbers of a closure until it predicts the respiration of cores.

    minimise ⟨ (R̂ - R)² ⟩ / max R², over cores and times, with Adam

    Every JAX array of floats in the closure is free, what numpy holds stays. The
    numbers with the least error on cores set aside are kept.

    **Arguments:** `examples`: distributed runs, or measured series; `validation`: cores
    set aside, or the share of `examples` that is; `seed`: of that share and of the
    batches; `solver_steps`: equal steps of the solver between two times; `options`: see
    `train`, such as `steps`, `batch`, `learning_rate`, `patience` and `checkpoint`.
    **Returns:** the closure; how it went, errors being RMSE of respiration over its
    largest value.
    **Raises:** `ValueError` for no cores, or as `train`.
    """
    require_x64("a fit of a closure")
    taken, aside = _split(examples, validation, seed)
    free, fixed = eqx.partition(closure, eqx.is_inexact_array)
    times = jnp.asarray(examples.times)

    def predicted(free, cores):
        closure = eqx.combine(free, fixed)
        one = lambda s, p: respiration(closure, s, p, times, solver_steps)
        return jax.vmap(one)(cores.state, cores.params)

    def loss(free, cores):
        found = predicted(free, cores)
        # Not the square of `errors`: a root has no slope where a core is exact.
        return jnp.mean(_squared_errors(found, cores.respiration))

    @eqx.filter_jit
    def score(free, cores):
        return errors(predicted(free, cores), cores.respiration)

    some = taken.part(np.arange(min(taken.cores, aside.cores)))
    middle = lambda free, cores: jnp.sqrt(jnp.mean(score(free, cores) ** 2))
    scores = lambda free: (middle(free, aside), middle(free, some))
    options = {"name": type(closure).__name__, "seed": seed} | options
    best, history = train(loss, free, taken.cores, taken.part, scores, **options)
    return eqx.combine(best, fixed), history


def _split(examples, validation, seed):
    if examples.cores == 0:
        raise ValueError("no training cores: `examples` is empty")
    if isinstance(validation, Examples):
        if validation.cores == 0:
            raise ValueError("no cores to validate on: `validation` is empty")
        return examples, validation
    BELOW_ONE.check("validation", validation)
    count = round(validation * examples.cores)
    if count == 0:
        return examples, examples
    order = np.random.default_rng(seed).permutation(examples.cores)
    return examples.part(order[count:]), examples.part(order[:count])
