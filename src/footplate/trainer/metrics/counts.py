"""Counts of classes: which was taken for which, and what follows from that."""

from __future__ import annotations

import numpy as np

from footplate.profile.tasks import MAX_CONFUSION_CLASSES
from footplate.trainer.metrics.protocol import Counts, Floats, State, divide

__all__ = ["ClassCounts", "compute_macro"]


class ClassCounts:
    """How often each class was there, was predicted, and was right; up to 100 classes also which was taken for which.

    Only sums are kept: three numbers a class, or the confusion matrix.
    """

    def __init__(self, num_classes: int) -> None:
        self._size = num_classes
        self._with_confusion = num_classes <= MAX_CONFUSION_CLASSES
        self._counts = np.zeros((num_classes if self._with_confusion else 3, num_classes), np.int64)

    def add(self, targets: Counts, predictions: Counts) -> None:
        """Count pairs of class numbers."""
        if self._with_confusion:
            pairs = targets * self._size + predictions
            self._counts += np.bincount(pairs, minlength=self._size**2).reshape(self._counts.shape)
        else:
            for row, numbers in enumerate((targets[targets == predictions], predictions, targets)):
                self._counts[row] += np.bincount(numbers, minlength=self._size)

    def get_state(self) -> State:
        """Return what was counted."""
        return {"counts": self._counts}

    def merge(self, state: State) -> None:
        """Add what another has counted."""
        self._counts += state["counts"]

    def get_confusion(self) -> Counts | None:
        """Return how many of each class (row) were taken for each class (column); None beyond 100 classes."""
        return self._counts if self._with_confusion else None

    def compute(self) -> dict[str, float]:
        """Return accuracy, and f1, precision, recall and intersection over union, each the mean over the classes.

        It is taken over the classes that occur among targets or predictions, as scikit-learn does; a class without a
        prediction has precision 0.
        """
        if self._with_confusion:
            table = self._counts.astype(np.float64)
            right, predicted, actual = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
        else:
            right, predicted, actual = self._counts.astype(np.float64)
        return {"accuracy": float(right.sum() / actual.sum()), **compute_macro(right, predicted, actual)}


def compute_macro(right: Floats, predicted: Floats, actual: Floats) -> dict[str, float]:
    """Return the means over the classes (or labels) that occur among targets or predictions; 0 when none does."""
    occurs = (predicted + actual) > 0
    if not occurs.any():
        return dict.fromkeys(("f1", "precision", "recall", "iou"), 0.0)
    return {
        "f1": float(divide(2 * right, predicted + actual)[occurs].mean()),
        "precision": float(divide(right, predicted)[occurs].mean()),
        "recall": float(divide(right, actual)[occurs].mean()),
        "iou": float(divide(right, predicted + actual - right)[occurs].mean()),
    }
