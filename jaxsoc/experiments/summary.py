"""The few numbers that a reader asks for first."""

from itertools import product
from typing import NamedTuple

import numpy as np

from jaxsoc.tables import Table

from .series import DIMENSIONS


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
    control = np.full_like(peaks, np.nan)
    if "homogeneous" in axes[1]:
        where = axes[1].index("homogeneous")
        control = np.broadcast_to(peaks[:, where, None], peaks.shape)
    ratio = np.full_like(peaks, np.nan)  # where the control respires nothing
    np.divide(peaks, control, out=ratio, where=control > 0)
    rows = []
    for k, h, c in product(*(range(len(axis)) for axis in axes)):
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
