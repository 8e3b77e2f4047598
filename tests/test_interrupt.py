"""An interrupt that Python drops still ends the run at the next case."""

import signal

import pytest

from jaxsoc.cli import interrupt


def test_a_dropped_interrupt_is_remembered():
    interrupt._seen.clear()
    interrupt.check()
    previous = signal.getsignal(signal.SIGINT)
    try:
        interrupt.install()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        # as if something had swallowed it
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    finally:
        signal.signal(signal.SIGINT, previous)
        interrupt._seen.clear()
