"""Conditions on runs: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footplate.errors import InputError
from footplate.runs.query import parse_query

NOW = 1_000_000.0
VALUES: dict[str, Any] = {
    "state": "succeeded",
    "name": "Wing loads",
    "created_at": NOW - 3600,
    "duration_s": 7200.0,
    "attempt": 2,
    "metrics.val/loss": 0.05,
    "metrics.val/loss.min": 0.04,
    "params.training.optimizer": "adamw",
    "params.training.learning_rate": "1e-3",
    "params.reproducibility.deterministic": True,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.val/loss < 0.1", True),
        ("metrics.val/loss<0.05", False),
        ("metrics.val/loss <= 5e-2", True),
        ("metrics.val/loss.min > 0.03 and metrics.val/loss.min < 0.045", True),
        ("params.training.learning_rate = 0.001", True),
        ("params.training.learning_rate > 1e-4", True),
        ("params.training.optimizer ~ adam", True),
        ("params.training.optimizer = ADAMW", True),
        ("params.training.optimizer in (sgd, adamw)", True),
        ("attempt in (1, 3)", False),
        ("params.reproducibility.deterministic = true", True),
        ("state = failed or state = succeeded and attempt = 2", True),
        ("(state = failed or state = succeeded) and attempt = 1", False),
        ("not state = failed", True),
        ("not (state = failed or attempt > 1)", False),
        ("name = 'Wing loads'", True),
        ('name ~ "^wing\\s"', True),
        ("duration_s < 3h", True),
        ("duration_s > 120min", False),
        ("created_at > -7d", True),
        ("created_at > -30min", False),
        ("metrics.test/f1 > 0", False),
        ("metrics.test/f1 != 0", False),
        ("not metrics.test/f1 > 0", True),
    ],
)
def test_a_condition_means_what_it_says(text: str, expected: bool) -> None:
    assert parse_query(text, now=NOW).matches(VALUES.get) is expected


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("metrics.val/loss <", "a value is missing", 18),
        ("state succeeded", "is expected here", 6),
        ("state = a state = b", "`and` or `or` is missing", 10),
        ("(state = a", ") is missing", 10),
        ("state = )", "a value is expected", 8),
        ("state ~ '('", "no regular expression", 8),
        ("= 3", "a name is expected", 0),
        ("", "a name is missing", 0),
        ("state = 'open", "means nothing here", 8),
    ],
)
def test_a_mistake_is_pointed_at(text: str, words: str, column: int) -> None:
    with pytest.raises(InputError) as caught:
        parse_query(text, now=NOW)
    message, shown, pointer = caught.value.message.split("\n")
    assert words in message
    assert shown == f"  {text}"
    assert pointer.index("^") == 2 + column


def test_all_names_that_mean_nothing_are_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_query("stat = x and val/loss < 1 and training.seed = 2 and state = y", now=NOW)
    assert caught.value.message.split("\n")[1:] == [
        "  stat: did you mean state?",
        *[line for line in caught.value.message.split("\n") if "write metrics.val/loss" in line],
        *[line for line in caught.value.message.split("\n") if "write params.training.seed" in line],
    ]


@given(st.text(alphabet="abm.=<>~()'\" 0129,andornti/", max_size=40))
def test_whatever_is_typed_is_a_condition_or_bad_input(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_query(text, now=NOW).matches(lambda _: None)
