"""Closures fitted by gradients through the solver, to cores or to measured series."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxsoc.solve import follow, require_x64

from .macroscale import AbstractMacroModel

# What Equinox and NumPy raise for a checkpoint of another fit, or of none.
_UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(EOFError, MemoryError, RuntimeError),
)


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


class History(NamedTuple):
    """How a fit went: errors are RMSE of respiration over its largest value.

    `steps`: at which the validation error was taken; `validation`, `training`: errors
    there; `best`: step of the numbers that were kept; `stopped`: why it ended.
    """

    steps: np.ndarray
    validation: np.ndarray
    training: np.ndarray
    best: int
    stopped: str


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
    steps: int = 400,
    batch: int = 4,
    learning_rate: float = 0.03,
    patience: int | None = None,
    every: int = 20,
    solver_steps: int = 8,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> tuple[AbstractMacroModel, History]:
    """Improves the numbers of a closure until it predicts the respiration of cores.

    minimise ⟨ (R̂ - R)² ⟩ / max R², over cores and times, with Adam

    Every JAX array of floats in the closure is free, what numpy holds stays. The
    numbers with the least error on cores set aside are kept.

    **Arguments:** `examples`: distributed runs, or measured series; `validation`: cores
    set aside, or the share of `examples` that is; `steps`, `batch`, `learning_rate`
    (falls along a cosine): of Adam; `patience`: steps without improvement before it
    ends early, by default none; `every`: steps between validations; `solver_steps`:
    equal steps of the solver between two times; `seed`: of the batches; `checkpoint`:
    file that is written at each validation and continued from if it is there;
    `progress`: called with steps done, steps in all, and a word.
    **Raises:** `ValueError` for no cores, or numbers that are not possible.
    """
    require_x64("a fit of a closure")
    train, aside = _split(examples, validation, seed)
    if batch < 1 or steps < 1 or every < 1 or not learning_rate > 0:
        raise ValueError(
            "batch, steps, every and learning_rate must be positive, got "
            f"{batch}, {steps}, {every} and {learning_rate}"
        )
    free, fixed = eqx.partition(closure, eqx.is_inexact_array)
    if not jax.tree.leaves(free):
        raise ValueError(f"{type(closure).__name__} has no number that a fit may move")
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
    )
    step, score = _compiled(fixed, optimiser, examples.times, solver_steps)
    rows = -(-steps // every) + 1
    state = (free, optimiser.init(free), free, jnp.full((rows, 2), jnp.nan), 0)
    state = _restored(checkpoint, state)
    free, memory, best, log, done = state
    orders = _batches(train.cores, min(batch, train.cores), steps, seed)
    stopped = "all steps taken"
    for number in range(int(done), steps + 1):
        if number % every == 0 or number == steps:
            row = -(-number // every)
            log = log.at[row].set(_scores(score, free, train, aside))
            so_far = np.asarray(log[: row + 1, 0])
            best = free if _is_best(so_far) else best
        if number == steps:
            break
        if number % every == 0:
            _store(checkpoint, (free, memory, best, log, number))
            progress(number, steps, f"error {100 * float(so_far[-1]):.3g} %")
            behind = (row - int(np.nanargmin(so_far))) * every
            if patience is not None and behind >= patience:
                stopped = f"no improvement in {behind} steps"
                break
        free, memory = step(free, memory, train.part(orders[number]))
    progress(steps, steps, stopped)
    table = np.asarray(log)
    seen = np.isfinite(table[:, 0])
    if not seen.any():
        raise ValueError(
            f"{type(closure).__name__} leaves the finite numbers on every core set "
            "aside: start from other numbers, or take dead cells apart"
        )
    at = np.minimum(np.arange(len(table)) * every, steps)
    kept = int(at[np.nanargmin(table[:, 0])])
    history = History(at[seen], table[seen, 0], table[seen, 1], kept, stopped)
    return eqx.combine(best, fixed), history


def _compiled(fixed, optimiser, times, solver_steps):
    """Steps and scores of one fit."""
    times = jnp.asarray(times)

    def predicted(free, cores):
        closure = eqx.combine(free, fixed)
        one = lambda s, p: respiration(closure, s, p, times, solver_steps)
        return jax.vmap(one)(cores.state, cores.params)

    def loss(free, cores):
        found = predicted(free, cores)
        # Not the square of `errors`: a root has no slope where a core is exact.
        return jnp.mean(_squared_errors(found, cores.respiration))

    @eqx.filter_jit
    def step(free, memory, cores):
        slope = jax.grad(loss)(free, cores)
        # A step that is not finite, far from a solution, is not taken.
        finite = [jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(slope)]
        sound = jnp.all(jnp.stack(finite))
        slope = jax.tree.map(lambda g: jnp.where(sound, g, 0.0), slope)
        # optax mixes integers and floats, which a strict JAX refuses.
        with jax.numpy_dtype_promotion("standard"):
            change, memory = optimiser.update(slope, memory, free)
        return optax.apply_updates(free, change), memory

    score = lambda free, cores: errors(predicted(free, cores), cores.respiration)
    return step, eqx.filter_jit(score)


def _scores(score, free, train, aside):
    some = train.part(np.arange(min(train.cores, aside.cores)))
    middle = lambda cores: jnp.sqrt(jnp.mean(score(free, cores) ** 2))
    return jnp.stack([middle(aside), middle(some)])


def _is_best(errors):
    return bool(np.isfinite(errors[-1])) and errors[-1] <= np.nanmin(errors)


def _split(examples, validation, seed):
    if examples.cores == 0:
        raise ValueError("no training cores: `examples` is empty")
    if isinstance(validation, Examples):
        if validation.cores == 0:
            raise ValueError("no cores to validate on: `validation` is empty")
        return examples, validation
    if not 0 <= validation < 1:
        raise ValueError(f"validation must lie in [0, 1), got {validation}")
    count = round(validation * examples.cores)
    if count == 0:
        return examples, examples
    order = np.random.default_rng(seed).permutation(examples.cores)
    return examples.part(order[count:]), examples.part(order[:count])


def _batches(cores, batch, steps, seed):
    """Every core as often as any other, in an order of its own each time round."""
    rng = np.random.default_rng(seed)
    rounds = -(-steps * batch // cores)
    order = np.concatenate([rng.permutation(cores) for _ in range(rounds)])
    return order[: steps * batch].reshape(steps, batch)


def _store(path, state):
    if path is None:
        return
    # Whole or as it was before, by way of a folder whose name nobody can guess.
    with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
        temporary = Path(folder, path.name)
        with temporary.open("wb") as file:
            eqx.tree_serialise_leaves(file, state)
        temporary.replace(path)


def _restored(path, state):
    if path is None or not path.exists():
        return state
    try:
        if not path.is_file():
            raise ValueError("no regular file")
        # Opened here: equinox looks for a name of its own where there is no suffix.
        with path.open("rb") as file:
            return eqx.tree_deserialise_leaves(file, state)
    except _UNREADABLE:
        raise ValueError(
            f"{path.name} is not the checkpoint of this fit: remove it, or name another"
        ) from None
