"""Kills the training at a step that `footplate drill` has chosen: the worst moment is one that nobody expects."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from footplate.record.journal import Journal
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["Strike", "make_strikes"]

_VARIABLE = "FOOTPLATE_DRILL"
_LIMIT_S = 30.0


class Strike(Hook):
    """Sends a signal when a step is done: SIGKILL to this process, another one to the wrapper as a scheduler does."""

    watches_steps: ClassVar[bool] = True

    def __init__(self, step: int, number: signal.Signals, journal: Journal, was_heard: Callable[[], bool]) -> None:
        self._step = step
        self._number = number
        self._journal = journal
        self._was_heard = was_heard

    def on_step(self, progress: Progress) -> None:
        if progress.step != self._step:
            return
        self._journal.event("drill", step=progress.step, signal=self._number.name)
        if self._number == signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        os.kill(_find_wrapper(), self._number)
        limit = time.monotonic() + _LIMIT_S
        while not self._was_heard() and time.monotonic() < limit:  # a short training would end before it arrives
            time.sleep(0.001)


def make_strikes(journal: Journal, was_heard: Callable[[], bool], *, is_first: bool) -> list[Hook]:
    """Return the hook that `footplate drill` asks for, ``SIGKILL@137`` in the environment; usually none."""
    order = os.environ.get(_VARIABLE, "")
    if not order or not is_first:
        return []
    name, _, step = order.partition("@")
    return [Strike(int(step), signal.Signals[name], journal, was_heard)]


def _find_wrapper() -> int:
    run = RunDir(path=Path(os.environ["FOOTPLATE_RUN_DIR"]))
    receipt = find_receipt(run.get_attempt(int(os.environ["FOOTPLATE_ATTEMPT"])))
    return os.getppid() if receipt is None else receipt.wrapper_pid
