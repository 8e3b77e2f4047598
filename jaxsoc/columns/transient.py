"""A soil column through time: months that change from year to year, for millennia."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsoc.models.column import AbstractColumnModel
from jaxsoc.physics.forcing import MONTHS, Forcing
from jaxsoc.physics.options import check_option
from jaxsoc.physics.parameters import NON_NEGATIVE, POSITIVE

from .checks import one_column
from .radiocarbon import absolute_ratio
from .seasons import MONTH
from .stepping import STEPS, Content, Method, Span, controlled, joined, stretch

# Years of which the states are kept for the way back; of more, about 2 √years are.
_KEPT = 128


class Change(NamedTuple):
    """How years differ from the climate, leading by year where there are many.

    `warming`: K, of all layers and months; `litter`: factor of all litter.
    """

    warming: Any = 0.0
    litter: Any = 1.0


class Run(NamedTuple):
    """A run: `end`, what the column holds after it; `saved`, leading by year."""

    end: Content
    saved: Any


def changed(forcing: Forcing, change: Change) -> Forcing:
    """A year of the climate with its change: T + ΔT, factor times litter."""
    return eqx.tree_at(
        lambda f: (f.temperature, f.litter),
        forcing,
        (forcing.temperature + change.warming, forcing.litter * change.litter),
    )


def given_years(climate: Forcing, year: Forcing) -> Forcing:
    """The year itself: `change` of a run whose `changes` are a forcing by year."""
    return year


def yearly(model: AbstractColumnModel, months: Span) -> Span:
    """What is saved by default: pools at the end of a year, means over it."""
    return joined(months)


def transient(
    model: AbstractColumnModel,
    params: Any,
    start: Any,
    *,
    years: int | None = None,
    changes: Any = None,
    change: Callable[[Forcing, Any], Forcing] = changed,
    method: str = "backward_euler",
    steps: int = 1,
    tolerance: float | None = None,
    atmosphere: Any = None,
    save: Callable[[AbstractColumnModel, Span], Any] = yearly,
) -> Run:
    """A column through years whose months differ, in implicit steps.

    dX/dt = A F(X) + b - V X, each month with its own scalars, mixing and litter

    Linear pools are solved whole in each step, the others by Newton's method in the
    same step. Nothing is kept of a month but what is saved, so that memory, of
    gradients too, does not grow with the months, and that of the years' states with
    √years. `transient` from `end` goes on to the bit. Batch it with `vmap`, over the
    last axis for speed (`map_sites`).

    **Arguments:** `model`: with the climate of one site, twelve months; `start`: pools
    at the start of the first January, gC m⁻³, or a `Content` with radiocarbon; `years`:
    how many, needed where there are no changes; `changes`: arrays that lead by year, a
    `Change` or whatever `change` takes; with `given_years` a forcing of every year,
    such as `forcing_of_sites` makes of arrays that lead by year; `change`: `(climate,
    change of the year) -> forcing`; `method`: "backward_euler", of first order, or
    "second_order"; both keep carbon and leave no pool negative; `steps`: in a month;
    `tolerance`: relative, of each step of second order, which is cut into as many as
    that asks for, see `controlled`; `atmosphere`: Δ¹⁴C, ‰, by year or (year, month),
    where the start has radiocarbon; `save`: `(model of the year, months) -> what is
    kept of it`, the months a `Span` leading by month.
    **Returns:** a `Run`, differentiable, all NaN from where a step has no solution.
    **Raises:** `RuntimeError` where JAX is set to 32 bits; `ValueError` for numbers of
    several sites, pools that are negative or not by layer, changes of other numbers of
    years, an unknown method, and radiocarbon without an atmosphere or without a start.
    """
    check_option("method", method, get_args(Method))
    if steps < 1:
        raise ValueError(f"steps in a month must be 1 or more, got {steps}")
    if tolerance is not None:
        POSITIVE.check("tolerance", tolerance)
        if method != "second_order":
            raise ValueError(
                "a tolerance is for the method 'second_order', which knows its error, "
                f"got {tolerance:g} for '{method}'"
            )
    model, params = one_column("a run of a soil column", model, params)
    start = start if isinstance(start, Content) else Content(start)
    start, changes = jax.tree.map(jnp.asarray, (start, changes))
    atmosphere = None if atmosphere is None else jnp.asarray(atmosphere, float)
    for name, x in _named(start):
        if x.shape != (model.forcing.column.layers,):
            raise ValueError(
                f"expected {name} of {model.forcing.column.layers} layers at the "
                f"start, got an array of shape {x.shape}"
            )
        NON_NEGATIVE.check(f"{name} at the start", x, "gC m⁻³")
    if isinstance(changes, Change):
        NON_NEGATIVE.check("the factor of litter", changes.litter)
    if (atmosphere is None) != (start.radiocarbon is None):
        raise ValueError(
            "radiocarbon needs an atmosphere and a start of both, "
            "Content(carbon, radiocarbon), got "
            f"{'no ' if atmosphere is None else 'an '}atmosphere and a start "
            f"{'without' if start.radiocarbon is None else 'with'} radiocarbon"
        )
    years = _years(years, changes, atmosphere)
    ratio = None
    if atmosphere is not None:
        ratio = absolute_ratio(atmosphere)
        wide = ratio[:, None] if ratio.ndim == 1 else ratio
        ratio = jnp.broadcast_to(wide, (years, MONTHS))
    stepper = method, steps, tolerance
    return _run(model, params, start, (changes, ratio), years, change, stepper, save)


def _named(start):
    for pools, what in ((start.carbon, ""), (start.radiocarbon, "radiocarbon of ")):
        for name, x in {} if pools is None else pools._asdict().items():
            yield what + name, x


def _years(years, changes, atmosphere):
    """How many, the same by all that is known of them."""
    leaves = jax.tree.leaves((changes, atmosphere))
    known = [] if years is None else [years]
    counts = {*known, *(x.shape[0] if x.ndim else 0 for x in leaves)}
    if len(counts) != 1 or min(counts) < 1:
        raise ValueError(
            "expected a number of years, or changes and an atmosphere that lead by one "
            f"number of years, got {sorted(counts) or 'neither'}"
        )
    return counts.pop()


@eqx.filter_jit
def _run(model, params, start, driven, years, change, stepper, save):
    method, steps, tolerance = stepper
    step, length = STEPS[method], jnp.asarray(MONTH / steps)
    if tolerance is not None:
        step = partial(controlled, tolerance=tolerance)

    def year(state, now):
        now, ratios = now
        forcing = model.forcing if now is None else change(model.forcing, now)
        of_year = eqx.tree_at(lambda m: m.forcing, model, forcing)

        def month(state, now):
            place, ratio = now
            only = eqx.tree_at(lambda m: m.forcing, model, forcing.month(place))
            still = stretch(of_year, params, only.surroundings(params), ratio)

            def one(state, _):
                span = step(still, state, length)
                return span.end, span

            state, spans = lax.scan(one, state, length=steps)
            return state, joined(spans)

        state, months = lax.scan(month, state, (jnp.arange(MONTHS), ratios))
        return state, save(of_year, months)

    return Run(*_kept_by_segments(year, start, driven, years))


def _kept_by_segments(year, state, driven, years):
    """A scan over years of which few states are kept for the way back.

    Segments are of one length, so that the year is compiled once: of the last one some
    years are not lived.
    """
    once = jax.checkpoint(year, prevent_cse=False)
    if years <= _KEPT:
        return lax.scan(once, state, driven, length=years)
    length = math.ceil(math.sqrt(years))
    count = math.ceil(years / length)
    place = np.minimum(np.arange(count * length), years - 1)
    lived = jnp.asarray(np.arange(count * length) < years)
    cut = lambda x: x.reshape(count, length, *x.shape[1:])
    driven = jax.tree.map(lambda x: cut(x[place]), driven)

    def perhaps(state, now):
        lived, now = now
        after, saved = once(state, now)
        return jax.tree.map(lambda a, b: jnp.where(lived, a, b), after, state), saved

    segment = jax.checkpoint(
        lambda s, now: lax.scan(perhaps, s, now), prevent_cse=False
    )
    state, saved = lax.scan(segment, state, (cut(lived), driven))
    join = lambda x: x.reshape(-1, *x.shape[2:])[:years]
    return state, jax.tree.map(join, saved)
