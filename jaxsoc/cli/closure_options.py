"""The options of `jaxsoc closure` and its verbs."""

from pathlib import Path
from typing import Annotated, Any

import typer

closures = typer.Typer(
    no_args_is_help=True,
    help="Fit macro-scale closures to soil cores, compare them, predict with them.",
)

_Text = str | None
_Kinetics = Annotated[
    _Text,
    typer.Option(
        metavar="NAME",
        help="linear, multiplicative (default), michaelis_menten, "
        "inverse_michaelis_menten, eca or quadratic.",
    ),
]
_Heterogeneity = Annotated[
    _Text,
    typer.Option(metavar="NAME", help="biophysical, biochemical or full (default)."),
]
_Correlation = Annotated[
    _Text,
    typer.Option(metavar="NAME", help="positive (default), negative or uncorrelated."),
]
_Training = Annotated[
    _Text, typer.Option(metavar="N", help="Cores to fit on, members 0 to N-1 (20).")
]
_Seed = Annotated[_Text, typer.Option(metavar="N", help="Of cores and batches (0).")]
_Every = Annotated[
    _Text, typer.Option(metavar="HOURS", help="Between the times compared (24).")
]
_Days = Annotated[
    _Text, typer.Option(metavar="DAYS", help="Duration, if not the scenario's.")
]
_Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="The same options and more."),
]
_Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="For closure.nc and closure.png (jaxsoc-output)."),
]
_NoFigures = Annotated[
    bool, typer.Option("--no-figures", help="Write closure.nc alone.")
]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


@closures.command()
def compare(
    kinetics: _Kinetics = None,
    heterogeneity: _Heterogeneity = None,
    correlation: _Correlation = None,
    closures: Annotated[
        _Text,
        typer.Option(
            metavar="NAMES",
            help="Comma-separated: mean_field, two_strata, zero_third, power_two, "
            "log_normal, prescribed_moments, functions_of_means, learned, "
            "representative_statistics, representative_cells, effective_eca, ...",
        ),
    ] = None,
    load: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.json",
            help="A fitted closure, in place of a fit of its kind; may be repeated.",
        ),
    ] = None,
    training: _Training = None,
    unseen: Annotated[
        _Text, typer.Option(metavar="N", help="Cores to judge by, the next N (5).")
    ] = None,
    steps: Annotated[
        _Text, typer.Option(metavar="N", help="Of each fit (200).")
    ] = None,
    every: _Every = None,
    days: _Days = None,
    seed: _Seed = None,
    config: _Config = None,
    out: _Out = None,
    no_figures: _NoFigures = False,
    quiet: _Quiet = False,
) -> None:
    """Fit or load closures, and judge them by cores that none has seen."""
    from .closure import run_compare
    from .closure_config import CompareConfig
    from .config import read_config

    options = {
        "kinetics": _names(kinetics),
        "heterogeneity": _names(heterogeneity),
        "correlation": _names(correlation),
        "closures": _names(closures),
        "training": training,
        "unseen": unseen,
        "steps": steps,
        "every": every,
        "days": days,
        "seed": seed,
        "out": out,
        "figures": False if no_figures else None,
    }
    run_compare(read_config(config, options, CompareConfig), load or [], quiet=quiet)


@closures.command()
def fit(
    kinetics: _Kinetics = None,
    heterogeneity: _Heterogeneity = None,
    correlation: _Correlation = None,
    closure: Annotated[
        _Text,
        typer.Option(
            metavar="NAME",
            help="representative_cells (default), representative_statistics, learned, "
            "functions_of_means, or effective_LAW.",
        ),
    ] = None,
    training: _Training = None,
    steps: Annotated[_Text, typer.Option(metavar="N", help="Of the fit (400).")] = None,
    every: _Every = None,
    days: _Days = None,
    seed: _Seed = None,
    config: _Config = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="For the closure (jaxsoc-output/NAME.json)."
        ),
    ] = None,
    quiet: _Quiet = False,
) -> None:
    """Fit one closure and save it; a fit that was stopped goes on where it was."""
    from .closure import run_fit_closure
    from .closure_config import FitClosureConfig
    from .config import read_config

    options = {
        "kinetics": _names(kinetics),
        "heterogeneity": _names(heterogeneity),
        "correlation": _names(correlation),
        "closure": closure,
        "training": training,
        "steps": steps,
        "every": every,
        "days": days,
        "seed": seed,
        "out": out,
    }
    run_fit_closure(read_config(config, options, FitClosureConfig), quiet=quiet)


@closures.command()
def predict(
    load: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.json", help="A fitted closure; may be repeated."),
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
    kinetics: Annotated[
        _Text, typer.Option(metavar="NAME", help="If not those of the closure.")
    ] = None,
    heterogeneity: Annotated[
        _Text,
        typer.Option(metavar="NAME", help="If not that of the closure."),
    ] = None,
    correlation: Annotated[
        _Text,
        typer.Option(metavar="NAMES", help="Of the fields in FILE, if not all."),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option("--distributed", help="Run all cells, too, to see the error."),
    ] = False,
    every: _Every = None,
    days: _Days = None,
    seed: Annotated[
        _Text,
        typer.Option(metavar="N", help="Of constants that FILE does not hold (0)."),
    ] = None,
    config: _Config = None,
    out: _Out = None,
    no_figures: _NoFigures = False,
    quiet: _Quiet = False,
) -> None:
    """Predict the respiration of your own fields with fitted closures."""
    from .closure import run_predict
    from .closure_config import PredictConfig
    from .config import read_config

    options = {
        "fields": fields,
        "units": units,
        "kinetics": _names(kinetics),
        "heterogeneity": _names(heterogeneity),
        "correlation": _names(correlation),
        "distributed": distributed or None,
        "every": every,
        "days": days,
        "seed": seed,
        "out": out,
        "figures": False if no_figures else None,
    }
    run_predict(read_config(config, options, PredictConfig), load or [], quiet=quiet)


def _names(text: str | None) -> Any:
    return None if text is None else [name.strip() for name in text.split(",")]
