"""What the lint knows of data that are no plain classes or quantities: tokens, labels, positions, pixels."""

from __future__ import annotations

from typing import Any

import pytest

from footplate.profile.facts import DataFacts, Facts
from footplate.profile.lint import lint
from footplate.profile.load import load_profile_text

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
TEXT = {**BASE, "task": "language_model", "vocab_size": 256}
LABELS = {**BASE, "task": "multi_label", "target_shape": (3,), "classes": ("a", "b", "c"), "input_dtype": "float32"}
PIXELS = {**BASE, "task": "segmentation", "classes": ("a", "b"), "input_shape": (8, 9), "target_shape": (8, 9)}
SEQUENCE = {**BASE, "task": "sequence", "classes": ("a", "b"), "input_dtype": "float32"}


def find(text: str, facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    profile = load_profile_text(f"data: {{train_data: d, {text}}}")
    codes = ("declared-shape", "preprocessing", "data-setting", "mean-std-length")
    findings = lint(profile, Facts(data=DataFacts(**facts))).findings
    return [(one.code, one.path, one.message) for one in findings if one.code in codes]


@pytest.mark.parametrize(
    ("text", "facts", "found"),
    [
        ("output_shape: [256]", TEXT, []),
        (
            "output_shape: [64]",
            TEXT,
            [("declared-shape", "data.output_shape", "[64] is declared, the data have 256 tokens")],
        ),
        (
            "output_shape: [4]",
            LABELS,
            [("declared-shape", "data.output_shape", "[4] is declared, the data have 3 labels")],
        ),
        ("output_shape: [2]", PIXELS, []),
        (
            "preprocessing: {normalize: true, mean: [0.1, 0.2], clip_range: [0, 1]}",
            TEXT,
            [
                ("preprocessing", "data.preprocessing.normalize", "does nothing: the inputs are tokens"),
                ("preprocessing", "data.preprocessing.clip_range", "does nothing: the inputs are tokens"),
            ],
        ),
        ("sequence_length: 64", TEXT, []),
        (
            "sequence_length: 64",
            LABELS,
            [
                (
                    "data-setting",
                    "data.sequence_length",
                    "does nothing: the inputs are numbers of shape [64], neither text nor tokens",
                )
            ],
        ),
        ("ignored_class: 255", PIXELS, []),
        ("ignored_class: 255", SEQUENCE, []),
        (
            "ignored_class: 255",
            LABELS,
            [
                (
                    "data-setting",
                    "data.ignored_class",
                    "does nothing: the task is multi_label, and the class of a whole sample is never ignored",
                )
            ],
        ),
    ],
)
def test_what_is_said_of_them(text: str, facts: dict[str, Any], found: list[tuple[str, str, str]]) -> None:
    assert find(text, facts) == found


@pytest.mark.parametrize(("architecture", "wanted"), [("cnn", 1), ("resnet", 1), ("unet", 1), ("transformer", 9)])
def test_a_matrix_has_one_mean_where_it_is_an_image(architecture: str, wanted: int) -> None:
    text = "{data: {train_data: d, preprocessing: {normalize: true, mean: %s}}, model: {architecture: %s}}"
    for count in (wanted, 5):
        profile = load_profile_text(text % ([0.5] * count, architecture))
        codes = [one.code for one in lint(profile, Facts(data=DataFacts(**PIXELS))).findings]
        assert ("mean-std-length" in codes) == (count != wanted)
