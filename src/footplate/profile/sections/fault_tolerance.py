"""``fault_tolerance``: going on after an interruption."""

from __future__ import annotations

from footplate.profile.fields import Seconds, Section, Text, key

__all__ = ["FaultTolerance"]


class FaultTolerance(Section):
    """Restarts. A training that was preempted (SIGUSR1) has left a checkpoint and is always started again."""

    auto_restart: bool = key(False)
    """Starts the training again when it fails for a reason that a restart can mend: killed, out of memory, an error
    that does not come back at the same step."""
    max_restarts: int = key(3, ge=0, unit="restarts")
    """How many failures are followed by another attempt; preemptions do not count."""
    restart_delay: Seconds = key(60.0, ge=0, unit="s")
    """Wait before the next attempt."""
    resume_from_checkpoint: bool = key(True)
    """Another attempt of a run goes on from the newest valid checkpoint of the run; false = it begins anew."""
    checkpoint_path: Text | None = key(None)
    """Checkpoint, or run, that the first attempt goes on from; null = it begins anew."""
