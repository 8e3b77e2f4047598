"""The scale transition: terms of any law against computer algebra and closed forms."""

from collections import Counter
from functools import cache
from math import factorial, prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from slow_cases import slow_but

from jaxsoc.io import load_fields
from jaxsoc.models import Pools, TwoPool
from jaxsoc.models.two_pool import TwoPoolParameters
from jaxsoc.physics.kinetics import KINETICS
from jaxsoc.physics.mortality import (
    LinearMortalityConstants,
    PowerMortalityConstants,
    power_mortality,
)
from jaxsoc.solve import Steps, integrate
from jaxsoc.upscale import taylor

S, B, k, K, m, β, Y = sympy.symbols("S B k K m beta Y", positive=True)
a = K + S + B
LAWS = {
    "linear": k * S,
    "multiplicative": k * S * B,
    "michaelis_menten": k * S * B / (K + S),
    "inverse_michaelis_menten": k * S * B / (K + B),
    "eca": k * S * B / (K + S + B),
    "quadratic": k / 2 * (a - sympy.sqrt(a**2 - 4 * S * B)),
}


def soil(kinetics, cells=300, *, uniform=(), exponent=1.3):
    """A soil in which everything differs from cell to cell, unless named uniform."""
    rng = np.random.default_rng(7)
    means = {"S": 4.0, "B": 1.5, "k": 0.02, "K": 6.0, "m": 3e-4, "beta": exponent}
    means |= {"Y": 0.31, "I": 1e-4}
    draw = lambda name: jnp.asarray(
        means[name]
        if name in uniform
        else means[name] * (1 + 0.3 * rng.uniform(-1, 1, cells))
    )
    fields = {name: draw(name) for name in means}
    constants = [fields["k"], fields["K"]][: 1 + (kinetics in _HALF)]
    law = KINETICS[kinetics]
    params = TwoPoolParameters(
        law.constants(*constants),
        PowerMortalityConstants(fields["m"], fields["beta"]),
        fields["Y"],
        fields["I"],
    )
    state = Pools(fields["S"], fields["B"], jnp.zeros(cells))
    return TwoPool(law.law, power_mortality), state, params, fields


_HALF = {"michaelis_menten", "inverse_michaelis_menten", "eca", "quadratic"}


@cache
def derivative(expression, letters):
    """By all letters but the last, and then by that: each is taken once."""
    if not letters:
        return expression
    return sympy.diff(derivative(expression, letters[:-1]), letters[-1])


def worst_term(kinetics, places):
    """Largest relative error of derivatives, moments and terms at some places.

    Moments are compared relative to the product of standard deviations, since those of
    independent quantities are zero but for chance.
    """
    model, state, params, fields = soil(kinetics)
    found = taylor.expand(model.fluxes, state, params, order=4)
    D = LAWS[kinetics]
    laws = {"decomposition": D, "mortality": m * B**β}
    laws |= {"growth": Y * D, "respiration": (1 - Y) * D}
    symbols = {str(s): s for s in (S, B, k, K, m, β, Y)}
    at = {symbols[n]: sympy.Float(float(jnp.mean(fields[n])), 40) for n in symbols}
    deviation = {n: np.asarray(fields[n]) - float(jnp.mean(fields[n])) for n in symbols}
    off, nonzero = {"derivative": 0.0, "moment": 0.0, "term": 0.0}, 0
    for place, name in enumerate(found.names):
        if not places(found.orders[place], place):
            continue
        letters = sorted(letters_of(name))
        term, counts = found[name], Counter(letters)
        moment = np.mean(prod(deviation[n] ** c for n, c in counts.items()))
        scale = prod(np.std(deviation[n]) ** c for n, c in counts.items())
        worse(off, "moment", float(term.moment), moment, scale)
        weight = prod(map(factorial, counts.values()))
        for flux, law in laws.items():
            symbolic = derivative(law, tuple(symbols[n] for n in letters))
            exact = float(symbolic.evalf(30, subs=at))
            value = float(getattr(term.derivative, flux))
            part = float(getattr(term.contribution, flux))
            if exact == 0:
                assert value == part == 0.0
                continue
            nonzero += 1
            worse(off, "derivative", value, exact, abs(exact))
            whole = abs(exact) * scale / weight
            worse(off, "term", part, exact * moment / weight, whole)
    return off, nonzero


def worse(off, what, value, exact, scale):
    off[what] = max(off[what], abs(value - exact) / scale)


@pytest.mark.parametrize("kinetics", slow_but(("multiplicative",), LAWS))
def test_every_term_through_order_four_is_that_of_computer_algebra(kinetics):
    off, nonzero = worst_term(kinetics, lambda order, i: True)
    assert max(off.values()) <= 1e-12, off
    assert nonzero >= 30


def letters_of(name):
    kind, rest = name.split("_")
    if kind == "V":
        return [rest, rest]
    return rest.split(",") if "," in rest else list(rest)


