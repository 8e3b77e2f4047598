"""How long things take: medians, the sides taken in turn."""

import math
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

TURN = 0.06
"""Seconds that a side's turn lasts at least: short ones run several times in it."""


def medians(
    sides: dict[str, Callable[[], Any]], repeats: int, *, warm: bool = False
) -> dict[str, float]:
    """Median seconds of each side.

    Every side runs twice before the clock starts, then they take turns, so that a slow
    moment of the machine meets them all; in a turn a short side runs until the cores
    are awake. A side must end only when its work is done. With `warm`, a side runs once
    more before the clock of each turn, so that it meets its own data in the caches and
    not what another side left there.
    """
    spent: dict[str, list[float]] = {name: [] for name in sides}
    counts = {}
    for name, side in sides.items():
        side()
        counts[name] = max(1, math.ceil(TURN / max(_seconds(side, 1), 1e-6)))
    for _ in range(repeats):
        for name, side in sides.items():
            if warm:
                side()
            spent[name].append(_seconds(side, counts[name]))
    return {name: float(np.median(seconds)) for name, seconds in spent.items()}


def _seconds(side: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        side()
    return (time.perf_counter() - start) / count


def surroundings() -> dict[str, Any]:
    """Hardware and versions that the numbers belong to."""
    device = jax.devices()[0]
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "jaxsoc_device": f"{device.platform}: {device.device_kind}",
        "jaxsoc_devices": len(jax.devices()),
        "rivals_device": f"{device.platform} (diffrax), cpu (C, LSODA)",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("jaxsoc", "jax", "diffrax", "scipy")},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
