"""`jaxsoc upscale`: run, print, draw."""

from collections.abc import Callable
from functools import cache, partial
from itertools import groupby
from typing import Any

import numpy as np
from rich.console import Console

from jaxsoc import experiments, plots
from jaxsoc.experiments import Design, Member, Supplied
from jaxsoc.experiments.cost import memory_of_run
from jaxsoc.experiments.design import case_axes
from jaxsoc.experiments.ensemble import chunk_size, continued, memory_needed
from jaxsoc.io import MemberStore, load_fields
from jaxsoc.physics.parameters import declarations
from jaxsoc.tables import Table

from .config import UpscaleConfig
from .report import Job, Outcome, Progress, free_memory, table_of


def upscale(config: UpscaleConfig) -> Job:
    """Checks everything; the cases are still to be run.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, supplied = checked_design(config)
    streamed = design.members > 1 and design.method is None
    store, chunk = MemberStore(config.out / "members.zarr"), design.members
    limit, needed = config.memory * 2**30, memory_of_run(design, supplied)
    if streamed:
        limit = min(free_memory(), limit) if limit > 0 else limit
        chunk = chunk_size(design, limit)
        if store.path.exists():
            chunk = continued(store, design, limit).chunk
        # Whether a chunk is finished is read for all of them.
        needed = memory_needed(design, chunk) + 8 * (design.members // chunk)

    def work(progress: Progress) -> Outcome:
        if streamed:
            options = {"progress": progress, "memory": limit}
            found = experiments.stream(design, store, **options)
        else:
            found = experiments.run(design, supplied, progress=progress)
        if config.figures:
            member()  # drawn here, so that what it warns of is noted with the rest
        return Outcome(found, lambda console, _: _print_summary(console, design, found))

    def said() -> str:
        parts = f" in chunks of {chunk} members" if streamed else ""
        return foreseen(design, supplied, needed) + parts

    member = cache(lambda: experiments.draw_member(design, 0, supplied))
    return Job(work, said, needed, _figures(design, member))


def checked_design(config: UpscaleConfig) -> tuple[Design, Supplied | None]:
    """The design and the user's fields, if any are given, which fit together.

    **Raises:** `ValueError` for whatever does not fit.
    """
    design, supplied = config.design(), None
    if config.fields is not None:
        supplied = load_fields(
            config.fields,
            units=config.units,
            parameter_spread=config.parameter_spread,
            grid=design.grid,
        )
    elif config.units is not None:
        raise ValueError(
            f"units {config.units!r} are given without fields; use --fields FILE"
        )
    case_axes(design, supplied)
    return design, supplied


def foreseen(design: Design, supplied: Supplied | None, memory: int) -> str:
    """What the runs of a design will take, in words; a short piece of it is timed."""
    cost = experiments.estimate_cost(design, supplied)
    return (
        f"{cost.cases} cases of {cost.cells} cells, {len(design.times)} saved times, "
        f"{cost.steps:.2g} steps of a cell: about {cost.seconds:.3g} s and "
        f"{memory / 2**20:.0f} MiB"
    )


def _print_summary(console: Console, design: Design, results: Table) -> None:
    members = f", mean of {design.members} members" if design.members > 1 else ""
    days = f"{design.hours / 24:g} days"
    headings = ["peak R\non day", "peak R\nmgC/g/h"]
    headings += ["ratio to\nhomogeneous", "final S\nmgC/g"]
    title = f"Scenario {design.scenario}, {days}{members}"
    table = table_of("case", *headings, title=title)
    rows = experiments.summarise(results)
    for kinetics, cases in groupby(rows, key=lambda row: row.kinetics):
        table.add_section()
        table.add_row(kinetics.replace("_", " "), style="bold")
        for row in cases:
            table.add_row(
                f"  {row.heterogeneity} {row.correlation}",
                f"{row.peak_day:.2f}",
                f"{row.peak_respiration:.5g}",
                "" if np.isnan(row.peak_ratio) else f"{row.peak_ratio:.3f}",
                f"{row.final_substrate:.3f}",
            )
    console.print(table)
    worst = lambda name: np.nanmax(results.values(name))
    console.print(
        f"carbon balance closes to {worst('carbon_balance_error'):.1e}; estimated "
        f"error of R {worst('respiration_error_estimate'):.1e} of its peak"
    )


def _figures(
    design: Design, member: Callable[[], Member]
) -> dict[str, Callable[[Any], Any]]:
    def fields(results: Any) -> Any:
        drawn, names = member().fields, plots.style.names(results, "correlation")
        substrate = {name: drawn.substrate[name] for name in names}
        return plots.figure_fields(drawn.biomass, substrate, design.grid.edge)

    def parameters(_: Any) -> Any:
        varying = {}
        for kinetics, drawn in member().constants.items():
            if drawn is not None:
                fields, nominal = vars(drawn), vars(design.nominal(kinetics))
                varying[kinetics] = {
                    one.name: (fields[one.name], nominal[one.name], one.unit)
                    for one in declarations(type(drawn))
                }
        return plots.figure_parameters(varying) if varying else None

    figures: dict[str, Callable[[Any], Any]] = {"fields": fields}
    for kinetics in design.kinetics:
        figures[f"pools_{kinetics}"] = partial(plots.figure_pools, kinetics=kinetics)
        figures[f"split_{kinetics}"] = partial(plots.figure_split, kinetics=kinetics)
    growth = plots.figure_specific_respiration
    return figures | {"specific_respiration": growth, "parameters": parameters}
