"""Tests run with 64-bit floats and with the sloppy things made errors."""

import os
import resource
import sys
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
# Most of the time of these tests goes into compiling: programs are kept for both
# processes and later runs, and compiled without optimisation, in half the time. Files
# with long runs are marked `optimised`.
_CACHES = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
_CACHE = _CACHES / "jaxsoc-tests" / f"jax-{jax.__version__}"
jax.config.update(
    "jax_compilation_cache_dir", os.environ.get("JAXSOC_TEST_CACHE", str(_CACHE))
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]
# Of each process that ran tests, KiB.
_MEMORY: list[int] = []


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


@pytest.fixture(scope="module", autouse=True)
def _programs(request):
    """Programs of one file: compiled in full if it says so, not kept for the next."""
    optimised = request.node.get_closest_marker("optimised") is not None
    jax.config.update("jax_disable_most_optimizations", not optimised)
    yield
    jax.clear_caches()


def pytest_sessionfinish(session):
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    getattr(session.config, "workeroutput", {})["memory"] = memory


def pytest_testnodedown(node):
    # One that was killed says nothing.
    if hasattr(node, "workeroutput"):
        _MEMORY.append(node.workeroutput["memory"])


def pytest_terminal_summary(terminalreporter):
    most = max(_MEMORY, default=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    terminalreporter.write_line(f"most memory of a process: {most / 2**20:.1f} GiB")
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum("JAXSOC_DATA" in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(
            f"{count} tests that need the published data were skipped: set JAXSOC_DATA"
        )
    if others := len(skipped) - count:
        reasons = {str(report.longrepr[-1]) for report in skipped}
        terminalreporter.write_line(f"{others} other tests were skipped:")
        for reason in sorted(reasons):
            terminalreporter.write_line(f"  {reason}")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20201)


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
