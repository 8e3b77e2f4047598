"""The scale transition: what a mean rate owes to each moment of what it depends on.

The mean of a rate over cells is not the rate at the means. Its Taylor series about the
means says why, term by term, for any rate that is written once at a point:

    F̄ = Σ_α 1/α! ∂^α F(x̄) ⟨(x - x̄)^α⟩

with one multi-index α for every combination of heterogeneous states and parameters.
Source: Chakrawal et al. (2020), doi:10.5194/gmd-13-1399-2020, Eqs 7-10 and Appendix A,
who derive the terms of order 2 by hand for three laws.
"""

import math
from collections import Counter
from collections.abc import Callable
from itertools import chain, combinations_with_replacement
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxsoc.solve import reductions

from .quantities import Quantities, named

# How the papers write what they expand in.
SYMBOLS = {
    "substrate": "S",
    "biomass": "B",
    "co2": "CO2",
    "decomposition.rate": "k",
    "decomposition.half_saturation": "K",
    "mortality.rate": "m",
    "mortality.exponent": "beta",
    "carbon_use_efficiency": "Y",
    "input": "I",
}


# In a term, as in the papers: C_kB, C_SK, M_kSB.
_ORDER = "kSBK"


class Term(NamedTuple):
    """One term of the series: ∂^α F(x̄), ⟨(x - x̄)^α⟩, and their product over α!."""

    derivative: Any
    moment: Float[Array, "..."]
    contribution: Any


class Expansion(eqx.Module):
    """A mean rate as the rate at the means and a term for every moment.

    `mean_field`: F(x̄); `exact`: F̄, from the cells themselves; `derivative`, `moment`,
    `contribution`: last axis by term. Rates come in the structure that they had, with
    what axes a time or a member gave them. `names`: of the terms, as V_S, C_SB, M_SSB;
    `orders`: of the terms; `quantities`: what each is a moment of, by dotted name;
    `order`: up to which the series goes.
    """

    mean_field: Any
    exact: Any
    derivative: Any
    moment: Float[Array, "... term"]
    contribution: Any
    names: tuple[str, ...] = eqx.field(static=True)
    orders: tuple[int, ...] = eqx.field(static=True)
    quantities: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    order: int = eqx.field(static=True)

    def __getitem__(self, name: str) -> Term:
        """A term by its name, its letters in any order.

        **Raises:** `KeyError` that lists the terms there are.
        """
        known, asked = list(map(_letters, self.names)), _letters(name)
        if asked not in known:
            raise KeyError(f"no term {name!r}: the terms are {', '.join(self.names)}")
        place = known.index(asked)
        every = self.derivative, self.moment, self.contribution
        return Term(*jax.tree.map(lambda x: x[..., place], every))

    def of_order(self, order: int) -> Any:
        """Sum of the contributions of one order; the rate at the means for order 0.

        **Raises:** `ValueError` for an order that was not expanded to.
        """
        if not 0 <= order <= self.order:
            raise ValueError(
                f"the series was expanded to order {self.order}, asked for {order}"
            )
        if order == 0:
            return self.mean_field
        chosen = jnp.asarray([i for i, n in enumerate(self.orders) if n == order], int)
        return jax.tree.map(lambda x: x[..., chosen].sum(-1), self.contribution)

    def partial_sum(self, order: int) -> Any:
        """F̄ as the series has it up to this order."""
        sums = [self.of_order(n) for n in range(order + 1)]
        return jax.tree.map(lambda *terms: sum(terms), *sums)

    def remainder(self, order: int) -> Any:
        """What the series up to this order misses: F̄ minus the partial sum."""
        return jax.tree.map(lambda a, b: a - b, self.exact, self.partial_sum(order))


def _letters(name):
    """A term's quantities and how often each, whatever their order."""
    kind, _, rest = name.partition("_")
    symbols = rest.split(",") if "," in rest else list(rest)
    return sorted([rest, rest] if kind == "V" else symbols)


