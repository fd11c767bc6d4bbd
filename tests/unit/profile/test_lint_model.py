"""Rules about the network: what does not fit the task, the inputs or the architecture, in each of its ways."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from footplate.profile.lint import lint
from footplate.profile.model import Profile

_SPEC = importlib.util.spec_from_file_location(
    "write_lint_docs", Path(__file__).resolve().parents[3] / "tools" / "write_lint_docs.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
docs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = docs
_SPEC.loader.exec_module(docs)


@pytest.mark.parametrize(
    ("profile", "facts", "code", "path", "says"),
    [
        (
            {"model": {"architecture": "lstm", "bidirectional": True}},
            {"data": {"task": "language_model", "vocab_size": 50, "input_shape": (16,)}},
            "architecture-task",
            "model.bidirectional",
            "sees the token that it must predict",
        ),
        (
            {"model": {"architecture": "gpt"}},
            {"data": {"task": "segmentation", "input_shape": (3, 16, 16)}},
            "architecture-task",
            "model.architecture",
            "gpt does not learn segmentation",
        ),
        (
            {"model": {"architecture": "resnet"}},
            {"data": {"vocab_size": 50, "input_shape": (16,)}},
            "architecture-shape",
            "model.architecture",
            "an input of this data is [16] tokens of a vocabulary of 50",
        ),
        (
            {"model": {"architecture": "hf:config.json", "hidden_size": 8}},
            {},
            "model-argument",
            "model.hidden_size",
            "it belongs to every built-in architecture, and the architecture is hf:config.json",
        ),
        (
            {
                "model": {"architecture": "gpt", "num_layers": 96, "hidden_size": 64},
                "resources": {"memory_gb": 1},
                "training": {"batch_size": 1},
                "device": "cpu",
            },
            {"data": {"task": "language_model", "vocab_size": 50, "input_shape": (8192,)}},
            "memory",
            "training.batch_size",
            "activations 1 ×",
        ),
    ],
)
def test_a_misfit_is_told_with_its_reason(
    profile: dict[str, Any], facts: dict[str, Any], code: str, path: str, says: str
) -> None:
    asked = Profile.model_validate({"data": {"train_data": "x.npz"}, **profile})
    found = [finding for finding in lint(asked, docs.make_facts(facts)).findings if finding.code == code]
    assert [finding.path for finding in found] == [path]
    assert says in found[0].message
    assert found[0].fix
