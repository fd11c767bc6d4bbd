"""One optimiser step: forward and backward over its batches, then the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from footplate.trainer.distributed.parallel import Parallel
from footplate.trainer.failure import is_out_of_memory
from footplate.trainer.loading.feed import Batch, Step
from footplate.trainer.precision import Precision
from footplate.trainer.task import Task

__all__ = ["IN_UPDATE", "StepLostError", "StepResult", "Stepper"]

IN_UPDATE = "in the update of the weights"
"""Some have moved, others have not."""
_BEFORE = "while its samples were placed"
"""The other processes wait for one another elsewhere than in a backward pass."""
_AFTER = "after the exchange of gradients"
"""The other processes go on to the update."""


class StepLostError(MemoryError):
    """The memory did not suffice where a step cannot be done anew: in the update, or out of the others' reach."""

    def __init__(self, reason: str, where: str) -> None:
        super().__init__(reason)
        self.where = where


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What one optimiser step has shown, still on the device."""

    losses: list[tuple[Tensor, int | Tensor]]
    """Mean loss of each batch of this process, with what it weighs: its samples, or its counted targets."""
    grad_norm: Tensor | None
    """Norm of the gradients before clipping; None when nothing is clipped."""


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """What one optimiser step needs."""

    model: nn.Module
    """As it is called: wrapped or compiled."""
    task: Task
    optimizer: Optimizer
    precision: Precision
    parallel: Parallel
    parameters: Sequence[nn.Parameter]
    max_grad_norm: float | None
    sum_losses: bool
    """`reduction: sum`: the losses of a step are added up instead of averaged."""
    on_gradients: Callable[[], None] | None = None
    """Told when the gradients of a step are complete, unscaled and clipped, before the weights move."""

    def take_step(self, step: Step, batch_size: int) -> StepResult:
        """Do one optimiser step over the batches of at most ``batch_size`` samples.

        Each batch weighs as much as it has samples (targets that count, where a loss is their mean), in all processes
        together, so that neither how a step is cut nor a smaller last one changes the gradients.
        """
        losses: list[tuple[Tensor, int | Tensor]] = []
        where = _BEFORE
        try:
            batches = list(step.split(batch_size))
            weights, total = self._weigh(batches, step)
            where = ""
            for number, (batch, weight) in enumerate(zip(batches, weights, strict=True), start=1):
                with self.parallel.accumulate(is_last=number == len(batches)):
                    with self.precision.autocast():
                        loss = self.task.compute_loss(self.model(batch.inputs), batch.targets)
                    share = weight * self.parallel.loss_factor / total
                    self.precision.backward(loss if isinstance(share, float) and share == 1 else loss * share)
                losses.append((loss.detach(), weight))
            where = _AFTER
            norm = self.precision.finish_gradients(
                self.optimizer, self.parameters, self.max_grad_norm, self.parallel.clip
            )
            if self.on_gradients is not None:
                self.on_gradients()
            where = IN_UPDATE
            self.precision.update(self.optimizer, self.parameters)
        except Exception as error:
            is_lost = where == IN_UPDATE or (where and self.parallel.world.size > 1)
            if is_lost and is_out_of_memory(error):
                raise StepLostError(str(error), where) from error
            raise
        return StepResult(losses=losses, grad_norm=norm)

    def _weigh(self, batches: Sequence[Batch], step: Step) -> tuple[Sequence[int | Tensor], float | Tensor]:
        """Return what each batch weighs, and what all batches of all processes weigh together."""
        if self.task.counts_targets:
            return self._weigh_targets(batches)
        if self.sum_losses:
            return [batch.size for batch in batches], 1 / self.task.losses_per_sample
        return [batch.size for batch in batches], step.num_samples

    def _weigh_targets(self, batches: Sequence[Batch]) -> tuple[Sequence[int | Tensor], float | Tensor]:
        """Weigh by targets that count; a process alone leaves the counts on the device and does not wait for them."""
        weights = [self.task.count_targets(batch.targets) if batch.size else 0 for batch in batches]
        if self.sum_losses:
            return weights, 1.0
        total: float | Tensor = sum(weights)
        world = self.parallel.data
        if world.size > 1:
            total = float(world.sum(np.asarray([float(total)]))[0])
        return weights, total.clamp(min=1) if isinstance(total, Tensor) else max(total, 1.0)
