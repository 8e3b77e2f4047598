"""Columns at many places through time, in one program."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.radiocarbon import steady_radiocarbon
from jaxsoc.columns.spin_up import spin_up
from jaxsoc.columns.stepping import Content
from jaxsoc.columns.summary import STOCK_DEPTHS, stock_ends
from jaxsoc.columns.transient import changed, transient
from jaxsoc.columns.yearly import SiteRuns, held, kept_of_year
from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.forcing import Forcing
from jaxsoc.physics.parameters import POSITIVE
from jaxsoc.solve import require_x64, steady_state

from .places import at_sites


def runs_at_sites(
    model: AbstractColumnModel,
    params: Any = None,
    *,
    years: int | None = None,
    changes: Any = None,
    change: Callable[[Forcing, Any], Forcing] = changed,
    start: Any = None,
    atmosphere: Any = None,
    method: str = "backward_euler",
    steps: int = 1,
    tolerance: float | None = None,
    depths: Sequence[float] = STOCK_DEPTHS,
) -> SiteRuns:
    """A model through time at many sites, from the state that its climate leads to.

    Each site starts where years of its own months lead back to, see `spin_up`, so that
    what comes out is what the changes do, or at its steady state where that was not
    found (`spun_up`); its radiocarbon starts under the atmosphere of the first year.
    From the `end` of a run another goes on. Sites go through one program, as in
    `columns_at_sites`.

    **Arguments:** `model`, `params`: as of `columns_at_sites`; `years`: how many,
    needed where nothing changes; `changes`: a `Change` by year, or by site and year, or
    what `change`, of `transient`, takes, by site and year; `start`: pools, or a
    `Content` with radiocarbon, by site and layer, in place of the state that the
    climate leads to; `atmosphere`: Δ¹⁴C, ‰, by (year, month), or (site, year, month),
    where radiocarbon is asked for;
    `method`, `steps`, `tolerance`: of `transient`; `depths`: of stocks, m, besides the
    whole column.
    **Raises:** as `columns_at_sites` and `transient`.
    """
    require_x64("runs at many sites")
    POSITIVE.check("depths from the surface down", list(depths), "m")
    ends, count = stock_ends(model, depths), len(model.forcing.temperature)
    if change is changed:
        changes = _by_site(changes, 1, count)
    if start is not None and not isinstance(start, Content):
        start = Content(start)
    given = jax.tree.map(np.asarray, (changes, start))
    for leaf in jax.tree.leaves(given):
        if leaf.shape[:1] != (count,):
            raise ValueError(
                f"expected a start and changes of {count} sites, as the forcing has, "
                f"got an array of shape {leaf.shape}"
            )
    driven = *given, _by_site(atmosphere, 2, count)
    found, *_ = at_sites(
        *(_at_site, model, params, driven),
        **{"long": True, "years": years, "ends": ends, "change": change},
        **{"method": method, "steps": steps, "tolerance": tolerance},
    )
    return SiteRuns(model, ends, *found)


def _by_site(values, dims, count):
    """Arrays that lead by site; those with fewer dimensions are of all."""
    wide = lambda x: x if x.ndim > dims else np.broadcast_to(x, (count, *x.shape))
    return jax.tree.map(lambda x: wide(np.asarray(x, float)), values)


def _led_to(model, params, sky, stepper):
    """Where the climate of a site leads to, whether anywhere, and whether it stays."""
    rest = steady_state(model, params, throw=False)
    start = Content(rest.pools)
    if sky is not None:
        ratio = steady_radiocarbon(model, params, rest.pools, delta=sky)
        start = start._replace(radiocarbon=ratio)
    own = spin_up(model, params, rest.pools, delta=sky, **stepper)
    spun_up = jnp.all(jnp.isfinite(jnp.stack(jax.tree.leaves(own))))
    start = jax.tree.map(lambda x, y: jnp.where(spun_up, x, y), own, start)
    return start, rest.found, rest.found & spun_up


def _at_site(model, params, driven, *, years, ends, change, **stepper):
    changes, start, atmosphere = driven
    if start is None:
        sky = None if atmosphere is None else jnp.mean(atmosphere[0])
        start, there, spun_up = _led_to(model, params, sky, stepper)
    else:
        there = jnp.all(jnp.isfinite(jnp.stack(jax.tree.leaves(start))))
        spun_up = jnp.asarray(False)
    # A run begins from numbers, and is none where there were none.
    sound = jax.tree.map(lambda x: jnp.where(there, x, 1.0), start)
    run = transient(
        *(model, params, sound),
        years=years,
        changes=changes,
        change=change,
        atmosphere=atmosphere,
        save=partial(kept_of_year, ends=ends),
        **stepper,
    )
    after, passed = run.saved
    before = held(model, sound, ends=ends)
    every = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), before, after)
    came, left = jnp.sum(passed.litter), jnp.sum(passed.respired)
    total = lambda content: sum(map(model.in_column, content.carbon), jnp.zeros(()))
    change = total(run.end) - total(sound)
    error = (came - left - change) / (came + total(sound))
    only = lambda x: jnp.where(there, x, jnp.nan)
    every, passed, error, end = jax.tree.map(only, (every, passed, error, run.end))
    return every, passed, error, there, spun_up, end
