"""Ctrl-C and SIGTERM: the first one asks to stop after the current step, the second one ends the process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from footplate.record.exit_codes import INTERRUPTED

__all__ = ["Interrupt"]

_SAME_REQUEST_S = 0.3
"""One request can arrive twice: from the terminal, and forwarded by the process that started this one."""


class Interrupt:
    """Remembers that someone asked to stop. Outside of ``deferred`` a request raises KeyboardInterrupt at once."""

    def __init__(self) -> None:
        self.requested = False
        self._requested_at = 0.0
        self._is_deferred = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM over; give them back at the end."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._handle) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the code inside look at ``requested`` when it is ready to stop."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested:
            if time.monotonic() - self._requested_at > _SAME_REQUEST_S:
                os._exit(INTERRUPTED)
            return
        self.requested = True
        self._requested_at = time.monotonic()
        if not self._is_deferred:
            raise KeyboardInterrupt
