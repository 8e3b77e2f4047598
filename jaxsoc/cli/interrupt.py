"""Ctrl-C and SIGTERM that are not lost: Python drops what comes in a collection."""

import signal
import threading
from typing import Any

_seen: list[int] = []


def install() -> None:
    """Notes what is to end the run as well as raising it, in the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _note)
        signal.signal(signal.SIGTERM, _note)


def check() -> None:
    """Raises `KeyboardInterrupt` if a signal has been noted, dropped or not."""
    if _seen:
        raise KeyboardInterrupt


def exit_code() -> int:
    """By convention 128 and the number of the signal."""
    return 128 + (_seen[0] if _seen else signal.SIGINT)


def _note(number: int, frame: Any) -> None:
    _seen.append(number)
    raise KeyboardInterrupt
