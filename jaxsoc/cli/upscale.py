"""`jaxsoc upscale`: run, tell, draw, store."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console

from jaxsoc.experiments import (
    Design,
    Member,
    Supplied,
    checked_correlations,
    draw_member,
    estimate_cost,
    run,
    stream,
    summarise,
)
from jaxsoc.io import MemberStore, load_fields, writable_folder
from jaxsoc.physics.parameters import declarations
from jaxsoc.tables import Table

from .config import UpscaleConfig
from .report import Outcome, carry_out, table_of, with_bar


def run_upscale(config: UpscaleConfig, *, quiet: bool, dry_run: bool) -> None:
    """Checks everything, runs, and writes `upscale.nc` and figures into `config.out`.

    **Raises:** `ValueError` before anything is computed, for whatever does not fit.
    """

    def work(console: Console) -> Outcome | None:
        design = config.design()
        supplied = supplied_fields(config, design)
        checked_correlations(design, supplied)
        if dry_run:
            _print_estimate(console, design, supplied)
            return None
        store = MemberStore(writable_folder(config.out) / "members.zarr")
        memory = config.memory * 2**30

        def runs(progress: Callable) -> Table:
            if design.members > 1 and design.method is None:
                return stream(design, store, progress=progress, memory=memory)
            return run(design, supplied, progress=progress)

        found = with_bar(console, runs)
        member = draw_member(design, 0, supplied)
        return Outcome(
            found,
            lambda console, _: _print_summary(console, design, found),
            lambda results: _figures(results, design, member),
        )

    carry_out("upscale", config, quiet, work)


def supplied_fields(config: UpscaleConfig, design: Design) -> Supplied | None:
    """The user's fields, if any are given; `ValueError` for units without them."""
    if config.fields is None:
        if config.units is not None:
            raise ValueError(
                f"units {config.units!r} are given without fields; use --fields FILE"
            )
        return None
    return load_fields(
        config.fields, units=config.units, degree=design.degree, grid=design.grid
    )


def _print_summary(console: Console, design: Design, results: Table) -> None:
    members = f", mean of {design.members} members" if design.members > 1 else ""
    days = f"{design.hours / 24:g} days"
    table = table_of(
        "case",
        "peak R\non day",
        "peak R\nmgC/g/h",
        "ratio to\nhomogeneous",
        "final S\nmgC/g",
        title=f"Scenario {design.scenario}, {days}{members}",
    )
    last = None
    for row in summarise(results):
        if row.kinetics != last:
            table.add_section()
            table.add_row(row.kinetics.replace("_", " "), style="bold")
            last = row.kinetics
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


def _print_estimate(
    console: Console, design: Design, supplied: Supplied | None
) -> None:
    cost = estimate_cost(design, supplied)
    console.print(
        f"{cost.cases} cases of {cost.cells} cells, {len(design.times)} saved times: "
        f"about {cost.seconds:.0f} s and {cost.bytes / 2**20:.0f} MiB; nothing was run"
    )


def _figures(results: Any, design: Design, member: Member) -> dict[str, Any]:
    from jaxsoc import plots

    if "member" not in results.dims:  # statistics over members: draw their means
        results = results.expand_dims("member")
    substrate = {
        name: np.asarray(member.fields.substrate[name])
        for name in map(str, results.correlation.values)
    }
    biomass = np.asarray(member.fields.biomass)
    figures = {"fields": plots.figure_fields(biomass, substrate, design.grid.edge)}
    for kinetics in design.kinetics:
        figures[f"pools_{kinetics}"] = plots.figure_pools(results, kinetics)
        figures[f"split_{kinetics}"] = plots.figure_split(results, kinetics)
    figures["specific_respiration"] = plots.figure_specific_respiration(results)
    varying = {}
    for kinetics, drawn in member.constants.items():
        if drawn is not None:
            nominal = design.nominal(kinetics)
            varying[kinetics] = {
                d.name: (getattr(drawn, d.name), getattr(nominal, d.name), d.unit)
                for d in declarations(type(drawn))
            }
    if varying:
        figures["parameters"] = plots.figure_parameters(varying)
    return figures
