"""How the work of a step is spread over the processes of a training."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

from footplate.trainer.world import World

__all__ = ["Parallel"]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """One process that trains alone; the other ways have the same methods."""

    world: World

    @property
    def loss_factor(self) -> float:
        """What a loss is multiplied by so that the gradients of all processes add up (DDP takes their mean)."""
        return 1.0

    def accumulate(self, *, is_last: bool) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context of one batch's forward and backward pass; gradients are exchanged in the last one."""
        return contextlib.nullcontext()
