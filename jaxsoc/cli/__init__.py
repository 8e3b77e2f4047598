"""The command line: reads options and a TOML file, calls the rooms below."""

from .main import main as main
