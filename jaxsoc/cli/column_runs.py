"""`jaxsoc column --years`: the same columns through time, with their radiocarbon."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from jaxsoc import plots
from jaxsoc.columns.summary import SiteResults
from jaxsoc.columns.transient import Change
from jaxsoc.experiments.comparison import compared_radiocarbon
from jaxsoc.experiments.runs import runs_at_sites
from jaxsoc.io import Places, atmosphere, load_changes, runs_table, zones
from jaxsoc.io.atmosphere import FIRST, LAST
from jaxsoc.observe.profiles import Profiles
from jaxsoc.tables import Table, variable

from .column_config import ColumnConfig
from .report import Progress, table_of

# Places up to which each gets a panel and a row of its own; of more, the middle and
# the ends of 80 % of them are shown.
_FEW = 6
_SHARES = (0.1, 0.5, 0.9)
_STOCK = "change of soil carbon (kgC m$^{-2}$)"
_DELTA = "$\\Delta^{14}$C (‰)"
# What is kept of a place in a year besides its layers and pools, about.
_OTHERS = 20


class RunPlan(NamedTuple):
    """What a run is asked to be.

    `first`: its first calendar year, None where years are counted; `changes`: by year;
    `sky`: Δ¹⁴C of the atmosphere by place, year and month, ‰, where it is carried.
    """

    first: int | None
    changes: Change
    sky: Any

    @classmethod
    def of(cls, config: ColumnConfig, latitude: Any) -> "RunPlan":
        """As the options say, at places of these latitudes.

        **Raises:** `ValueError` for years that do not fit together, or a file that
        cannot be read.
        """
        if config.changes is None:
            first, count = config.span()
            changes = _ramp(config, count)
        else:
            years, changes = load_changes(config.changes)
            # Years from 0 or 1 on are counted ones.
            first = int(years[0]) if years[0] > 1 else None
        if not config.radiocarbon:
            return cls(first, changes, None)
        if first is None:
            raise ValueError(
                "radiocarbon needs calendar years: expected those of changes to be AD, "
                f"up to {LAST}, got years counted from the start"
            )
        # It begins before the bombs, with years that are not changed.
        earlier = max(0, first - FIRST)
        first -= earlier
        changes = Change(
            np.concatenate([np.zeros(earlier), changes.warming]),
            np.concatenate([np.ones(earlier), changes.litter]),
        )
        last, zone = first + len(changes.warming) - 1, zones(latitude)
        by_zone = {z: atmosphere(z, first, last) for z in np.unique(zone)}
        return cls(first, changes, np.stack([by_zone[z] for z in zone]))

    @property
    def years(self) -> int:
        """How many there are."""
        return len(self.changes.warming)

    def said(self) -> str:
        """What it is, in words."""
        end = f", {self.first} to {self.first + self.years - 1}" if self.first else ""
        carried = ", with radiocarbon" if self.sky is not None else ""
        return f"run of {self.years} years{end}{carried}"

    def memory(self, places: int, models: int, layers: int) -> int:
        """Bytes that it takes at a time, about."""
        kept = layers * (1 + (self.sky is not None)) + _OTHERS
        return 8 * 3 * places * models * self.years * kept


def _ramp(config: ColumnConfig, count: int) -> Change:
    year = np.arange(1, count + 1)
    share = np.minimum(1.0, year / config.ramp) if config.ramp else np.ones(count)
    return Change(config.warming * share, 1.0 + (config.litter - 1.0) * share)


def run_table(
    run: RunPlan,
    results: Mapping[str, SiteResults],
    places: Places,
    profiles: Profiles | None,
    progress: Progress,
) -> Table:
    """Runs of all models at all places, beside radiocarbon that was measured there.

    **Arguments:** `results`: of the models at rest.
    """
    found = {}
    for done, (name, one) in enumerate(results.items()):
        progress(done, len(results), f"{name}, {run.years} years")
        found[name] = runs_at_sites(
            one.model, one.params, changes=run.changes, atmosphere=run.sky
        )
    table = runs_table(found, places, run.first)
    variables = table.variables
    said = "of all layers and months of the year", "of all litter of the year"
    start = np.array([np.nan])
    whole = lambda x: np.concatenate([start, np.asarray(x, float)])
    variables["run_warming"] = variable(
        "year", whole(run.changes.warming), "K", said[0]
    )
    variables["run_litter_factor"] = variable(
        "year", whole(run.changes.litter), "1", said[1]
    )
    if run.sky is not None:
        mean = np.concatenate(
            [np.full_like(run.sky[:, :1, 0], np.nan), run.sky.mean(2)], 1
        )
        air = "radiocarbon (Delta 14C) of the atmosphere's CO2 over the year"
        dims = (*places.dims, "year")
        variables["run_atmosphere_delta"] = variable(
            dims, places.spread(mean), "1e-3", air
        )
        if profiles is not None and np.isfinite(profiles.radiocarbon).any():
            variables |= compared_radiocarbon(profiles, found, run.first or FIRST)
    return table


def print_run(console: Console, models: Any, names: Any, dim: str, found: Any) -> None:
    """Stocks before and after, and radiocarbon at the end, of a few places."""
    carried = "run_soil_delta" in found
    first, last = found.year.values[[0, -1]]
    more = ("14C of soil\nto 1 m, ‰", "14C of\nCO2, ‰") if carried else ()
    table = table_of(
        f"place, model\n{first} to {last}", "soil carbon\nkgC/m²", "change\n%", *more
    )
    stock = 1e-3 * found.run_soil_stock.isel(stock_depth=-1)
    columns = {
        "soil carbon": (stock.isel(year=-1), ".2f"),
        "change": (100 * (stock.isel(year=-1) / stock.isel(year=0) - 1), "+.1f"),
    }
    if carried:
        columns["soil"] = found.run_stock_delta.isel(year=-1, stock_depth=1), ".0f"
        columns["respired"] = found.run_respired_delta.isel(year=-1), ".0f"
    shown = {"middle of all places": lambda values: values.median(dim)}
    if len(names) <= _FEW:
        at = lambda place: lambda values: values.isel({dim: place})
        shown = {name: at(place) for place, name in enumerate(names)}
    for name, pick in shown.items():
        table.add_section()
        table.add_row(name, style="bold")
        for model in models:
            of = lambda values, m=model, pick=pick: float(pick(values.sel(model=m)))
            row = [format(of(values), how) for values, how in columns.values()]
            if np.isnan(of(stock.isel(year=-1))):
                row = ["no steady", "state", *[""] * (len(row) - 2)]
            table.add_row(f"  {model}", *row)
    console.print(table)
    for model in models:
        one = found.sel(model=model)
        drifting = (one.run_soil_stock[..., 0, -1].notnull()) & (one.run_spun_up == 0)
        if count := int(drifting.sum()):
            console.print(
                f"{model} at {count} place{'s' * (count > 1)}: no state was found that "
                "years of the same months lead back to; the run starts at the steady "
                "state of their means and drifts where nothing changes, too",
                style="yellow",
            )


def run_figures(
    run: RunPlan, names: Any, dim: str, climate: str = ""
) -> dict[str, Any]:
    """Change of stocks through time, and radiocarbon beside the atmosphere's.

    **Arguments:** `climate`: what titles say of it, if anything.
    """
    where = [f"{name}{climate}" for name in names], dim, climate
    figures: dict[str, Any] = {"run": partial(_figure_change, *where)}
    if run.sky is not None:
        figures["radiocarbon"] = partial(_figure_respired, *where)
        figures["radiocarbon_profiles"] = partial(_figure_with_depth, *where)
        figures["radiocarbon_observed"] = _figure_observed
    return figures


def _panels(names, dim, climate, values):
    """By place, or of the shares of many, the series of each model."""
    models = [str(m) for m in values.model.values]
    if len(names) <= plots.places.PANELS:
        return {
            name: {m: values.isel({dim: place}).sel(model=m).values for m in models}
            for place, name in enumerate(names)
        }
    spread = values.quantile(list(_SHARES), dim).transpose("model", "quantile", "year")
    title = f"middle and 80 % of {len(names)} places{climate}"
    return {title: {m: spread.sel(model=m).values for m in models}}


def _figure_change(names, dim, climate, found):
    stock = 1e-3 * found.run_soil_stock.isel(stock_depth=-1)
    change = stock - stock.isel(year=0)
    panels = _panels(names, dim, climate, change)
    return plots.figure_runs(found.year.values, panels, label=_STOCK)


def _figure_respired(names, dim, climate, found):
    # Nothing passes before the first year.
    found = found.isel(year=slice(1, None))
    panels = _panels(names, dim, climate, found.run_respired_delta)
    air = found.run_atmosphere_delta
    one = lambda place: air.isel({dim: place}).values
    every = len(panels) == len(names)
    beside = {
        name: {"atmosphere": one(place) if every else air.mean(dim).values}
        for place, name in enumerate(panels)
    }
    label = f"respired CO$_2$, {_DELTA}"
    return plots.figure_runs(found.year.values, panels, label=label, beside=beside)


def _figure_with_depth(names, dim, climate, found):
    """At the end of the run, or of those measured in the year of their sampling."""
    bounds = np.append(
        found.depth_bounds.values[:, 0], found.depth_bounds.values[-1, 1]
    )
    measured = "observed_radiocarbon" in found
    places = range(len(names))
    if measured:
        known = found.observed_profile.values[np.isfinite(found.observed_radiocarbon)]
        places = [*dict.fromkeys(known.tolist())]
    panels = {}
    for place in places[: plots.places.PANELS]:
        here = found.isel({dim: place})
        year, seen = int(found.year.values[-1]), {}
        if measured:
            year = int(here.observed_year)
            own = found.observed_profile.values == place
            of = lambda what, own=own: found[f"observed_{what}"].values[own]
            seen = {"measured": (of("top"), of("bottom"), of("radiocarbon"))}
        now = here.run_soil_delta.sel(year=year)
        models = {str(m): now.sel(model=m).values for m in found.model.values}
        name = names[place].removesuffix(climate)
        panels[f"{name}, {year}{climate}"] = models, seen
    if not panels:
        return None
    label = f"soil carbon, {_DELTA}"
    return plots.figure_profiles(bounds, panels, label=label, factor=1.0)


def _figure_observed(found):
    if "observed_radiocarbon" not in found:
        return None
    models = {
        str(m): found.modelled_radiocarbon.sel(model=m).values
        for m in found.model.values
    }
    scores = {
        m: f"RMSE {float(found.radiocarbon_rmse.sel(model=m)):.0f} ‰, "
        f"bias {float(found.radiocarbon_bias.sel(model=m)):+.0f} ‰"
        for m in models
    }
    return plots.figure_observed_modelled(
        found.observed_radiocarbon.values,
        models,
        scores=scores,
        label=_DELTA,
        factor=1.0,
        log=False,
    )
