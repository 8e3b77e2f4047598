"""The verbs of `jaxsoc` and their options."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .closure_config import CompareConfig, FitClosureConfig, PredictConfig
from .config import BudgetConfig, UpscaleConfig, read_config
from .fit_config import FitConfig, checked_config
from .options import options

app = typer.Typer(
    name="jaxsoc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
closures = typer.Typer(
    no_args_is_help=True,
    help="Fit macro-scale closures to soil cores, compare them, predict with them.",
)

_File = Annotated[
    Path | None,
    typer.Option(metavar="FILE.toml", help="The same options and more."),
]
_Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]

_ALL_KINETICS = (
    "linear, multiplicative, michaelis_menten, inverse_michaelis_menten, eca, quadratic"
)
_DAYS = ("DAYS", "Duration, if not the scenario's.")
_UNITS = ("UNIT", "Of carbon in FILE: fgC/cell (default) or mgC/g.")
# Of a core whose cells differ, for the verbs that take several kinetics.
_CORES: dict[str, tuple[str, str]] = {
    "kinetics": ("NAMES", f"Comma-separated: {_ALL_KINETICS}."),
    "correlation": (
        "NAMES",
        "Comma-separated: positive, negative, uncorrelated, or a field's own.",
    ),
    "units": _UNITS,
    "parameters": ("CASE", "Spread of the constants: case1 (wide) or case2."),
    "coupling": (
        "HOW",
        "Constants of inverse MM: independent (default) or published.",
    ),
    "days": _DAYS,
    "seed": ("N", "Of the random fields (0)."),
}
_TRAINED: dict[str, tuple[str, str]] = {
    "kinetics": (
        "NAME",
        "linear, multiplicative (default), michaelis_menten, "
        "inverse_michaelis_menten, eca or quadratic.",
    ),
    "heterogeneity": ("NAME", "biophysical, biochemical or full (default)."),
    "correlation": ("NAME", "positive (default), negative or uncorrelated."),
    "training": ("N", "Cores to fit on, members 0 to N-1 (20)."),
    "every": ("HOURS", "Between the times compared (24)."),
    "days": _DAYS,
    "seed": ("N", "Of cores and batches (0)."),
}


@app.command()
@options(
    UpscaleConfig,
    scenario=("N", "1: steady state, 20 years; 2: transient, 200 days."),
    heterogeneity=(
        "NAMES",
        "Comma-separated: homogeneous, biophysical, biochemical, full.",
    ),
    fields=("FILE", "Your own fields: .npz, .npy, .nc, .mat or a folder of them."),
    **_CORES,
    control=(
        "WHICH",
        "Constants of the homogeneous soil: nominal (default) or field-mean.",
    ),
    every=("HOURS", "Between saved times (6)."),
    members=("N", "Draws of the random fields (1)."),
    memory=("GIB", "Limit for several members at a time (2)."),
    method=("METHOD", "auto (default), fixed, substepped or adaptive."),
    step=("HOURS", "Of the fixed method (0.1)."),
    tolerance=("X", "Relative, of the automatic method (1e-5)."),
    out=("DIR", "For upscale.nc and figures (jaxsoc-output)."),
    figures=(None, "Write upscale.nc alone."),
)
def upscale(
    told: dict[str, Any],
    config: _File = None,
    quiet: _Quiet = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check, estimate time and memory, and stop."),
    ] = False,
) -> None:
    """Run heterogeneous and homogeneous soil cores and compare their respiration."""
    from .upscale import run_upscale

    run_upscale(read_config(config, told), quiet=quiet, dry_run=dry_run)


@app.command()
@options(
    FitConfig,
    kinetics=("NAMES", "Comma-separated, to be fitted (mult)."),
    to=("NAME", "Kinetics to fit to (mm)."),
    on=("WHAT", "biomass (default), substrate, co2, respiration or mean_rate."),
    series=("FILE", "Measured respiration to fit to: .csv."),
    first=("N", "At most N series, three of each study."),
    unit=("UNIT", "Of values in FILE, for example ugC/g/d."),
    time_unit=("UNIT", "Of times in FILE: h or d."),
    soil_carbon=("MGC/G", "Where FILE does not say."),
    mean_rates=(None, "Rates are means since the point before."),
    independent_errors=(None, "Fit cumulative CO2 as it is, not its differences."),
    free=(
        "NAMES",
        "Fitted beside the constants: initial_substrate,initial_biomass "
        "(default), mortality.rate, carbon_use_efficiency, or none.",
    ),
    starts=("N", "Of the search, each fit (8)."),
    seed=("N", "Of the starts (0)."),
    out=("DIR", "For fit.nc and figures (jaxsoc-output)."),
    figures=(None, "Write fit.nc alone."),
)
def fit(
    told: dict[str, Any],
    id: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A series of FILE; may be repeated."),
    ] = None,
    quiet: _Quiet = False,
) -> None:
    """Fit the constants of kinetics to other kinetics or to measured respiration."""
    from .fit import run_fit

    if id:
        told["id"] = id
    if told.get("free") == ["none"]:
        told["free"] = []
    run_fit(checked_config(told), quiet=quiet)


@app.command()
@options(
    BudgetConfig,
    scenario=("N", "1: steady state; 2: transient (default)."),
    heterogeneity=("NAMES", "Comma-separated: biophysical, biochemical, full."),
    order=("N", "Of the last terms (2)."),
    of=("FLUX", "respiration (default), decomposition, mortality or growth."),
    fields=("FILE", "Your own fields, as for upscale."),
    **_CORES,
    every=("HOURS", "Between saved times (24)."),
    out=("DIR", "For budget.nc and figures (jaxsoc-output)."),
    figures=(None, "Write budget.nc alone."),
)
def budget(told: dict[str, Any], config: _File = None, quiet: _Quiet = False) -> None:
    """Split the mean rate of a soil core into mean field, terms and remainder."""
    from .budget import run_budget

    run_budget(read_config(config, told, BudgetConfig), quiet=quiet)


@closures.command()
@options(
    CompareConfig,
    **_TRAINED,
    closures=(
        "NAMES",
        "Comma-separated: mean_field, two_strata, zero_third, power_two, "
        "log_normal, prescribed_moments, functions_of_means, learned, "
        "representative_statistics, representative_cells, effective_eca, ...",
    ),
    unseen=("N", "Cores to judge by, the next N (5)."),
    steps=("N", "Of each fit (200)."),
    out=("DIR", "For closure.nc and closure.png (jaxsoc-output)."),
    figures=(None, "Write closure.nc alone."),
)
def compare(
    told: dict[str, Any],
    load: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE.json",
            help="A fitted closure, in place of a fit of its kind; may be repeated.",
        ),
    ] = None,
    config: _File = None,
    quiet: _Quiet = False,
) -> None:
    """Fit or load closures, and judge them by cores that none has seen."""
    from .closure import run_compare

    run_compare(read_config(config, told, CompareConfig), load or [], quiet=quiet)


@closures.command("fit")
@options(
    FitClosureConfig,
    **_TRAINED,
    closure=(
        "NAME",
        "representative_cells (default), representative_statistics, learned, "
        "functions_of_means, or effective_LAW.",
    ),
    steps=("N", "Of the fit (400)."),
    out=("FILE.json", "For the closure (jaxsoc-output/NAME.json)."),
)
def fit_closure(
    told: dict[str, Any], config: _File = None, quiet: _Quiet = False
) -> None:
    """Fit one closure and save it; a fit that was stopped goes on where it was."""
    from .closure import run_fit_closure

    run_fit_closure(read_config(config, told, FitClosureConfig), quiet=quiet)


@closures.command()
@options(
    PredictConfig,
    fields=("FILE", "Your own fields, as for upscale."),
    units=_UNITS,
    kinetics=("NAME", "If not those of the closure."),
    heterogeneity=("NAME", "If not that of the closure."),
    correlation=("NAMES", "Of the fields in FILE, if not all."),
    distributed=(None, "Run all cells, too, to see the error."),
    every=_TRAINED["every"],
    days=_DAYS,
    seed=("N", "Of constants that FILE does not hold (0)."),
    out=("DIR", "For closure.nc and closure.png (jaxsoc-output)."),
    figures=(None, "Write closure.nc alone."),
)
def predict(
    told: dict[str, Any],
    load: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.json", help="A fitted closure; may be repeated."),
    ] = None,
    config: _File = None,
    quiet: _Quiet = False,
) -> None:
    """Predict the respiration of your own fields with fitted closures."""
    from .closure import run_predict

    run_predict(read_config(config, told, PredictConfig), load or [], quiet=quiet)


app.add_typer(closures, name="closure")
