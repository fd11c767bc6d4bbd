"""The training loop, on one screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from footplate.trainer.checkpoints.saver import Saver
from footplate.trainer.evaluate import Evaluation
from footplate.trainer.hooks import Hook
from footplate.trainer.loading.feed import Feed
from footplate.trainer.memory.recovery import Recovery
from footplate.trainer.meter import Meter
from footplate.trainer.optim import set_learning_rate
from footplate.trainer.progress import Progress
from footplate.trainer.schedule import IsDue
from footplate.trainer.stepper import Stepper

__all__ = ["Loop", "run_loop"]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the loop goes by."""

    stepper: Stepper
    recovery: Recovery
    feed: Feed
    seed: int
    step_size: int
    """Samples of one optimiser step, of all its batches and all processes."""
    learning_rate_at: Callable[[int], float]
    """Learning rate of a step, counted from 0."""
    total_steps: int
    ends_by: str
    """What it means that all steps were done: `max_epochs` or `max_steps`."""
    log_frequency: int
    is_evaluation_due: IsDue
    evaluate: Callable[[], Evaluation | None]
    hooks: Sequence[Hook]
    saver: Saver
    find_stop: Callable[[], str]
    """Why someone asks to stop: `interrupted` or `preempted`; empty while nobody does."""


def run_loop(loop: Loop, progress: Progress, meter: Meter) -> None:
    """Train until all steps are done, a hook stops it, or someone asks to stop; the reason is in ``progress``.

    Whatever is saved is saved when a step is wholly done: read, evaluated, counted. What a request to stop leaves
    undone, an evaluation that was due, is done first when the training goes on.
    """
    loop.stepper.model.train()
    step_hooks = [hook for hook in loop.hooks if hook.watches_steps]
    for hook in loop.hooks:
        hook.on_start(progress)
    meter.start(progress.step)
    if progress.evaluation_pending:
        _evaluate(loop, progress, meter)
    while not progress.stopped_by:
        learning_rate = loop.learning_rate_at(progress.step)
        set_learning_rate(loop.stepper.optimizer, learning_rate)
        step = loop.feed.take(loop.seed, progress.epoch, progress.position, loop.step_size)
        result = loop.recovery.take_step(step)
        progress.count(num_samples=step.num_samples)
        meter.add(progress.step, result.losses, result.grad_norm, step.num_samples)

        for hook in step_hooks:
            hook.on_step(progress)
        if progress.step % loop.log_frequency == 0:
            _read(loop, progress, meter, learning_rate)
        if progress.step >= loop.total_steps:
            progress.stopped_by = loop.ends_by
        elif stop := loop.find_stop():
            progress.stopped_by = stop
        if progress.stopped_by == loop.ends_by or loop.is_evaluation_due(progress):
            _evaluate(loop, progress, meter)
        loop.saver.save_if_due(progress)
    if not loop.saver.keeps_readings(progress):
        _read(loop, progress, meter, loop.learning_rate_at(max(0, progress.step - 1)))


def _read(loop: Loop, progress: Progress, meter: Meter, learning_rate: float) -> None:
    reading = meter.read(progress.step, learning_rate)
    if reading is not None:
        for hook in loop.hooks:
            hook.on_log(progress, reading)


def _evaluate(loop: Loop, progress: Progress, meter: Meter) -> None:
    progress.evaluation_pending = True
    if progress.is_asked_to_stop:
        return
    metrics = {"train/loss": meter.pause()}
    evaluation = loop.evaluate()
    stop = loop.find_stop()
    evaluated = not stop  # an evaluation that was broken off says nothing
    if evaluated:
        if evaluation is not None:
            metrics |= {f"val/{name}": value for name, value in evaluation.metrics.items()}
        progress.evaluation_pending = False
        for hook in loop.hooks:
            hook.on_evaluation(progress, metrics)
    else:  # the training stops here: one step more, and the evaluation would judge other weights
        progress.stopped_by = stop
    meter.go_on(evaluated=evaluated)
