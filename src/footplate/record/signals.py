"""The signals that a supervising process takes: those that end a run, and the one that announces a preemption."""

from __future__ import annotations

import contextlib
import os
import select
import signal

__all__ = ["PREEMPTION", "STOP_SIGNALS", "Signals"]

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PREEMPTION = signal.SIGUSR1
"""The machine is to be left: save a checkpoint and end; the run itself is not to end."""


class Signals:
    """The signals that came, oldest first; a signal, or the end of a child, ends a sleep at once."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self._wakeup, end = os.pipe()
        for pipe_end in (self._wakeup, end):
            os.set_blocking(pipe_end, False)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (*STOP_SIGNALS, PREEMPTION):
            # Under nohup a hang-up is meant to be ignored.
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            signal.signal(number, lambda number, _: self.waiting.append(number))
        # Who launches this process blocks them, so that none comes before there is someone to take it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*STOP_SIGNALS, PREEMPTION))

    def sleep(self, seconds: float) -> None:
        """Sleep until a signal comes or a child ends, at most for this time."""
        select.select([self._wakeup], [], [], max(0.0, seconds))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wakeup, 4096):
                pass
