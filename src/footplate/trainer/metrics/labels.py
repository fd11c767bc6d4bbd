"""Metrics of any number of labels per sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from footplate.trainer.metrics.areas import Scores
from footplate.trainer.metrics.counts import compute_macro
from footplate.trainer.metrics.protocol import Counts, Metrics, State
from footplate.trainer.task import Task

__all__ = ["LabelMetrics"]

_THRESHOLD = 0.5


class LabelMetrics(Metrics):
    """Accuracy (all labels of a sample right), macro and micro f1, macro precision, recall and AUC.

    A label is predicted where its probability is above one half. Macro means are over the labels that occur among
    targets or predictions, that of AUC over those with a positive and a negative.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        super().__init__(task, names)
        self._counts: Counts = np.zeros((3, task.num_outputs), np.int64)  # rows: right, predicted, actual
        self._exact = self._samples = 0
        self._scores = Scores()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        scores = self._task.get_scores(outputs)
        wanted, given = (targets > _THRESHOLD).cpu().numpy(), (scores > _THRESHOLD).cpu().numpy()
        self._counts += np.stack([(wanted & given).sum(axis=0), given.sum(axis=0), wanted.sum(axis=0)])
        self._exact += int((wanted == given).all(axis=1).sum())
        self._samples += len(wanted)
        if "auc" in self._names:
            self._scores.add(targets > _THRESHOLD, scores)

    def get_state(self) -> State:
        return {
            "counts": self._counts,
            "exact": self._exact,
            "samples": self._samples,
            "scores": self._scores.get_state(),
        }

    def merge(self, state: State) -> None:
        self._counts += state["counts"]
        self._exact += state["exact"]
        self._samples += state["samples"]
        self._scores.merge(state["scores"])

    def compute(self, loss: float) -> dict[str, float]:  # noqa: ARG002
        right, predicted, actual = self._counts.astype(np.float64)
        below = predicted.sum() + actual.sum()
        values = {
            "accuracy": self._exact / self._samples,
            **compute_macro(right, predicted, actual),
            "f1_micro": float(2 * right.sum() / below) if below else 0.0,
        }
        if (area := self._scores.compute()) is not None:
            values["auc"] = area
        return self._select(values)

    def make_tables(self) -> dict[str, Any]:
        return self._scores.make_tables(self._task.classes)
