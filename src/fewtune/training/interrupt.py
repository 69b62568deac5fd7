"""Ctrl-C between steps, not within one."""

import contextlib
import signal
import threading
from collections.abc import Iterator

HELD = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupt_later() -> Iterator[None]:
    """Hold a Ctrl-C or SIGTERM that comes within this context back until its end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    received: list[int] = []
    before = {held: signal.signal(held, lambda number, _: received.append(number)) for held in HELD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
