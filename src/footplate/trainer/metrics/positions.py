"""Metrics of one class per position or per pixel."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from footplate.profile.tasks import IGNORED
from footplate.trainer.metrics.counts import ClassCounts
from footplate.trainer.metrics.protocol import Counts, Metrics, State
from footplate.trainer.task import Task

__all__ = ["PositionMetrics"]


class PositionMetrics(Metrics):
    """Accuracy, macro f1, precision, recall and mean intersection over union of all positions (pixels) that count.

    The classes of all samples are counted together, so that a class a sample does not have says nothing about it.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        super().__init__(task, names)
        self._counts = ClassCounts(task.num_outputs)
        self._dim = 1 if task.kind == "segmentation" else -1

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        kept = targets != IGNORED
        predictions = outputs.argmax(dim=self._dim)
        self._counts.add(targets[kept].cpu().numpy(), predictions[kept].cpu().numpy())

    def get_state(self) -> State:
        return self._counts.get_state()

    def merge(self, state: State) -> None:
        self._counts.merge(state)

    def compute(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        return self._select(self._counts.compute())

    def get_confusion(self) -> Counts | None:
        return self._counts.get_confusion()
