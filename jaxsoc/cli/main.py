"""The `jaxsoc` command: its verbs, and errors in one line with exit code 2."""

import os
import sys
from typing import Annotated, NoReturn

import typer

from . import interrupt
from .commands import app

# Typer carries its own copy of click in some versions and depends on it in others.
_UsageError: type[typer.BadParameter] = next(
    c for c in typer.BadParameter.__mro__ if c.__name__ == "UsageError"
)

_INTERRUPTED = 130  # by convention, 128 + SIGINT


def main() -> None:
    """Entry point: any foreseen failure is one line on standard error, exit code 2."""
    import jax

    from jaxsoc.solve import use_all_cores

    use_all_cores()
    jax.config.update("jax_enable_x64", True)
    interrupt.install()
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        if not error.format_message():  # no verb: the help has been printed
            sys.exit(error.exit_code)
        _fail(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        _interrupted()
    except (ValueError, OSError, RuntimeError) as error:
        _fail(str(error))
    if code == _INTERRUPTED:
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
    os._exit(_INTERRUPTED)


def _print_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        print(f"jaxsoc {version('jaxsoc')}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, help="Print the version."),
    ] = False,
) -> None:
    """Soil carbon from the pore to the globe."""


@app.command()
def doctor() -> None:
    """Print versions, devices, cores and precision, and what is wrong, if anything."""
    from rich.console import Console

    from .doctor import print_report

    raise typer.Exit(0 if print_report(Console()) else 1)
