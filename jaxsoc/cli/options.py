"""Options of a command, made from the class of its configuration."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from .config import Config


def options(
    config: type[Config], **said: tuple[str | None, str]
) -> Callable[[Callable], Callable]:
    """Gives a command the named fields of its configuration as options.

    The command is called with what was given as its first argument, by the names of
    the fields (None for what was not), and with parameters of its own by keyword. A
    flag says the opposite of the default of its field, and a list comes with commas.
    Numbers come as text: the configuration turns them into numbers, or says why not.

    - `config` the class that holds the default of each option.
    - `said` what stands for the value in the help, and the help, by field.
    """
    fields = {name: config.model_fields[name] for name in said}

    def decorate(command: Callable) -> Callable:
        def called(**given: Any) -> None:
            told = {k: _value(field, given.pop(k)) for k, field in fields.items()}
            command(told, **given)

        made = [_parameter(name, fields[name], *said[name]) for name in said]
        own = list(inspect.signature(command).parameters.values())[1:]
        called.__name__, called.__doc__ = command.__name__, command.__doc__
        called.__annotations__ = {one.name: one.annotation for one in made + own}
        called.__dict__["__signature__"] = inspect.Signature(
            [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in made + own]
        )
        return called

    return decorate


def _parameter(name: str, field: FieldInfo, metavar: str | None, text: str):
    kind: Any = Path | None if field.annotation in (Path, Path | None) else str | None
    flags, nothing = [], None
    if field.annotation is bool:
        prefix = "--no-" if field.default else "--"
        kind, flags, nothing = bool, [prefix + name.replace("_", "-")], False
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=nothing,
        annotation=Annotated[kind, typer.Option(*flags, metavar=metavar, help=text)],
    )


def _value(field: FieldInfo, given: Any) -> Any:
    if field.annotation is bool:
        return not field.default if given else None
    if given is not None and field.annotation in (list[str], list[str] | None):
        return [name.strip() for name in given.split(",")]
    return given