def expand(
    rates: Callable, state: Any, params: Any, *, order: int = 2, t: Any = 0.0
) -> Expansion:
    """The series of the mean rates about the means of states and parameters.

    F̄ = F(x̄) + Σ 1/α! ∂^α F(x̄) ⟨(x - x̄)^α⟩,  2 ≤ |α| ≤ order

    The derivatives are exact. Wrap it in `vmap` for times or members; as `save` of
    `integrate`, through `saver`, it follows a run.

    **Arguments:** `rates`: `(t, state, params) -> rates` at a point, any pytree of
    rates, such as `model.fluxes`; `state`, `params`: fields over cells and numbers;
    what is one number for all cells, or what the rates ignore, has no terms.
    **Raises:** `ValueError` for an order below 1, or a series of too many terms.
    """
    if order < 1 or order != int(order):
        raise ValueError(f"order must be a whole number from 1 on, got {order}")
    order = int(order)
    state, params = jax.tree.map(jnp.asarray, (state, params))
    known, function, at, off = _about_means(rates, state, params, t)
    leaves = jax.tree.leaves((state, params))
    differ = [row for row, i in enumerate(known.places) if jnp.ndim(leaves[i])]
    choices = (combinations_with_replacement(differ, n) for n in range(2, order + 1))
    by_order = [list(alphas) for alphas in choices]
    found = list(chain(*by_order))
    if len(found) > _MOST_TERMS:
        raise ValueError(
            f"order {order} in {len(differ)} heterogeneous quantities has "
            f"{len(found)} terms, more than {_MOST_TERMS}: choose a lower order"
        )
    mean_field = rates(t, *jax.tree.map(reductions.mean, (state, params)))
    empty = lambda x: jnp.zeros(0, jnp.result_type(x))
    none = empty(off), jax.tree.map(empty, mean_field)
    terms = [_terms(function, at, off, alphas) for alphas in by_order if alphas]
    join = lambda *rows: jnp.concatenate(rows)
    moment, derivative = jax.tree.map(join, none, *terms)
    repeats = [math.prod(map(math.factorial, Counter(a).values())) for a in found]
    weight = moment / jnp.asarray(repeats, moment.dtype)
    symbols = _symbols([*named(state), *named(params)])
    quantities = tuple(tuple(known.names[row] for row in a) for a in found)
    return Expansion(
        mean_field=mean_field,
        exact=jax.tree.map(reductions.mean, rates(t, state, params)),
        derivative=derivative,
        moment=moment,
        contribution=jax.tree.map(lambda d: d * weight, derivative),
        names=tuple(_term_name([symbols[n] for n in names]) for names in quantities),
        orders=tuple(map(len, found)),
        quantities=quantities,
        order=order,
    )


def saver(rates: Callable, *, order: int = 2) -> Callable:
    """Saver for `integrate`: fields in, `Expansion` of the mean rates out."""
    return lambda t, state, params: expand(rates, state, params, order=order, t=t)


def outside(rates: Callable, state: Any, params: Any, *, t: Any = 0.0) -> Any:
    """Share of cells that the series about the means does not converge for.

    On the way from the means to a cell a rate is a power series Σ cₙ τⁿ, and the cell,
    at τ = 1, lies outside its radius of convergence where √|c₆/c₄| ≥ 1.
    Exact for laws with one linear denominator (Michaelis-Menten, inverse
    Michaelis-Menten, ECA), an estimate for others; polynomials converge everywhere. A
    share above zero says that more orders need not help.

    **Arguments:** as `expand`.
    """
    state, params = jax.tree.map(jnp.asarray, (state, params))
    _, function, at, off = _about_means(rates, state, params, t)

    def towards(direction):
        along = lambda n: _mixed(function, at, [direction] * n)
        # Not `>=`: a coefficient that is not a number is no sign of convergence.
        beyond = lambda c, d: ~(jnp.abs(c) < 6 * 5 * jnp.abs(d)) & (c != 0)
        return jax.tree.map(beyond, along(6), along(4))

    far = jax.vmap(towards, 1)(off)
    return jax.tree.map(lambda x: reductions.mean(x.astype(off.dtype)), far)


# The moments are one pass over the cells each.
_MOST_TERMS = 2000


def _about_means(rates, state, params, t):
    """Quantities, rates as a function of them, their means, and cells' deviations."""
    fields = [name for name, x in named(params).items() if jnp.ndim(x)]
    known = Quantities.of(rates, fields, state, params)
    mean = jax.tree.map(reductions.mean, (state, params))
    leaves, means = jax.tree.leaves((state, params)), jax.tree.leaves(mean)
    cells = max(map(jnp.size, leaves))
    flat = lambda x: jnp.broadcast_to(x.reshape(-1), (cells,))
    off = jnp.asarray([flat(leaves[i] - means[i]) for i in known.places])
    at = jnp.asarray([means[i] for i in known.places], off.dtype)
    function = known.rates(rates, t, mean[1])
    return known, function, at, off.reshape(at.size, cells)


def _terms(function, at, deviations, alphas):
    """Moments, and derivatives at the means, leading by multi-index."""
    index, units = jnp.asarray(alphas), jnp.eye(at.size, dtype=at.dtype)
    moment = lambda rows: reductions.mean(jnp.prod(deviations[rows], axis=0))
    slope = lambda rows: _mixed(function, at, units[rows])
    return lax.map(moment, index), jax.vmap(slope)(index)


def _mixed(function, at, directions):
    """One mixed derivative, a direction for every differentiation."""
    if len(directions) == 0:
        return function(at)
    slope = lambda x: jax.jvp(function, (x,), (directions[0],))[1]
    return _mixed(slope, at, directions[1:])


def _symbols(names):
    """By name, as the papers write them; the name itself where two would be equal."""
    short = {name: SYMBOLS.get(name, name.rsplit(".", 1)[-1]) for name in names}
    count = Counter(short.values())
    return {name: s if count[s] == 1 else name for name, s in short.items()}


def _term_name(symbols):
    rank = lambda s: _ORDER.index(s) if s in _ORDER else len(_ORDER)
    symbols = sorted(symbols, key=rank)
    joined = ("" if all(len(s) == 1 for s in symbols) else ",").join(symbols)
    if len(symbols) > 2:
        return f"M_{joined}"
    return f"V_{symbols[0]}" if symbols[0] == symbols[1] else f"C_{joined}"