POLYNOMIAL = [
    ("multiplicative", (), 3),
    ("multiplicative", ("k",), 2),
    ("linear", ("k",), 1),
]


@pytest.mark.parametrize(
    ("kinetics", "uniform", "order"),
    slow_but(
        [("linear", ("k",), 1)],
        [
            ("multiplicative", (), 3),
            ("multiplicative", ("k",), 2),
            ("linear", ("k",), 1),
        ],
    ),
)
def test_polynomial_laws_are_exact_at_their_order(kinetics, uniform, order):
    model, state, params, _ = soil(kinetics, uniform=uniform)
    found = taylor.expand(model.fluxes, state, params, order=order + 1)
    exact = float(found.exact.decomposition)
    assert abs(float(found.remainder(order).decomposition)) <= 1e-14 * exact
    if order > 1:
        assert abs(float(found.remainder(order - 1).decomposition)) > 1e-6 * exact


@pytest.mark.parametrize("kinetics", ["michaelis_menten", "inverse_michaelis_menten"])
def test_dimensionless_forms(kinetics):
    model, state, params, fields = soil(kinetics)
    found = taylor.expand(model.fluxes, state, params, order=2)
    mean = {name: jnp.mean(field) for name, field in fields.items()}
    pair = lambda x, y: float(
        found[f"C_{x}{y}" if x != y else f"V_{x}"].moment / mean[x] / mean[y]
    )
    g = lambda x, y: pair(x, y)
    # Michaelis-Menten with the pools' roles swapped is the inverse law.
    X, Z = ("S", "B") if kinetics == "michaelis_menten" else ("B", "S")
    x = float(mean[X] / (mean["K"] + mean[X]))
    inner = g("S", "B") + g("k", X) - x * g(X, X) + (1 - x) * g("K", "K") - g("k", "K")
    inner += -(1 - 2 * x) * g(X, "K") - g(Z, "K")
    expected = 1 + g("k", Z) + (1 - x) * inner
    ratio = float(found.partial_sum(2).decomposition / found.mean_field.decomposition)
    assert ratio == pytest.approx(expected, rel=1e-14)
    # Eight terms of order 2, those of V_k and of V of the other pool are zero.
    parts = {n: float(found[n].contribution.decomposition) for n in found.names}
    zero = {n for n in parts if parts[n] == 0 and set(letters_of(n)) <= set("SBkK")}
    assert zero == {"V_k", f"V_{Z}"}


# Relative errors of the partial sums in substrate (biomass for the inverse law), from
# order 0 on, on the published fields with uniform constants, at the start.
SUMS = {
    ("michaelis_menten", "positive"): [-0.032, 0.015, -0.007, 0.004],
    ("michaelis_menten", "negative"): [0.040, 0.011, 0.003, 0.001],
    ("michaelis_menten", "uncorrelated"): [0.37, 0.37, 0.22, 0.26, 0.12],
    ("inverse_michaelis_menten", "positive"): [-0.120, 0.101, -0.014, 0.005, -0.001],
    ("inverse_michaelis_menten", "negative"): [0.306, 0.113, -0.004, 0.003, -0.0005],
    ("inverse_michaelis_menten", "uncorrelated"): [0.081, 0.1, -0.007, 0.003, -0.0007],
}


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize(
    ("kinetics", "correlation"),
    list(SUMS),
)
def test_partial_sums_on_the_published_fields(data, kinetics, correlation):
    supplied = load_fields(data / "chakrawal_fields" / "scenario2.npz")
    substrate = jnp.asarray(supplied.substrate[correlation])
    biomass = jnp.asarray(supplied.biomass)
    law = KINETICS[kinetics]
    params = jax.tree.map(jnp.asarray, TwoPoolParameters(law.constants()))
    state = Pools(substrate, biomass, jnp.zeros_like(substrate))
    model, expected = TwoPool(law.law), SUMS[kinetics, correlation]
    found = taylor.expand(model.fluxes, state, params, order=len(expected))
    saturating = "S" if kinetics == "michaelis_menten" else "B"
    parts = [
        (letters_of(name).count(saturating), found[name].contribution.decomposition)
        for name in found.names
    ]
    mean_field = found.mean_field.decomposition
    for order, error in enumerate(expected):
        total = mean_field + sum(part for n, part in parts if n <= order)
        off = float(total / found.exact.decomposition - 1)
        digits = len(str(error).split(".")[1])
        assert off == pytest.approx(error, abs=0.51 * 10**-digits)
    cells = 1141 if (kinetics[0], correlation[0]) == ("m", "u") else 0
    share = taylor.outside(model.fluxes, state, params).decomposition
    assert round(float(share) * 10_000) == cells


def test_three_readings_of_the_same_term():
    model, state, params, _ = soil("eca")
    found = taylor.expand(model.fluxes, state, params, order=3)
    for names in (("C_SB", "C_BS"), ("M_kSB", "M_BkS", "M_SBk")):
        first, *others = (found[name] for name in names)
        assert all(float(o.moment) == float(first.moment) for o in others)
    assert found["V_B"].moment == found["C_BB"].moment
    with pytest.raises(KeyError, match="no term 'V_Q': the terms are V_S, C_SB"):
        found["V_Q"]


