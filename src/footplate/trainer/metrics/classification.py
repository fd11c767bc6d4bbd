"""Metrics of one class per sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from footplate.trainer.metrics.areas import Scores
from footplate.trainer.metrics.counts import ClassCounts
from footplate.trainer.metrics.protocol import Counts, Metrics, State
from footplate.trainer.task import Task

__all__ = ["ClassificationMetrics"]


class ClassificationMetrics(Metrics):
    """Accuracy, macro f1, precision and recall from the counts of the classes; AUC from the scores of all samples.

    AUC is left out when the targets are all of one class.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        super().__init__(task, names)
        self._counts = ClassCounts(task.num_outputs)
        self._scores = Scores()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        scores = self._task.get_scores(outputs)
        self._counts.add(targets.cpu().numpy(), scores.argmax(dim=1).cpu().numpy())
        if "auc" in self._names:
            self._scores.add(targets, scores)

    def get_state(self) -> State:
        return {"counts": self._counts.get_state(), "scores": self._scores.get_state()}

    def merge(self, state: State) -> None:
        self._counts.merge(state["counts"])
        self._scores.merge(state["scores"])

    def compute(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        values = self._counts.compute()
        if (area := self._scores.compute()) is not None:
            values["auc"] = area
        return self._select(values)

    def get_confusion(self) -> Counts | None:
        return self._counts.get_confusion()

    def make_tables(self) -> dict[str, Any]:
        return self._scores.make_tables(self._task.classes)
