"""Rules about metrics and losses, for each kind of task."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from footplate.profile.facts import Facts
from footplate.profile.findings import Finding
from footplate.profile.lint import lint
from footplate.profile.lint.rule import find_task, find_tasks
from footplate.profile.model import Profile

_SPEC = importlib.util.spec_from_file_location(
    "write_lint_docs", Path(__file__).resolve().parents[3] / "tools" / "write_lint_docs.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
docs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = docs
_SPEC.loader.exec_module(docs)

UNSEEN: dict[str, Any] = {"data": None}
TOKENS = {"data": {"task": "language_model", "classes": 0, "vocab_size": 256, "target_shape": [16]}}
MASKS = {"data": {"task": "segmentation", "target_shape": [8, 8], "target_dtype": "int64"}}
LABELS = {"data": {"task": "multi_label", "target_shape": [10], "target_dtype": "float32"}}
CODES = {"metric-task", "monitor-not-computed", "monitor-mode", "confusion-matrix", "loss-task", "label-smoothing"}
MATRIX = {"report": {"include_confusion_matrix": True}}


def make_profile(values: dict[str, Any]) -> Profile:
    return Profile.model_validate({"data": {"train_data": "x.npz"}, **values})


def find(profile: dict[str, Any], facts: dict[str, Any]) -> list[Finding]:
    found = lint(make_profile(profile), docs.make_facts(facts)).findings
    return [finding for finding in found if finding.code in CODES]


@pytest.mark.parametrize(
    ("profile", "facts", "code", "path", "says"),
    [
        (
            {"validation": {"metrics": ["loss", "perplexity", "iou"]}},
            TOKENS,
            "metric-task",
            "validation.metrics",
            "iou: not computed, for this is a language model (by its targets)",
        ),
        (
            {"data": {"train_data": "x", "task": "segmentation"}, "validation": {"metrics": ["iou", "perplexity"]}},
            UNSEEN,
            "metric-task",
            "validation.metrics",
            "perplexity: not computed, for this is a segmentation (data.task)",
        ),
        (
            {"training": {"loss": {"type": "cross_entropy"}}, "validation": {"metrics": ["accuracy", "mae"]}},
            UNSEEN,
            "metric-task",
            "validation.metrics",
            "mae: not computed, for this is a classification or ",
        ),
        (
            {"validation": {"save_best_metric": "val/perplexity"}},
            MASKS,
            "monitor-not-computed",
            "validation.save_best_metric",
            "this is a segmentation (by its targets), which has none such",
        ),
        (
            {"validation": {"save_best_metric": "val/perplexity", "save_best_mode": "max"}},
            TOKENS,
            "monitor-mode",
            "validation.save_best_mode",
            "a smaller perplexity is better",
        ),
        (
            {"post_training": MATRIX},
            TOKENS,
            "confusion-matrix",
            "post_training.report.include_confusion_matrix",
            "no classes to be mistaken: this is a language model",
        ),
        (
            {"post_training": MATRIX},
            {"data": {"classes": 101}},
            "confusion-matrix",
            "post_training.report.include_confusion_matrix",
            "none is written of more than 100 classes, and there are 101",
        ),
        (
            {"training": {"loss": {"type": "dice_cross_entropy"}}},
            {},
            "loss-task",
            "training.loss.type",
            "dice_cross_entropy does not fit a classification",
        ),
        (
            {"training": {"loss": {"type": "cross_entropy"}}},
            LABELS,
            "loss-task",
            "training.loss.type",
            "cross_entropy does not fit a multi-label classification",
        ),
        (
            {"training": {"label_smoothing": 0.1}},
            LABELS,
            "label-smoothing",
            "training.label_smoothing",
            "binary_cross_entropy (auto)",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_found(
    profile: dict[str, Any], facts: dict[str, Any], code: str, path: str, says: str
) -> None:
    [finding] = find(profile, facts)
    assert (finding.code, finding.path) == (code, path)
    assert says in finding.message


@pytest.mark.parametrize(
    ("profile", "facts"),
    [
        ({"training": {"loss": {"type": "cross_entropy"}}, "validation": {"metrics": ["iou", "perplexity"]}}, UNSEEN),
        (
            {"validation": {"metrics": ["perplexity", "bits_per_byte"]}, "training": {"label_smoothing": 0.1}},
            TOKENS,
        ),
        ({"validation": {"metrics": ["iou", "f1"]}, "training": {"loss": {"type": "dice_cross_entropy"}}}, MASKS),
        ({"validation": {"metrics": ["f1_micro"]}, "training": {"loss": {"type": "binary_cross_entropy"}}}, LABELS),
        ({"post_training": MATRIX}, MASKS),
    ],
)
def test_what_fits_the_task_or_cannot_be_known_is_left_alone(profile: dict[str, Any], facts: dict[str, Any]) -> None:
    assert find(profile, facts) == []


def test_the_task_is_what_the_profile_says_then_the_data_then_the_loss() -> None:
    unseen, tokens = Facts(), docs.make_facts(TOKENS)
    said = make_profile({"data": {"train_data": "x", "task": "sequence"}})
    assert find_task(said, tokens) == "sequence"
    assert find_task(make_profile({}), tokens) == "language_model"
    assert find_task(make_profile({}), unseen) == ""
    mse = make_profile({"training": {"loss": {"type": "mse"}}})
    assert find_task(mse, unseen) == "regression"
    crossed = make_profile({"training": {"loss": {"type": "cross_entropy"}}})
    assert find_tasks(crossed, unseen) == ("classification", "sequence", "language_model", "segmentation")
    assert find_task(crossed, tokens) == "language_model"
