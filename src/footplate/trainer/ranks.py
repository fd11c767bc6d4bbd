"""What each process of a training tells of itself: its log, its journal, how fast it is."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from footplate.record.journal import Journal
from footplate.record.redact import Redactor
from footplate.record.rundir import Attempt
from footplate.trainer.assemble import Parts
from footplate.trainer.distributed.agreement import Agreement
from footplate.trainer.distributed.world import World
from footplate.trainer.hooks import Hook
from footplate.trainer.meter import Reading
from footplate.trainer.progress import Progress

__all__ = ["RankJournal", "StepTimes", "open_journal", "watch_ranks"]

_SLOWER = 1.2
"""A process is named when it takes so many times the median, in two readings after each other …"""
_SHARE_OF_STEP = 0.05
"""… and when the others lose more than this share of a step by it."""
_TOLD_EVERY_S = 60.0
_log = logging.getLogger("footplate")


class RankJournal(Journal):
    """The journal of a process that is not the first: it takes only what is named after the process."""

    def __init__(self, path: Path, rank: int, redactor: Redactor | None = None) -> None:
        super().__init__(path, redactor)
        self._prefix = f"rank{rank}/"

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record the numbers of this process; the first one records what is the same in all."""
        mine = {name: value for name, value in values.items() if name.startswith(self._prefix)}
        if mine:
            super().metrics(step, mine)

    def event(self, name: str, /, **fields: object) -> None:
        """Record nothing: the first process does."""

    def params(self, values: Mapping[str, object]) -> None:
        """Record nothing: the first process does."""

    def table(self, name: str, step: int, value: object) -> None:
        """Record nothing: the first process does."""


def open_journal(attempt: Attempt, rank: int, redactor: Redactor | None = None) -> Journal:
    """Return the journal of a process, the run's for the first one; ``redactor`` cleans what is written."""
    path = attempt.journal_path(f"rank{rank}")
    return RankJournal(path, rank, redactor) if rank else Journal(path, redactor)


class _ForwardClock:
    """Measures how long a network computes until its outputs are there: the part of a step without a wait for others.

    With sharded weights the processes wait for one another within it, and differ by their data only.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._started: Any = 0.0
        self._seconds = 0.0
        network.register_forward_pre_hook(self._start)
        network.register_forward_hook(self._stop)

    def read_s(self) -> float:
        """Return the seconds so far; on a GPU it waits until they are known."""
        for start, stop in self._pairs:
            stop.synchronize()
            self._seconds += start.elapsed_time(stop) / 1e3
        self._pairs.clear()
        return self._seconds

    def _start(self, network: nn.Module, _inputs: object) -> None:
        if network.training:
            self._started = self._mark() if self._on_gpu else time.perf_counter()

    def _stop(self, network: nn.Module, _inputs: object, _outputs: object) -> None:
        if not network.training:
            return
        if self._on_gpu:
            self._pairs.append((self._started, self._mark()))
        else:
            self._seconds += time.perf_counter() - self._started

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


class StepTimes(Hook):
    """Compares the processes: what a step takes each one until it waits for the others, and which is the slowest."""

    def __init__(self, world: World, journal: Journal, busy_s: Callable[[], float], agreement: Agreement) -> None:
        self._world = world
        self._journal = journal
        self._busy_s = busy_s
        self._agreement = agreement
        self._last_step: int | None = None
        self._last_busy_s = 0.0
        self._suspect: int | None = None
        self._told_at = -math.inf

    def on_log(self, progress: Progress, reading: Reading) -> None:  # noqa: ARG002
        """Gather the times of the steps since the last reading; all processes read after the same steps."""
        busy_s = self._busy_s()
        last, self._last_step = self._last_step, reading.step
        mine_s, self._last_busy_s = busy_s - self._last_busy_s, busy_s
        every = self._world.gather((mine_s, reading.steps_per_s))
        self._agreement.set_step_s(1 / max(1e-9, statistics.median(rate for _, rate in every)))
        if last is None:
            return  # the first steps set things up
        steps = max(1, reading.step - last)
        self._journal.metrics(reading.step, {f"rank{self._world.rank}/step_s": mine_s / steps})
        if self._world.is_first:
            self._compare(reading, [seconds / steps for seconds, _ in every])

    def _compare(self, reading: Reading, times: Sequence[float]) -> None:
        step = reading.step
        median_s = statistics.median_low(times)
        slowest = max(range(len(times)), key=times.__getitem__)
        ratio = times[slowest] / max(median_s, 1e-9)
        self._journal.metrics(step, {"train/slowest_rank_share": ratio})
        counts = ratio > _SLOWER and (times[slowest] - median_s) * reading.steps_per_s > _SHARE_OF_STEP
        before, self._suspect = self._suspect, slowest if counts else None
        if not counts or before != slowest or time.monotonic() - self._told_at < _TOLD_EVERY_S:
            return
        self._told_at = time.monotonic()
        self._journal.event("slow_rank", step=step, rank=slowest, step_s=times[slowest], median_s=median_s, ratio=ratio)
        _log.warning(
            "rank %d is the slowest: forward pass and data take it %.3g ms a step, the median rank %.3g ms; "
            "all wait for it",
            slowest,
            times[slowest] * 1e3,
            median_s * 1e3,
        )


def watch_ranks(parts: Parts, agreement: Agreement, journal: Journal) -> list[Hook]:
    """Return what compares the processes of a training; nothing for one that is alone."""
    if parts.world.size == 1:
        return []
    clock, feed = _ForwardClock(parts.model, parts.device), parts.train
    return [StepTimes(parts.world, journal, lambda: clock.read_s() + feed.waited_s, agreement)]
