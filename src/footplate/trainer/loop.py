"""The training loop, on one screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

from footplate.trainer.evaluate import Evaluation
from footplate.trainer.feed import Batch, Feed
from footplate.trainer.hooks import Hook
from footplate.trainer.meter import Meter
from footplate.trainer.optim import set_learning_rate
from footplate.trainer.precision import Precision
from footplate.trainer.progress import Progress
from footplate.trainer.schedule import IsDue
from footplate.trainer.task import Task

__all__ = ["Loop", "Stepper", "run_loop"]


@dataclass(frozen=True, kw_only=True)
class Stepper:
    """What one optimiser step needs."""

    model: nn.Module
    task: Task
    optimizer: Optimizer
    precision: Precision
    parameters: Sequence[nn.Parameter]
    max_grad_norm: float | None
    sum_losses: bool
    """`reduction: sum`: the losses of a step are added up instead of averaged."""

    def take_step(self, batches: Sequence[Batch]) -> tuple[list[tuple[Tensor, int]], Tensor | None]:
        """Do one optimiser step over the batches; return their losses with their sizes, and the gradients' norm.

        Each batch weighs as many samples as it has, so that a smaller last one is right.
        """
        sizes = [len(inputs) for inputs, _ in batches]
        total = 1 / self.task.losses_per_sample if self.sum_losses else sum(sizes)
        losses = []
        for (inputs, targets), size in zip(batches, sizes, strict=True):
            with self.precision.autocast():
                loss = self.task.compute_loss(self.model(inputs), targets)
            self.precision.backward(loss if size == total else loss * (size / total))
            losses.append((loss.detach(), size))
        return losses, self.precision.step(self.optimizer, self.parameters, self.max_grad_norm)


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the loop goes by."""

    stepper: Stepper
    feed: Feed
    seed: int
    batch_size: int
    accumulation: int
    """Batches of one optimiser step."""
    learning_rate_at: Callable[[int], float]
    """Learning rate of a step, counted from 0."""
    total_steps: int
    ends_by: str
    """What it means that all steps were done: `max_epochs` or `max_steps`."""
    log_frequency: int
    is_evaluation_due: IsDue
    evaluate: Callable[[], Evaluation | None]
    hooks: Sequence[Hook]
    should_stop: Callable[[], bool]
    """Whether someone asked to stop."""


def run_loop(loop: Loop, progress: Progress, meter: Meter) -> None:
    """Train until all steps are done, a hook stops it, or someone asks to stop; the reason is in ``progress``."""
    loop.stepper.model.train()
    meter.start(progress.step)
    while not progress.stopped_by:
        learning_rate = loop.learning_rate_at(progress.step)
        set_learning_rate(loop.stepper.optimizer, learning_rate)
        batches = loop.feed.take_shuffled(
            loop.seed, progress.epoch, progress.position, loop.batch_size, loop.accumulation
        )
        losses, grad_norm = loop.stepper.take_step(batches)
        progress.count(num_samples=sum(size for _, size in losses))
        meter.add(progress.step, losses, grad_norm)

        if progress.step % loop.log_frequency == 0:
            _read(loop, progress, meter, learning_rate)
        if progress.step >= loop.total_steps:
            progress.stopped_by = loop.ends_by
        elif loop.should_stop():
            progress.stopped_by = "interrupted"
        if progress.stopped_by == loop.ends_by or loop.is_evaluation_due(progress):
            _evaluate(loop, progress, meter)
    _read(loop, progress, meter, learning_rate)


def _read(loop: Loop, progress: Progress, meter: Meter, learning_rate: float) -> None:
    reading = meter.read(progress.step, learning_rate)
    if reading is not None:
        for hook in loop.hooks:
            hook.on_log(progress, reading)


def _evaluate(loop: Loop, progress: Progress, meter: Meter) -> None:
    if progress.stopped_by == "interrupted":
        return
    metrics = {"train/loss": meter.pause()}
    evaluation = loop.evaluate()
    if not loop.should_stop():  # an evaluation that was broken off says nothing
        if evaluation is not None:
            metrics |= {f"val/{name}": value for name, value in evaluation.metrics.items()}
        for hook in loop.hooks:
            hook.on_evaluation(progress, metrics)
    meter.go_on()
