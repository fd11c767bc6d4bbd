"""The table of metrics, on which the lint, the trainer and the command line go."""

from __future__ import annotations

import pytest

from footplate.profile.metrics import HEADLINES, KNOWN_METRICS, METRICS, get_metrics, is_smaller_better


def test_each_task_has_its_own_metrics_and_the_loss() -> None:
    classes, numbers = get_metrics("classification"), get_metrics("regression")
    assert set(classes) & set(numbers) == {"loss"}
    assert set(classes) | set(numbers) | {"inference_time"} == set(KNOWN_METRICS)
    assert set(HEADLINES) <= set(METRICS)


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("val/loss", True),
        ("rmse", True),
        ("val/r2", False),
        ("test/auc", False),
        ("test/latency_ms", True),
        ("?", False),
    ],
)
def test_knows_which_way_is_better(name: str, smaller: bool) -> None:
    assert is_smaller_better(name) is smaller
