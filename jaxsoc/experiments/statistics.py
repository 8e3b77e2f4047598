"""Statistics over the members of an ensemble, gathered chunk by chunk."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxsoc.tables import Table, Variable, time_axis, variable

from .design import Design, case_axes, design_provenance
from .series import DIMENSIONS, SAID, SERIES

# Series that get quantiles: the pools, and respiration with what the mean field misses.
_MAIN = ("substrate", "biomass", "co2", "respiration", "respiration_higher_order")
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
        self.count = 0
        self.mean: dict[str, Any] = defaultdict(float)
        self.square: dict[str, Any] = defaultdict(float)
        self.worst: dict[str, np.ndarray] = {}
        self.kept: dict[str, np.ndarray] = {}
        self.ranks = np.zeros(0)

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Takes in the series and checks of the next members."""
        members = values["substrate"].shape[3]
        total = self.count + members
        for name in SERIES:
            mean = values[name].mean(axis=3)
            gap = mean - self.mean[name]
            within = ((values[name] - mean[:, :, :, None]) ** 2).sum(axis=3)
            between = gap**2 * (self.count * members / total)
            self.mean[name] = self.mean[name] + gap * (members / total)
            self.square[name] = self.square[name] + within + between
        for name in sorted(values.keys() - SERIES):
            pick = np.min if name == "smallest_pool" else np.max
            most = [pick(values[name], axis=3)]
            most += [self.worst[name]] if name in self.worst else []
            self.worst[name] = pick(most, axis=0)
        self._keep(values, members)
        self.count = total

    def _keep(self, values, members):
        numbers = range(self.count, self.count + members)
        draw = lambda number: np.random.default_rng([self.design.seed, number]).random()
        ranks = np.concatenate([self.ranks, [draw(number) for number in numbers]])
        size = sum(self.mean[name].size for name in _MAIN)
        chosen = np.sort(np.argsort(ranks)[: max(_KEPT // size, 16)])
        for name in _MAIN:
            new = np.moveaxis(values[name], 3, 0)
            pool = [self.kept[name], new] if name in self.kept else [new]
            self.kept[name] = np.concatenate(pool)[chosen]
        self.ranks = ranks[chosen]

    def table(self) -> Table:
        """What has been gathered."""
        dims = (*DIMENSIONS[:3], "time")
        variables: dict[str, Variable] = {}

        def keep(name, dims, values, said, words):
            unit, long_name = said
            variables[name] = variable(dims, values, unit, f"{long_name}, {words}")

        for name in SERIES:
            spread = np.sqrt(self.square[name] / max(self.count - 1, 1))
            keep(name, dims, self.mean[name], SAID[name], "mean over members")
            words = "standard deviation over members"
            keep(f"{name}_sd", dims, spread, SAID[name], words)
        for name in _MAIN:
            values = np.quantile(self.kept[name], self.quantiles, axis=0)
            place, words = ("quantile", *dims), "quantiles over members"
            keep(f"{name}_quantile", place, values, SAID[name], words)
            variables[f"{name}_quantile"][2]["quantile_members"] = len(self.ranks)
        for name, values in self.worst.items():
            keep(name, dims[:3], values, SAID[name], "worst member")
        coordinates = case_axes(self.design) | {
            "quantile": list(self.quantiles),
            "time": time_axis(self.design.times),
        }
        about = design_provenance(self.design) | {"members": self.count}
        return Table(variables, coordinates, about)
