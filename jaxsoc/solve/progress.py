"""How long work tells of itself, to a bar or to nobody."""

from collections.abc import Callable

Progress = Callable[[float | int, int, str], None]
"""Takes what is done, how much there is, and what comes next."""


def silent(done: float | int, total: int, what: str) -> None:
    """A `Progress` that tells nobody."""
