"""The `jaxsoc` command: its verbs, and errors in one line with exit code 2."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from . import interrupt
from .budget_options import budget
from .closure_options import closures
from .fit_options import fit

app = typer.Typer(
    name="jaxsoc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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


@app.command()
def upscale(
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="1: steady state, 20 years; 2: transient, 200 days."
        ),
    ] = None,
    kinetics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: linear, multiplicative, michaelis_menten, "
            "inverse_michaelis_menten, eca, quadratic.",
        ),
    ] = None,
    heterogeneity: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: homogeneous, biophysical, biochemical, full.",
        ),
    ] = None,
    correlation: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: positive, negative, uncorrelated, or a field's own.",
        ),
    ] = None,
    fields: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own fields: .npz, .npy, .nc, .mat or a folder of them.",
        ),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            metavar="UNIT",
            help="Of carbon in FILE: fgC/cell (default) or mgC/g.",
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(
            metavar="CASE", help="Spread of the constants: case1 (wide) or case2."
        ),
    ] = None,
    coupling: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Constants of inverse MM: independent (default) or published.",
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Constants of the homogeneous soil: nominal (default) or field-mean.",
        ),
    ] = None,
    every: Annotated[
        str | None, typer.Option(metavar="HOURS", help="Between saved times (6).")
    ] = None,
    days: Annotated[
        str | None,
        typer.Option(metavar="DAYS", help="Duration, if not the scenario's."),
    ] = None,
    members: Annotated[
        str | None, typer.Option(metavar="N", help="Draws of the random fields (1).")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="GIB", help="Limit for several members at a time (2)."),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(metavar="N", help="Of the random fields (0).")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="ROAD", help="auto (default), fixed, substepped or adaptive."
        ),
    ] = None,
    step: Annotated[
        str | None, typer.Option(metavar="HOURS", help="Of the fixed method (0.1).")
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(metavar="X", help="Relative, of the automatic method (1e-5)."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The same options and more."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For upscale.nc and figures (jaxsoc-output)."),
    ] = None,
    no_figures: Annotated[
        bool, typer.Option("--no-figures", help="Write upscale.nc alone.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but errors.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check, estimate time and memory, and stop."),
    ] = False,
) -> None:
    """Run heterogeneous and homogeneous soil cores and compare their respiration."""
    from .config import read_config
    from .upscale import run_upscale

    # Numbers come as text: the configuration turns them into numbers, or says why not.

    names = lambda text: None if text is None else [n.strip() for n in text.split(",")]
    options = {
        "scenario": scenario,
        "kinetics": names(kinetics),
        "heterogeneity": names(heterogeneity),
        "correlation": names(correlation),
        "fields": fields,
        "units": units,
        "parameters": parameters,
        "coupling": coupling,
        "control": control,
        "every": every,
        "days": days,
        "members": members,
        "memory": memory,
        "seed": seed,
        "method": method,
        "step": step,
        "tolerance": tolerance,
        "out": out,
        "figures": False if no_figures else None,
    }
    run_upscale(read_config(config, options), quiet=quiet, dry_run=dry_run)


app.command()(fit)
app.command()(budget)
app.add_typer(closures, name="closure")
