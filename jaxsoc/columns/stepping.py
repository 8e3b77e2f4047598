"""One implicit step of a soil column in surroundings that stay as they are.

Linear pools are solved whole, pools with kinetics of their own by Newton's method in
the same step, and radiocarbon goes with the carbon at the rates found.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax import lax

from jaxsoc.models.column import AbstractColumnModel, Surroundings
from jaxsoc.solve.newton import newton_layered

from .network import Flows, Network, flows, litter_on, network, tracer_flows
from .radiocarbon import DECAY

Method = Literal["backward_euler", "second_order"]

# Of what is in a layer, and of the fullest one: less than this of a pool is nothing to
# Newton's method, and what it may start from.
_LITTLE, _NOTHING = 1e-8, 1e-20
# Of the fullest layer of a pool: less than this below zero is set to zero.
_TRACE = 1e-18
# Of the fullest layer of a pool: how much more than this a layer holds is what the
# error of a step is compared with.
_PART = 1e-3
# Of what is in the column: the same, where a pool is next to nothing. Microbes that a
# step makes from none have no size of their own that an error could be compared with.
_OF_ALL = 1e-9
# Steps of a controlled stretch at most, and states of them kept for the way back.
_MOST, _CHECKPOINTS = 4096, 16


class Content(NamedTuple):
    """What a column holds or passes on.

    `carbon`; `radiocarbon`: the same times its absolute ratio, Δ / 1000 + 1, None where
    it is not asked for.
    """

    carbon: Any
    radiocarbon: Any = None


class Span(NamedTuple):
    """What a span of time brings, each a `Content`.

    `end`: pools at its end, gC m⁻³; `mean`: pools over it; `input`, `respired`: by
    layer, gC m⁻³ d⁻¹, over it.
    """

    end: Content
    mean: Content
    input: Content
    respired: Content


class Stretch(NamedTuple):
    """A time without change: `model`, `params`; `around`; `linear`, `all`: networks;
    `numbers`: of the linear one; `ratio`: absolute, of the litter, or None.
    """

    model: AbstractColumnModel
    params: Any
    around: Surroundings
    linear: Network
    all: Network
    numbers: Flows
    ratio: Any


def stretch(
    model: AbstractColumnModel, params: Any, around: Surroundings, ratio: Any
) -> Stretch:
    """A time in which surroundings and the absolute ratio of litter stay as they are.

    **Arguments:** `ratio`: None for no radiocarbon.
    """
    net = network(model, params)
    whole = network(model, params, tracer=True)
    numbers = flows(net, model, around, params)
    return Stretch(model, params, around, net, whole, numbers, ratio)


def joined(spans: Span) -> Span:
    """Spans of one length, leading by span, as one."""
    last = jax.tree.map(lambda x: x[-1], spans.end)
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), spans._replace(end=None))
    return mean._replace(end=last)


def backward_euler(now: Stretch, start: Content, length: Any) -> Span:
    """A step of first order, which keeps carbon and never makes it negative.

    (X - X₀) / h = A F(X) + b - V X

    **Arguments:** `length`: h, d.
    """
    model, params, around, shift = now.model, now.params, now.around, 1 / length
    carbon = _carbon(now, start.carbon, shift)
    litter = litter_on(now.all, around)
    none = jnp.zeros_like(around.exchange.above)
    fluxes = model.fluxes(carbon, around.environment, params)
    kept = model.kept(params)
    respired = sum(((1 - kept[p]) * flux for p, flux in fluxes.items()), none)
    came = sum(litter.values(), none)
    if now.ratio is None:
        pools = Content(carbon)
        return Span(pools, pools, Content(came), Content(respired))
    numbers = tracer_flows(now.all, model, around, params, carbon)
    fed = {
        pool: shift * getattr(start.radiocarbon, pool) + now.ratio * b
        for pool, b in litter.items()
    }
    found = now.all.solve(numbers, shift + DECAY, fed)
    leaves = {pool: numbers.loss[pool] * x for pool, x in found.items()}
    for (_, donor), rate in numbers.feeds.items():
        leaves[donor] = leaves[donor] - rate * found[donor]
    pools = Content(carbon, model.pools(**found))
    lost = Content(respired, sum(leaves.values(), none))
    return Span(pools, pools, Content(came, now.ratio * came), lost)


def second_order(now: Stretch, start: Content, length: Any) -> Span:
    """Richardson's step: what two halves of backward Euler make of the whole one's.

    X = X_½ + θ (X_½ - X_1),  θ = 1 but where a pool would turn negative

    There θ is the largest that leaves none negative, the same for all that is in the
    column, since then carbon is kept: θ = 0 would be two steps of backward Euler.

    **Arguments:** `length`: d.
    Source: Hairer and Wanner (1996), Solving Ordinary Differential Equations II, IV.9.
    """
    return _extrapolated(now, start, length)[0]


def controlled(now: Stretch, start: Content, length: Any, tolerance: Any) -> Span:
    """Steps of second order, each as long as its error allows.

    error = max |X_½ - X_1| / (X_½ + X_max / 1000 + C_max / 10⁹) ≤ tolerance

    The error is that of the halves, of which the step is what is better, over all pools
    and layers; X_max is what the fullest layer of the pool holds, C_max that of the
    fullest pool. The first step tries the whole length, so that a run can go on from
    any month to the bit.

    **Arguments:** `length`: d; `tolerance`: of a step, relative.
    **Returns:** NaN after 4,096 steps.
    """

    def go(going):
        left, step, state, sums = going
        step = jnp.minimum(step, left)
        span, off = _extrapolated(now, state, step)
        off = lax.stop_gradient(off / tolerance)
        # What is not a number ends the run.
        taken = ~(off > 1.0)
        other = step * jnp.clip(0.9 / jnp.sqrt(jnp.maximum(off, 1e-9)), 0.2, 5.0)
        add = lambda total, x: jnp.where(taken, total + step * x, total)
        sums = jax.tree.map(add, sums, span._replace(end=None))
        state = jax.tree.map(lambda x, y: jnp.where(taken, x, y), span.end, state)
        return jnp.where(taken, left - step, left), other, state, sums

    none = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype),
        jax.eval_shape(lambda: _extrapolated(now, start, length)[0]),
    )
    whole = jnp.asarray(length)
    left, _, end, sums = eqxi.while_loop(
        lambda going: going[0] > 0.0,
        go,
        (whole, whole, start, none._replace(end=None)),
        max_steps=_MOST,
        kind="checkpointed",
        checkpoints=_CHECKPOINTS,
    )
    mean = jax.tree.map(lambda x: x / length, sums)
    ended = lambda x: jnp.where(left > 0.0, jnp.nan, x)
    return jax.tree.map(ended, mean._replace(end=end))


def _extrapolated(now, start, length):
    """Richardson's step, and how far the halves are from the whole, relative."""

    def one(state, kind):
        share, again = kind
        begin = jax.tree.map(lambda x, y: jnp.where(again, x, y), start, state)
        span = backward_euler(now, begin, share * length)
        return span.end, span

    # Two halves and the whole, compiled once.
    shares = jnp.asarray([0.5, 0.5, 1.0]), jnp.asarray([False, False, True])
    _, spans = lax.scan(one, start, shares)
    halves = joined(jax.tree.map(lambda x: x[:2], spans))
    whole = jax.tree.map(lambda x: x[2], spans)

    def largest(half, one):
        falls = one - half
        trace = _TRACE * jnp.max(half)
        most = (half + trace) / jnp.where(falls > half, falls, 1.0)
        return jnp.min(jnp.where(falls > half, most, 1.0))

    shares = jax.tree.map(largest, halves.end, whole.end)
    θ = jnp.minimum(1.0, jnp.min(jnp.stack(jax.tree.leaves(shares))))
    found = jax.tree.map(lambda half, one: half + θ * (half - one), halves, whole)

    kinds = zip(halves.end, whole.end, strict=True)
    error = jnp.max(jnp.stack([_off(half, one) for half, one in kinds if half]))
    return found._replace(end=jax.tree.map(_not_negative, found.end)), error


