"""Which of two models predicts better what it has not seen, and how sure that is."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Paired(NamedTuple):
    """Differences of two models over the same series.

    `mean`: over groups of the groups' means; `error`: its standard error, NaN for one
    group; `median`: over series; `wins`: series in which the first is larger; `series`
    and `groups`: how many.
    """

    mean: float
    error: float
    median: float
    wins: int
    series: int
    groups: int


def paired_differences(first: Any, second: Any, groups: Sequence[Any]) -> Paired:
    """First minus second, series by series, with a standard error by group.

    d̄ = Σ_g d̄_g / G,  error = √(Σ_g (d̄_g - d̄)² / (G (G - 1)))

    Series of one group (a study, a treatment) are not independent: each group counts
    once, however many series it has.

    **Arguments:** `first`, `second`: one number per series; `groups`: of each series.
    **Raises:** `ValueError` for lengths that differ, or none, or what is not finite.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if a.ndim != 1 or not a.size or not (a.shape == b.shape == (len(groups),)):
        raise ValueError(
            "one number per series and model and one group are needed, got "
            f"{a.shape}, {b.shape} and {len(groups)} groups"
        )
    d = a - b
    if not np.isfinite(d).all():
        raise ValueError(f"differences must be finite, got {d[~np.isfinite(d)][0]}")
    alike = [[other == one for other in groups] for one in dict.fromkeys(groups)]
    means = np.array([d[group].mean() for group in alike])
    G = means.size
    error = means.std(ddof=1) / math.sqrt(G) if G > 1 else math.nan
    return Paired(
        float(means.mean()),
        float(error),
        float(np.median(d)),
        int((d > 0).sum()),
        d.size,
        G,
    )
