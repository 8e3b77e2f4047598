"""What the README and the documentation promise is true."""

import re
import tomllib
from pathlib import Path

import pytest

import jaxsoc

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def python_blocks(text):
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_example_of_the_readme_runs_in_twelve_lines(capsys):
    (example,) = python_blocks(README)
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 12
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.fullmatch(r"R peaks at 0\.0\d{3} mgC/g/h on day \d\.\d\d\n", printed)


@pytest.mark.slow
def test_examples_of_the_documentation_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "pages" / "python.md").read_text()
    # smaller soils than those that a reader would run
    text = text.replace("members=3", "duration=48.0, every=24.0")
    text = text.replace("Design(), [0.1", "Design(duration=48.0, every=24.0), [0.1")
    text = text.replace("every=24.0, members=1000", "every=48.0, duration=96.0")
    names = {}
    for block in python_blocks(text):
        exec(compile(block, "python.md", "exec"), names)
    assert (tmp_path / "upscale.nc").exists()


@pytest.mark.slow
def test_examples_of_the_page_on_columns_run(capsys):
    names = {}
    text = (ROOT / "docs" / "pages" / "columns.md").read_text()
    for block in python_blocks(text):
        exec(compile(block, "columns.md", "exec"), names)
    assert "(100, 20)" in capsys.readouterr().out


def test_the_toml_file_of_the_documentation_is_valid():
    from jaxsoc.cli.config import UpscaleConfig

    text = (ROOT / "docs" / "pages" / "upscale.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    config = UpscaleConfig.model_validate(tomllib.loads(block))
    assert config.design().hours == 2400


def test_two_commands_do_all_the_set_up():
    commands = [
        line for line in README.splitlines() if line.startswith("python3 -m venv")
    ]
    assert len(commands) == 2
    assert commands[0].endswith("jaxsoc upscale")
    assert "pytest" in commands[1]


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md"])
def test_version_is_the_same_everywhere(name):
    assert jaxsoc.__version__ in (ROOT / name).read_text()


def test_pictures_and_pages_that_the_readme_names_exist():
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
