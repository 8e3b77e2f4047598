"""The `jaxsoc` command: its verbs, and errors in one line with exit code 2."""

import os
import sys
from importlib.metadata import version as installed
from io import TextIOWrapper
from typing import Annotated, NoReturn, cast

import jax
import typer

from jaxsoc.solve import use_all_cores

from . import interrupt
from .commands import app

# Typer carries its own copy of click in some versions and depends on it in others.
_UsageError: type[typer.BadParameter] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError"
)

_ABORTED = 130  # what typer makes of an interrupt


def main() -> None:
    """Entry point: any foreseen failure is one line on standard error, exit code 2."""
    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    interrupt.install()
    # A name that the terminal cannot show must not end a run.
    cast(TextIOWrapper, sys.stdout).reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        if not error.format_message():  # no verb: the help has been printed
            sys.exit(error.exit_code)
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        _interrupted()
    except MemoryError as error:
        _fail(f"out of memory: {error}")
    except (ValueError, OSError, RuntimeError) as error:
        _fail(str(error))
    if code == _ABORTED:
        _interrupted()
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    first = " ".join(message.split()) or "failed"
    print(f"jaxsoc: error: {first}", file=sys.stderr)
    sys.exit(2)


def _interrupted() -> NoReturn:
    print("jaxsoc: interrupted; no unfinished file was left behind", file=sys.stderr)
    sys.stderr.flush()
    # Not sys.exit: taking XLA down while it compiles can crash the interpreter, and
    # whatever had to be cleaned up has been by now.
    os._exit(interrupt.exit_code())


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"jaxsoc {installed('jaxsoc')}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, help="Print the version."),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Compile anew, and keep no compiled programs for the next run.",
        ),
    ] = False,
) -> None:
    """Soil carbon from the pore to the globe."""
    if no_cache:
        jax.config.update("jax_enable_compilation_cache", False)
