"""The 18 cases of the closure benchmark, and cores that closures have not seen."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxsoc.experiments import Design, draw_members, examples
from jaxsoc.upscale import Examples
from jaxsoc.upscale.fields import Generator

TRAINING_SEED, UNSEEN_SEED = 101, 202
CORES = 20
EVERY = 6.0
"""Hours between the times at which errors are taken."""


class Case(NamedTuple):
    """One of the 18."""

    kinetics: str
    heterogeneity: str
    correlation: str

    @property
    def name(self) -> str:
        """What its fits are stored under."""
        return "_".join(self)

    @property
    def stiff(self) -> bool:
        """Whether it is Michaelis-Menten with all heterogeneous, listed separately."""
        return self[:2] == ("michaelis_menten", "full")


CASES = tuple(
    Case(kinetics, heterogeneity, correlation)
    for kinetics in ("multiplicative", "michaelis_menten", "inverse_michaelis_menten")
    for heterogeneity in ("biophysical", "full")
    for correlation in ("positive", "negative", "uncorrelated")
)


def design(seed: int, every: float) -> Design:
    """Scenario 2 with what is drawn from a seed."""
    return Design(scenario=2, seed=seed, every=every)


class Shift(NamedTuple):
    """How soils differ from those that a closure was fitted on.

    `substrate`, `input`: factors of the initial substrate and of the input; `dead`:
    added to the share of dead cells.
    """

    substrate: float = 1.0
    input: float = 1.0
    dead: float = 0.0


SHIFTS: Mapping[str, Shift] = MappingProxyType(
    {
        "substrate x 0.5": Shift(substrate=0.5),
        "substrate x 2": Shift(substrate=2.0),
        "input x 0": Shift(input=0.0),
        "input x 3": Shift(input=3.0),
        "dead - 15 points": Shift(dead=-0.15),
        "dead + 15 points": Shift(dead=0.15),
    }
)


class Drawn(NamedTuple):
    """Fields of unseen cores, drawn once for all cases."""

    plan: Design
    plain: Any
    dead: dict[float, Any]
    cores: int

    @classmethod
    def of(cls, seed: int, cores: int, shifts: bool) -> "Drawn":
        """From a seed; with other shares of dead cells if shifts are asked for."""
        plan = design(seed, EVERY)
        share = {s.dead for s in SHIFTS.values() if s.dead} if shifts else ()
        of = lambda x: dataclasses.replace(plan, generator=Generator(dead_shift=x))
        moved = {x: draw_members(of(x), range(cores)) for x in share}
        return cls(plan, draw_members(plan, range(cores)), moved, cores)

    def run(self, case: Case, shift: Shift | None = None) -> Examples:
        """The distributed runs of a case."""
        shift = Shift() if shift is None else shift
        drawn = self.dead[shift.dead] if shift.dead else self.plain
        substrate = {k: shift.substrate * S for k, S in drawn.fields.substrate.items()}
        drawn = drawn._replace(fields=drawn.fields._replace(substrate=substrate))
        plan = dataclasses.replace(self.plan, input=shift.input * self.plan.input)
        return examples(plan, *case, range(self.cores), drawn=drawn)
