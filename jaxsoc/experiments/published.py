"""Calibration of a site as it was published: three annealed chains, and its filters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.columns.feasibility import SOIL_PER_MICROBES
from jaxsoc.infer.published import (
    Cost,
    PublishedMetropolis,
    published_chain,
    published_gelman_rubin,
)
from jaxsoc.observe.profiles import misfits
from jaxsoc.physics.parameters import declarations

from .calibration import Calibration, SiteData
from .measured_sites import CALIBRATED

CHAINS = 3
CONVERGED = 1.05
"""Mean of R over constants below which a profile was kept."""

_SCHEME = PublishedMetropolis()


class PublishedSite(NamedTuple):
    """A site as it was calibrated; None where no chain met the acceptance asked for.

    `mean`: constants by name, of the chain whose mean profile fits best; `deviation`:
    of its kept states; `gelman_rubin`: mean of R; `nse`: the largest over chains, Eq. 1
    of the paper; `kept`: whether it passed both filters; `ratio`: acceptance by chain.
    """

    mean: dict[str, float]
    deviation: dict[str, float]
    gelman_rubin: float
    nse: float
    kept: bool
    ratio: tuple[float, ...]


def published_cost(design: Calibration, data: SiteData, place: int) -> Cost:
    """J of a site for places in the unit cube of the priors.

    Where there is no steady state it is NaN, and so it is for COMPAS where soil carbon
    is less than ten times that of microbes, as in the program alone.

    **Raises:** `ValueError` for a law that is no published cost, or given priors.
    """
    if design.priors:
        raise ValueError(
            "the published scheme draws in ranges, got priors of "
            f"{', '.join(design.priors)}: leave them out"
        )
    if not design.law.startswith("published"):
        raise ValueError(
            f"the law {design.law!r} is no published cost: expected published-error, "
            "as for CLM5, or published-nse, as for COMPAS"
        )
    site, measured = _one(data, place)
    values = _values(design)

    def cost(u):
        now = values(u)
        rest = design.predict.column(now, site)
        model = rest.model
        total = jnp.zeros(())
        for kind, seen in measured.items():
            found = design.predict.seen(kind, rest, site, now)
            total = total + seen.cost(found)
        # Without the barrier, which is ours.
        sound = jnp.all(jnp.stack([jnp.min(x) >= 0 for x in rest.pools]))
        if model.microbes and design.model == "compas":
            soil = model.in_column(model.organic_carbon(rest.pools))
            microbes = model.in_column(rest.summed(model.microbes))
            sound = sound & (soil >= SOIL_PER_MICROBES * microbes)
        return jnp.where(sound, total, jnp.nan)

    return cost


def published_site(
    design: Calibration,
    data: SiteData,
    place: int,
    *,
    scheme: PublishedMetropolis = _SCHEME,
) -> PublishedSite | None:
    """Calibrates one site as published.

    **Arguments:** `design`: with a published law; `place`: of the site, from 0.
    **Raises:** as `published_cost`.
    Source: Tao et al. (2024), doi:10.1111/gcb.17297, and its released programs.
    """
    cost, site = published_cost(design, data, place), _one(data, place)[0]
    values = _values(design)
    start = jnp.full(len(_ranges(design)), 0.5)
    key = jnp.asarray(data.key[place])
    chains = []
    for number in range(CHAINS):
        chain = published_chain(scheme, cost, start, jax.random.fold_in(key, number))
        if chain is None:
            return None
        chains.append(chain)
    kind = next(iter(data.measured))
    observed = np.asarray(data.measured[kind].values[place])

    @jax.jit
    def profile(u):
        now = values(u)
        return design.predict.seen(kind, design.predict.column(now, site), site, now)

    means = [chain.kept().mean(axis=0) for chain in chains]
    scores = [misfits(observed, np.asarray(profile(jnp.asarray(u)))) for u in means]
    # The mean of states with a column need not have one: its misfit is no number.
    errors = [float(one.rmse[0]) for one in scores]
    best = int(np.argmin(np.nan_to_num(errors, nan=np.inf)))
    R = float(np.mean(published_gelman_rubin([chain.kept() for chain in chains])))
    nse = float(np.max(np.nan_to_num([one.nse[0] for one in scores], nan=-np.inf)))
    spread = chains[best].kept().std(axis=0, ddof=1)
    widths = {name: high - low for name, (low, high) in _ranges(design).items()}
    natural = {name: float(x) for name, x in values(means[best]).items()}
    return PublishedSite(
        natural,
        {n: float(s * w) for (n, w), s in zip(widths.items(), spread, strict=True)},
        R,
        nse,
        R < CONVERGED and nse > 0,
        tuple(chain.ratio for chain in chains),
    )


def _one(data, place):
    one = lambda x: jnp.asarray(x[place])
    return jax.tree.map(one, (data.inputs, data.measured))


def _ranges(design):
    parameters = CALIBRATED[design.model].parameters
    return {
        d.name: d.range(design.published_ranges)
        for d in declarations(parameters)
        if d.prior is not None
    }


def _values(design):
    """Constants by name of places in the unit cube."""
    ranges = _ranges(design)

    def values(u):
        pairs = zip(ranges.items(), u, strict=True)
        return {name: low + x * (high - low) for (name, (low, high)), x in pairs}

    return values
