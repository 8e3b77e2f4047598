"""The 18 cases of the closure benchmark, and cores that closures have not seen."""

from typing import Any, NamedTuple

from jaxsoc.experiments import SHIFTS, Design, Shift, draw_members, examples
from jaxsoc.upscale import Examples

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
        moved = {x: draw_members(plan, range(cores), Shift(dead=x)) for x in share}
        return cls(plan, draw_members(plan, range(cores)), moved, cores)

    def run(self, case: Case, shift: Shift | None = None) -> Examples:
        """The distributed runs of a case."""
        shift = Shift() if shift is None else shift
        fields = self.dead[shift.dead] if shift.dead else self.plain
        return examples(self.plan, *case, range(self.cores), shift=shift, drawn=fields)
