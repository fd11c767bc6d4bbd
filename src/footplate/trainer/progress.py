"""Where the training stands: all that a resume needs of the data's order is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

__all__ = ["Progress"]


@dataclass
class Progress:
    """Counts what was done. Changed by the loop, after each optimiser step; hooks may set ``stopped_by``."""

    num_train: int
    """Samples of one epoch."""
    step: int = 0
    """Optimiser steps done."""
    epoch: int = 0
    """Epochs completed."""
    position: int = 0
    """Samples of the current epoch that were used."""
    samples: int = 0
    """Samples used in all."""
    stopped_by: str = ""
    """Why the training ends: `max_epochs`, `max_steps`, `early_stopping`, `interrupted`, `preempted`; empty while it
    goes on."""
    evaluation_pending: bool = False
    """An evaluation was due and is not done: someone asked to stop."""

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether the training ends before it is done because someone asked for it."""
        return self.stopped_by in ("interrupted", "preempted")

    @property
    def epochs_done(self) -> float:
        """Return the epochs done, with the share of the current one."""
        return self.epoch + self.position / self.num_train

    def count(self, num_samples: int) -> None:
        """Count one optimiser step over so many samples; a full epoch is epoch + 1 at position 0."""
        self.step += 1
        self.samples += num_samples
        self.position += num_samples
        if self.position >= self.num_train:
            self.epoch += 1
            self.position = 0

    def state_dict(self) -> dict[str, Any]:
        """Return where the training stands; a stop that someone asked for is none that remains."""
        stopped_by = "" if self.is_asked_to_stop else self.stopped_by
        return {**asdict(self), "stopped_by": stopped_by}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state_dict`` was taken; a training made longer since goes on too."""
        for field in fields(self):
            setattr(self, field.name, state[field.name])
