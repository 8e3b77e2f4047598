"""`jaxsoc doctor`: what this machine offers, and one sentence on what is wrong."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from jaxsoc.solve.devices import usable_cores

from . import cache

_PACKAGES = (
    *("jaxsoc", "jax", "jaxlib", "equinox", "diffrax", "lineax", "optimistix"),
    *("optax", "numpyro", "numpy", "scipy", "xarray", "h5netcdf", "matplotlib"),
)
_OLDEST_JAX = (0, 10)


def examine() -> tuple[dict[str, str], str]:
    """Facts by name, and the diagnosis."""
    facts = {"python": platform.python_version(), "system": platform.platform()}
    facts |= {name: _version(name) for name in _PACKAGES}
    devices, problem = [], ""
    try:
        devices = [f"{d.device_kind} ({d.platform})" for d in jax.devices()]
    except RuntimeError as error:
        problem = str(error).splitlines()[0]
    facts["devices"] = ", ".join(devices) or "none"
    facts["cores"] = f"{usable_cores()} of {os.cpu_count()} in use"
    facts["compiled programs"] = cache.described()
    facts["x64"] = "on" if jnp.result_type(float) == jnp.float64 else "off"
    return facts, _diagnosis(facts, problem)


def print_report(console: Console) -> bool:
    """Prints the report; returns whether all is well."""
    facts, diagnosis = examine()
    table = Table(show_header=False, box=None)
    table.add_column()
    table.add_column(overflow="fold")  # a path is told to its end
    for name, value in facts.items():
        table.add_row(name, value)
    console.print(table)
    console.print(diagnosis)
    return diagnosis == _WELL


_WELL = "Nothing is wrong."


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _diagnosis(facts, problem):
    if problem:
        return f"JAX finds no device ({problem}): reinstall jax and jaxlib together."
    missing = [name for name in _PACKAGES if facts[name] == "not installed"]
    if missing:
        return f"Not installed: {', '.join(missing)}; reinstall jaxsoc."
    release = tuple(int(part) for part in facts["jax"].split(".")[:2])
    if release < _OLDEST_JAX:
        return f"jax {facts['jax']} is too old: jaxsoc needs 0.10 or later."
    if facts["jax"].split(".")[:3] != facts["jaxlib"].split(".")[:3]:
        return (
            f"jax {facts['jax']} and jaxlib {facts['jaxlib']} do not match: install "
            "the same version of both."
        )
    if shutil.which("nvidia-smi") and "gpu" not in facts["devices"]:
        return (
            "There is an NVIDIA GPU that JAX does not use: pip install 'jaxsoc[cuda13]'"
        )
    return _WELL
