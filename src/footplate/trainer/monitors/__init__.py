"""What watches a training: one file for each thing that is watched, and the one function that makes them."""

from __future__ import annotations

from footplate.record.journal import Journal
from footplate.trainer.assemble import Parts
from footplate.trainer.hooks import Hook
from footplate.trainer.monitors.batch_size import BatchSizeWriter
from footplate.trainer.recovery import Recovery

__all__ = ["make_monitors"]


def make_monitors(parts: Parts, recovery: Recovery, journal: Journal) -> list[Hook]:
    """Return the hooks that watch this training as its profile asks."""
    del parts
    return [BatchSizeWriter(recovery, journal)]
