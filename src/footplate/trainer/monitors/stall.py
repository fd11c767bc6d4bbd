"""Notices that a training hangs, and says where."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import ClassVar

from footplate.errors import RecordError
from footplate.quantities import format_duration
from footplate.record import exit_codes
from footplate.record.exit_files import write_exit
from footplate.record.journal import Journal
from footplate.record.rundir import Attempt
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["StallWatch", "describe_place", "end_attempt"]

_FIRST_STEP_S = 300.0
"""What the first step may take at least: it may compile, read ahead and wait for the other processes."""
_PLACES = (
    (
        "the exchange with the other processes",
        ("torch/distributed/", "trainer/distributed/world.py", "trainer/distributed/agreement.py"),
    ),
    ("data loading", ("trainer/loading/", "footplate/data/")),
    ("the backward pass", ("torch/autograd/",)),
    ("the update of the weights", ("torch/optim/",)),
    ("an evaluation", ("trainer/evaluate.py", "trainer/metrics/")),
    ("a checkpoint", ("trainer/checkpoints/", "trainer/weights.py")),
    ("waiting for the device", ("trainer/meter.py",)),
    ("the forward pass", ("trainer/stepper.py",)),
)
"""Where a thread is, by the innermost file of its stack that is named here."""
_log = logging.getLogger("footplate")


class StallWatch(Hook):
    """Tells when nothing was finished for ``threshold_s``: no step, no batch of an evaluation, no checkpoint.

    ``on_stall`` is called with what was told; without it the watch goes on and tells each stall once.
    """

    watches_steps: ClassVar[bool] = True

    def __init__(
        self,
        threshold_s: float,
        journal: Journal,
        *,
        on_stall: Callable[[str, int], None] | None = None,
        first_step_s: float = _FIRST_STEP_S,
    ) -> None:
        self._threshold_s = threshold_s
        self._journal = journal
        self._on_stall = on_stall
        self._first_step_s = max(threshold_s, first_step_s)
        self._limit_s = self._first_step_s
        self._beats = 0
        self._seen = -1
        self._since = time.monotonic()
        self._told = False
        self._step = 0
        self._thread = threading.get_ident()

    @property
    def interval_s(self) -> float:
        """Time between two looks."""
        return min(10.0, self._threshold_s / 4)

    def beat(self) -> None:
        """Take note that something was finished."""
        self._beats += 1

    def on_start(self, progress: Progress) -> None:
        self._thread, self._step, self._since = threading.get_ident(), progress.step, time.monotonic()

    def on_step(self, progress: Progress) -> None:
        self._beats += 1
        self._step = progress.step
        self._limit_s = self._threshold_s

    def look(self) -> None:
        """Tell when nothing was finished for too long; called in another thread than the training's."""
        now = time.monotonic()
        if self._beats != self._seen:
            if self._told:
                _log.info("going on after a stall of %s", format_duration(now - self._since))
            self._seen, self._since, self._told = self._beats, now, False
            return
        waited = now - self._since
        if waited < self._limit_s or self._told:
            return
        frame = sys._current_frames().get(self._thread)
        place = describe_place(frame)
        if self._on_stall is not None and place == _PLACES[0][0] and waited < 1.5 * self._limit_s:
            return  # another process keeps this one waiting: let that one say where it hangs
        self._told = True
        self._tell(waited, place, frame)

    def _tell(self, waited: float, place: str, frame: FrameType | None) -> None:
        line = "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}, in {frame.f_code.co_name}"
        told = f"stalled: no step was finished for {format_duration(waited)} after step {self._step:,}, in {place}"
        _log.error("%s\n%s", told, _dump_stacks())
        self._journal.event("stall", step=self._step, waited_s=round(waited, 3), where=place, line=line)
        if self._on_stall is not None:
            self._on_stall(told, self._step)


def describe_place(frame: FrameType | None) -> str:
    """Return what a thread is doing, from its innermost frame outwards."""
    while frame is not None:
        file = frame.f_code.co_filename.replace(os.sep, "/")
        for place, parts in _PLACES:
            if any(part in file for part in parts):
                return place
        frame = frame.f_back
    return "a place that is not known"


def end_attempt(attempt: Attempt, rank: int) -> Callable[[str, int], None]:
    """Return what ends this attempt, so that the next one can begin: a thread that hangs cannot be ended otherwise."""

    def end(told: str, step: int) -> None:
        with suppress(RecordError):  # a full disk: the log says it
            write_exit(attempt, rank, exit_codes.FAILED, reason=told, step=step)
        words = f"error: {told}\n"
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os.write(2, words.encode())
        if rank:  # the log of the run is the first process's
            with suppress(OSError), open(attempt.log_path(), "a", encoding="utf-8") as log:
                log.write(f"rank {rank}: {words}")
        os._exit(exit_codes.FAILED)

    return end


def _dump_stacks() -> str:
    """Return the stacks of all threads."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace").rstrip()
