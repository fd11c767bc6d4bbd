"""Evaluation: a model judged on one set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from footplate.trainer.feed import Feed
from footplate.trainer.metrics import ClassificationMetrics, make_metrics
from footplate.trainer.precision import Precision
from footplate.trainer.task import Task

__all__ = ["Evaluation", "Judge"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over a set has shown."""

    metrics: dict[str, float]
    """Values by name, without the set's name."""
    confusion: NDArray[np.int64] | None
    """Samples of each class (row) taken for each class (column); None for regression."""
    num_samples: int
    """Samples judged."""
    seconds: float
    """Time it took."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """All that is needed to judge the model on any set."""

    model: nn.Module
    task: Task
    precision: Precision
    metrics: Sequence[str]
    """Metrics to compute."""
    batch_size: int
    """Samples of one forward pass; without gradients more of them fit than while training."""
    with_time: bool = False
    """Whether `inference_time`, milliseconds per sample, is a metric too."""

    def evaluate(self, feed: Feed, *, should_stop: Callable[[], bool] = lambda: False) -> Evaluation | None:
        """Return the metrics over all samples; None when there are none, or when ``should_stop`` says so on the way."""
        if not len(feed):
            return None
        was_training = self.model.training
        self.model.eval()
        try:
            return self._evaluate(feed, should_stop)
        finally:
            self.model.train(was_training)

    def _evaluate(self, feed: Feed, should_stop: Callable[[], bool]) -> Evaluation | None:
        metrics = make_metrics(self.task, self.metrics)
        losses: list[Tensor] = []
        sizes: list[int] = []
        started = time.perf_counter()
        forward_s = 0.0
        with torch.no_grad():  # inference_mode would spoil what a user's class caches for the next training step
            for inputs, targets, _ in feed.iterate(self.batch_size):
                if should_stop():
                    return None
                before = time.perf_counter()
                with self.precision.autocast():
                    outputs = self.model(inputs)
                    losses.append(self.task.compute_loss(outputs, targets).float())
                sizes.append(len(inputs))
                metrics.update(outputs, targets)  # brings the outputs to the CPU, so the device is done
                forward_s += time.perf_counter() - before
        weights = np.asarray(sizes, dtype=np.float64)
        loss = float(np.average(torch.stack(losses).cpu().numpy().astype(np.float64), weights=weights))
        values = {"loss": loss, **metrics.compute()}
        if self.with_time:
            values["inference_time"] = forward_s / len(feed) * 1e3
        return Evaluation(
            metrics=values,
            confusion=metrics.get_confusion() if isinstance(metrics, ClassificationMetrics) else None,
            num_samples=len(feed),
            seconds=time.perf_counter() - started,
        )
