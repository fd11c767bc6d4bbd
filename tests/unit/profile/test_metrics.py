"""The table of metrics, on which the lint, the trainer and the command line go."""

from __future__ import annotations

from pathlib import Path

import pytest

from footplate.profile.metrics import KNOWN_METRICS, METRICS, get_metrics, get_rank, is_smaller_better
from footplate.profile.tasks import TASKS


def test_each_task_has_its_own_metrics_and_the_loss() -> None:
    assert set(get_metrics("classification")) & set(get_metrics("regression")) == {"loss"}
    assert get_metrics("language_model") == ("loss", "perplexity", "bits_per_byte", "accuracy")
    assert {name for task in TASKS for name in get_metrics(task)} | {"inference_time"} == set(KNOWN_METRICS)


def test_what_people_ask_for_first_comes_first() -> None:
    assert sorted(["test/loss", "test/auc", "test/accuracy"], key=get_rank)[0] == "test/accuracy"
    assert sorted(["test/loss", "test/accuracy", "test/perplexity"], key=get_rank)[0] == "test/perplexity"
    assert sorted(["test/loss", "test/accuracy", "test/iou"], key=get_rank)[0] == "test/iou"
    assert sorted(["test/loss", "test/mae", "test/r2", "test/rmse"], key=get_rank)[:2] == ["test/rmse", "test/r2"]


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("val/loss", True),
        ("rmse", True),
        ("val/r2", False),
        ("test/auc", False),
        ("val/iou", False),
        ("val/perplexity", True),
        ("val/bits_per_byte", True),
        ("test/latency_ms", True),
        ("?", False),
    ],
)
def test_knows_which_way_is_better(name: str, smaller: bool) -> None:
    assert is_smaller_better(name) is smaller


def test_every_task_loss_and_metric_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "tasks.md").read_text(encoding="utf-8")
    losses, metrics = page.split("\n## Losses\n")[0], page.split("\n## Metrics\n")[1]
    rows = {line.split("`")[1]: line for line in losses.splitlines() if line.startswith("| `")}
    assert {
        task: all(f"`{loss}`" in rows[task] for loss in info.losses) for task, info in TASKS.items()
    } == dict.fromkeys(TASKS, True)
    for name, info in METRICS.items():
        lines = [line for line in metrics.splitlines() if line.startswith("| ") and f"`{name}`" in line.split("|")[1]]
        told = " ".join(line.split("|")[2] for line in lines)
        assert lines, name
        assert all(f"`{task}`" in told or "all" in told for task in info.tasks), name
