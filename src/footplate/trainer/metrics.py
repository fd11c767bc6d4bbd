"""Metrics over all samples of a set, exact however the batches were cut."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from footplate.errors import InputError
from footplate.profile.metrics import KNOWN_METRICS, get_metrics, is_smaller_better
from footplate.trainer.task import Task

__all__ = [
    "ClassificationMetrics",
    "Metrics",
    "RegressionMetrics",
    "choose_metrics",
    "make_metrics",
    "wants_smaller",
]

_log = logging.getLogger("footplate")
Floats = NDArray[np.float64]

_MEASURED_ELSEWHERE = ("inference_time", "latency", "memory_footprint")
"""Names that are no metric of a prediction: the evaluation itself measures them."""
_NOT_BUILT = ("perplexity",)


class Metrics(Protocol):
    """What takes batches of outputs and targets and knows the metrics of them all."""

    def update(self, outputs: Tensor, targets: Tensor) -> None: ...
    def compute(self) -> dict[str, float]: ...


def choose_metrics(asked: Iterable[str], task: Task) -> tuple[str, ...]:
    """Return the metrics to compute: those asked for that fit the task; nothing asked means all that fit.

    The log says which were asked for and are left out.
    Raises InputError for a name that is no metric.
    """
    fitting = get_metrics(task.kind)
    names = tuple(name.rpartition("/")[2] for name in asked)
    for name in names:
        if name not in KNOWN_METRICS and name not in (*_MEASURED_ELSEWHERE, *_NOT_BUILT):
            raise InputError(f"there is no metric {name!r}; there are: {', '.join(KNOWN_METRICS)}")
    chosen = tuple(name for name in names if name in fitting)
    left_out = [name for name in names if name not in fitting and name not in _MEASURED_ELSEWHERE]
    if left_out:
        _log.warning("metrics left out, %s has none such: %s", task.kind, ", ".join(dict.fromkeys(left_out)))
    return tuple(dict.fromkeys(("loss", *chosen))) if chosen else fitting


def wants_smaller(name: str, mode: str) -> bool:
    """Return whether smaller values of a metric (``val/loss``) are better; ``mode`` is auto, min or max."""
    return is_smaller_better(name) if mode == "auto" else mode == "min"


def make_metrics(task: Task, names: Iterable[str]) -> Metrics:
    """Return empty metrics for the task."""
    if task.kind == "classification":
        return ClassificationMetrics(task, names)
    return RegressionMetrics(task, names)


class ClassificationMetrics:
    """Accuracy, macro f1, precision and recall from the confusion matrix; AUC from the scores of all samples.

    Macro means over the classes that occur among targets or predictions, as scikit-learn does; a class without a
    prediction has precision 0. AUC is that of class 1 for two classes, else the mean over one class against the rest;
    it is left out when the targets are all of one class.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        self._task = task
        self._names = set(names)
        self._targets: list[NDArray[np.int64]] = []
        self._predictions: list[NDArray[np.int64]] = []
        self._scores: list[Floats] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        scores = self._task.get_scores(outputs)
        self._targets.append(targets.cpu().numpy())
        self._predictions.append(scores.argmax(dim=1).cpu().numpy())
        if "auc" in self._names:
            self._scores.append(scores.double().cpu().numpy() if scores.device.type != "mps" else scores.cpu().numpy())

    def compute(self) -> dict[str, float]:
        confusion = self.get_confusion().astype(np.float64)
        right, predicted, actual = confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)
        occurs = (predicted + actual) > 0
        precision = _divide(right, predicted)
        recall = _divide(right, actual)
        f1 = _divide(2 * right, predicted + actual)
        values = {
            "accuracy": float(right.sum() / confusion.sum()),
            "f1": float(f1[occurs].mean()),
            "precision": float(precision[occurs].mean()),
            "recall": float(recall[occurs].mean()),
        }
        if (
            self._scores
            and (auc := _compute_auc(np.concatenate(self._targets), np.concatenate(self._scores))) is not None
        ):
            values["auc"] = auc
        return {name: value for name, value in values.items() if name in self._names}

    def get_confusion(self) -> NDArray[np.int64]:
        """Return how many samples of each class (row) were taken for each class (column)."""
        size = len(self._task.classes)
        if not self._targets:
            return np.zeros((size, size), np.int64)
        pairs = np.concatenate(self._targets) * size + np.concatenate(self._predictions)
        return np.bincount(pairs, minlength=size * size).reshape(size, size)


class RegressionMetrics:
    """Mean absolute and squared errors and R² in the targets' own unit; R² is the mean over the outputs.

    Targets are summed as differences from the first batch's mean: squares of large numbers would lose the digits.
    """

    def __init__(self, task: Task, names: Iterable[str]) -> None:
        self._task = task
        self._names = set(names)
        self._count = 0
        self._shift: Any = 0.0
        self._absolute: Any = 0.0
        self._squared: Any = 0.0
        self._sum: Any = 0.0
        self._sum_of_squares: Any = 0.0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        wanted = self._to_own_unit(targets)
        error = self._to_own_unit(outputs.reshape(targets.shape)) - wanted
        if self._count == 0:
            self._shift = wanted.mean(axis=0)
        shifted = wanted - self._shift
        self._count += len(wanted)
        self._absolute = self._absolute + np.abs(error).sum(axis=0)
        self._squared = self._squared + np.square(error).sum(axis=0)
        self._sum = self._sum + shifted.sum(axis=0)
        self._sum_of_squares = self._sum_of_squares + np.square(shifted).sum(axis=0)

    def compute(self) -> dict[str, float]:
        if not self._count:
            return {}
        mse = float(np.mean(self._squared) / self._count)
        values = {
            "mae": float(np.mean(self._absolute) / self._count),
            "mse": mse,
            "rmse": mse**0.5,
            "r2": self._get_r2(),
        }
        return {name: value for name, value in values.items() if name in self._names}

    def _get_r2(self) -> float:
        """Return 1 - squared error / variance; for targets that do not vary 1 when they are met, else 0."""
        spread = np.maximum(self._sum_of_squares - np.square(self._sum) / self._count, 0.0)
        constant = np.where(self._squared == 0, 1.0, 0.0)
        return float(np.mean(np.where(spread > 0, 1.0 - self._squared / np.where(spread > 0, spread, 1.0), constant)))

    def _to_own_unit(self, values: Tensor) -> Floats:
        numbers = values.to(torch.float32).cpu().numpy().astype(np.float64)
        return np.asarray(self._task.scaler.restore_targets(numbers), dtype=np.float64)


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _compute_auc(targets: NDArray[np.int64], scores: Floats) -> float | None:
    """Return the area under the ROC curve, or None when a positive or a negative is missing everywhere."""
    columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = []
    for column in columns:
        positive = targets == column
        num_positive = int(positive.sum())
        num_negative = len(targets) - num_positive
        if num_positive and num_negative:
            # Mann and Whitney: the share of pairs in the right order, ties counted half (mean ranks).
            ranks = _get_mean_ranks(scores[:, column])
            below = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
            areas.append(below / (num_positive * num_negative))
    return float(np.mean(areas)) if areas else None


def _get_mean_ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)
