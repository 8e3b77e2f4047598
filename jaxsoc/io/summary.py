"""Statistics over the members of an ensemble, gathered chunk by chunk."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from jaxsoc.experiments import Chunk, Design, checked_correlations
from jaxsoc.experiments.run import DIMENSIONS
from jaxsoc.tables import Variable, time_axis, variable

from .labels import dataset
from .results import CHECKS, SERIES

# Series that get quantiles: the pools, and respiration with what the mean field misses.
_MAIN = (
    "substrate",
    "biomass",
    "co2",
    "respiration",
    "respiration_higher_order",
)
# Numbers kept for quantiles, all main series together.
_KEPT = 16_000_000


class MemberStatistics:
    """Mean, standard deviation and quantiles over members, chunk after chunk.

    Means and variances follow Chan's update. Quantiles are those of all members while
    these fit into memory, else of a random part of them, always the same one: each
    member has a random rank of its own, and the lowest are kept (`quantile_members`).
    """

    def __init__(self, design: Design, quantiles: tuple[float, ...]):
        if not all(0 <= q <= 1 for q in quantiles):
            raise ValueError(f"quantiles must lie in [0, 1], got {quantiles}")
        self.design, self.quantiles = design, quantiles
        self.correlation = checked_correlations(design, None)
        self.count = 0
        self.mean: dict[str, np.ndarray] = {}
        self.square: dict[str, np.ndarray] = {}
        self.worst: dict[str, np.ndarray] = {}
        self.kept: dict[str, np.ndarray] = {}
        self.ranks = np.zeros(0)

    def add(self, chunk: Chunk) -> None:
        """Takes in the members of one more chunk."""
        (members,) = {values.shape[3] for values in chunk.series.values()}
        total = self.count + members
        for name, values in chunk.series.items():
            mean = values.mean(axis=3)
            square = ((values - mean[:, :, :, None]) ** 2).sum(axis=3)
            if self.count:
                gap = mean - self.mean[name]
                mean = self.mean[name] + gap * (members / total)
                between = gap**2 * (self.count * members / total)
                square = self.square[name] + square + between
            self.mean[name], self.square[name] = mean, square
        for name, values in chunk.checks.items():
            most = values.min(axis=3) if name == "smallest_pool" else values.max(axis=3)
            pick = np.minimum if name == "smallest_pool" else np.maximum
            self.worst[name] = pick(self.worst[name], most) if self.count else most
        self._keep(chunk, members)
        self.count = total

    def _keep(self, chunk, members):
        numbers = range(chunk.first, chunk.first + members)
        draw = lambda number: np.random.default_rng([self.design.seed, number]).random()
        ranks = np.concatenate([self.ranks, [draw(number) for number in numbers]])
        size = sum(self.mean[name].size for name in _MAIN)
        chosen = np.sort(np.argsort(ranks)[: max(_KEPT // size, 16)])
        for name in _MAIN:
            new = np.moveaxis(chunk.series[name], 3, 0)
            pool = np.concatenate([self.kept[name], new]) if self.count else new
            self.kept[name] = pool[chosen]
        self.ranks = ranks[chosen]

    def dataset(self, attributes: Mapping[str, Any]) -> xr.Dataset:
        """What has been gathered, with units and provenance."""
        dims = (*DIMENSIONS[:3], "time")
        variables: dict[str, Variable] = {}

        def keep(name, dims, values, unit, *words):
            variables[name] = variable(dims, values, unit, ", ".join(words))

        for name, said in SERIES.items():
            spread = np.sqrt(self.square[name] / max(self.count - 1, 1))
            keep(name, dims, self.mean[name], *said, "mean over members")
            words = "standard deviation over members"
            keep(f"{name}_sd", dims, spread, *said, words)
        for name in _MAIN:
            values = np.quantile(self.kept[name], self.quantiles, axis=0)
            place, words = ("quantile", *dims), "quantiles over members"
            keep(f"{name}_quantile", place, values, *SERIES[name], words)
            variables[f"{name}_quantile"][2]["quantile_members"] = len(self.ranks)
        for name, values in self.worst.items():
            keep(name, dims[:3], values, *CHECKS[name], "worst member")
        coordinates = {
            "kinetics": list(self.design.kinetics),
            "heterogeneity": list(self.design.heterogeneity),
            "correlation": list(self.correlation),
            "quantile": list(self.quantiles),
            "time": time_axis(self.design.times),
        }
        return dataset(variables, coordinates, attributes, {"members": self.count})
