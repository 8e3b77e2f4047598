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


@pytest.mark.slow
def test_example_of_the_readme_runs_in_twelve_lines(capsys):
    (example,) = python_blocks(README)
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) <= 12
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert re.fullmatch(r"R peaks at 0\.0\d{3} mgC/g/h on day \d\.\d\d\n", printed)


PAGES = sorted((ROOT / "docs" / "pages").glob("*.md"))
# What a page reads, and where it lies among the published data.
READ = {"incubations": ("series.csv.gz", "sidb_incubations/series.csv.gz")}
# What is printed, and what is left in the folder.
PRINTED, LEFT = {"columns": "(100, 20)"}, {"python": "upscale.nc"}


@pytest.mark.slow
# Of a closure fitted to the few cores of an example.
@pytest.mark.filterwarnings("ignore:.* is used outside what it was fitted on")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if python_blocks(page.read_text())],
    ids=lambda page: page.stem,
)
def test_examples_of_the_documentation_run(
    page, tmp_path, monkeypatch, capsys, request
):
    monkeypatch.chdir(tmp_path)
    if page.stem in READ:
        name, source = READ[page.stem]
        (tmp_path / name).symlink_to(request.getfixturevalue("data") / source)
    names = {}
    for block in python_blocks(page.read_text()):
        exec(compile(block, page.name, "exec"), names)
    assert PRINTED.get(page.stem, "") in capsys.readouterr().out
    assert (tmp_path / LEFT.get(page.stem, "")).exists()


def test_every_page_is_in_the_contents():
    contents = (ROOT / "docs" / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f": {page.name}\n" in contents, page.name


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
