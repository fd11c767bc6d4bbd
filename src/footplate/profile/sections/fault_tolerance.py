"""``fault_tolerance``: going on after an interruption."""

from __future__ import annotations

from footplate.profile.fields import Seconds, Section, Text, key

__all__ = ["FaultTolerance"]

_LATER = "restarts and resume are not built yet"


class FaultTolerance(Section):
    """Restarts."""

    auto_restart: bool = key(False, inactive=_LATER)
    """Starts the training again when it fails for a reason that a restart can mend."""
    max_restarts: int = key(3, ge=0, unit="restarts", inactive=_LATER)
    """How often."""
    restart_delay: Seconds = key(60.0, ge=0, unit="s", inactive=_LATER)
    """Wait before a restart."""
    resume_from_checkpoint: bool = key(False, inactive=_LATER)
    """Goes on from the newest valid checkpoint."""
    checkpoint_path: Text | None = key(None, inactive=_LATER)
    """Checkpoint to go on from; null = the newest valid one."""
