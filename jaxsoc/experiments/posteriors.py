"""Posteriors of many profiles, chunk by chunk into a store, and what they say."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.infer.chains import AbstractKernel, AbstractSampler
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.observe.profiles import misfits
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.parameters import declarations
from jaxsoc.solve.devices import free_devices
from jaxsoc.solve.progress import Progress, silent
from jaxsoc.tables import Table, Variable, variable

from .calibration import (
    QUANTILES,
    Calibration,
    Calibrator,
    Posteriors,
    SiteData,
    pilot,
    program,
    usual_block,
)
from .convergence import Convergence, diagnosed
from .measured_sites import CALIBRATED, unit_of

_CONVERGENCE = Convergence()
# Chunks from which on a pilot, which takes as long as three of them, may pay.
_TUNED = 4


def stream(
    design: Calibration,
    data: SiteData,
    store: Any,
    sampler: AbstractSampler,
    *,
    convergence: Convergence = _CONVERGENCE,
    tune: bool = True,
    block: int | None = None,
    progress: Progress = silent,
    clock: Callable[[str, float], None] = lambda what, seconds: None,
) -> None:
    """Calibrates sites into a store, or what is missing of it.

    All sites first, chunk by chunk; then those that have not converged once more, with
    more iterations for each draw. What a site ends with depends on itself alone, not
    on where a run was interrupted.

    **Arguments:** `store`: a `jaxsoc.io.SiteStore`; `tune`: whether a `pilot` chooses
    the length of trajectories when the store is made, where sites are so many that it
    costs less than they do; `block`: see `Calibrator`; `clock`: told the seconds of
    every chunk, which are no part of the store.
    **Raises:** `ValueError` for a store of another model, data or version, damaged, or
    taken by another run.
    """
    if block is None:
        block = usual_block(data.size)
        if store.path.exists():
            # As many lanes as the sites that a chunk of the store has.
            block = max(1, -(-store.about()["chunk"] // free_devices()))
    calibrator = Calibrator(design, sampler, block=block)
    asked = sampler, convergence, tune
    if not store.path.exists():
        paid: dict[str, float] = {}
        many = data.size >= _TUNED * calibrator.chunk
        if tune and many and isinstance(sampler, BatchHMC):
            sampler, paid = pilot(calibrator, data, progress=progress)
        store.create(_empty(calibrator, data, sampler, asked, paid))
    known = stored_experiment(store, design, data, *asked)
    if isinstance(sampler, BatchHMC):
        sampler = replace(sampler, steps=known["sampler"]["steps"])
    with store.locked():
        late = _first_pass(
            calibrator, data, store, sampler, convergence, (progress, clock)
        )
        if convergence.again > 1 and isinstance(sampler, AbstractKernel):
            more = {name: getattr(sampler, name) for name in ("warmup", "thin")}
            more = {name: x * convergence.again for name, x in more.items()}
            longer = replace(sampler, **more)
            parts, done = -(-late.size // known["chunk"]), data.size - late.size
            for places in np.array_split(late, parts) if parts else ():
                progress(done, data.size, f"{late.size} sites again")
                done += places.size
                begun = time.perf_counter()
                found = calibrator(data.at(places), longer)
                _put(store, places, _arrays(found, passes=2.0))
                clock(f"again {places[0]}", time.perf_counter() - begun)
    progress(data.size, data.size, "")


def _first_pass(calibrator, data, store, sampler, convergence, told):
    """What is missing of it; places of sites that have still to go again."""
    progress, clock = told
    chunk, late = store.about()["chunk"], []
    for number, held in enumerate(store.marks()):
        places = np.arange(number * chunk, min((number + 1) * chunk, data.size))
        progress(int(places[0]), data.size, "sites")
        if held == len(places):
            arrays = store.read(number, int(held))
        else:
            begun = time.perf_counter()
            arrays = _arrays(calibrator(data.at(places), sampler), passes=1.0)
            store.write(number, arrays)
            clock(str(number), time.perf_counter() - begun)
        of = diagnosed(_constants(calibrator.design, arrays))
        late.append(places[~convergence.met(of) & (arrays["passes"] < 2)])
    return np.concatenate(late)


def _put(store, places, arrays):
    """Replaces sites of finished chunks."""
    chunk = store.about()["chunk"]
    marks = store.marks()
    for number in np.unique(places // chunk):
        held = store.read(int(number), int(marks[number]))
        here = places // chunk == number
        for name, values in arrays.items():
            held[name][places[here] % chunk] = values[here]
        store.write(int(number), held)


def _constants(design, arrays):
    """Draws by constant, error scales among them."""
    priors = design.site_model.priors
    known = lambda name: name in priors or name.endswith("_error")
    return {name: x for name, x in arrays.items() if known(name)}


def _experiment(design, data, sampler, convergence, tune):
    """What makes two stores the same."""
    held = hashlib.sha256()
    for leaf in jax.tree.leaves(tuple(data[1:])):
        held.update(np.ascontiguousarray(leaf).tobytes())
    numbers = dict(vars(sampler))
    if tune and isinstance(sampler, BatchHMC):
        numbers["steps"] = "by a pilot"
    return {
        **{name: _said(x) for name, x in vars(design).items() if name in _FIELDS},
        "sampler": type(sampler).__name__,
        **{name: str(x) for name, x in numbers.items()},
        **{name: str(x) for name, x in convergence._asdict().items()},
        "sites": str(data.size),
        "data": held.hexdigest(),
        # Another release of either may draw other numbers from the same keys.
        **{name: version(name) for name in ("jaxsoc", "jax", "numpyro")},
    }


def _said(value):
    """A text by which a design is known: of a prior, by what is drawn from it."""
    if not isinstance(value, Mapping):
        return str(value)
    key, said = jax.random.PRNGKey(0), []
    for name, law in sorted(value.items()):
        drawn = np.asarray(law.sample(key, (16,)), float)
        digest = hashlib.sha256(drawn.tobytes()).hexdigest()[:16]
        said.append(f"{name} {type(law).__name__} {digest}")
    return ", ".join(said)


_FIELDS = tuple(Calibration.__dataclass_fields__)


def _empty(calibrator, data, sampler, asked, paid) -> Table:
    """What a store of posteriors holds, without values, and says of itself."""
    one = program(calibrator.posterior(data), calibrator.design.predict)
    run = partial(one, jax.tree.map(jnp.asarray, sampler))
    first = data.at(np.zeros(1, int))
    site = jax.tree.map(lambda x: x[0], tuple(first[1:]))
    shapes = _arrays(eqx.filter_eval_shape(run, site), lambda x: x)
    shapes["passes"] = np.empty(())
    count = data.size
    variables = {}
    for name, x in shapes.items():
        dims, unit, long_name = _described(calibrator.design, name)
        whole = np.broadcast_to(np.nan, (count, *x.shape))
        variables[name] = variable(("site", *dims), whole, unit, long_name)
    kept = {"steps": int(sampler.steps)} if isinstance(sampler, BatchHMC) else {}
    about = {
        "experiment": _experiment(calibrator.design, data, *asked),
        "sampler": kept | {"effective_per_slope": paid},
        "sites": count,
        "chunk": calibrator.chunk,
        "names": list(data.names),
    }
    return Table(variables, {}, about)


def stored_experiment(
    store: Any,
    design: Calibration,
    data: SiteData,
    sampler: AbstractSampler,
    convergence: Convergence = _CONVERGENCE,
    tune: bool = True,
) -> dict[str, Any]:
    """What a store of these posteriors says of itself; nothing is written.

    **Raises:** `ValueError` for a store of another model, data, version or sampler.
    """
    known = store.about()
    found = known["experiment"]
    wanted = _experiment(design, data, sampler, convergence, tune)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            said = "other data" if name == "data" else f"{name} {found.get(name)}"
            asked = "" if name == "data" else f", asked for {wanted.get(name)}"
            raise ValueError(
                f"{str(store.path)!r} holds other posteriors ({said}{asked}): name "
                "another store, or remove it"
            )
    return known


def _arrays(
    found: Posteriors,
    kept: Any = lambda x: np.array(x, float),
    *,
    passes: float | None = None,
) -> Any:
    """Arrays of a store by name.

    **Arguments:** `passes`: how often the sites were sampled, None where not known yet.
    """
    arrays = {name: values for name, values in found.draws.items()}
    predicted = found.predicted
    arrays |= {
        "log_density": found.log_density,
        "accepted": found.accepted,
        "diverged": found.diverged,
        "barred": found.barred,
        "profile": predicted.profile,
        "profile_mean": predicted.profile_mean,
        "stock": predicted.stock,
        "residence_time": predicted.residence_time,
        **{f"predicted_{kind}": x for kind, x in predicted.seen.items()},
    }
    if passes is not None:
        arrays["passes"] = np.full(len(found.accepted), passes)
    arrays |= {n: found.learnt[n] for n in _LEARNT if n in found.learnt}
    return {name: kept(x) for name, x in arrays.items()}


_CHAIN, _DRAW = ("chain",), ("chain", "draw")
_DIMS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "log_density": (_DRAW, "1", "logarithm of the posterior density on the line"),
    "accepted": (_CHAIN, "1", "mean chance of acceptance"),
    "diverged": (_CHAIN, "1", "iterations whose energy was lost"),
    "barred": (_CHAIN, "1", "iterations that ended where there is no steady state"),
    "profile": (
        ("quantile", "layer"),
        "g m-3",
        "soil organic carbon per volume, over draws",
    ),
    "profile_mean": (("layer",), "g m-3", "mean of soil organic carbon over draws"),
    "stock": (("quantile", "stock_depth"), "g m-2", "soil organic carbon to a depth"),
    "residence_time": (("quantile",), "yr", "of soil carbon, per litter"),
    "passes": ((), "1", "1, or 2 for a site that was sampled again for longer"),
    "step": ((), "1", "learnt length of a leapfrog step"),
    "step_by_chain": (_CHAIN, "1", "learnt length of a leapfrog step"),
    "mean_steps": (_CHAIN, "1", "leapfrog steps of a trajectory, mean"),
    "scale": ((), "1", "learnt scale of proposals"),
}
_LEARNT = ("step", "step_by_chain", "mean_steps", "scale")


def _described(design: Calibration, name: str) -> tuple[tuple[str, ...], str, str]:
    """Dimensions behind that of the site, unit and long name of an array."""
    if name in _DIMS:
        return _DIMS[name]
    if name.startswith("predicted_"):
        kind = name.removeprefix("predicted_")
        return ("quantile", "observation"), unit_of(kind), f"{kind} as predicted"
    known = {d.name: d for d in declarations(CALIBRATED[design.model].parameters)}
    if name in known:
        return _DRAW, known[name].unit, known[name].meaning
    return _DRAW, "1", name.replace("_", " ")


def summary_table(
    design: Calibration, data: SiteData, store: Any, coordinates: Mapping[str, Any]
) -> Table:
    """What posteriors in a store say, site by site, without their draws.

    **Arguments:** `coordinates`: of the sites, as `lat` and `lon`.
    """
    known, parts = store.about(), []
    names: tuple[str, ...] = ()
    for number, count in enumerate(store.marks()):
        arrays = store.read(number, int(count))
        own = _constants(design, arrays)
        names = tuple(own)
        rest = {n: x for n, x in arrays.items() if n not in {*own, "log_density"}}
        parts.append((diagnosed(own), rest))
    found: Any = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    of, arrays = found
    by = ("site", "constant")
    spread = np.array([_variance(design, name) for name in names])
    variables: dict[str, Variable] = {
        "mean": variable(by, of.mean, "1", "mean of draws, in the constant's unit"),
        "deviation": variable(by, of.deviation, "1", "standard deviation, likewise"),
        "rhat": variable(by, of.rhat, "1", "rank-normalised split R-hat"),
        "ess_bulk": variable(by, of.bulk, "1", "effective draws for the centre"),
        "ess_tail": variable(by, of.tail, "1", "effective draws for the tails"),
        "contraction": variable(
            by, 1 - of.deviation**2 / spread, "1", "1 - posterior over prior variance"
        ),
        "correlation": variable(
            (*by, "other_constant"),
            of.correlation,
            "1",
            "correlation of draws of two constants",
        ),
    }
    for name, values in arrays.items():
        dims, unit, long_name = _described(design, name)
        variables[name] = variable(("site", *dims), values, unit, long_name)
    for kind, one in data.measured.items():
        seen = variable(("site", "observation"), one.values, unit_of(kind), kind)
        variables[f"measured_{kind}"] = seen
        # Misfits are of what can only be positive, which Δ14C need not be.
        if kind == "radiocarbon":
            continue
        middle = arrays[f"predicted_{kind}"][:, QUANTILES.index(0.5)]
        variables[f"efficiency_{kind}"] = variable(
            ("site",),
            _efficiency(one.values, middle),
            "1",
            "efficiency (NSE) of the median prediction",
        )
    column = CLM5_COLUMN
    axes = {
        "site": np.array(data.names),
        "constant": np.array(names),
        "other_constant": np.array(names),
        "quantile": np.array(QUANTILES),
        "depth": variable("layer", column.nodes, "m", "depth of the layer's node"),
        **coordinates,
    }
    about = {
        "title": f"posteriors of {design.model} at measured profiles",
        "experiment": known["experiment"],
        "sampler": known["sampler"],
    }
    return Table(variables, axes, about)


def _efficiency(seen, predicted):
    """NSE of each site, NaN where it has fewer than two different measurements."""
    profile = np.repeat(np.arange(len(seen)), seen.shape[1])
    return misfits(seen.ravel(), predicted.ravel(), profile, len(seen)).nse


def _variance(design, name):
    """Of the prior."""
    priors = design.site_model.priors
    law = priors.get(name, design.site_model.error)
    try:
        return float(law.variance)
    except NotImplementedError:  # of some laws of numpyro it is not known
        return float("nan")
