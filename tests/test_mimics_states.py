"""Steady states of MIMICS against long integrations, for draws of the priors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxsoc.columns.steady import steady_pools, upstream
from jaxsoc.models.mimics import MIMICS
from jaxsoc.models.mimics_parameters import MIMICSParameters
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.parameters import declarations, from_unit
from jaxsoc.solve.layered import LayeredSystem, _factor, _substitute

pytestmark = pytest.mark.optimised

# Mean temperature, °C, and active layer, m.
CLIMATES = {"cold": (-4.0, 1.0), "temperate": (8.0, 3.5), "tropical": (22.0, 3.5)}
NAMES = MIMICS.pools._fields[1:]
# Days; layers whose rates the depth has cut to 1e-40 per day are at rest by then.
END = 1e50
# Relative error of a step, and what counts as none, gC m⁻³.
RTOL, ATOL = 1e-2, 1e-20
# Integrations side by side, steps between two looks at which have ended, most steps.
WIDTH, BETWEEN, MOST = 64, 100, 3000


def site(climate, bedrock):
    warmth, active_layer = CLIMATES[climate]
    forcing = idealised(warmth=warmth, active_layer=active_layer, bedrock=bedrock)
    return MIMICS(forcing, clay=jnp.full(forcing.column.layers, 20.0))


def draws(number):
    """Parameters drawn from the priors, the last axis of every leaf."""
    count = len(declarations(MIMICSParameters))
    places = jnp.asarray(np.random.default_rng(1).uniform(size=(count, number)))
    one = lambda u: from_unit(MIMICSParameters, u)
    return jax.vmap(one, in_axes=-1, out_axes=-1)(places)


def dynamics(model, params):
    """Tendency of all pools but coarse wood, its Jacobian by layer, the exchange."""
    around = model.surroundings(params)
    cwd = upstream(model, around, params)[0]["cwd"]
    change = lambda y: model.tendency(model.pools(cwd, *y), around, params)[1:]
    react = lambda y: tuple(
        model.reactions(model.pools(cwd, *y), around, params)[n] for n in NAMES
    )

    def jacobian(y):
        seeds = lambda k: tuple(jnp.full_like(v, i == k) for i, v in enumerate(y))
        columns = [jax.jvp(react, (y,), (seeds(k),))[1] for k in range(len(y))]
        return tuple(zip(*columns, strict=True))

    return change, jacobian, tuple(around.exchange)


def rodas3(model, params, now):
    """One step of RODAS3, of third order and L-stable, by its own error control.

    Source: Sandu et al. (1997), doi:10.1016/S1352-2310(97)83212-8.
    """
    t, y, h, count = now
    change, jacobian, exchange = dynamics(model, params)
    slopes = jacobian(y)
    places = range(len(y))
    blocks = tuple(
        tuple(jnp.where(i == j, 2 / h, 0.0) - slopes[i][j] for j in places)
        for i in places
    )
    system = LayeredSystem(blocks, *exchange)
    mixed = (True,) * len(y)
    # Once for the four stages.
    factors = _factor(mixed, True, system)
    solve = lambda right: _substitute(mixed, factors, right)
    plus = lambda x, *terms: tuple(
        v + sum(c * k[i] for c, k in terms) for i, v in enumerate(x)
    )
    here = change(y)
    k1 = solve(here)
    k2 = solve(plus(here, (4 / h, k1)))
    there = change(plus(y, (2.0, k1)))
    k3 = solve(plus(there, (1 / h, k1), (-1 / h, k2)))
    there = change(plus(y, (2.0, k1), (1.0, k3)))
    k4 = solve(plus(there, (1 / h, k1), (-1 / h, k2), (-8 / (3 * h), k3)))
    new = plus(y, (2.0, k1), (1.0, k3), (1.0, k4))
    size = lambda a, b: RTOL * jnp.maximum(jnp.abs(a), jnp.abs(b)) + ATOL
    error = jnp.max(
        jnp.stack([jnp.abs(e) / size(a, b) for e, a, b in zip(k4, y, new, strict=True)])
    )
    taken = (error <= 1) & (jnp.min(jnp.stack(new)) >= -ATOL)
    factor = jnp.clip(0.9 * error ** (-1 / 3), 0.2, 8.0)
    factor = jnp.where(taken, factor, jnp.minimum(factor, 0.3))
    factor = jnp.where(jnp.isfinite(error), factor, 0.2)
    pick = lambda a, b: jnp.where(taken, a, b)
    kept = tuple(pick(a, b) for a, b in zip(new, y, strict=True))
    return pick(t + h, t), kept, h * factor, count + 1


@jax.jit
def some_steps(model, params, now):
    """Steps of many integrations, those that have ended standing still."""

    def one(params, now):
        ends = now[3] + BETWEEN
        goes_on = lambda now: (now[0] < END) & (now[3] < ends)
        return lax.while_loop(goes_on, partial(rodas3, model, params), now)

    return jax.vmap(one, in_axes=-1, out_axes=-1)(params, now)


def chosen(params, places):
    return jax.tree.map(lambda x: x[..., places], params)


def integrated(model, params, starts, width=WIDTH):
    """Where integrations end, NaN those that have not after so many steps; steps.

    A row of `width` integrations is kept full as some end and others begin.
    """
    number = starts[0].shape[-1]
    ends = [np.full(v.shape, np.nan) for v in starts]
    counts = np.full(number, MOST)
    waiting, row = list(range(number)), np.full(width, -1)
    t, h = np.full(width, END), np.ones(width)
    count = np.zeros(width, int)
    y = [np.ones(v.shape[:-1] + (width,)) for v in starts]
    while True:
        for k in np.flatnonzero((t >= END) | (count >= MOST)):
            if row[k] >= 0:
                counts[row[k]] = count[k]
                for end, v in zip(ends, y, strict=True):
                    end[:, row[k]] = v[:, k] if t[k] >= END else np.nan
            row[k] = waiting.pop(0) if waiting else -1
            t[k], h[k], count[k] = 0.0 if row[k] >= 0 else END, 1e-3, 0
            if row[k] >= 0:
                for v, start in zip(y, starts, strict=True):
                    v[:, k] = start[:, row[k]]
        if np.all(row < 0):
            return ends, counts
        now = some_steps(
            model, chosen(params, np.maximum(row, 0)), (t, tuple(y), h, count)
        )
        t, y, h, count = jax.tree.map(np.array, now)
        y = list(y)


@jax.jit
def found_and_guessed(model, params):
    def one(params):
        around = model.surroundings(params)
        guess = model.first_guess(around, upstream(model, around, params)[1], params)
        return steady_pools(model, around, params)[1:], guess[1:]

    return jax.vmap(one, in_axes=-1, out_axes=-1)(params)


def compared(climate, bedrock, number, width=WIDTH):
    """Which states were found, and whether integrations end there or nowhere.

    Integrations start from the first guess and from 1 gC m⁻³ of everything.
    """
    model, params = site(climate, bedrock), draws(number)
    found, guess = jax.tree.map(np.asarray, found_and_guessed(model, params))
    starts = tuple(np.concatenate([v, np.ones_like(v)], axis=-1) for v in guess)
    twice = chosen(params, np.tile(np.arange(number), 2))
    ends, counts = integrated(model, twice, starts, width)
    there, own = np.stack(ends), np.tile(np.stack(found), 2)
    reached = np.isfinite(there).all(axis=(0, 1))
    same = (np.abs(there - own) <= 1e-6 * own + 1e-15).all(axis=(0, 1))
    is_found = np.isfinite(own).all(axis=(0, 1))[:number]
    guessed, bare = reached[:number], reached[number:]
    print(
        f"{climate}, bedrock {bedrock}: {is_found.sum()} of {number} found; reached "
        f"from the first guess {guessed.sum()}, from bare soil {bare.sum()}, "
        f"from either {(guessed | bare).sum()}; "
        f"steps {np.median(counts):.0f}, {counts.max()} at most"
    )
    return is_found, reached, same


# The rest oscillate for good, or nearly so, in a layer that nothing mixes.
@pytest.mark.slow
@pytest.mark.parametrize("bedrock", [8, 12, 20])
@pytest.mark.parametrize("climate", list(CLIMATES))
def test_every_state_that_a_long_integration_reaches_is_found(climate, bedrock):
    found, reached, same = compared(climate, bedrock, 200)
    assert found.all() and same[reached].all()
    assert reached.mean() >= 0.8


@pytest.mark.slow
def test_layers_without_any_litter_have_a_steady_state():
    # Frozen all year: litter stays on top, and nothing is mixed.
    forcing = idealised(warmth=-4.0, active_layer=0.0)
    model = MIMICS(forcing, clay=jnp.full(forcing.column.layers, 20.0))
    (litm, *others), _ = jax.jit(found_and_guessed)(model, draws(2))
    assert np.all(np.asarray(litm)[1:] == 0)
    assert np.all(np.isfinite(others)) and np.all(np.asarray(litm)[0] > 0)