def _off(halves, whole):
    """How far the pools of a step are from those of its halves, relative."""
    halves, whole = jnp.stack(halves), jnp.stack(whole)
    least = _PART * jnp.max(halves, axis=1, keepdims=True) + _OF_ALL * jnp.max(halves)
    scale = halves + least
    return jnp.max(jnp.abs(halves - whole) / jnp.where(scale > 0, scale, 1.0))


STEPS: dict[str, Callable] = {
    "backward_euler": backward_euler,
    "second_order": second_order,
}
"""Steps by the name of the method."""


def _not_negative(x):
    return jnp.where(x > 0, x, 0.0)


def _carbon(now, start, shift):
    net, source = now.linear, litter_on(now.linear, now.around)
    right = {pool: shift * getattr(start, pool) + b for pool, b in source.items()}
    found = net.solve(now.numbers, shift, right)
    others = tuple(p for p in now.model.pools._fields if p not in found)
    if others:
        found |= _by_newton(others, now, start, shift, found)
    return now.model.pools(**found)


def _by_newton(names, now, start, shift, found):
    """Pools with kinetics of their own, what is upstream being known."""
    old = tuple(getattr(start, name) for name in names)

    def local(values, given):
        model, params, around, upstream, old, shift = given
        state = model.pools(**upstream, **dict(zip(names, values, strict=True)))
        change = model.reactions(state, around, params)
        return tuple(
            change[name] + shift * (before - x)
            for name, x, before in zip(names, values, old, strict=True)
        )

    came = now.linear.inflow(now.numbers, found, now.around.source)
    there = sum(old) + sum(came.values(), jnp.zeros_like(old[0])) / shift
    little = _LITTLE * (there + _NOTHING * jnp.max(there))
    values = newton_layered(
        local,
        tuple(jnp.maximum(x, little) for x in old),
        (now.model, now.params, now.around, found, old, shift),
        tuple(now.around.exchange),
        mixed=tuple(name in now.model.mixed for name in names),
        floor=little,
    )
    # What is next to nothing may be on either side of it; NaN stays.
    sound = (jnp.where(x < 0, 0.0, x) for x in values)
    return dict(zip(names, sound, strict=True))
