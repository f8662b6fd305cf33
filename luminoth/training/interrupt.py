"""Lets training end on Ctrl-C or SIGTERM (spot machines) after the step at hand, so that it saves first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptRequest:
    """Whether someone asked training to stop."""

    def __init__(self) -> None:
        self.is_set = False


@contextmanager
def catch_interrupts() -> Iterator[InterruptRequest]:
    """While the block runs, the first SIGINT or SIGTERM only sets the request; the second acts as usual.

    Python delivers signals to the main thread alone: in any other thread nothing is caught.
    """
    request = InterruptRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        request.is_set = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in before:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
