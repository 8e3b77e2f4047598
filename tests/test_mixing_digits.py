"""Columns whose mixing ends within them, against a solution in 120 digits."""

import decimal
from decimal import Decimal

import jax
import numpy as np
import pytest

from jaxsoc import steady_state
from jaxsoc.columns.network import flows, network
from jaxsoc.models import (
    CLM5,
    COMPAS,
    CLM5Parameters,
    COMPASParameters,
)
from jaxsoc.physics.columns import CLM5_COLUMN
from jaxsoc.physics.forcing import idealised
from jaxsoc.physics.mixing import DEEPEST_CRYOTURBATION, diffusivity

exact = lambda x: Decimal(float(x))


@pytest.fixture(autouse=True)
def digits():
    with decimal.localcontext(prec=120):
        yield


def conductances(column, active, rock, cryoturbation):
    """Between each layer and the next, m/yr, over an active layer above 2 m."""
    below = [exact(z) for z in column.levels]
    above = [Decimal(0), *below[:-1]]
    node = [(a + b) / 2 for a, b in zip(above, below, strict=True)]
    end = min(exact(DEEPEST_CRYOTURBATION), below[rock])
    D = [
        exact(cryoturbation)
        * (1 if z < active else max((end - z) / (end - exact(active)), Decimal(0)))
        * (place <= rock)
        for place, z in enumerate(below)
    ]
    found = []
    for j in range(column.layers - 1):
        h = node[j + 1] - node[j]
        w = (below[j] - node[j]) / h
        some = D[j] > 0 and D[j + 1] > 0
        found.append(1 / ((1 - w) / D[j + 1] + w / D[j]) / h if some else Decimal(0))
    return found


def faces(model, params, active, rock):
    """What a layer exchanges with that above and below it, 1/d."""
    column = model.forcing.column
    G = conductances(column, active, rock, params.cryoturbation)
    last = column.layers - 1
    for z in range(column.layers):
        up, low = (G[z - 1] if z else 0), (G[z] if z < last else 0)
        if model.bedrock == "closed":
            up, low = (0 if z >= rock else up), (0 if z + 1 >= rock else low)
        elif rock <= z < last:
            low = up
        year = exact(column.bottom[z] - column.top[z]) * 365
        yield Decimal(up) / year, Decimal(low) / year


def assembled(model, params):
    """Source by pool, -A K ξ of the linear pools by layer, and which of them move."""
    around = model.surroundings(params)
    net = network(model, params)
    M = flows(net, model, around, params)
    names = [name for name in model.pools._fields if name in net.pools]
    none = np.zeros(model.forcing.column.layers)
    source = np.stack([around.source.get(name, none) for name in names])
    entry = lambda i, j: M.loss[i] if i == j else -M.feeds.get((i, j), none) + none
    block = np.stack([np.stack([entry(i, j) for j in names]) for i in names])
    return source, block, [name in model.mixed for name in names]


def linear_pools(model, params, active, rock):
    """The linear pools at rest, by elimination layer by layer."""
    source, block, moves = assembled(model, params)
    pools, layers = source.shape
    size, rows, b = pools * layers, [], []
    for z, (up, low) in enumerate(faces(model, params, active, rock)):
        for i in range(pools):
            row = {z * pools + j: exact(block[i, j, z]) for j in range(pools)}
            if moves[i]:
                row[z * pools + i] += up + low
                row |= {(z - 1) * pools + i: -up} if z else {}
                row |= {(z + 1) * pools + i: -low} if z < layers - 1 else {}
            rows.append(row)
            b.append(exact(source[i, z]))
    for k in range(size):
        for i in range(k + 1, min(k + 2 * pools, size)):
            q = rows[i].pop(k, Decimal(0)) / rows[k][k]
            if q:
                for c in [c for c in rows[k] if c > k]:
                    rows[i][c] = rows[i].get(c, Decimal(0)) - q * rows[k][c]
                b[i] -= q * b[k]
    x = [Decimal(0)] * size
    for k in reversed(range(size)):
        beside = sum(v * x[c] for c, v in rows[k].items() if c > k)
        x[k] = (b[k] - beside) / rows[k][k]
    return np.array(x, float).reshape(layers, pools).T


CASES = [
    *(
        (CLM5, CLM5Parameters(efolding=depth), bedrock, rock)
        for depth in (0.24, 0.035)
        for bedrock, rock in (("proda", 12), ("proda", 8), ("closed", 12))
    ),
    (COMPAS, COMPASParameters(beta=0.5), "proda", 12),
    (COMPAS, COMPASParameters(), "proda", 12),
]


@pytest.mark.parametrize("active", [1.0, 0.7])
@pytest.mark.parametrize(("cls", "params", "bedrock", "rock"), CASES)
def test_every_pool_of_every_layer_has_all_its_digits(
    cls, params, bedrock, rock, active
):
    model = cls(idealised(active_layer=active, bedrock=rock), bedrock=bedrock)
    found = np.stack(steady_state(model, params))
    expected = linear_pools(model, params, active, rock)
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_mixing_is_exactly_none_where_its_taper_ends(compiled):
    D = lambda active, rock: diffusivity(active, rock, 1e-4, 5e-4, CLM5_COLUMN)
    D = jax.jit(D) if compiled else D
    rng = np.random.default_rng(0)
    for rock in (6, 8, 10, 12):
        end = CLM5_COLUMN.interfaces[rock]
        for active in rng.uniform(0.01, min(end, 2.0), 20):
            found = np.asarray(D(float(active), float(rock)))
            assert np.all(found[rock:] == 0)
            assert np.all(found[:rock] > 0)
