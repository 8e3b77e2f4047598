"""`jaxsoc column`: columns at places, beside what was measured there."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxsoc import plots
from jaxsoc.experiments.comparison import compared_with_profiles, models_at_sites
from jaxsoc.io import Places
from jaxsoc.io.columns import STATES, columns_table, without_steady_state
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.site_forcing import NPP_ERROR, production
from jaxsoc.tables import Table, variable

from .column_config import ColumnConfig
from .column_runs import RunPlan, print_run, run_figures, run_table
from .profile_places import Task, climate_of, notes_of, of_profiles, sites_of
from .report import Job, Outcome, Progress, table_of

# Places up to which each gets a panel of its own, and a row in the printed table.
_FEW = 6
# Pages of panels that are drawn at most.
_PAGES = 3
# Arrays of a place by layer and month that are in memory at a time, about.
_ARRAYS = 150


def column(config: ColumnConfig) -> Job:
    """Checks everything; the columns are still to be made.

    **Raises:** `ValueError` for whatever does not fit.
    """
    config.check()
    choices = config.forcing.made()
    task = (
        of_profiles(config.profiles, config) if config.profiles else _of_place(config)
    )
    count, (dim,) = len(task.names), task.places.dims
    asked = RunPlan.of(config, task.sites.latitude) if config.runs else None

    def work(progress: Progress) -> Outcome:
        results = models_at_sites(
            task.sites,
            config.model,
            choices=choices,
            progress=progress,
            periodic=config.periodic,
        )
        table = columns_table(results, task.places)
        more = _forcing_variables(task, choices)
        if task.profiles is not None:
            more |= compared_with_profiles(task.profiles, results)
        if asked is not None:
            run = run_table(asked, results, task.places, task.profiles, progress)
            more |= run.variables
            table.coordinates.update(run.coordinates)
        about = {"climate": task.sites.label, "notes": list(task.notes)}
        table = Table({**table.variables, **more}, table.coordinates, table.about)

        def tell(console, found):
            _print(console, config, task, found)
            if asked is not None:
                print_run(console, config.model, task.names, dim, found)

        return Outcome(table, tell, about)

    needed = 8 * count * CLM5_COLUMN.layers * 12 * _ARRAYS * len(config.model)
    said = f"models {', '.join(config.model)} at {count} place{'s' * (count > 1)}"
    figures = _figures(config, task)
    if asked is not None:
        said += f", and a {asked.said()}"
        needed += asked.memory(count, len(config.model), CLM5_COLUMN.layers)
        figures |= run_figures(asked, task.names, dim, _climate_said(task))
    return Job(work, lambda: said, needed, figures, before="\n".join(task.notes))


def _of_place(config: ColumnConfig) -> Task:
    known = {
        "mean_annual_temperature": config.mean_temperature,
        "npp": config.production,
        "sand": config.sand,
        "clay": config.clay,
        "land_cover": config.land_cover,
        "depth_to_bedrock": config.bedrock,
    }
    given = {n: np.array([float(x)]) for n, x in known.items() if x is not None}
    latitude, longitude = np.array([config.lat]), np.array([config.lon])
    sites = sites_of(climate_of(config), latitude, longitude, **given)
    places = Places.of("place", lat=latitude, lon=longitude)
    return Task(sites, places, None, (_at(config.lat, config.lon),), notes_of(sites))


def _at(lat: Any, lon: Any) -> str:
    north, east = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    return f"{abs(lat):g}° {north}, {abs(lon):g}° {east}"


def _forcing_variables(task: Task, choices: Any) -> dict[str, Any]:
    """What drives each place, in short."""
    spread, dims = task.places.spread, task.places.dims
    sites = task.sites
    mean = np.asarray(sites.air_temperature).mean(axis=-1)
    total = np.asarray(sites.precipitation).sum(axis=-1)
    npp = jax.vmap(lambda site: production(site, choices))(sites)
    off = f"an estimate is off by {NPP_ERROR:g} in the logarithm (standard deviation)"
    one = lambda values, unit, said: variable(dims, spread(values), unit, said)
    flags = {}
    if task.profiles is not None:
        said = {"urban": "in a town", "peat": "of peat", "wet": "on wet soil"}
        flags = {
            name: one(getattr(task.profiles, name).astype(float), "1", f"1 if {what}")
            for name, what in said.items()
        }
    return flags | {
        "air_temperature": one(mean, "degC", "mean annual temperature of the air"),
        "precipitation": one(total, "mm yr-1", "annual precipitation"),
        "npp": one(npp, "g m-2 yr-1", f"net primary production, as carbon; {off}"),
        "climate_distance": one(
            sites.climate_distance, "km", "distance to the cell of the climate"
        ),
        "vegetation_distance": one(
            sites.vegetation_distance,
            "km",
            "distance to that of the texture",
        ),
        "npp_distance": one(
            sites.npp_distance, "km", "distance to that of CASA's production"
        ),
        "npp_hidden": one(
            sites.npp_hidden, "1", "1 where the nearest cell has no production"
        ),
    }


def _print(console: Console, config: ColumnConfig, task: Task, found: Any) -> None:
    table = table_of(
        "place, model", "0-30 cm\nkgC/m²", "0-1 m\nkgC/m²", "residence\ntime, yr"
    )
    for index, name in enumerate(task.names[:_FEW]):
        table.add_section()
        table.add_row(name, style="bold")
        here = found.isel({task.places.dims[0]: index})
        for model in config.model:
            one = here.sel(model=model)
            if STATES[int(one.steady_state)] != "found":
                table.add_row(f"  {model}", "no steady", "state", "")
                continue
            stocks = 1e-3 * one.soil_stock.values
            time = float(one.residence_time)
            table.add_row(
                f"  {model}",
                f"{stocks[0]:.2f}",
                f"{stocks[1]:.2f}",
                "" if np.isnan(time) else f"{time:.0f}",
            )
    console.print(table)
    if (more := len(task.names) - _FEW) > 0:
        console.print(f"and {more} more places")
    if task.profiles is not None:
        scores = table_of("model, all layers", "NSE", "NSE of ln", "RMSE\nkgC/m³")
        for model in config.model:
            one = found.sel(model=model)
            row = one.pooled_nse, one.pooled_log_nse, 1e-3 * one.pooled_rmse
            scores.add_row(model, *(f"{float(x):.3f}" for x in row))
        console.print(scores)
    sentences = without_steady_state(found, task.places)
    for sentence in sentences[:_FEW]:
        console.print(sentence, style="yellow")
    if (more := len(sentences) - _FEW) > 0:
        console.print(
            f"and {more} more without a steady state: steady_state and "
            f"feasibility_margin in {config.results} say which",
            style="yellow",
        )
    console.print(f"climate: {task.sites.label}", highlight=False)


def _figures(config: ColumnConfig, task: Task) -> dict[str, Callable[[Any], Any]]:
    """Profiles of each place, in pages; of many, a map and all layers together."""
    count = len(task.names)
    pages = min(-(-count // plots.places.PANELS), _PAGES)
    figures: dict[str, Callable[[Any], Any]] = {
        "profiles" if pages == 1 else f"profiles_{page + 1}": partial(
            _figure_profiles, task, page=page
        )
        for page in range(pages)
    }
    if count > 1:
        figures["map"] = partial(_figure_map, task)
    if task.profiles is not None:
        figures["observed"] = _figure_observed
    return figures


def _figure_profiles(task: Task, found: Any, page: int) -> Any:
    (dim,) = task.places.dims
    bounds = np.append(
        found.depth_bounds.values[:, 0], found.depth_bounds.values[-1, 1]
    )
    panels, first = {}, page * plots.places.PANELS
    shown = task.names[first : first + plots.places.PANELS]
    for index, name in enumerate(shown, first):
        here = found.soil_organic_carbon.isel({dim: index})
        models = {m: here.sel(model=m).values for m in found.model.values}
        seen = {}
        if task.profiles is not None:
            own = found.observed_profile.values == index
            of = lambda what, own=own: found[f"observed_{what}"].values[own]
            seen = {"measured": (of("top"), of("bottom"), of("carbon"))}
        panels[f"{name}{_climate_said(task)}"] = models, seen
    return plots.figure_profiles(bounds, panels)


def _climate_said(task: Task) -> str:
    """What titles say of the climate, if it is not that of the place."""
    return "\nidealised climate" if "idealised" in task.sites.label else ""


def _figure_map(task: Task, found: Any) -> Any:
    model = found.model.values[0]
    stock = 1e-3 * found.soil_stock.sel(model=model).values[..., 1]
    return plots.figure_sites(
        found.lat.values,
        found.lon.values,
        stock,
        label=f"soil carbon to 1 m, {plots.style.title(model)} (kgC m$^{{-2}}$)",
    )


def _figure_observed(found: Any) -> Any:
    models, scores = {}, {}
    for model in map(str, found.model.values):
        one = found.sel(model=model)
        models[model] = one.modelled_carbon.values
        nse, of_logs = float(one.pooled_nse), float(one.pooled_log_nse)
        scores[model] = f"NSE {nse:.2f}, of logarithms {of_logs:.2f}"
    return plots.figure_observed_modelled(
        found.observed_carbon.values, models, scores=scores
    )
