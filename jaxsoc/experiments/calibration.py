"""Posteriors of many measured profiles, each from its own key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jaxsoc.infer.chains import COUNT, AbstractSampler
from jaxsoc.infer.diagnostics import ess_bulk
from jaxsoc.infer.hmc import BatchHMC
from jaxsoc.infer.posterior import Posterior
from jaxsoc.infer.site import (
    Law,
    Measured,
    SiteModel,
    factor_prior,
    priors_of,
    rank_weights,
    root_prior,
)
from jaxsoc.physics.options import check_option
from jaxsoc.physics.profiles import stock
from jaxsoc.physics.site_forcing import NPP_ERROR
from jaxsoc.solve import Sites, map_sites, require_x64
from jaxsoc.solve.devices import accelerated, free_devices
from jaxsoc.solve.progress import Progress, silent

from .measured_sites import (
    CALIBRATED,
    NPP_FACTOR,
    ROOT_SHARE,
    SOIL_RESPIRATION,
    ColumnPrediction,
    SiteInputs,
)

# Sites that go through a program at a time, on each device: on a processor as many as
# stay in its cache.
BLOCK, _ACCELERATED_BLOCK = 16, 1024
# Draws of which profiles are made, evenly taken from all chains.
_PREDICTED = 100
# Probabilities of the quantiles that are kept of predictions.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Depths that stocks are given to, m.
_STOCKS = np.array([0.3, 1.0])
# Scale of the error of radiocarbon, ‰, times which the inferred one is.
_PERMIL = 100.0
# The pilot: lengths that are tried, sites, and iterations before the draws.
_LENGTHS, _PILOTS, _SHORT = (4, 8, 16, 32), 8, 200


@dataclass(frozen=True)
class Calibration:
    """What posteriors are asked for.

    `model`: of `measured_sites.CALIBRATED`; `kinds`: of measurements; `law`, `error`:
    of carbon, see `Measured`, radiocarbon being normal; `free_npp`: whether all litter
    has a multiplier, log-normal about 1; `published_ranges`: of the priors; `seed`;
    `priors`: distributions of numpyro by parameter, in place of the uniform ones.

    **Raises:** `ValueError` for an unknown model, kind, law or parameter.
    """

    model: str = "clm5"
    kinds: tuple[str, ...] = ("carbon",)
    law: str = "log-normal"
    error: float | None = None
    free_npp: bool = False
    published_ranges: bool = False
    seed: int = 0
    priors: Mapping[str, Any] | None = None

    def __post_init__(self):
        check_option("law", self.law, Law)
        check_option("model", self.model, CALIBRATED)
        ColumnPrediction(CALIBRATED[self.model], self.kinds)
        Measured(np.zeros(1), self.error, law=self.law)
        priors_of(CALIBRATED[self.model].parameters, self.priors)
        for name, prior in (self.priors or {}).items():
            if prior.shape() != ():
                raise ValueError(
                    f"the prior of {name} must be of one number, got one of shape "
                    f"{prior.shape()}"
                )

    @cached_property
    def predict(self) -> ColumnPrediction:
        """The prediction of a site."""
        return ColumnPrediction(CALIBRATED[self.model], self.kinds)

    @cached_property
    def site_model(self) -> SiteModel:
        """The numpyro model of a site, `(SiteInputs, measured)`."""
        parameters = CALIBRATED[self.model].parameters
        priors = priors_of(parameters, self.priors, published=self.published_ranges)
        if self.free_npp:
            priors[NPP_FACTOR] = factor_prior(NPP_ERROR)
        if SOIL_RESPIRATION in self.kinds:
            priors[ROOT_SHARE] = root_prior()
        return SiteModel(self.predict, priors)

    def measured(
        self, known: Mapping[str, np.ndarray], depths: np.ndarray
    ) -> dict[str, Measured]:
        """Measurements as the site model takes them, leading by site.

        **Arguments:** `known`: of `measured_sites`; `depths`: middles of the layers, m,
        (site, observation).
        """
        found = {}
        for kind, values in known.items():
            if kind == "radiocarbon":
                scale = np.full(values.shape, _PERMIL)
                ones = np.ones(values.shape)
                found[kind] = Measured(values, None, scale, ones, law="normal")
                continue
            error = None
            if self.error is not None:
                error = np.full(len(values), self.error)
            weights = np.ones(values.shape)
            if self.law == "published-error":
                pairs = zip(values, depths, strict=True)
                weights = np.stack([rank_weights(*one) for one in pairs])
            found[kind] = Measured(values, error, weights=weights, law=self.law)
        return found


class SiteData(NamedTuple):
    """Sites to be calibrated, leaves leading by site: `names`; `inputs`; `measured` by
    kind; `key` of each, of its name alone, so that a site's draws do not depend on
    those beside it."""

    names: tuple[str, ...]
    inputs: SiteInputs
    measured: dict[str, Measured]
    key: Any

    @classmethod
    def of(
        cls,
        design: Calibration,
        names: Any,
        inputs: SiteInputs,
        known: Mapping[str, np.ndarray],
        depths: np.ndarray,
    ) -> "SiteData":
        """Of what `measured_sites` made of profiles.

        **Arguments:** `names`: texts; the others see `Calibration.measured`.
        """
        seed = jax.random.PRNGKey(design.seed)
        digest = lambda name: blake2b(name.encode(), digest_size=8).digest()
        text = b"".join(digest(name) for name in map(str, names))
        numbers = np.frombuffer(text, "<u4").astype(np.uint32).reshape(-1, 2)
        fold = jax.random.fold_in
        key = jax.vmap(lambda n: fold(fold(seed, n[0]), n[1]))(numbers)
        measured = design.measured(known, depths)
        return cls(tuple(map(str, names)), inputs, measured, np.asarray(key))

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.names)

    def at(self, places: Any) -> "SiteData":
        """Those at some places."""
        names = tuple(self.names[i] for i in places)
        one = lambda x: np.asarray(x)[places]
        inputs, measured, key = jax.tree.map(one, tuple(self[1:]))
        return SiteData(names, inputs, measured, key)


class Predicted(NamedTuple):
    """What draws of a site say: quantiles, `QUANTILES` first.

    `profile`: soil organic carbon by layer of the column, gC m⁻³, and `profile_mean`;
    `seen`: of what was measured, by kind; `stock`: to 0.3 m, 1 m and in the whole
    column, gC m⁻²; `residence_time`: yr.
    """

    profile: Any
    profile_mean: Any
    seen: dict[str, Any]
    stock: Any
    residence_time: Any


class Posteriors(NamedTuple):
    """Posteriors of sites, leading by site.

    `draws`: by constant, (chain, draw), in natural units; `log_density`: (chain, draw);
    `accepted`, `diverged`, `barred`: by chain, see `Chains`; `learnt`, likewise;
    `predicted`.
    """

    draws: dict[str, Any]
    log_density: Any
    accepted: Any
    diverged: Any
    barred: Any
    learnt: dict[str, Any]
    predicted: Predicted


def usual_block(sites: int | None = None) -> int:
    """Sites that go together on each device, no more than there are."""
    most = _ACCELERATED_BLOCK if accelerated() else BLOCK
    few = most if sites is None else -(-sites // free_devices())
    return few if accelerated() and few < most else most


class Calibrator:
    """Calibrates sites of one design, many in one program, compiled once.

    Each site's draws are the same whichever sites go with it.

    **Arguments:** `sampler`: of `jaxsoc.infer`; `block`: sites that go together on
    each device, by default 16 on a processor and 1,024 on an accelerator.
    **Raises:** `RuntimeError` where JAX is set to 32 bits.
    """

    def __init__(
        self,
        design: Calibration,
        sampler: AbstractSampler,
        *,
        block: int | None = None,
    ):
        require_x64("calibration")
        if block is not None:
            COUNT.check("block", block)
        block = usual_block() if block is None else block
        self.design, self.sampler, self.block = design, sampler, block
        self._posterior: Posterior | None = None

    @property
    def chunk(self) -> int:
        """Sites of a call of the program."""
        return self.block * free_devices()

    def posterior(self, data: SiteData) -> Posterior:
        """The posterior of a site, a function of its inputs and measurements."""
        if self._posterior is None:
            one = lambda x: jnp.asarray(x[0])
            first = jax.tree.map(one, (data.inputs, data.measured))
            self._posterior = Posterior(self.design.site_model, *first)
        return self._posterior

    def __call__(self, data: SiteData, sampler: AbstractSampler | None = None) -> Any:
        """`Posteriors` of all sites, filled up to a whole chunk."""
        posterior = self.posterior(data)
        sampler = jax.tree.map(jnp.asarray, sampler or self.sampler)
        places = np.arange(-(-data.size // self.chunk) * self.chunk)
        # The last site again fills the last chunk.
        places = np.minimum(places, data.size - 1).reshape(-1, self.chunk)
        found = []
        for chunk in places:
            now = data.at(chunk)
            sites = Sites.of((now.inputs, now.measured, now.key), block=self.block)
            run = _run(posterior, self.design.predict, sampler, sites)
            found.append(jax.device_get(run.leading()))
        join = lambda *x: np.concatenate(x)[: data.size]
        return jax.tree.map(join, *found)


@eqx.filter_jit
def _run(posterior, predict, sampler, sites):
    return map_sites(lambda site: program(posterior, predict)(sampler, site), sites)


def program(posterior: Posterior, predict: ColumnPrediction) -> Callable[..., Any]:
    """`(sampler, (inputs, measured, key)) -> Posteriors` of one site."""

    def one(sampler, site):
        inputs, measured, key = site
        chains = posterior.sample(sampler, key, inputs, measured)
        natural = lambda z: posterior.latent(z, inputs, measured)
        draws = jax.vmap(jax.vmap(natural))(chains.z)
        draws |= _errors(posterior.model, key, draws, inputs, measured)
        return Posteriors(
            draws,
            chains.log_density,
            chains.accepted,
            chains.diverged,
            chains.barred,
            chains.learnt,
            _predicted(predict, draws, inputs),
        )

    return one


def _errors(model, key, draws, inputs, measured):
    """Error scales that were integrated out, for every draw."""
    shape = jax.tree.leaves(draws)[0].shape[:2]
    # Not 0 or 1: what `Posterior.sample` makes of the key by splitting it.
    keys = jax.random.split(jax.random.fold_in(key, 2), shape)
    one = lambda key, values: model.errors(key, values, inputs, measured)
    # Draw by draw: all at once would take a column's memory for each.
    by_draw = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (keys, draws))
    found = jax.lax.map(lambda now: jax.vmap(one)(*now), by_draw)
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), found)


def _predicted(predict, draws, inputs):
    """Of some draws, evenly taken from all chains."""
    chains, count = jax.tree.leaves(draws)[0].shape[:2]
    each = max(1, min(count, _PREDICTED // chains))
    some = np.linspace(0, count - 1, each).astype(int)
    few = jax.tree.map(lambda x: x[:, some].reshape(-1, *x.shape[2:]), draws)

    def one(values):
        rest = predict.column(values, inputs)
        model, soil = rest.model, rest.model.organic_carbon(rest.pools)
        ends = np.append(_STOCKS, model.forcing.column.interfaces[-1])
        stocks = stock(soil, model.forcing.column, ends)
        litter = jnp.sum(model.forcing.litter)
        seen = {k: predict.seen(k, rest, inputs, values) for k in predict.kinds}
        return soil, seen, stocks, stocks[-1] / litter

    found = jax.lax.map(one, few)
    # Draws of an approximation may have no column at rest: they predict nothing.
    quantiles = lambda x: jnp.nanquantile(x, jnp.asarray(QUANTILES), axis=0)
    soil, seen, stocks, time = jax.tree.map(quantiles, found)
    return Predicted(soil, jnp.nanmean(found[0], axis=0), seen, stocks, time)


def pilot(
    calibrator: Calibrator,
    data: SiteData,
    lengths: Sequence[int] = _LENGTHS,
    progress: Progress = silent,
) -> tuple[BatchHMC, dict[str, float]]:
    """The sampler with the longest trajectory that pays best at a few sites.

    Most of the smallest effective number of draws per evaluation of the slope, the
    median over sites that are evenly taken from all.

    **Returns:** it, and that number by length.
    """
    sampler = calibrator.sampler
    if not isinstance(sampler, BatchHMC):
        raise ValueError(f"a pilot is of BatchHMC, got {type(sampler).__name__}")
    few = np.unique(np.linspace(0, data.size - 1, _PILOTS).astype(int))
    some, paid = data.at(few), {}
    for done, length in enumerate(lengths):
        progress(done, len(lengths), f"trajectories of up to {length} steps")
        short = replace(sampler, steps=length, warmup=_SHORT, thin=1)
        found = calibrator(some, short)
        every = [np.stack(list(d)) for d in zip(*found.draws.values(), strict=True)]
        least = [np.min(ess_bulk(np.moveaxis(x, 0, -1))) for x in every]
        # Evenly spread from 1 on.
        slopes = sampler.draws * 0.5 * (length + 1)
        paid[str(length)] = float(np.median(least) / slopes)
    best = int(max(paid, key=lambda name: paid[name]))
    return replace(sampler, steps=best), paid
