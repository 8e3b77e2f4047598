"""The verbs of `jaxsoc`: a configuration class and a function make a command."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from .calibrate_config import CalibrateConfig
from .closure_config import CompareConfig, FitClosureConfig, PredictConfig
from .column_config import ColumnConfig
from .config import BudgetConfig, UpscaleConfig
from .fit_config import FitConfig
from .options import Config, as_toml, check_known, read_config

VERBS: dict[str, type[Config]] = {
    "upscale": UpscaleConfig,
    "fit": FitConfig,
    "budget": BudgetConfig,
    "column": ColumnConfig,
    "calibrate": CalibrateConfig,
    "closure compare": CompareConfig,
    "closure fit": FitClosureConfig,
    "closure predict": PredictConfig,
}
"""Verb `NAME` or `MODULE NAME` prepares its work by the function of that name."""

_PLAIN: dict[str, Any] = {
    "no_args_is_help": True,
    "add_completion": False,
    "pretty_exceptions_enable": False,
}
app = typer.Typer(name="jaxsoc", **_PLAIN)
_closures = typer.Typer(
    help="Fit macro-scale closures to soil cores, compare them, predict with them.",
    **_PLAIN,
)


def _shared(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The same options and more."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but errors.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check, tell what it would take, and stop."),
    ] = False,
) -> None:
    """Options that every verb has."""


def _command(verb: str, config: type[Config]) -> Callable[..., None]:
    """The command of a verb. Numbers come as text: the configuration reads them."""
    module, _, name = verb.partition(" ")
    shared = inspect.signature(_shared).parameters

    def called(**given: Any) -> None:
        from .report import carry_out

        path, quiet, dry_run = (given.pop(name) for name in shared)
        options = {field: _value(config, field, one) for field, one in given.items()}
        prepare = getattr(import_module(f".{module}", __package__), name or module)
        read = read_config(path, options, config)
        carry_out(prepare, read, quiet=quiet, dry_run=dry_run)

    made = [_parameter(config, field) for field in config.on_command_line()]
    made += [_keyword(o.name, o.default, o.annotation) for o in shared.values()]
    called.__doc__ = config.__doc__
    called.__annotations__ = {one.name: one.annotation for one in made}
    called.__dict__["__signature__"] = inspect.Signature(made)
    return called


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def _parameter(config: type[Config], name: str) -> inspect.Parameter:
    default, said = config.model_fields[name].default, config.said(name)
    kind: Any = list[str] | None if said.repeated else str | None
    nothing, text = None, ""
    if isinstance(default, bool):
        kind, nothing = bool, False
    elif isinstance(default, list):
        text = ", ".join(default) if len(default) < 3 else ""
    elif default is not None:
        text = str(default)
    text = f"{said.text} ({text})." if text else f"{said.text}."
    if said.alone:
        option = typer.Argument(metavar=f"[{said.metavar}]", help=text)
    else:
        option = typer.Option(config.flag(name), metavar=said.metavar, help=text)
    return _keyword(name, nothing, Annotated[kind, option])


def _value(config: type[Config], name: str, given: Any) -> Any:
    """What was given as the configuration takes it; None for nothing."""
    field = config.model_fields[name]
    if not given:
        return given if isinstance(given, str) else None
    if isinstance(field.default, bool):
        return not field.default
    if not config.said(name).repeated and "list" in str(field.annotation):
        return [one.strip() for one in given.split(",")]
    return given


for _verb, _config in VERBS.items():
    _room = _closures if " " in _verb else app
    _room.command(_verb.split()[-1])(_command(_verb, _config))
app.add_typer(_closures, name="closure")


@app.command("config")
def show_config(
    verb: Annotated[
        list[str] | None, typer.Argument(metavar="[VERB]", help=", ".join(VERBS))
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print it as TOML, to edit and give back.")
    ] = False,
) -> None:
    """Print what a verb can be told (by default upscale), with defaults, as TOML."""
    name = " ".join(verb or ["upscale"])
    check_known("verb", name, VERBS)
    if not show:
        raise ValueError("nothing to do with the configuration: use --show")
    print(f"# jaxsoc {name} --config FILE.toml\n\n{as_toml(VERBS[name]())}", end="")


@app.command()
def doctor() -> None:
    """Print versions, devices, cores and precision, and what is wrong, if anything."""
    from .doctor import print_report
    from .report import printer

    raise typer.Exit(0 if print_report(printer()) else 1)
