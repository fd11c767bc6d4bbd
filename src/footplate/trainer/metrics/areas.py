"""The area under the ROC curve, from the scores of all samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from footplate.trainer.metrics.plots import make_score_tables
from footplate.trainer.metrics.protocol import Floats, State

__all__ = ["Scores"]


class Scores:
    """Keeps the score of each class of each sample, 4 bytes each: no sum of a fixed size has the exact area.

    The area does not depend on the order of the samples, to the last bit: ranks are multiples of one half.
    """

    def __init__(self) -> None:
        self._targets: list[NDArray[np.int64]] = []
        self._scores: list[NDArray[np.float32]] = []

    def add(self, targets: Tensor, scores: Tensor) -> None:
        """Take class numbers [batch], or labels of 0 and 1 [batch, labels], with scores [batch, classes]."""
        self._targets.append(targets.long().cpu().numpy())
        self._scores.append(scores.float().cpu().numpy())

    def get_state(self) -> State:
        """Return what was seen."""
        return {"targets": self._targets, "scores": self._scores}

    def merge(self, state: State) -> None:
        """Add what another has seen."""
        self._targets.extend(state["targets"])
        self._scores.extend(state["scores"])

    def compute(self) -> float | None:
        """Return the area of class 1 for two classes, else the mean over one class against the rest, or over labels.

        Classes of which a positive or a negative is missing are left out; None when all are.
        """
        if not self._targets:
            return None
        targets, scores = np.concatenate(self._targets), np.concatenate(self._scores)
        if targets.ndim > 1:
            positives = (targets[:, column] == 1 for column in range(scores.shape[1]))
            areas = [_compute_area(positive, scores[:, column]) for column, positive in enumerate(positives)]
        else:
            columns = [1] if scores.shape[1] == 2 else range(scores.shape[1])
            areas = [_compute_area(targets == column, scores[:, column]) for column in columns]
        known = [area for area in areas if area is not None]
        return float(np.mean(known)) if known else None

    def make_tables(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the data of ROC, precision-recall and calibration plots; nothing when nothing was seen."""
        if not self._targets:
            return {}
        return make_score_tables(np.concatenate(self._targets), np.concatenate(self._scores), names)


def _compute_area(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> float | None:
    """Return the share of pairs in the right order, ties counted half (Mann and Whitney: by mean ranks)."""
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return None
    ranks = _get_mean_ranks(scores)
    below = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
    return float(below / (num_positive * num_negative))


def _get_mean_ranks(values: NDArray[np.float32]) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)
