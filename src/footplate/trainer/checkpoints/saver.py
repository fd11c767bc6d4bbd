"""When a training is saved so that it can go on, and how it goes on while that is written."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from footplate.errors import RecordError
from footplate.profile.model import Profile
from footplate.quantities import format_duration, format_size
from footplate.record.journal import Journal
from footplate.trainer.assemble import Parts
from footplate.trainer.checkpoints.checkpoint import Checkpointer, Contents
from footplate.trainer.hooks import BestWeights
from footplate.trainer.progress import Progress
from footplate.trainer.schedule import IsDue

__all__ = ["CheckpointSaver", "Saver", "get_frequency", "make_saver"]

INTERVAL_S = 300.0
"""Time between two checkpoints when the profile gives no steps."""
_MAX_SHARE = 0.02
"""Share of the time that checkpoints by the clock may take at most."""
_LAST_AFTER_S = 60.0
"""A training that has run for so long since its last checkpoint is saved at its last step too."""
_RETRY_AFTER_S = 30.0
"""After a checkpoint could not be written, the next one is not tried for so long; twice as long after each failure …"""
_RETRY_AT_MOST_S = 1800.0
"""… up to this."""
_TELL_EVERY_S = 60.0
"""The log has a line at most so often; the journal has every checkpoint."""
_log = logging.getLogger("footplate")


class Saver:
    """Saves nothing: what `training.checkpointing.enabled: false` means."""

    def save_if_due(self, progress: Progress) -> None:
        """Save the training if it is time to; called after each step, when all that belongs to it is done."""
        if progress.stopped_by == "preempted":
            _log.warning("checkpoint: nothing is saved, training.checkpointing is off: another attempt begins anew")

    def keeps_readings(self, progress: Progress) -> bool:  # noqa: ARG002
        """Whether what was not read yet is saved, and will be read by the training that goes on."""
        return False

    def close(self) -> None:
        """Wait for what is being written."""

    def abandon(self) -> None:
        """Take note that the training has failed in this process: others are not to be waited for."""


@dataclass(frozen=True, kw_only=True)
class _Written:
    """What became of one checkpoint."""

    step: int
    path: Path | None
    num_bytes: int
    write_s: float
    cpu_s: float
    """Time of the processor that writing took."""
    error: str


class CheckpointSaver(Saver):
    """Copies the training's state between two steps and writes it while the training goes on.

    One checkpoint is written at a time: when the next is due earlier, the training waits for it. One that cannot be
    written (a full disk) costs nothing but itself: the earlier ones stay, and the training goes on.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        parts: Parts,
        journal: Journal,
        *,
        by_first: Callable[[IsDue], IsDue],
        best: BestWeights,
    ) -> None:
        self._checkpointer = checkpointer
        self._journal = journal
        self._world = parts.world
        self._best = best
        self._frequency = get_frequency(parts.profile)
        self._only_best = parts.profile.training.checkpointing.save_best_only
        self._best_saved = best.step
        self._by_clock = by_first(self._is_time)
        self._interval_s = INTERVAL_S
        self._saved_at = time.monotonic()
        self._retry_at = 0.0
        self._retry_after_s = _RETRY_AFTER_S
        self._on_cpu = parts.device.type == "cpu"
        self._is_checked = False
        self._saved_step = -1
        self._told_at = -math.inf
        self._thread: threading.Thread | None = None
        self._written: _Written | None = None
        self._stall_s = 0.0

    def save_if_due(self, progress: Progress) -> None:
        """Save the training if it is time to; a request to stop, and the end, are always such a time."""
        self._report(wait=False)
        if not self._is_checked:  # after the first step the optimiser has made its state
            self._checkpointer.check()
            self._is_checked = True
        if progress.is_asked_to_stop:
            self._save(progress, wait=True)
        elif self._is_due(progress):
            self._save(progress, wait=False)

    def keeps_readings(self, progress: Progress) -> bool:
        """Whether what was not read yet is saved, and will be read by the training that goes on."""
        # Reading is for all processes together, and the first one knows whether the checkpoint was committed.
        return progress.is_asked_to_stop and self._world.broadcast(self._saved_step == progress.step)

    def close(self) -> None:
        """Wait for what is being written."""
        self._report(wait=True)

    def abandon(self) -> None:
        """Take note that the training has failed in this process: others are not to be waited for."""
        self._checkpointer.abandon()

    def _is_due(self, progress: Progress) -> bool:
        if self._only_best:
            return self._best.step is not None and self._best.step != self._best_saved
        is_due = self._by_clock(progress) if self._frequency is None else progress.step % self._frequency == 0
        if progress.stopped_by and not is_due:  # what the first process says counts, for it goes by a clock
            is_due = self._world.broadcast(time.monotonic() - self._saved_at > _LAST_AFTER_S)
        return is_due

    def _is_time(self, _: Progress) -> bool:
        return time.monotonic() - self._saved_at >= self._interval_s

    def _save(self, progress: Progress, *, wait: bool) -> None:
        """Take a checkpoint; with ``wait`` it is written, in all processes, when this returns."""
        if not wait and self._world.broadcast(time.monotonic() < self._retry_at):
            return
        started = time.monotonic()
        self._report(wait=True)
        self._best_saved = self._best.step
        try:
            contents = self._checkpointer.take(progress)
        except (OSError, RecordError) as error:
            self._fail(progress.step, _describe(error))
        else:
            self._start(contents)
            if wait and self._thread is not None:
                self._thread.join()
            self._stall_s = time.monotonic() - started
            self._saved_at = time.monotonic()
        if wait:
            self._report(wait=True)
            self._world.broadcast(None)  # the first process commits it: none may end before

    def _start(self, contents: Contents) -> None:
        self._thread = threading.Thread(target=self._write, args=(contents,), name="checkpoint-writer", daemon=True)
        self._thread.start()

    def _write(self, contents: Contents) -> None:
        started, cpu = time.monotonic(), time.thread_time()
        path, num_bytes, error = None, 0, ""
        try:
            path, num_bytes = self._checkpointer.write(contents)
        except Exception as caught:  # noqa: BLE001  told by the training's thread; an earlier checkpoint stays
            error = _describe(caught)
        self._written = _Written(
            step=contents.step,
            path=path,
            num_bytes=num_bytes,
            write_s=time.monotonic() - started,
            cpu_s=time.thread_time() - cpu,
            error=error,
        )

    def _report(self, *, wait: bool) -> None:
        """Say what became of the checkpoint that was being written, once it is."""
        if self._thread is None or (not wait and self._written is None):
            return
        self._thread.join()
        self._thread, done, self._written = None, self._written, None
        if done is None:
            return
        if done.error:
            self._fail(done.step, done.error)
            return
        self._retry_at, self._retry_after_s = 0.0, _RETRY_AFTER_S
        self._saved_step = done.step
        if not self._world.is_first:
            return
        costs = {"stall_s": self._stall_s, "write_s": done.write_s, "bytes": done.num_bytes}
        self._journal.metrics(done.step, {f"checkpoint/{name}": value for name, value in costs.items()})
        self._journal.event("checkpoint", step=done.step, path=str(done.path and done.path.name), **costs)
        self._adapt(self._stall_s + (done.cpu_s if self._on_cpu else 0.0))
        if time.monotonic() - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        _log.info(
            "checkpoint: step %s, %s written in %s, the training waited %s",
            f"{done.step:,}",
            format_size(done.num_bytes),
            format_duration(done.write_s),
            format_duration(self._stall_s),
        )

    def _adapt(self, cost_s: float) -> None:
        """Save less often by the clock when a checkpoint is expensive; on the CPU writing takes from the training."""
        interval_s = max(INTERVAL_S, cost_s / _MAX_SHARE)
        if self._frequency is None and interval_s > 1.5 * self._interval_s:
            _log.info(
                "checkpoint: every %s from now on, for one costs the training %s",
                format_duration(interval_s),
                format_duration(cost_s),
            )
        self._interval_s = interval_s

    def _fail(self, step: int, reason: str) -> None:
        self._retry_at = time.monotonic() + self._retry_after_s
        self._retry_after_s = min(2 * self._retry_after_s, _RETRY_AT_MOST_S)
        self._saved_at = time.monotonic()
        self._journal.event("checkpoint_failed", step=step, reason=reason)
        _log.warning("checkpoint: step %s cannot be saved: %s; earlier ones are kept", f"{step:,}", reason)


def make_saver(
    checkpointer: Checkpointer, parts: Parts, journal: Journal, *, by_first: Callable[[IsDue], IsDue], best: BestWeights
) -> Saver:
    """Return what saves the training as the profile asks for."""
    if not parts.profile.training.checkpointing.enabled:
        return Saver()
    return CheckpointSaver(checkpointer, parts, journal, by_first=by_first, best=best)


def get_frequency(profile: Profile) -> int | None:
    """Return the steps between two checkpoints; `training.save_frequency` is an older spelling."""
    frequency = profile.training.checkpointing.frequency
    return profile.training.save_frequency if frequency is None else frequency


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error))
    return str(error) or type(error).__name__
