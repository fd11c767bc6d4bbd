"""The data of plots about predictions: scikit-learn's curves, in few points, the same however they were dealt out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from footplate.trainer.metrics.plots import Residuals, make_score_tables


def make_scores(num_classes: int, num_samples: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(num_classes)
    targets = rng.integers(0, num_classes, num_samples)
    raw = rng.normal(size=(num_samples, num_classes)) + 1.5 * np.eye(num_classes)[targets]
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    return targets, scores.astype(np.float32).round(2)  # rounded: many ties


@pytest.mark.parametrize("num_classes", [2, 4])
def test_curves_are_those_of_scikit_learn(num_classes: int) -> None:
    targets, scores = make_scores(num_classes)
    tables = make_score_tables(targets, scores, [f"class {i}" for i in range(num_classes)])
    assert list(tables["roc"]) == (["class 1"] if num_classes == 2 else [f"class {i}" for i in range(4)])
    for name, curve in tables["roc"].items():
        column = int(name.split()[1])
        false_rate, true_rate, _ = roc_curve(targets == column, scores[:, column], drop_intermediate=False)
        assert auc(curve["x"], curve["y"]) == pytest.approx(auc(false_rate, true_rate), abs=2e-3)
        wanted = {(round(x, 12), round(y, 12)) for x, y in zip(false_rate, true_rate, strict=True)}
        assert {(round(x, 12), round(y, 12)) for x, y in zip(curve["x"], curve["y"], strict=True)} <= wanted
        assert len(curve["x"]) <= 200
        precision, recall, _ = precision_recall_curve(targets == column, scores[:, column])
        points = {(round(x, 9), round(y, 9)) for x, y in zip(recall, precision, strict=True)}
        told = tables["precision_recall"][name]
        assert {(round(x, 9), round(y, 9)) for x, y in zip(told["x"], told["y"], strict=True)} <= points


def test_a_class_without_a_positive_has_no_curve() -> None:
    tables = make_score_tables(np.zeros(5, np.int64), np.full((5, 3), 1 / 3, np.float32), ())
    assert tables["roc"] == tables["precision_recall"] == {}


def test_labels_have_a_curve_each() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (400, 2))
    scores = np.clip(targets * 0.3 + rng.uniform(0, 0.7, (400, 2)), 0, 1).astype(np.float32)
    assert list(make_score_tables(targets, scores, ("red", "round"))["roc"]) == ["red", "round"]


def test_calibration_is_the_share_that_is_right_by_confidence() -> None:
    scores = np.array([[0.95, 0.05]] * 4 + [[0.3, 0.7]] * 2, np.float32)
    targets = np.array([0, 0, 0, 1, 1, 0])
    table = make_score_tables(targets, scores, ())["calibration"]["model"]
    assert table["x"] == pytest.approx([0.7, 0.95])
    assert table["y"] == [0.5, 0.75]
    assert table["count"] == [2, 4]


def test_few_pairs_are_kept_of_many_and_those_of_two_processes_come_together() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(50_000, 2))
    predicted = true + rng.normal(scale=0.1, size=true.shape)
    halves = []
    for part in (slice(None, 25_000), slice(25_000, None)):
        one = Residuals()
        for start in range(0, 25_000, 640):
            one.add(true[part][start : start + 640], predicted[part][start : start + 640])
        assert len(np.concatenate(one.get_state()["true"])) <= 2000
        halves.append(one)
    halves[0].merge(halves[1].get_state())
    tables = halves[0].make_tables(("lift",))["residuals"]
    assert list(tables) == ["lift", "output 1"]
    assert len(tables["lift"]["true"]) <= 1000
    errors = np.subtract(tables["lift"]["predicted"], tables["lift"]["true"])
    assert np.std(errors) == pytest.approx(0.1, rel=0.1)
    histogram = tables["lift"]["histogram"]
    assert sum(histogram["counts"]) > 1000
    assert histogram["low"] < 0 < histogram["high"]


def test_what_was_never_seen_has_no_tables() -> None:
    assert Residuals().make_tables(()) == {}
