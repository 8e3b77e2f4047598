"""Methods: plain data that say how long the steps are and how cells are laid out."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx

from .steppers import Stepper, rk4

COURANT = 0.5


class Steps(eqx.Module):
    """Steps that are counted, not controlled: equal ones, or as many as cells need.

    With `dt`: each interval between two save times is divided into the smallest even
    number of equal steps no longer than `dt`. With `courant`: cells are sorted by the
    bound on their rates into blocks, and each block takes as many steps as its fastest
    cell needs, asked anew at every save time, so that a few fast cells do not set the
    step of all; stable for any rate, at a cost in proportion to it. With both: at most
    `dt`, too.

    Laid out in blocks, a block of cells stays in the cache and goes through all of time
    by itself, shared out to all devices, and what is saved is merged from the blocks;
    call `use_all_cores` first to give it every core of a processor. Laid out whole, all
    cells meet at every save time. Cells that are coupled go whole, in one block.

    Gradients in forward mode; with equal steps also in reverse mode, with memory in
    proportion to √steps.

    **Arguments:** `dt`: longest step, in the unit of the times; `courant`: largest
    rate × step; `stepper`: `tendency -> step`; `layout`: "blocks" or "whole", by
    default in blocks where cells are not coupled and what is saved can be merged;
    `block`: cells of a block, by default what fits a cache on a processor; `devices`:
    how many, by default all, and one where members are shared out already.

    **Raises:** `ValueError` for a step that is not positive and finite, a Courant
    number outside (0, 2], neither of them, an unknown layout, or an empty block.
    """

    dt: float | None = None
    courant: Any = dataclasses.field(default=None, kw_only=True)
    stepper: Stepper = dataclasses.field(default=rk4, kw_only=True)
    layout: str | None = dataclasses.field(default=None, kw_only=True)
    block: int | None = dataclasses.field(default=None, kw_only=True)
    devices: int | None = dataclasses.field(default=None, kw_only=True)

    def __check_init__(self):
        if self.dt is None and self.courant is None:
            raise ValueError(
                "steps need a length or a Courant number: give dt, such as Steps(1.0), "
                "or Steps(courant=0.5), got neither"
            )
        if self.dt is not None and not 0 < self.dt < math.inf:
            raise ValueError(f"dt must be positive and finite, got {self.dt}")
        if self.courant is not None and not 0 < self.courant <= 2:
            raise ValueError(f"courant must lie in (0, 2], got {self.courant}")
        if self.layout not in (None, "blocks", "whole"):
            raise ValueError(f"layout must be 'blocks' or 'whole', got {self.layout!r}")
        for name in ("block", "devices"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return "equal steps" if self.courant is None else "counted steps"

    def tightened(self) -> "Steps":
        """The same with half the step."""
        half = lambda x: None if x is None else x / 2
        return dataclasses.replace(self, dt=half(self.dt), courant=half(self.courant))


class Adaptive(eqx.Module):
    """Steps chosen by diffrax's error control.

    **Arguments:** `solver`: any diffrax solver; `rtol`, `atol`: tolerances of one
    step; `per_cell`: let every cell choose its own steps, which implicit solvers need
    (cells must not be coupled); `adjoint`: diffrax's choice of gradient, reverse
    mode by default; `max_steps`: before giving up.

    **Raises:** `ValueError` for tolerances that are not positive.
    """

    solver: diffrax.AbstractSolver = diffrax.Tsit5()
    rtol: float = 1e-8
    atol: float = 1e-10
    per_cell: bool = False
    adjoint: diffrax.AbstractAdjoint = diffrax.RecursiveCheckpointAdjoint()
    max_steps: int = 100_000

    def __check_init__(self):
        if not (0 < self.rtol < math.inf and 0 < self.atol < math.inf):
            raise ValueError(
                f"tolerances must be positive, got rtol {self.rtol}, atol {self.atol}"
            )

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return "adaptive steps"

    def tightened(self) -> "Adaptive":
        """The same with a tenth of the tolerances."""
        return dataclasses.replace(self, rtol=0.1 * self.rtol, atol=0.1 * self.atol)


def forward_adaptive(max_steps: int = 4_000) -> Adaptive:
    """Error-controlled steps with forward-mode gradients: few inputs, many outputs.

    **Arguments:** `max_steps`: before giving up.
    """
    return Adaptive(adjoint=diffrax.ForwardMode(), max_steps=max_steps)


Method = Steps | Adaptive
Rate = Callable[[Any, Any, Any, Any], Any]
