"""Tests run with 64-bit floats and with the sloppy things made errors."""

import os
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings

from jaxsoc.cli import main
from jaxsoc.solve import use_all_cores

# The same examples every time, and no verdict on how long one takes to compile.
settings.register_profile("steady", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("steady")

use_all_cores()
jax.config.update("jax_enable_x64", True)
# Most of the time of these tests goes into compiling the same programs again:
# JAXSOC_TEST_CACHE names a folder that keeps them for both processes and later runs.
_TEMPORARY = tempfile.TemporaryDirectory(prefix="jaxsoc-tests-")
_CACHE = os.environ.get("JAXSOC_TEST_CACHE", _TEMPORARY.name)
jax.config.update("jax_compilation_cache_dir", _CACHE)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]


def data_folder() -> Path | None:
    """`JAXSOC_DATA`, else the folder shared/data beside the project, if present."""
    named = os.environ.get("JAXSOC_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data() -> Path:
    folder = data_folder()
    if folder is None:
        pytest.skip("no data: set JAXSOC_DATA")
    return folder


# Fixtures that take long to make: every test that needs one goes to the same process.
_COSTLY = ("all_laws", "published", "steady", "results", "saturating", "many")
# Tests that repeat others with other cases, by the beginning of their names: left to
# the slow run, so that the default one ends within ten minutes on two cores.
_SLOW = tuple(Path(__file__).with_name("slow.txt").read_text().split())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith(_SLOW):
            item.add_marker(pytest.mark.slow)
        for name in _COSTLY:
            if name in item.fixturenames:
                group = f"{item.module.__name__} {name}"
                item.add_marker(pytest.mark.xdist_group(group))
                break


def pytest_terminal_summary(terminalreporter):
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("JAXSOC_DATA" in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} tests that need the published data were skipped: set JAXSOC_DATA"
        )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20201)


@pytest.fixture(scope="module")
def quick_compile():
    """Programs compiled without optimisation: half the time where runs are short."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def jaxsoc(monkeypatch, capsys):
    """Runs the command in this process; returns exit code, output and errors."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["jaxsoc", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        return stopped.value.code or 0, printed.out, printed.err

    return call
