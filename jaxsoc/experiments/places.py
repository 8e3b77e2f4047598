"""Columns at many places: steady states, components and seasons in one program."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.feasibility import feasibility
from jaxsoc.columns.seasons import mixes_microbes, periodic_state
from jaxsoc.columns.spin_up import spin_up
from jaxsoc.columns.steady import CLOSURE
from jaxsoc.columns.summary import (
    STOCK_DEPTHS,
    SiteResults,
    YearSummary,
    stock_ends,
    summary,
)
from jaxsoc.columns.transient import transient
from jaxsoc.models.column import AbstractClosedForm, AbstractColumnModel
from jaxsoc.physics.parameters import POSITIVE
from jaxsoc.solve import Sites, accelerated, map_sites, require_x64, steady_state
from jaxsoc.solve.devices import free_devices

# Of a year that is not exact.
_STEPS: dict[str, Any] = {"method": "backward_euler", "steps": 4}
# Sites of a chunk, on each device, and sizes of those that are few.
_CHUNK, _FEW = 256, (1, 32)


def columns_at_sites(
    model: AbstractColumnModel,
    params: Any = None,
    *,
    depths: Sequence[float] = STOCK_DEPTHS,
    periodic: bool = False,
    options: Mapping[str, Any] | None = None,
) -> SiteResults:
    """Steady states of a model at many sites, with what is kept of each column.

    Every site is solved by itself, see `steady_state`, many of them in one program,
    compiled once for a kind of model with its options and layers: in full where there
    are more than 32 sites, and in half the time for few.

    **Arguments:** `model`: with a forcing of many sites, `COMPAS(forcings)`; other
    arrays of it, such as clay, lead by site, too; `params`: one set for all sites, or
    one whose every leaf leads by site, by default the model's; `depths`: of stocks, m,
    besides the whole column; `periodic`: whether the year that repeats itself is found,
    too, see `periodic_state`, of MIMICS by `spin_up`, four steps a month;
    `options`: of `components`.
    **Returns:** `SiteResults`, to be written by `io.columns_dataset`. Where there is no
    steady state, `found` is False, all of the summary NaN, and `margin` not.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for a forcing
    of one site, for parameters of another number of sites, a depth that is not
    positive, or an unknown option.
    """
    require_x64("columns at many sites")
    POSITIVE.check("depths from the surface down", list(depths), "m")
    ends, options = stock_ends(model, depths), dict(options or {})
    kept = {"periodic": periodic, "ends": ends, "options": options}
    # A year by steps takes longer to be found than its program to be compiled in full.
    long = mixes_microbes if periodic else False
    found, params, by_site = at_sites(_at_site, model, params, long=long, **kept)
    return SiteResults(model, params, by_site, ends, options, *found)


def at_sites(
    function: Callable,
    model: AbstractColumnModel,
    params: Any = None,
    driven: Any = (),
    *,
    long: bool | Callable[[AbstractColumnModel, Any], bool] = False,
    **options: Any,
) -> tuple[Any, Any, bool]:
    """`function(model, params, driven, **options)` of every site, in few programs.

    **Arguments:** `function`: of a module, of one site; `model`, `params`: as
    `columns_at_sites`; `driven`: more arrays that lead by site; `long`: whether it
    takes longer to run than to compile, or a function of model and parameters of one
    site that says so; `options`: that all sites share.
    **Returns:** what the function does, leading by site; the parameters, and whether
    they are by site.
    **Raises:** as `columns_at_sites`.
    """
    shape = jnp.shape(model.forcing.temperature)
    if len(shape) != 3:
        raise ValueError(
            "expected a forcing whose leaves lead by site, temperature by site, layer "
            f"and month, got an array of shape {shape}; see forcing_of_sites"
        )
    params = type(model).parameters() if params is None else params
    params = jax.tree.map(jnp.asarray, params)
    by_site = all(leaf.ndim for leaf in jax.tree.leaves(params))
    for leaf in jax.tree.leaves(params) if by_site else ():
        if leaf.shape[0] != shape[0]:
            raise ValueError(
                f"expected parameters of {shape[0]} sites, as the forcing has, got an "
                f"array of shape {leaf.shape}"
            )
    repeat = lambda x: x if by_site else np.broadcast_to(x, (shape[0], *x.shape))
    numbers, others = eqx.partition(model, eqx.is_array)
    # What all sites share, as a number of the model, and what differs.
    wide = lambda x: np.broadcast_to(x, (shape[0], *x.shape)) if not x.ndim else x
    every = jax.tree.map(
        np.asarray, (jax.tree.map(wide, numbers), jax.tree.map(repeat, params), driven)
    )
    first, own, _ = jax.tree.map(lambda x: x[0], every)
    if not isinstance(long, bool):
        long = long(eqx.combine(first, others), own)
    chunks = []
    solved, places = _chunks(shape[0], long)
    for chunk in places:
        sites = jax.tree.map(lambda x, at=chunk: x[at], every)
        chunks.append(solved(function, others, sites, options))
    found = jax.tree.map(lambda *x: np.concatenate(x)[: shape[0]], *chunks)
    return found, params, by_site


def _chunks(count, long):
    """The program to take, and chunks of few sizes, so that few are compiled."""
    size, solved = _CHUNK * free_devices(), _solved
    if accelerated() or (long and count <= size):
        size = count
    elif count <= max(_FEW):
        size, solved = min(n for n in _FEW if n >= count), _solved_quickly
    # The last site again fills the last chunk.
    filled = np.minimum(np.arange(-(-count // size) * size), count - 1)
    return solved, filled.reshape(-1, size)


def _at_site(model, params, driven, *, periodic, ends, options):
    rest = steady_state(model, params, throw=False)
    kept = summary(model, params, rest.pools, ends=ends, **options)
    # Inside a program the steady state is not asked whether it closes.
    found = rest.found & (jnp.abs(kept.carbon_balance_error) <= CLOSURE)
    kept = jax.tree.map(lambda x: jnp.where(found, x, jnp.nan), kept)
    year = _year(model, params, rest.pools) if periodic else None
    return kept, found, _margin(model, params), year


def _at_sites(function, others, sites, options):
    def one(site):
        numbers, params, driven = site
        return function(eqx.combine(numbers, others), params, driven, **options)

    return map_sites(one, Sites.of(sites)).leading()


_solved = eqx.filter_jit(_at_sites)
# Few sites are solved in less time than it takes to compile them in full.
_solved_quickly = eqx.filter_jit(  # pyright: ignore[reportCallIssue]
    _at_sites,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


def _margin(model, params):
    # Layers that exchange soil carbon may stand where one by itself could not.
    if not isinstance(model, AbstractClosedForm) or {*model.soil} & model.mixed:
        return jnp.asarray(jnp.nan)
    return jnp.min(jnp.stack([jnp.min(kind) for kind in feasibility(model, params)]))


def _year(model, params, start):
    if mixes_microbes(model, params):
        return _year_of_steps(model, params, start)
    year = periodic_state(model, params)
    soil = jax.vmap(model.organic_carbon)(year.monthly_mean)
    mean, drift = jnp.stack(year.mean), jnp.stack(year.drift)
    return YearSummary(mean, soil, drift, found=jnp.all(jnp.isfinite(mean)))


def _year_of_steps(model, params, start):
    """The year that comes back to itself by backward Euler, four steps a month."""
    own = spin_up(model, params, start, **_STEPS).carbon
    found = jnp.all(jnp.isfinite(jnp.stack(own)))
    sound = jax.tree.map(lambda x: jnp.where(found, x, 1.0), own)
    months = lambda model, months: months.mean.carbon
    run = transient(model, params, sound, years=1, save=months, **_STEPS)
    means = jax.tree.map(lambda x: x[0], run.saved)
    soil = jax.vmap(model.organic_carbon)(means)
    ends = zip(run.end.carbon, own, strict=True)
    off = [jnp.abs(model.in_column(x - y)) for x, y in ends]
    every = jnp.mean(jnp.stack(means), axis=1), soil, jnp.stack(off)
    only = lambda x: jnp.where(found, x, jnp.nan)
    return YearSummary(*map(only, every), found=found)
