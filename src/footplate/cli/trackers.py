"""Says in a line what a tracker has been told of a run."""

from __future__ import annotations

from footplate.quantities import format_size
from footplate.record.rundir import RunDir
from footplate.runs.sync import Delivered, list_trackers

__all__ = ["TRACKER", "describe_tracker", "describe_trackers"]

TRACKER = "tracker"
"""What stands before such a line."""


def describe_trackers(run: RunDir) -> list[str]:
    """Return a line for each tracker of a run."""
    return [describe_tracker(run, one) for one in list_trackers(run)]


def describe_tracker(run: RunDir, one: Delivered) -> str:
    """Return where to look, or what is not told yet and why, and what tells it."""
    if one.is_closed or (one.is_shipping and not one.error):
        return one.where or f"{one.name}: it is being told"
    why = f" ({one.error})" if one.error else ""
    what = format_size(one.waiting_bytes) if one.waiting_bytes else "its end is" if one.shipped else "it is"
    return f"{one.name}: {what} not told yet{why}: footplate sync {run.id[-6:]}"