def test_orders_add_up_to_the_whole():
    model, state, params, _ = soil("eca")
    found = taylor.expand(model.fluxes, state, params, order=4)
    with pytest.raises(ValueError, match="expanded to order 4, asked for 5"):
        found.partial_sum(5)
    total = sum(
        float(found[name].contribution.decomposition) for name in found.names
    ) + float(found.mean_field.decomposition)
    assert float(found.partial_sum(4).decomposition) == pytest.approx(total, rel=1e-14)
    remainder = float(found.remainder(4).decomposition)
    exact = float(found.exact.decomposition)
    assert remainder == pytest.approx(exact - total, abs=1e-14 * exact)
    # Inside the radius of convergence every order brings it closer.
    off = [abs(float(found.remainder(n).decomposition)) for n in (0, 2, 4)]
    assert off[0] > 3 * off[1] > 9 * off[2]


def test_a_uniform_soil_has_no_terms():
    everything = ("S", "B", "k", "K", "m", "beta", "Y", "I")
    model, state, params, _ = soil("michaelis_menten", uniform=everything)
    state = Pools(*map(lambda x: jnp.asarray(x).reshape(-1)[0], state))
    found = taylor.expand(model.fluxes, state, params, order=3)
    assert found.names == ()
    assert float(found.remainder(3).decomposition) == 0.0


@pytest.mark.slow
def test_a_run_is_followed_and_members_are_mapped():
    model, state, params, _ = soil("michaelis_menten", uniform=("beta",), exponent=1.0)
    times = np.array([0.0, 24.0, 48.0])
    run = integrate(
        model,
        state,
        params,
        times,
        save=taylor.saver(model.fluxes, order=2),
        method=Steps(6.0),
    )
    last = taylor.expand(model.fluxes, run.final, params, order=2)
    assert run.values.moment.shape == (3, len(last.names))
    assert run.values.names == last.names
    one = lambda tree: jax.tree.map(lambda x: x[-1], tree)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    jax.tree.map(close, one(run.values.contribution), last.contribution)
    jax.tree.map(
        close,
        run.values.partial_sum(2).decomposition[-1:].reshape(()),
        last.partial_sum(2).decomposition,
    )
    states = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), state)
    members = jax.vmap(
        lambda state: taylor.expand(model.fluxes, state, params, order=2)
    )(states)
    alone = taylor.expand(model.fluxes, state, params, order=2)
    jax.tree.map(
        close, one(jax.tree.map(lambda x: x[::-1], members.moment)), alone.moment
    )


@pytest.mark.slow
def test_gradients_of_a_term_are_differences():
    model, state, params, _ = soil("michaelis_menten")

    def term(scale):
        moved = state._replace(substrate=state.substrate * scale)
        found = taylor.expand(model.fluxes, moved, params, order=3)
        return found["M_kSB"].contribution.decomposition

    h = 1e-4
    difference = (term(1 + h) - term(1 - h)) / (2 * h)
    slope = jax.grad(term)(jnp.asarray(1.0))
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.slow
def test_cells_outside_the_radius_of_convergence_are_found():
    # With uniform constants those with S > 2 S̄ + K, or B for the inverse law.
    rng = np.random.default_rng(0)
    pools = rng.lognormal(0.0, 1.2, (2, 4000))
    state = Pools(jnp.asarray(pools[0]), jnp.asarray(pools[1]), jnp.zeros(4000))
    for kinetics, pool in (("michaelis_menten", 0), ("inverse_michaelis_menten", 1)):
        constants = KINETICS[kinetics].constants(jnp.asarray(0.02), jnp.asarray(0.5))
        params = TwoPoolParameters(constants, LinearMortalityConstants())
        params = jax.tree.map(jnp.asarray, params)
        model = TwoPool(KINETICS[kinetics].law)
        x = pools[pool]
        expected = np.mean(np.abs(x - x.mean()) >= 0.5 + x.mean())
        share = taylor.outside(model.fluxes, state, params).decomposition
        assert float(share) == pytest.approx(expected, abs=2 / 4000)
        assert expected > 0.01
    # What is not known is not called converging.
    lost = state._replace(biomass=state.biomass.at[0].set(jnp.nan))
    assert float(taylor.outside(model.fluxes, lost, params).decomposition) == 1.0
    multiplicative, state, params, _ = soil("multiplicative")
    share = taylor.outside(multiplicative.fluxes, state, params)
    assert float(share.decomposition) == 0.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": 0}, "order must be a whole number from 1 on, got 0"),
        ({"order": 9}, "terms, more than 2000: choose a lower order"),
    ],
)
def test_impossible_orders_are_refused(options, words):
    model, state, params, _ = soil("michaelis_menten")
    with pytest.raises(ValueError, match=words):
        taylor.expand(model.fluxes, state, params, **options)
