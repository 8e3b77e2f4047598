"""Options that are chosen by name: a misspelt one must not run as another model."""

from collections.abc import Iterable
from typing import Any, get_args


def check_option(name: str, value: Any, choices: Any) -> None:
    """Refuses a value that is none of the choices.

    **Arguments:** `choices`: names, or a `Literal` type of them.
    **Raises:** `ValueError` that names the option, the value and the choices.
    """
    known: Iterable = get_args(choices) or choices
    if value not in known:
        raise ValueError(
            f"unknown {name} {value!r}, expected one of {', '.join(map(str, known))}"
        )
