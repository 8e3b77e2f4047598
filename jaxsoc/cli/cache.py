"""Compiled programs kept on disk: the second run of a command does not compile."""

import os
import sys
import tempfile
import warnings
from pathlib import Path

import jax


def folder() -> Path:
    """Where compiled programs are kept: as JAX is told, else the user's cache."""
    if named := jax.config.jax_compilation_cache_dir:  # pyright: ignore
        return Path(named)
    home = Path.home()
    if sys.platform == "darwin":
        usual = home / "Library" / "Caches"
    elif sys.platform == "win32":
        usual = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        usual = home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "jaxsoc"


def keep() -> None:
    """Has JAX keep every program in the folder, unless it is told to keep none.

    Call it before anything is computed. Warns of a folder that cannot be written to.
    """
    if not jax.config.jax_enable_compilation_cache:  # pyright: ignore
        return
    try:
        path = folder()
        # What is read from here is run: nobody else may write to it.
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        jax.config.update("jax_enable_compilation_cache", False)
        said = f"compiled programs cannot be kept ({error}): every run compiles anew"
        return warnings.warn(said, stacklevel=2)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def described() -> str:
    """The folder and what it holds, in words."""
    try:
        path = folder()
        sizes = [file.stat().st_size for file in path.iterdir() if file.is_file()]
    except (OSError, RuntimeError) as error:
        return f"none yet ({error})"
    return f"{path}, {len(sizes)} files, {sum(sizes) / 2**20:.0f} MiB"
