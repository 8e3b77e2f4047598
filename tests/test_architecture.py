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
    "solve": (set(), CORE | {"diffrax", "optax"}),
    "models": ({"physics", "solve"}, CORE | {"optimistix"}),
    "columns": ({"physics", "solve", "models"}, CORE | {"optimistix"}),
    "upscale": ({"physics", "solve"}, CORE),
    "tables": ({"physics"}, {"numpy"}),
    "observe": ({"physics"}, CORE),
    "infer": (
        {"physics", "solve", "tables", "observe"},
        CORE | {"scipy", "numpyro"},
    ),
    "experiments": (
        {
            "physics",
            "solve",
            "models",
            "columns",
            "upscale",
            "tables",
            "observe",
            "infer",
        },
        CORE,
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
            "infer",
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
            "infer",
            "observe",
        },
        set(),
    ),
}

# room -> its files, in the order in which they may import each other.
FILES = {
    "physics": """shapes units options months parameters safe once transforms grids
        columns allocation forcing environment kinetics mortality mixing profiles
        land_cover soil_water climate site site_forcing pedotransfer""",
    "solve": """precision devices dense reductions pointwise steppers loops layered
        newton steady methods periodic ensembles statistics checks blocks runs
        integrate progress train""",
    "models": """numbers two_pool column clm5_parameters compas_parameters
        mimics_parameters clm5 compas mimics""",
    "columns": """checks network matrices components budgets radiocarbon ages steady
        microbial_year feasibility seasons summary stepping transient spin_up
        yearly observables""",
    "upscale": """spectral fields distributions hyper quantities moments taylor closures
        macroscale moment_models learned representative training many predict
        catalogue supplied""",
    "observe": "operators respiration profiles screening",
    "infer": """problem result curvature least_squares scores fits pedotransfer chains
        diagnostics hmc metropolis nuts approximations published posterior kernel
        scatter site calibration_checks predictive""",
    "experiments": """objectives scenarios design samples problems held_out steady
        series soils run statistics cost budget sensitivity hyper training sweep
        ensemble forecasts effective places runs comparison measured_sites calibration
        convergence posteriors published""",
    "io": """atomic labels reading atmosphere store fields cesm places columns forcing
        closures respiration cells climate profile_columns profiles
        runs posteriors""",
    "plots": """style figures fits budget sensitivity closures columns places runs
        posteriors""",
    "cli": """interrupt cache doctor options config closure_config fit_config
        profiles_config column_config calibrate_config report upscale fit budget
        profile_places column_runs column calibrate closure_table closure commands
        main""",
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


def test_rooms_import_only_rooms_above_them_in_the_table():
    above = set()
    for room, (rooms, _) in TABLE.items():
        assert rooms <= above, f"{room} imports {rooms - above}"
        above.add(room)


@pytest.mark.parametrize("room", FILES)
def test_files_import_only_files_listed_before_them(room):
    listed = FILES[room].split()
    held = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__"}
    odd = sorted(held ^ set(listed))
    assert not odd, f"FILES[{room!r}] must list what jaxsoc/{room} holds: {odd}"
    for place, file in enumerate(listed):
        for module, names in imports(PACKAGE / room / f"{file}.py"):
            inner = module.split(".")[2:] if module.startswith(f"jaxsoc.{room}") else []
            own = inner[:1] or (names if module == f"jaxsoc.{room}" else [])
            later = set(own) & set(listed[place:])
            assert not later, f"{file} imports {later}, listed after it"


def test_core_imports_without_files_figures_and_command_line():
    code = (
        "import sys, jaxsoc; print([m for m in ('xarray', 'matplotlib', 'numpyro', "
        "'typer', 'rich', 'pydantic', 'h5py') if m in sys.modules]); "
        "import jax; print(jax.config.jax_enable_x64)"
    )
    run = [sys.executable, "-c", code]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.split("\n")[:2] == ["[]", "False"]


def test_no_module_makes_an_array_when_it_is_imported():
    """Devices can be chosen after every import: JAX has not begun."""
    code = (
        "import importlib, pkgutil, jaxsoc; "
        "from jax._src.xla_bridge import backends_are_initialized as begun; "
        "print([m.name for m in pkgutil.walk_packages(jaxsoc.__path__, 'jaxsoc.') "
        "if importlib.import_module(m.name) and begun()][:1])"
    )
    run = [sys.executable, "-c", code]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_what_is_extended_is_abstract():
    """A class is abstract or final; options alone, which are no behaviour, may grow."""
    bases, plain = {}, set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = [ast.unparse(base).split("[")[0] for base in node.bases]
                bases[node.name] = [name.split(".")[-1] for name in names]
                if not node.name.startswith(("Abstract", "_Abstract")):
                    plain.add(node.name)
    options = {"Config"}
    while more := {n for n, of in bases.items() if {*of} & options} - options:
        options |= more
    extended = {
        f"{name} extends {base}"
        for name, of in bases.items()
        for base in {*of} & plain - options
    }
    assert not extended


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
