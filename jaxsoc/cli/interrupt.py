"""Ctrl-C that is not lost: Python drops one that arrives while it collects garbage."""

import signal
import threading
from typing import Any

_seen = threading.Event()


def install() -> None:
    """Notes an interrupt as well as raising it, in the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _note)


def check() -> None:
    """Raises `KeyboardInterrupt` if one has been noted, dropped or not."""
    if _seen.is_set():
        raise KeyboardInterrupt


def _note(number: int, frame: Any) -> None:
    _seen.set()
    raise KeyboardInterrupt
