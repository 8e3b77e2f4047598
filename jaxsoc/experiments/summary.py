"""The few numbers that a reader asks for first."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxsoc.physics.units import HOURS_PER_DAY

from .design import Design


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


def summarise(
    design: Design, correlations: Sequence[str], series: Mapping[str, np.ndarray]
) -> list[Summary]:
    """Summary of every case, means over members of each number.

    **Arguments:** `correlations`: of the results; `series`: respiration and substrate,
    as in `Run`, or without members.
    """
    R = series["respiration"]
    peaks = R.max(axis=-1)
    days = design.times[R.argmax(axis=-1)] / HOURS_PER_DAY
    final = series["substrate"][..., -1]
    control = np.full_like(peaks, np.nan)
    if "homogeneous" in design.heterogeneity:
        where = design.heterogeneity.index("homogeneous")
        control = np.broadcast_to(peaks[:, where, None], peaks.shape)
    rows = []
    for k, kinetics in enumerate(design.kinetics):
        for h, heterogeneity in enumerate(design.heterogeneity):
            # A soil that starts uniform is the same for every correlation, if the
            # totals are.
            uniform = heterogeneity in ("homogeneous", "biochemical")
            one = uniform and (R[k, h] == R[k, h, :1]).all()
            for c, correlation in enumerate(("",) if one else correlations):
                case = k, h, c
                rows.append(
                    Summary(
                        kinetics,
                        heterogeneity,
                        correlation,
                        float(days[case].mean()),
                        float(peaks[case].mean()),
                        float(_ratio(peaks[case], control[case]).mean()),
                        float(final[case].mean()),
                    )
                )
    return rows


def _ratio(peak, control):
    """NaN where the control respires nothing."""
    return np.divide(peak, control, out=np.full_like(peak, np.nan), where=control > 0)
