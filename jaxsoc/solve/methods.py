"""Roads through time: plain data that say how long the steps are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx

from .steppers import rk4


class FixedStep(eqx.Module):
    """Equal steps for all cells.

    **Arguments:** `dt`: longest step, in the unit of the times; each interval between
    two save times is divided into the smallest even number of steps no longer than
    `dt`. `stepper`: `tendency -> step`. Supports forward- and reverse-mode gradients.

    **Raises:** `ValueError` for a step that is not positive.
    """

    dt: float
    stepper: Callable = rk4

    def __check_init__(self):
        if not self.dt > 0:
            raise ValueError(f"dt must be positive, got {self.dt}")

    def tightened(self) -> "FixedStep":
        """The same road with half the step."""
        return FixedStep(self.dt / 2, self.stepper)


class Substepped(eqx.Module):
    """Steps as long as each group of cells allows: the road for stiff soils.

    Cells that do not exchange carbon are sorted by their fastest rate into blocks, and
    each block takes its own number of equal steps between two save times, so that a
    few cells with a large rate do not set the step of all. The rate is asked for anew
    at every save time. Stable for any rate, at a cost in proportion to it. Supports
    forward-mode gradients; for reverse mode use `FixedStep`.

    **Arguments:** `rate`: `(t, state, params, interval) -> rate` per cell, a bound on
    the cell's fastest rate over the coming interval, by default the `rate` given to
    `integrate`; `courant`: largest rate × step; `block`: cells per block; `stepper`:
    `tendency -> step`.

    **Raises:** `ValueError` for a Courant number outside (0, 2] or an empty block.
    """

    rate: Callable | None = None
    courant: float = 0.5
    block: int = 512
    stepper: Callable = rk4

    def __check_init__(self):
        if not 0 < self.courant <= 2:
            raise ValueError(f"courant must lie in (0, 2], got {self.courant}")
        if self.block < 1:
            raise ValueError(f"block must hold at least one cell, got {self.block}")

    def tightened(self) -> "Substepped":
        """The same road with half the steps."""
        return Substepped(self.rate, self.courant / 2, self.block, self.stepper)


class Fused(eqx.Module):
    """Blocks of cells that stay in the cache, time loop inside, on all devices.

    The fast road for cells that do not exchange carbon: each block goes through all of
    time by itself, and what is saved is merged from the blocks, so `save` must be an
    `AbstractStatistic`, such as `moments.of(...)`. Call `use_all_cores` first to give
    it every core of a processor.

    Without a `rate`: equal steps; gradients in forward mode, and in reverse mode with
    memory in proportion to √steps. With one: cells are sorted by it, and each block
    takes as many steps as its fastest cell needs, asked anew at every save time;
    gradients in forward mode.

    **Arguments:** `dt`: longest step, in the unit of the times; `rate`, `courant`: see
    `Substepped`; `stepper`: `tendency -> step`; `block`: cells of a block, by default
    208, or 96 with a rate (twice that in float32), on a processor, and all on an
    accelerator; `devices`: how many, by default all.

    **Raises:** `ValueError` for a step or Courant number that is not positive.
    """

    dt: float
    rate: Callable | None = None
    courant: float = 0.5
    stepper: Callable = rk4
    block: int | None = None
    devices: int | None = None

    def __check_init__(self):
        if not self.dt > 0:
            raise ValueError(f"dt must be positive, got {self.dt}")
        if not 0 < self.courant <= 2:
            raise ValueError(f"courant must lie in (0, 2], got {self.courant}")
        for name in ("block", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def tightened(self) -> "Fused":
        """The same road with half the steps."""
        return dataclasses.replace(self, dt=self.dt / 2, courant=self.courant / 2)


class Adaptive(eqx.Module):
    """Steps chosen by diffrax's error control.

    **Arguments:** `solver`: any diffrax solver; `rtol`, `atol`: tolerances of one
    step; `per_cell`: let every cell choose its own steps, which implicit solvers need
    (cells must not exchange carbon); `adjoint`: diffrax's choice of gradient, reverse
    mode by default; `max_steps`: before giving up.
    """

    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    rtol: float = 1e-8
    atol: float = 1e-10
    per_cell: bool = False
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int = 100_000

    def __check_init__(self):
        if not (self.rtol > 0 and self.atol > 0):
            raise ValueError(
                f"tolerances must be positive, got rtol {self.rtol}, atol {self.atol}"
            )

    def with_tolerances(self, factor: float) -> "Adaptive":
        """The same road with both tolerances multiplied."""
        return Adaptive(
            self.solver,
            self.rtol * factor,
            self.atol * factor,
            self.per_cell,
            self.adjoint,
            self.max_steps,
        )

    def tightened(self) -> "Adaptive":
        """The same road with a tenth of the tolerances."""
        return self.with_tolerances(0.1)


def forward_adaptive(max_steps: int = 4_000) -> Adaptive:
    """Error-controlled steps with forward-mode gradients: few inputs, many outputs.

    **Arguments:** `max_steps`: before giving up.
    """
    return Adaptive(adjoint=diffrax.ForwardMode(), max_steps=max_steps)


Method = FixedStep | Substepped | Fused | Adaptive
Rate = Callable[[Any, Any, Any, Any], Any]
