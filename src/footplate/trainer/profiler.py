"""The profiler window: what the operations of some steps cost, as a trace to look at and as a table."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.profiler import ProfilerActivity, profile

from footplate.profile.sections.reproducibility import Debug
from footplate.record.journal import Journal
from footplate.trainer.hooks import Hook
from footplate.trainer.progress import Progress

__all__ = ["ProfilerWindow", "make_profiler"]

_DEFAULT_STEPS = (10, 14)
_ROWS = 30
_log = logging.getLogger("footplate")


class ProfilerWindow(Hook):
    """Records the steps from ``first`` to ``last``, counted from 0, and writes what they took.

    ``trace.json.gz`` opens in https://ui.perfetto.dev or chrome://tracing; ``operations.txt`` is a table of the
    costliest operations.
    """

    watches_steps: ClassVar[bool] = True

    def __init__(self, folder: Path, steps: tuple[int, int], device: torch.device, journal: Journal) -> None:
        self._folder = folder
        self._first, self._last = steps
        self._device = device
        self._journal = journal
        self._profile: Any = None
        self._begun_at = 0

    def on_start(self, progress: Progress) -> None:
        self._begin_if_due(progress.step)

    def on_step(self, progress: Progress) -> None:
        if self._profile is not None and progress.step > self._last:
            self._finish(progress.step)
        else:
            self._begin_if_due(progress.step)

    def close(self) -> None:
        """Write what there is when the training ends within the window."""
        if self._profile is not None:
            self._finish(self._last)

    def _begin_if_due(self, step: int) -> None:
        if self._profile is None and self._first <= step <= self._last and not self._begun_at:
            activities = [ProfilerActivity.CPU]
            if self._device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
            self._begun_at = step + 1
            self._profile = profile(activities=activities, record_shapes=True)
            self._profile.start()

    def _finish(self, step: int) -> None:
        found, self._profile = self._profile, None
        started = time.perf_counter()
        found.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        trace, table = self._folder / "trace.json.gz", self._folder / "operations.txt"
        found.export_chrome_trace(str(trace))
        by = "self_cuda_time_total" if self._device.type == "cuda" else "self_cpu_time_total"
        averages = found.key_averages()
        table.write_text(averages.table(sort_by=by, row_limit=_ROWS) + "\n", encoding="utf-8")
        costliest = [one.key for one in sorted(averages, key=_get_time, reverse=True)[:3]]
        size, seconds = trace.stat().st_size, time.perf_counter() - started
        _log.info(
            "profile: steps %d to %d: %s (%.1f MB, written in %.1f s); most time in %s",
            self._begun_at - 1, step - 1, trace, size / 1e6, seconds, ", ".join(costliest),
        )  # fmt: skip
        self._journal.event("profile", step=step, first=self._begun_at - 1, operations=costliest)


def make_profiler(settings: Debug, artifacts: Path, device: torch.device, journal: Journal) -> list[ProfilerWindow]:
    """Return the hook that records the steps of `debug.profile_steps`; none where the profile does not ask for it."""
    if not (settings.enabled and settings.profile):
        return []
    return [ProfilerWindow(artifacts / "profile", settings.profile_steps or _DEFAULT_STEPS, device, journal)]


def _get_time(one: Any) -> float:
    return float(getattr(one, "self_device_time_total", 0) or one.self_cpu_time_total)
