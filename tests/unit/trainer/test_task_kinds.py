"""Each kind of task is trained from a file to its report, with a network that is as small as can be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from footplate.profile.metrics import get_metrics
from footplate.tracking.report.write import render_report
from footplate.trainer.weights import load_network

JSON_PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "json.md"
Train = Callable[..., Any]


class Labels(nn.Module):
    """A layer over the whole sample."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(math.prod(input_shape), num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.flatten(1))  # type: ignore[no-any-return]


class Positions(nn.Module):
    """A layer over the features of each position."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(input_shape[-1], num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)  # type: ignore[no-any-return]


class Pixels(nn.Module):
    """A layer over each pixel of a grey image."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, num_outputs, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs.unsqueeze(1))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """The next token from the one before it."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_outputs, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.table(inputs)  # type: ignore[no-any-return]


def write_data(kind: str, folder: Path) -> str:
    """Write 120 samples that the networks can learn; return their file."""
    rng = np.random.default_rng(0)
    if kind == "language_model":
        (folder / "data.txt").write_text("abcdefgh" * 240, encoding="utf-8")
        return str(folder / "data.txt")
    if kind == "multi_label":
        inputs = rng.normal(size=(120, 4))
        targets: Any = (inputs[:, :3] > 0).astype(np.uint8)
    else:
        shape = (120, 6, 5) if kind == "segmentation" else (120, 6)
        targets = rng.integers(0, 3, shape)
        inputs = targets + rng.normal(0, 0.1, shape)
        targets = np.where(rng.random(shape) < 0.2, -100, targets)
        inputs = inputs if kind == "segmentation" else np.stack([inputs, inputs**2], axis=-1)
    np.savez(folder / "data.npz", x=inputs.astype(np.float32), y=targets)
    return str(folder / "data.npz")


@pytest.mark.parametrize(
    ("kind", "network", "loss", "metric", "at_least"),
    [
        ("multi_label", "Labels", "auto", "test/f1_micro", 0.9),
        ("sequence", "Positions", "auto", "test/accuracy", 0.9),
        ("segmentation", "Pixels", "auto", "test/iou", 0.5),
        ("segmentation", "Pixels", "dice_cross_entropy", "test/iou", 0.5),
        ("language_model", "Tokens", "auto", "test/accuracy", 0.9),
    ],
)
def test_a_task_is_trained_judged_and_reported(
    train: Train, tmp_path: Path, kind: str, network: str, loss: str, metric: str, at_least: float
) -> None:
    text = f"""
model: {{architecture: "{__name__}:{network}"}}
data: {{train_data: "{write_data(kind, tmp_path)}", task: {kind}, sequence_length: 8, split: {{val: 0.2, test: 0.2}}}}
training: {{batch_size: 7, learning_rate: 0.1, max_epochs: 15, loss: {{type: {loss}}}}}
"""
    trained = train(text=text)
    result, metrics = trained.result, trained.result["metrics"]
    assert result["task"] == kind
    assert metrics[metric] >= at_least
    assert {f"{split}/{name}" for split in ("val", "test") for name in get_metrics(kind)} <= set(metrics)
    assert metrics["test/loss"] < 0.7
    if kind == "language_model":
        assert metrics["test/perplexity"] == pytest.approx(math.exp(metrics["test/loss"]))
        assert metrics["test/bits_per_byte"] == pytest.approx(metrics["test/loss"] / math.log(2))

    counted = np.array(result["tables"].get("confusion", []))
    assert bool(len(counted)) is (kind in ("sequence", "segmentation"))
    if len(counted):
        assert counted.diagonal().sum() / counted.sum() == pytest.approx(metrics["test/accuracy"])
    loaded, description, _ = load_network(trained.run.artifacts)
    assert description["signature"]["task"] == kind
    inputs = torch.zeros(2, *description["signature"]["input_shape"])
    outputs = loaded(inputs.long() if kind == "language_model" else inputs)
    assert outputs.shape[0] == 2


def test_the_report_says_what_was_counted_and_what_perplexity_means(train: Train, tmp_path: Path) -> None:
    def make_page(kind: str, network: str) -> str:
        text = f"""
model: {{architecture: "{__name__}:{network}"}}
data: {{train_data: "{write_data(kind, tmp_path)}", task: {kind}, sequence_length: 8}}
training: {{max_epochs: 1}}
"""
        run = train(text=text).run
        (run.path / "run.json").write_text(json.dumps(INFO), encoding="utf-8")
        return render_report(run).decode()

    assert "Columns: what the model says. Counted are pixels." in make_page("segmentation", "Pixels")
    assert re.search(
        r"Perplexity [\d.]+ \(test\): as hard as to choose among [\d.]+ equally likely tokens\.",
        make_page("language_model", "Tokens"),
    )


INFO = {
    "id": "test-1",
    "name": "test",
    "kind": "train",
    "created_at": "2026-11-21T10:00:00+00:00",
    "argv": ["python"],
    "cwd": "/",
    "host": "box",
    "user": "me",
    "version": "0.1.0",
}


def test_every_key_of_the_result_is_documented(train: Train) -> None:
    section = JSON_PAGE.read_text(encoding="utf-8").split("\n## `result.json`\n")[1].split("\n## ")[0]
    documented = {
        key for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for key in re.findall(r"`(\w+)`", cell)
    }
    assert set(train("training.max_epochs=1").result) == documented
