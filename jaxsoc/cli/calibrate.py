"""`jaxsoc calibrate`: posteriors of a soil model at measured profiles."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxsoc import plots
from jaxsoc.experiments.calibration import Calibration, SiteData, usual_block
from jaxsoc.experiments.convergence import Convergence
from jaxsoc.experiments.measured_sites import CALIBRATED, measured_sites
from jaxsoc.experiments.posteriors import (
    stored_experiment,
    stream,
    summary_table,
)
from jaxsoc.infer.approximations import Laplace, Pathfinder
from jaxsoc.infer.chains import AbstractSampler
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.metropolis import AdaptiveMetropolis
from jaxsoc.infer.nuts import NUTS
from jaxsoc.io import SiteStore, atmosphere, replacing, zones
from jaxsoc.io.atmosphere import FIRST, LAST
from jaxsoc.observe.profiles import Profiles
from jaxsoc.physics.parameters import declarations
from jaxsoc.physics.site_forcing import forcing_of, texture_of

from .calibrate_config import CalibrateConfig
from .profile_places import Task, of_profiles
from .report import Job, Outcome, Progress, table_of

_SAMPLERS: dict[str, Callable[..., AbstractSampler]] = {
    "hmc": BatchHMC,
    "nuts": NUTS,
    "metropolis": AdaptiveMetropolis,
    "pathfinder": Pathfinder,
    "laplace": Laplace,
}
# What a site is called converged by.
_MET = Convergence()
# Of measurements of radiocarbon.
_DATED = ", in a year that is known"
# Pages of panels that are drawn at most.
_PAGES = 3
# Numbers of a site while it is sampled, about: of all that a column has.
_ARRAYS = 200_000


def calibrate(config: CalibrateConfig) -> Job:
    """Checks everything; the posteriors are still to be sampled.

    **Raises:** `ValueError` for whatever does not fit.
    """
    config.check()
    assert config.profiles is not None
    task = of_profiles(config.profiles, config)
    task, data, design = _data(config, task)
    sampler, store = _sampler(config), SiteStore(config.out / "posteriors.zarr")
    asked = {
        "convergence": Convergence(again=config.again or Convergence().again),
        "tune": config.steps is None,
    }
    if store.path.exists():
        stored_experiment(store, design, data, sampler, **asked)
    times = config.out / "seconds.json"

    def work(progress: Progress) -> Outcome:
        seconds = json.loads(times.read_text()) if times.exists() else {}

        def clock(what: str, taken: float) -> None:
            seconds[what] = round(taken, 3)
            with replacing(times) as temporary:
                temporary.write_text(json.dumps(seconds))

        stream(design, data, store, sampler, progress=progress, clock=clock, **asked)
        table = summary_table(design, data, store, task.places.coordinates)
        about = {"climate": task.sites.label, "notes": list(task.notes)}
        return Outcome(table, partial(_print, design), about)

    many = "s" * (data.size > 1)
    said = f"posteriors of {design.model} at {data.size} profile{many}"
    before = "\n".join(task.notes)
    needed = 8 * usual_block(data.size) * jax.device_count() * _ARRAYS
    return Job(work, lambda: said, needed, _figures(task, design, store), before)


def _data(config: CalibrateConfig, task: Task) -> tuple[Task, SiteData, Calibration]:
    assert task.profiles is not None
    profiles, sites, choices = task.profiles, task.sites, config.forcing.made()
    kinds = tuple(config.kinds)
    seen = _measured(profiles, kinds)
    if not seen.any():
        raise ValueError(
            f"no profile that is taken has measurements of {', '.join(kinds)}"
            + _DATED * ("radiocarbon" in kinds)
        )
    chosen = np.flatnonzero(seen)[: config.first]
    notes = list(task.notes)
    if not seen.all():
        names = ", ".join(profiles.name[~seen][:5])
        notes.append(
            f"{(~seen).sum()} of {len(seen)} profiles left out: nothing of "
            f"{', '.join(kinds)} was measured{_DATED * ('radiocarbon' in kinds)} "
            f"({names})"
        )
    profiles = profiles[chosen]
    sites = jax.tree.map(lambda x: x[chosen] if np.ndim(x) else x, sites)
    forcing = forcing_of(sites, choices)
    _, clay = texture_of(sites, choices)
    air = None
    if "radiocarbon" in kinds:
        by_zone = {
            zone: atmosphere(zone, FIRST, LAST).mean(axis=1)
            for zone in np.unique(zones(profiles.latitude))
        }
        air = np.stack([by_zone[zone] for zone in zones(profiles.latitude)])
    inputs, known = measured_sites(
        profiles, forcing, clay, kinds, atmosphere=air, first=FIRST
    )
    design = Calibration(
        model=config.model,
        kinds=kinds,
        law=config.law,
        error=config.error,
        free_npp=config.free_npp,
        published_ranges=config.published_ranges,
        seed=config.seed,
    )
    middles = 0.5 * (profiles.top + profiles.bottom)
    width = next(iter(known.values())).shape[1]
    depths = profiles.by_profile(middles, width=width)
    data = SiteData.of(design, tuple(profiles.name), inputs, known, depths)
    places = type(task.places).of("site", lat=profiles.latitude, lon=profiles.longitude)
    task = Task(sites, places, profiles, tuple(profiles.name), tuple(notes))
    return task, data, design


def _measured(profiles: Profiles, kinds: tuple[str, ...]) -> np.ndarray:
    """Which profiles have measurements of any kind."""
    held = {
        "carbon": profiles.density,
        "stock": profiles.density,
        "content": profiles.content * profiles.bulk_density,
    }
    some = np.zeros(len(profiles), bool)
    for kind in kinds:
        if kind == "radiocarbon":
            # Of no year that is known it says nothing.
            dated = (profiles.year >= FIRST)[profiles.profile]
            known = np.isfinite(profiles.radiocarbon) & dated
        else:
            known = held[kind] > 0
        some |= np.bincount(profiles.profile, known, minlength=len(profiles)) > 0
    return some


def _sampler(config: CalibrateConfig) -> AbstractSampler:
    given = {"chains": config.chains, "draws": config.draws}
    if config.warmup is not None:
        given["warmup"] = config.warmup
    if config.steps is not None:
        given["steps"] = config.steps
    return _SAMPLERS[config.sampler](**given)


def _print(design: Calibration, console: Console, found: Any) -> None:
    worst, least = found.rhat.max("constant"), found.ess_bulk.min("constant")
    least = np.minimum(least, found.ess_tail.min("constant"))
    table = table_of("sites", "share")
    sites = found.sizes["site"]
    share = lambda met: f"{100 * float(np.mean(met)):.0f} %"
    table.add_row(f"largest R-hat below {_MET.rhat}", share(worst < _MET.rhat))
    table.add_row(
        f"effective draws at least {_MET.effective:g}", share(least >= _MET.effective)
    )
    table.add_row("no divergence", share(found.diverged.sum("chain") == 0))
    table.add_row("no state without a column", share(found.barred.sum("chain") == 0))
    console.print(f"{sites} sites, {design.model}")
    console.print(table)
    constants = table_of("constant", "contraction", "largest\nR-hat", "least\ndraws")
    middle = found.contraction.median("site")
    for name in found.constant.values:
        one = found.sel(constant=name)
        constants.add_row(
            str(name),
            f"{float(middle.sel(constant=name)):.2f}",
            f"{float(one.rhat.max()):.3f}",
            f"{float(np.minimum(one.ess_bulk, one.ess_tail).min()):.0f}",
        )
    console.print(constants)


def _figures(
    task: Task, design: Calibration, store: SiteStore
) -> dict[str, Callable[[Any], Any]]:
    """Profiles with bands, constants of the first site, and how well it all went."""
    pages = min(-(-len(task.names) // plots.posteriors.PANELS), _PAGES)
    figures: dict[str, Callable[[Any], Any]] = {
        "profiles" if pages == 1 else f"profiles_{page + 1}": partial(
            _figure_profiles, task, page=page
        )
        for page in range(pages)
    }
    return figures | {
        "constants": partial(_figure_constants, task, design, store),
        "pairs": partial(_figure_pairs, task, design, store),
        "convergence": lambda found: plots.figure_convergence(
            found.rhat.values,
            found.contraction.values,
            found.constant.values,
            limit=_MET.rhat,
        ),
    }


def _figure_profiles(task: Task, found: Any, page: int) -> Any:
    assert task.profiles is not None
    first, panels = page * plots.posteriors.PANELS, {}
    ends = [0, len(found["quantile"]) // 2, -1]
    for place, name in enumerate(task.names[first : first + plots.posteriors.PANELS]):
        one = task.profiles[[first + place]]
        bands = found.profile.isel(site=first + place).values[ends]
        panels[name] = bands, (one.top, one.bottom, one.density)
    return plots.figure_posterior_profiles(found.depth.values, panels)


def _first_site(design: Calibration, store: SiteStore) -> dict[str, np.ndarray]:
    held = store.read(0, 1)
    return {name: held[name][0] for name in design.site_model.priors}


def _labels(design: Calibration) -> dict[str, str]:
    known = declarations(CALIBRATED[design.model].parameters)
    unit = lambda d: "" if d.unit == "1" else f" ({d.unit})"
    return {d.name: f"{plots.style.title(d.name)}{unit(d)}" for d in known}


def _figure_constants(
    task: Task, design: Calibration, store: SiteStore, found: Any
) -> Any:
    draws = _first_site(design, store)
    known = declarations(CALIBRATED[design.model].parameters)
    priors = {}
    for name, law in design.site_model.priors.items():
        ends = getattr(law, "low", np.min(draws[name])), getattr(law, "high", None)
        high = np.max(draws[name]) if ends[1] is None else ends[1]
        values = np.linspace(float(ends[0]), float(high), 101)
        inside = 0.5 * (values[1:] + values[:-1])
        priors[name] = inside, np.exp(np.asarray(law.log_prob(inside)))
    return plots.figure_marginals(
        draws,
        priors,
        {d.name: d.default for d in known},
        labels=_labels(design),
        title=task.names[0],
    )


def _figure_pairs(task: Task, design: Calibration, store: SiteStore, found: Any) -> Any:
    draws = _first_site(design, store)
    return plots.figure_pairs(draws, labels=_labels(design), title=task.names[0])
