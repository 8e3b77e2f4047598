"""Gradients through anything, step by step, until the error aside no longer falls."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from .progress import Progress, silent

# What Equinox and NumPy raise for a checkpoint of another fit, or of none.
_UNREADABLE = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(EOFError, MemoryError, RuntimeError),
)


class History(NamedTuple):
    """How a fit went.

    `steps`: at which the validation error was taken; `validation`, `training`: errors
    there; `best`: step of the numbers that were kept; `stopped`: why it ended.
    """

    steps: np.ndarray
    validation: np.ndarray
    training: np.ndarray
    best: int
    stopped: str


def train(
    loss: Callable[[Any, Any], Any],
    free: Any,
    count: int,
    part: Callable[[np.ndarray], Any],
    scores: Callable[[Any], tuple[Any, Any]],
    *,
    name: str = "the model",
    steps: int = 400,
    batch: int = 4,
    learning_rate: float = 0.03,
    patience: int | None = None,
    every: int = 20,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> tuple[Any, History]:
    """Minimises a loss over batches with Adam, and keeps the best numbers met.

    Slopes are clipped to a norm of one; a step that is not finite is not taken.

    **Arguments:** `loss`: `(free, batch) -> number`; `free`: numbers to move, any
    pytree; `count`: examples there are; `part`: the batch of some of them, by index;
    `scores`: `free -> (validation, training)`, errors of which the first decides;
    `name`: for errors; `steps`, `batch`, `learning_rate` (falls along a cosine): of
    Adam; `patience`: steps without improvement before it ends early, by default none;
    `every`: steps between validations; `seed`: of the batches; `checkpoint`: file that
    is written at each validation and continued from if it is there; `progress`: called
    with steps done, steps in all, and a word.
    **Returns:** the numbers with the least validation error; how it went.
    **Raises:** `ValueError` for numbers that are not possible, nothing to move, a
    checkpoint of another fit, or errors that are never finite.
    """
    if batch < 1 or steps < 1 or every < 1 or not learning_rate > 0:
        raise ValueError(
            "batch, steps, every and learning_rate must be positive, got "
            f"{batch}, {steps}, {every} and {learning_rate}"
        )
    if not jax.tree.leaves(free):
        raise ValueError(f"{name} has no number that a fit may move")
    optimiser = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
    )
    step = _compiled(loss, optimiser)
    rows = -(-steps // every) + 1
    state = (free, optimiser.init(free), free, jnp.full((rows, 2), jnp.nan), 0)
    free, memory, best, log, done = _restored(checkpoint, state)
    orders = _batches(count, min(batch, count), steps, seed)
    stopped, row, so_far = "all steps taken", 0, np.zeros(0)
    for number in range(int(done), steps + 1):
        if number % every == 0 or number == steps:
            row = -(-number // every)
            log = log.at[row].set(jnp.stack(scores(free)))
            known = np.asarray(log[: row + 1, 0])
            so_far = np.where(np.isfinite(known), known, np.inf)
            if so_far[-1] < np.inf and so_far[-1] <= so_far.min():
                best = free
        if number == steps:
            break
        if number % every == 0:
            _store(checkpoint, (free, memory, best, log, number))
            progress(number, steps, f"error {100 * float(so_far[-1]):.3g} %")
            behind = (row - int(so_far.argmin())) * every
            if patience is not None and behind >= patience:
                stopped = f"no improvement in {behind} steps"
                break
        free, memory = step(free, memory, part(orders[number]))
    progress(steps, steps, stopped)
    table = np.asarray(log)
    seen = np.isfinite(table[:, 0])
    if not seen.any():
        raise ValueError(
            f"{name} leaves the finite numbers on every example set aside: start from "
            "other numbers"
        )
    at = np.minimum(np.arange(rows) * every, steps)
    validation, training = table[seen].T
    best_at = int(at[so_far.argmin()])
    return best, History(at[seen], validation, training, best_at, stopped)


def _compiled(loss, optimiser):
    @eqx.filter_jit
    def step(free, memory, batch):
        slope = jax.grad(loss)(free, batch)
        # A step that is not finite, far from a solution, is not taken.
        finite = [jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(slope)]
        sound = jnp.all(jnp.stack(finite))
        slope = jax.tree.map(lambda g: jnp.where(sound, g, 0.0), slope)
        # optax mixes integers and floats, which a strict JAX refuses.
        with jax.numpy_dtype_promotion("standard"):
            change, memory = optimiser.update(slope, memory, free)
        return optax.apply_updates(free, change), memory

    return step


def _batches(count, batch, steps, seed):
    """Every example as often as any other, in an order of its own each time round."""
    rng = np.random.default_rng(seed)
    rounds = -(-steps * batch // count)
    order = np.concatenate([rng.permutation(count) for _ in range(rounds)])
    return order[: steps * batch].reshape(steps, batch)


def _store(path, state):
    """Whole or not at all, by a name that nobody can have taken."""
    if path is None:
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            eqx.tree_serialise_leaves(file, state)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


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
