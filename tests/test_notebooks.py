"""Every notebook runs from top to bottom, quickly, and is stored without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

# A process of its own: notebooks set options of JAX and of matplotlib for themselves.
RUNNER = """
import json, sys, time
from pathlib import Path
import matplotlib

matplotlib.use("Agg")
shown = []

def display(figure):
    figure.savefig("figure.png", dpi=40)
    shown.append(figure)

names = {"display": display}
for number, cell in enumerate(json.loads(Path(sys.argv[1]).read_text())["cells"]):
    if cell["cell_type"] == "code":
        source = "".join(cell["source"])
        exec(compile(source, f"cell {number}", "exec"), names)
print("figures", len(shown))
"""


def cells(path):
    return json.loads(path.read_text())["cells"]


def test_there_are_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    NOTEBOOKS,
    ids=lambda path: path.stem,
)
def test_a_notebook_runs(path, tmp_path):
    environment = os.environ | {"JAXSOC_QUICK": "1"}
    command = [sys.executable, "-W", "ignore", "-c", RUNNER, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text())
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_section_says_what_it_shows(path):
    kinds = [cell["cell_type"] for cell in cells(path)]
    assert kinds[0] == "markdown"
    first = "".join(cells(path)[0]["source"])
    assert first.startswith("# ") and "JAXSOC_QUICK" in first
