"""Diagnostics of the draws of many sites, and when these are enough."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxsoc.infer.diagnostics import ess_bulk, ess_tail, rank_rhat


class Convergence(NamedTuple):
    """When a site's draws are enough: `effective`: least of all constants, for the
    centre and for the tails; `rhat`: largest; `again`: times as many iterations, for
    as many draws, that sites get where they are not, once; 1 for none."""

    effective: float = 400.0
    rhat: float = 1.03
    again: int = 4

    def met(self, of: "Diagnosed") -> np.ndarray:
        """Which sites are."""
        least = np.minimum(of.bulk, of.tail).min(axis=-1)
        return (least >= self.effective) & (of.rhat.max(axis=-1) < self.rhat)


class Diagnosed(NamedTuple):
    """Of a site's draws, by constant: `mean`, `deviation`; `rhat`, rank-normalised and
    split; `bulk`, `tail`: effective numbers of draws; `correlation`, by two."""

    mean: Any
    deviation: Any
    rhat: Any
    bulk: Any
    tail: Any
    correlation: Any


def diagnosed(draws: Mapping[str, Any]) -> Diagnosed:
    """Diagnostics of sites by constant, (site, constant); correlations by two.

    **Arguments:** `draws`: by constant, (site, chain, draw).
    """
    # Chain and draw first.
    whole = np.stack([np.moveaxis(np.asarray(x), 0, -1) for x in draws.values()], -1)
    mean, deviation = whole.mean(axis=(0, 1)), whole.std(axis=(0, 1), ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = (whole - mean) / deviation
    count = whole.shape[0] * whole.shape[1] - 1
    return Diagnosed(
        mean,
        deviation,
        rank_rhat(whole),
        ess_bulk(whole),
        ess_tail(whole),
        np.einsum("cdsi,cdsj->sij", scores, scores) / count,
    )
