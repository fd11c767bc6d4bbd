"""The data of plots about predictions: curves of a few hundred points, whatever the number of samples.

ROC and precision-recall after Fawcett, "An introduction to ROC analysis" (2006); calibration as the share that is right
in equal intervals of confidence (Guo et al., "On Calibration of Modern Neural Networks", 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footplate.trainer.metrics.protocol import Floats, State

__all__ = ["Residuals", "make_score_tables"]

_MAX_CURVES = 10
_MAX_POINTS = 200
_NUM_BINS = 15
_MAX_PAIRS = 1000
_NUM_INTERVALS = 30

Scores = NDArray[np.float32]
Targets = NDArray[np.int64]


def make_score_tables(targets: Targets, scores: Scores, names: Sequence[str]) -> dict[str, Any]:
    """Return ``roc``, ``precision_recall`` and ``calibration``, each a mapping from a curve's name to its x and y.

    ``targets`` are class numbers [n], or labels of 0 and 1 [n, labels]; ``scores`` are probabilities [n, classes]. Of
    two classes the second has a curve; of more each against the rest, the first ten. A class of which a positive or a
    negative is missing has none.
    """
    told = [str(name) for name in names] if len(names) == scores.shape[1] else [str(i) for i in range(scores.shape[1])]
    columns = [1] if targets.ndim == 1 and scores.shape[1] == 2 else list(range(scores.shape[1]))
    roc: dict[str, Any] = {}
    precision_recall: dict[str, Any] = {}
    for column in columns[:_MAX_CURVES]:
        positive = targets[:, column] == 1 if targets.ndim > 1 else targets == column
        if positive.any() and not positive.all():
            roc[told[column]], precision_recall[told[column]] = _trace(positive, scores[:, column])
    return {"roc": roc, "precision_recall": precision_recall, "calibration": {"model": _calibrate(targets, scores)}}


def _trace(positive: NDArray[np.bool_], scores: Scores) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both curves of one class: a point for each threshold, ties together, thinned."""
    order = np.argsort(-scores, kind="stable")
    hits, ranked = np.cumsum(positive[order]), scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    right, taken = hits[ends].astype(np.float64), (ends + 1).astype(np.float64)
    total = float(positive.sum())
    recall = np.append(0.0, right / total)
    false_rate = np.append(0.0, (taken - right) / (len(positive) - total))
    precision = right / taken
    kept, after = _thin(len(recall), _MAX_POINTS), _thin(len(precision), _MAX_POINTS)
    return (
        {"x": false_rate[kept].tolist(), "y": recall[kept].tolist()},
        {"x": recall[1:][after].tolist(), "y": precision[after].tolist()},
    )


def _thin(count: int, most: int) -> NDArray[np.int64]:
    """Return the places of at most so many of ``count`` points, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _calibrate(targets: Targets, scores: Scores) -> dict[str, Any]:
    """Return mean confidence and the share that is right, by intervals of confidence that have any sample."""
    if targets.ndim > 1:
        confidence, right = scores.reshape(-1), (targets == 1).reshape(-1)
    else:
        chosen = scores.argmax(axis=1)
        confidence, right = scores[np.arange(len(scores)), chosen], chosen == targets
    places = np.clip((confidence * _NUM_BINS).astype(np.int64), 0, _NUM_BINS - 1)
    counts = np.bincount(places, minlength=_NUM_BINS)
    there = counts > 0
    mean = np.bincount(places, confidence, _NUM_BINS)[there] / counts[there]
    share = np.bincount(places, right, _NUM_BINS)[there] / counts[there]
    return {"x": mean.tolist(), "y": share.tolist(), "count": counts[there].tolist()}


class Residuals:
    """Keeps some pairs of true and predicted quantities, evenly over all samples, 2,000 at the most."""

    def __init__(self) -> None:
        self._true: list[Floats] = []
        self._predicted: list[Floats] = []
        self._stride = 1
        self._seen = self._kept = 0

    def add(self, true: Floats, predicted: Floats) -> None:
        """Take a batch [n, …]; further axes are flattened to outputs, of which the first ten count."""
        first = -self._seen % self._stride
        self._seen += len(true)
        for kept, values in ((self._true, true), (self._predicted, predicted)):
            some = values[first :: self._stride]
            kept.append(some.reshape(len(some), -1)[:, :_MAX_CURVES])
        self._kept += len(self._true[-1])
        while self._kept > 2 * _MAX_PAIRS:
            self._true, self._predicted = [_join(self._true)[::2]], [_join(self._predicted)[::2]]
            self._stride *= 2
            self._kept = len(self._true[0])

    def get_state(self) -> State:
        """Return what is kept."""
        return {"true": self._true, "predicted": self._predicted}

    def merge(self, state: State) -> None:
        """Add what another has kept."""
        self._true.extend(state["true"])
        self._predicted.extend(state["predicted"])

    def make_tables(self, names: Sequence[str]) -> dict[str, Any]:
        """Return ``residuals``: of each output, the first ten, its pairs and the histogram of the errors."""
        if not self._true:
            return {}
        true, predicted = _join(self._true), _join(self._predicted)
        finite = np.isfinite(true).all(axis=1) & np.isfinite(predicted).all(axis=1)
        true, predicted = true[finite], predicted[finite]
        if not len(true):
            return {}
        some = _thin(len(true), _MAX_PAIRS)
        tables = {}
        for column in range(true.shape[1]):
            errors = predicted[:, column] - true[:, column]
            low, high = float(errors.min()), float(errors.max())
            counts, _ = np.histogram(errors, _NUM_INTERVALS, (low, high) if low < high else (low - 0.5, low + 0.5))
            name = names[column] if column < len(names) else f"output {column}"
            tables[str(name)] = {
                "true": true[some, column].tolist(),
                "predicted": predicted[some, column].tolist(),
                "histogram": {"low": low, "high": high, "counts": counts.tolist()},
            }
        return {"residuals": tables}


def _join(parts: list[Floats]) -> Floats:
    return np.concatenate(parts)
