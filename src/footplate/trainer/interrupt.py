"""Signals that ask a training to end: Ctrl-C interrupts it, SIGTERM and SIGUSR1 preempt it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from footplate.record.exit_codes import INTERRUPTED

__all__ = ["Interrupt", "Preempted"]

_SAME_REQUEST_S = 0.3
"""One request can arrive twice: from the terminal, and forwarded by the process that started this one."""


class Preempted(KeyboardInterrupt):
    """Someone takes the machine back before anything was trained."""


class Interrupt:
    """Remembers that someone asked to stop. Outside of ``deferred`` a request raises KeyboardInterrupt at once.

    ``interrupted`` (SIGINT) is a person's: what was reached is saved and judged; the second SIGINT ends the process.
    ``preempted`` (SIGTERM, SIGUSR1) is the machine's: the training is saved and ends at once, to go on elsewhere;
    being asked again changes nothing, for it is saving already.
    """

    def __init__(self) -> None:
        self.reason = ""
        """`interrupted` or `preempted`; empty while nobody has asked."""
        self._requested_at = 0.0
        self._is_deferred = False

    @property
    def requested(self) -> bool:
        """Whether someone has asked to stop."""
        return bool(self.reason)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGUSR1 over; give them back at the end."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
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

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            is_again = time.monotonic() - self._requested_at > _SAME_REQUEST_S
            if is_again and (number == signal.SIGINT or self.reason == "interrupted"):
                os._exit(INTERRUPTED)
            return
        self.reason = "interrupted" if number == signal.SIGINT else "preempted"
        self._requested_at = time.monotonic()
        if not self._is_deferred:
            raise KeyboardInterrupt if number == signal.SIGINT else Preempted
