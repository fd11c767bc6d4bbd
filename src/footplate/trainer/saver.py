"""When a training is saved so that it can go on."""

from __future__ import annotations

from footplate.trainer.progress import Progress

__all__ = ["Saver"]


class Saver:
    """Saves nothing: what `training.checkpointing.enabled: false` means."""

    def save_if_due(self, progress: Progress) -> None:
        """Save the training if it is time to; called after each step, when all that belongs to it is done."""
