"""The same runs in plain C: builds rk4.c into a temporary folder and calls it."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsoc.experiments import Soil
from jaxsoc.physics.kinetics import michaelis_menten, multiplicative
from jaxsoc.upscale.moments import pair_name

SOURCE = Path(__file__).with_name("rk4.c")
FLAGS = ("-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-c")
# Linked without -ffast-math, which would take subnormal numbers from all of Python.
# Threads of C that wait by spinning would take the processor from who runs next.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
LINK = ("-shared", "-fopenmp")
POOLS = ("substrate", "biomass", "co2")
FLUXES = ("decomposition", "mortality", "growth", "respiration")
CONSTANTS = ("decomposition.rate", "decomposition.half_saturation")
FASTEST = 4e8
"""Cell-steps per second in float64 that a limit must pass to be called one."""


class _Numbers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_double)
        for name in ("dt", "input", "mortality", "yield", "rate", "half", "courant")
    ]


class Steps(NamedTuple):
    """How long the steps are: so many a day, or as long as `courant` allows."""

    per_day: int = 2
    courant: float = 0.0

    def __str__(self) -> str:
        return f"Courant {self.courant:g}" if self.courant else f"{self.per_day} a day"


def compiler() -> str | None:
    """The C compiler, if this machine has one."""
    return shutil.which("gcc") or shutil.which("cc")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def law_of(soil: Soil) -> int:
    """Number of the law in rk4.c.

    **Raises:** `ValueError` for a soil that it does not know.
    """
    constants = soil.params.decomposition
    varying = [np.ndim(leaf) > 0 for leaf in jax.tree.leaves(constants)]
    if soil.model.decomposition is multiplicative and varying == [True]:
        return 0
    if soil.model.decomposition is michaelis_menten and varying in (
        [False, False],
        [True, True],
    ):
        return 2 if varying[0] else 1
    raise ValueError("rk4.c has no such law with constants like these")


class CLimit:
    """The compiled programs; a context, because they live in a temporary folder.

    **Raises:** `RuntimeError` without a compiler.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="jaxsoc-rk4-")
        self._programs: dict[tuple[int, str], Any] = {}

    def __enter__(self) -> "CLimit":
        return self

    def __exit__(self, *exception):
        self._folder.cleanup()

    def _program(self, law: int, dtype: str):
        if (law, dtype) not in self._programs:
            found = compiler()
            if found is None:
                raise RuntimeError("no C compiler: install gcc, or leave out the limit")
            built = Path(self._folder.name) / f"rk4-{law}-{dtype}.so"
            defines = [f"-DLAW={law}"] + ["-DF32"] * (dtype == "float32")
            part = str(built.with_suffix(".o"))
            commands = (
                [found, *FLAGS, *defines, str(SOURCE), "-o", part],
                [found, *LINK, part, "-o", str(built), "-lm"],
            )
            for command in commands:
                subprocess.run(command, check=True)
            program = ctypes.CDLL(str(built)).run
            program.restype = ctypes.c_double
            self._programs[law, dtype] = program
        return self._programs[law, dtype]

    def prepare(
        self, soil: Soil, times: np.ndarray, steps: Steps, dtype: str = "float64"
    ) -> Callable[[], tuple[np.ndarray, float]]:
        """A run with everything in place: call it for moments and cell-steps.

        With a Courant number the cells are sorted by their fastest rate, as jaxsoc
        does within its own time; here the sorting is done beforehand.
        """
        law = law_of(soil)
        program = self._program(law, dtype)
        state, params = soil.state, soil.params
        order = slice(None)
        if steps.courant:
            rate = soil.model.fastest_rate(0.0, state, params, times[1] - times[0])
            # The slowest to do first, so that no core is left with it at the end.
            order = np.argsort(-np.asarray(rate).reshape(-1))
        flat = lambda x: np.ascontiguousarray(np.asarray(x, dtype).reshape(-1)[order])
        S, B = flat(state.substrate), flat(state.biomass)
        fields = [flat(x) for x in jax.tree.leaves(params.decomposition) if np.ndim(x)]
        fields = (fields + [S, S])[:2]
        day = float(times[1] - times[0])
        numbers = _numbers(soil, law, day, steps)
        out = np.zeros((len(times), len(names(law))))
        pointer = lambda x: x.ctypes.data_as(ctypes.c_void_p)
        arguments = (
            *map(ctypes.c_long, (S.size, len(times) - 1, steps.per_day)),
            *map(pointer, (S, B, *fields)),
            ctypes.byref(numbers),
            ctypes.c_int(cores()),
            pointer(out),
        )
        kept = (S, B, fields, numbers)

        def run():
            assert kept is not None  # the program reads these
            work = program(*arguments)
            return out, work

        return run


def _numbers(soil, law, day, steps):
    params = soil.params
    constants = params.decomposition
    rate, half = (
        (float(constants.rate), float(constants.half_saturation))
        if law == 1
        else (0.0, 0.0)
    )
    return _Numbers(
        day / steps.per_day,
        float(params.input),
        float(params.mortality.rate),
        float(params.carbon_use_efficiency),
        rate,
        half,
        steps.courant,
    )


def names(law: int) -> list[str]:
    """What the columns of a run hold."""
    quantities = [*POOLS, *CONSTANTS[: {0: 1, 1: 0, 2: 2}[law]]]
    return [
        *(f"mean {name}" for name in quantities),
        *(
            f"covariance {pair_name(*pair)}"
            for pair in combinations_with_replacement(quantities, 2)
        ),
        *(f"flux {name}" for name in FLUXES),
        *(f"minimum {name}" for name in POOLS),
    ]


def respiration(moments: np.ndarray) -> np.ndarray:
    """Mean respiration of a run, by time."""
    return moments[:, -4].copy()
