"""Programs compiled for an H100 start few kernels, however many members there are."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Where the plugin may lie, apart from all else.
_PATH = [path for path in (os.environ.get("PYTHONPATH"),) if path]
# Kernels by save time, those of a gradient, and of all sites: what an accelerator needs
# to be worth its while at a few microseconds each.
BARS = {
    "run": 25,
    "ensemble": 25,
    "gradient": 60,
    "ensemble_gradient": 60,
    "clm5": 90,
}


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("jax_plugins") is None or find_spec("jax_plugins.xla_cuda13") is None,
    reason="needs jax-cuda13-plugin and jax-cuda13-pjrt of the version of jax",
)
@pytest.mark.parametrize("name", BARS)
def test_few_kernels_are_started(name):
    # JAX must not look for a card, and must know of one processor only.
    surroundings = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *_PATH]),
    }
    command = [sys.executable, str(ROOT / "tests" / "launches.py"), name]
    printed = subprocess.run(
        command, env=surroundings, capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(printed.splitlines()[-1])
    # None at all would mean that the program was not understood.
    assert 1 < found["launches"] <= BARS[name], found
