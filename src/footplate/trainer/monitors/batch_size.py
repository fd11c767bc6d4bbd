"""Writes down the batch size that is in use, when it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from footplate.record.journal import Journal
from footplate.trainer.hooks import Hook
from footplate.trainer.memory.recovery import Recovery
from footplate.trainer.meter import Reading
from footplate.trainer.progress import Progress

__all__ = ["BatchSizeWriter"]


class BatchSizeWriter(Hook):
    """Writes ``train/batch_size`` with the first reading, and again when memory has changed it."""

    def __init__(self, recovery: Recovery, journal: Journal) -> None:
        self._recovery = recovery
        self._journal = journal
        self._written = 0

    def on_log(self, progress: Progress, reading: Reading) -> None:  # noqa: ARG002
        if self._recovery.batch_size != self._written:
            self._written = self._recovery.batch_size
            self._journal.metrics(reading.step, {"train/batch_size": self._written})

    def state_dict(self) -> dict[str, Any]:
        return {"written": self._written}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._written = int(state["written"])
