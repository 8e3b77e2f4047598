"""The options of `jaxsoc fit`."""

from pathlib import Path
from typing import Annotated

import typer

_Text = str | None


def fit(
    kinetics: Annotated[
        _Text,
        typer.Option(metavar="NAMES", help="Comma-separated, to be fitted (mult)."),
    ] = None,
    to: Annotated[
        _Text, typer.Option(metavar="NAME", help="Kinetics to fit to (mm).")
    ] = None,
    on: Annotated[
        _Text,
        typer.Option(
            metavar="WHAT",
            help="biomass (default), substrate, co2, respiration or mean_rate.",
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Measured respiration to fit to: .csv."),
    ] = None,
    id: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A series of FILE; may be repeated."),
    ] = None,
    first: Annotated[
        _Text,
        typer.Option(metavar="N", help="At most N series, three of each study."),
    ] = None,
    unit: Annotated[
        _Text,
        typer.Option(metavar="UNIT", help="Of values in FILE, for example ugC/g/d."),
    ] = None,
    time_unit: Annotated[
        _Text, typer.Option(metavar="UNIT", help="Of times in FILE: h or d.")
    ] = None,
    soil_carbon: Annotated[
        _Text, typer.Option(metavar="MGC/G", help="Where FILE does not say.")
    ] = None,
    mean_rates: Annotated[
        bool,
        typer.Option(
            "--mean-rates",
            help="Rates are means since the point before.",
        ),
    ] = False,
    independent_errors: Annotated[
        bool,
        typer.Option(
            "--independent-errors",
            help="Fit cumulative CO2 as it is, not its differences.",
        ),
    ] = False,
    free: Annotated[
        _Text,
        typer.Option(
            metavar="NAMES",
            help="Fitted beside the constants: initial_substrate,initial_biomass "
            "(default), mortality.rate, carbon_use_efficiency, or none.",
        ),
    ] = None,
    starts: Annotated[
        _Text, typer.Option(metavar="N", help="Of the search, each fit (8).")
    ] = None,
    seed: Annotated[_Text, typer.Option(metavar="N", help="Of the starts (0).")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For fit.nc and figures (jaxsoc-output)."),
    ] = None,
    no_figures: Annotated[
        bool, typer.Option("--no-figures", help="Write fit.nc alone.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing but errors.")
    ] = False,
) -> None:
    """Fit the constants of kinetics to other kinetics or to measured respiration."""
    from .fit import checked_config, run_fit

    names = lambda text: None if text is None else [n.strip() for n in text.split(",")]
    options = {
        "kinetics": names(kinetics),
        "to": to,
        "on": on,
        "series": series,
        "id": id or None,
        "first": first,
        "unit": unit,
        "time_unit": time_unit,
        "soil_carbon": soil_carbon,
        "mean_rates": mean_rates or None,
        "independent_errors": independent_errors or None,
        "free": [] if free == "none" else names(free),
        "starts": starts,
        "seed": seed,
        "out": out,
        "figures": False if no_figures else None,
    }
    run_fit(checked_config(options), quiet=quiet)
