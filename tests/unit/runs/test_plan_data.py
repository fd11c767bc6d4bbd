"""What the plan says of the data, for each task."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.profile.facts import DataFacts, Facts
from footplate.profile.lint import RULES
from footplate.profile.load import load_profile_text
from footplate.runs.plan import plan

BASE: dict[str, Any] = {
    "source": "d",
    "num_train": 1000,
    "num_val": 100,
    "num_test": 100,
    "input_shape": (64,),
    "input_dtype": "uint8",
    "target_shape": (64,),
    "target_dtype": "uint8",
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"task": "language_model", "vocab_size": 50_257}, "inputs [64] uint8 → the next of 50,257 tokens"),
        ({"task": "multi_label", "classes": ("a", "b"), "class_counts": (3, 9)}, "→ 2 labels, any number of them"),
        ({"task": "sequence", "classes": ("a", "b"), "class_counts": (3, 9)}, "→ 2 classes, one for each position"),
        ({"task": "segmentation", "classes": ("a", "b"), "class_counts": (3, 9)}, "→ 2 classes, one for each pixel"),
        ({"classes": ("a", "b"), "class_counts": (3, 9)}, "→ 2 classes (3 to 9 samples each)"),
        ({"target_shape": ()}, "→ targets one number uint8"),
    ],
)
def test_what_is_learnt_is_said(changes: dict[str, Any], told: str) -> None:
    data = DataFacts(**{**BASE, **changes})
    allowed = [rule.code for rule in RULES]  # whether the network fits is not what is asked here
    planned = plan(load_profile_text("data: {train_data: d}"), Facts(data=data), allow=allowed)
    assert told in str(planned)
    assert (planned.to_json()["data"]["task"], planned.to_json()["data"]["vocab_size"]) == (data.kind, data.vocab_size)
