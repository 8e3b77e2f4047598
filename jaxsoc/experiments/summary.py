"""The few numbers that a reader asks for first."""

from typing import NamedTuple

import numpy as np

from jaxsoc.physics.units import HOURS_PER_DAY

from .run import Run


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


def summarise(run: Run) -> list[Summary]:
    """Summary of every case, means over members of each number."""
    design = run.design
    R = run.series["respiration"]
    peaks = R.max(axis=-1)
    days = run.times[R.argmax(axis=-1)] / HOURS_PER_DAY
    final = run.series["substrate"][..., -1]
    control = np.full_like(peaks, np.nan)
    if "homogeneous" in design.heterogeneity:
        where = design.heterogeneity.index("homogeneous")
        control = np.broadcast_to(peaks[:, where, None], peaks.shape)
    rows = []
    for k, kinetics in enumerate(design.kinetics):
        for h, heterogeneity in enumerate(design.heterogeneity):
            for c, correlation in enumerate(run.correlation):
                # A soil that starts uniform is the same for every correlation.
                uniform = heterogeneity in ("homogeneous", "biochemical")
                if uniform and c > 0:
                    continue
                case = k, h, c
                rows.append(
                    Summary(
                        kinetics,
                        heterogeneity,
                        "" if uniform else correlation,
                        float(days[case].mean()),
                        float(peaks[case].mean()),
                        float((peaks[case] / control[case]).mean()),
                        float(final[case].mean()),
                    )
                )
    return rows
