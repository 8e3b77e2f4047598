"""Who may import whom: the table is the house plan, and the code obeys it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxsoc"
CORE = {"jax", "equinox", "jaxtyping", "numpy"}

# room -> (rooms of jaxsoc, packages from outside); nothing else may be imported.
TABLE = {
    "physics": (set(), CORE),
    "solve": (set(), CORE | {"diffrax"}),
    "models": ({"physics", "solve"}, CORE | {"optimistix"}),
    "columns": ({"physics", "solve", "models"}, CORE | {"optimistix"}),
    "upscale": ({"physics", "solve"}, CORE | {"optax"}),
    "tables": ({"physics"}, {"numpy"}),
    "experiments": ({"physics", "solve", "models", "upscale", "tables"}, CORE),
    "observe": ({"physics"}, CORE),
    "fitting": (
        {"physics", "solve", "models", "tables", "observe"},
        CORE | {"scipy"},
    ),
    "io": (
        {"tables", "physics", "models", "columns", "upscale", "observe"},
        {"jax", "numpy", "scipy", "pandas", "xarray", "h5py", "zarr"},
    ),
    "plots": (set(), {"numpy", "matplotlib"}),
    "cli": (
        {
            "tables",
            "physics",
            "solve",
            "models",
            "columns",
            "upscale",
            "experiments",
            "fitting",
            "observe",
            "io",
            "plots",
        },
        {"jax", "numpy", "typer", "rich", "pydantic"},
    ),
    "__init__": (
        {
            "physics",
            "solve",
            "models",
            "columns",
            "upscale",
            "experiments",
            "fitting",
            "observe",
        },
        set(),
    ),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, list[str]]]:
    """Absolute modules imported anywhere in a file, with the names taken from each."""
    package = name_of(path) if path.name == "__init__.py" else name_of(path.parent)
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*base, node.module or ""]).strip(".")
            module = module if node.level else node.module
            found.append((module, [alias.name for alias in node.names]))
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_obey_the_table(path):
    room = room_of(path)
    rooms, packages = TABLE[room]
    for module, names in imports(path):
        top, *inner = module.split(".")
        if top != "jaxsoc":
            assert top in packages or top in sys.stdlib_module_names, module
            continue
        targets = [inner[0]] if inner else names
        for target in targets:
            assert target == room or target in rooms, f"{room} imports {target}"
            if target != room:
                assert not any(name.startswith("_") for name in names), names


def test_every_room_is_in_the_table_and_exists():
    assert {room_of(path) for path in MODULES} == set(TABLE)


def test_rooms_and_files_are_free_of_circles():
    graph = {}
    for path in MODULES:
        own = name_of(path)
        graph[own] = set()
        for module, names in imports(path):
            if module.startswith("jaxsoc"):
                graph[own].add(module)
                graph[own] |= {f"{module}.{name}" for name in names}
    graph = {
        module: {t for t in targets if t in graph and not module.startswith(t)}
        for module, targets in graph.items()
    }

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail, module])
        for target in graph[module]:
            visit(target, [*trail, module])

    for module in graph:
        visit(module, [])


def test_core_imports_without_files_figures_and_command_line():
    code = (
        "import sys, jaxsoc; print([m for m in ('xarray', 'matplotlib', 'numpyro', "
        "'typer', 'rich', 'pydantic', 'h5py') if m in sys.modules]); "
        "import jax; print(jax.config.jax_enable_x64)"
    )
    run = [sys.executable, "-c", code]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:2] == ["[]", "False"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_are_short_enough_to_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(
            node, ast.FunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
