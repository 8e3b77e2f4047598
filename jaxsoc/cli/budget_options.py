"""The options of `jaxsoc budget`."""

from pathlib import Path
from typing import Annotated

import typer

_Text = str | None


def budget(
    scenario: Annotated[
        _Text,
        typer.Option(metavar="N", help="1: steady state; 2: transient (default)."),
    ] = None,
    kinetics: Annotated[
        _Text,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: linear, multiplicative, michaelis_menten, "
            "inverse_michaelis_menten, eca, quadratic.",
        ),
    ] = None,
    heterogeneity: Annotated[
        _Text,
        typer.Option(
            metavar="NAMES", help="Comma-separated: biophysical, biochemical, full."
        ),
    ] = None,
    correlation: Annotated[
        _Text,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: positive, negative, uncorrelated, or a field's own.",
        ),
    ] = None,
    order: Annotated[
        _Text, typer.Option(metavar="N", help="Of the last terms (2).")
    ] = None,
    of: Annotated[
        _Text,
        typer.Option(
            metavar="FLUX",
            help="respiration (default), decomposition, mortality or growth.",
        ),
    ] = None,
    fields: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your own fields, as for upscale."),
    ] = None,
    units: Annotated[
        _Text,
        typer.Option(
            metavar="UNIT", help="Of carbon in FILE: fgC/cell (default) or mgC/g."
        ),
    ] = None,
    parameters: Annotated[
        _Text,
        typer.Option(
            metavar="CASE", help="Spread of the constants: case1 (wide) or case2."
        ),
    ] = None,
    coupling: Annotated[
        _Text,
        typer.Option(
            metavar="HOW",
            help="Constants of inverse MM: independent (default) or published.",
        ),
    ] = None,
    every: Annotated[
        _Text, typer.Option(metavar="HOURS", help="Between saved times (24).")
    ] = None,
    days: Annotated[
        _Text, typer.Option(metavar="DAYS", help="Duration, if not the scenario's.")
    ] = None,
    seed: Annotated[
        _Text, typer.Option(metavar="N", help="Of the random fields (0).")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The same options and more."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For budget.nc and figures (jaxsoc-output)."),
    ] = None,
    no_figures: Annotated[
        bool, typer.Option("--no-figures", help="Write budget.nc alone.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but errors.")
    ] = False,
) -> None:
    """Split the mean rate of a soil core into mean field, terms and remainder."""
    from .budget import BudgetConfig, run_budget
    from .config import read_config

    names = lambda text: None if text is None else [n.strip() for n in text.split(",")]
    options = {
        "scenario": scenario,
        "kinetics": names(kinetics),
        "heterogeneity": names(heterogeneity),
        "correlation": names(correlation),
        "order": order,
        "of": of,
        "fields": fields,
        "units": units,
        "parameters": parameters,
        "coupling": coupling,
        "every": every,
        "days": days,
        "seed": seed,
        "out": out,
        "figures": False if no_figures else None,
    }
    run_budget(read_config(config, options, BudgetConfig), quiet=quiet)
