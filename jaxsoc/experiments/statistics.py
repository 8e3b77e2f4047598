"""Statistics over members, gathered chunk by chunk, and what a reader asks first."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

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
        self.worst: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
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
            worst = pick(values[name], axis=3)
            self.worst[name] = pick([worst, self.worst.get(name, worst)], axis=0)
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
            known = self.kept.get(name, new[:0])
            self.kept[name] = np.concatenate([known, new])[chosen]
        self.ranks = ranks[chosen]

    def table(self) -> Table:
        """What has been gathered."""
        dims = (*DIMENSIONS[:3], "time")
        variables: dict[str, Variable] = {}

        def keep(of, dims, values, words, ending=""):
            unit, long_name = SAID[of]
            variables[of + ending] = variable(
                dims, values, unit, f"{long_name}, {words}"
            )

        for name in SERIES:
            spread = np.sqrt(self.square[name] / max(self.count - 1, 1))
            keep(name, dims, self.mean[name], "mean over members")
            keep(name, dims, spread, "standard deviation over members", "_sd")
        for name in _MAIN:
            values = np.quantile(self.kept[name], self.quantiles, axis=0)
            words, ending = "quantiles over members", "_quantile"
            keep(name, ("quantile", *dims), values, words, ending)
            variables[name + ending][2]["quantile_members"] = len(self.ranks)
        for name, values in self.worst.items():
            keep(name, dims[:3], values, "worst member")
        coordinates = case_axes(self.design) | {
            "quantile": list(self.quantiles),
            "time": time_axis(self.design.times),
        }
        about = design_provenance(self.design) | {"members": self.count}
        return Table(variables, coordinates, about)


class Summary(NamedTuple):
    """One case: peak of R on the saved times, its ratio to the homogeneous soil.

    `peak_ratio` is NaN if the design has no homogeneous soil.
    """

    kinetics: str
    heterogeneity: str
    correlation: str
    peak_day: float
    peak_respiration: float
    peak_ratio: float
    final_substrate: float


def summarise(results: Table) -> list[Summary]:
    """Summary of every case, means over members of each number.

    **Arguments:** `results`: of `run` or `stream`.
    """
    axes = [list(map(str, results.values(axis))) for axis in DIMENSIONS[:3]]
    R = results.values("respiration")
    peaks = R.max(axis=-1)
    days = results.values("time")[R.argmax(axis=-1)]
    final = results.values("substrate")[..., -1]
    ratio = np.full_like(peaks, np.nan)  # where the control respires nothing
    if "homogeneous" in axes[1]:
        control = peaks[:, axes[1].index("homogeneous"), None]
        np.divide(peaks, control, out=ratio, where=control > 0)
    rows = []
    for k, h, c in np.ndindex(peaks.shape[:3]):
        kinetics, heterogeneity, correlation = axes[0][k], axes[1][h], axes[2][c]
        # A soil that starts uniform is the same for every correlation of its totals.
        uniform = heterogeneity in ("homogeneous", "biochemical")
        if uniform and (R[k, h] == R[k, h, :1]).all():
            if c:
                continue
            correlation = ""
        means = [float(x[k, h, c].mean()) for x in (days, peaks, ratio, final)]
        rows.append(Summary(kinetics, heterogeneity, correlation, *means))
    return rows
