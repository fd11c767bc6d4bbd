"""Every architecture is trained on every task of the table: from files, with its checkpoints, to weights that load."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from footplate.data.load import load_data
from footplate.profile.architectures import ARCHITECTURES
from footplate.profile.facts import TaskKind
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal, read_metrics
from footplate.record.rundir import RunDir
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.training import train_model
from footplate.trainer.weights import load_network

NUM_SAMPLES, LENGTH = 64, 10
TEXT = """
model: {{architecture: {name}}}
data: {{train_data: {file}, task: {task}}}
training: {{batch_size: 16, max_epochs: 2, learning_rate: 0.01, log_frequency: 1}}
"""
CASES = [(name, task) for name, entry in ARCHITECTURES.items() for task in entry.tasks]
SMALL = ("model.hidden_size=16", "model.num_layers=1")
AGAIN = "embedded_optimizations.gradient_checkpointing=true"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads, allowed = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = allowed


def write_data(task: TaskKind, *, images: bool) -> str:
    """Write a small set whose targets can be learnt from its inputs; return the file's name."""
    if task == "language_model":
        Path("text.txt").write_text("abcdefghij klmnop\n" * 100)
        return "text.txt"
    rng = np.random.default_rng(1)
    shape = (NUM_SAMPLES, 3, 12, 12) if images else (NUM_SAMPLES, LENGTH, 4)
    inputs = rng.normal(size=shape).astype(np.float32)
    means = inputs.reshape(NUM_SAMPLES, -1).mean(1)
    targets = {
        "classification": (means > 0).astype(np.int64),
        "regression": means,
        "multi_label": np.stack([means > 0, means < 0.1], axis=1).astype(np.float32),
        "sequence": (inputs[..., 0] > 0).astype(np.int64),
        "segmentation": (inputs[:, 0] > 0).astype(np.int64),
    }
    np.savez("data.npz", x=inputs, y=targets[task])
    return "data.npz"


def train(text: str, *overrides: str) -> tuple[RunDir, dict[str, Any]]:
    profile = load_profile_text(text, overrides=overrides)
    run = RunDir.create(Path("runs"), "test")
    with Journal(run.new_attempt().journal_path()) as journal:
        return run, train_model(profile, load_data(profile), run, journal, Interrupt())


def get_losses(run: RunDir) -> list[float]:
    return [point.value for point in read_metrics(run)["train/loss"]]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_it_is_trained_judged_and_loaded_again(name: str, task: TaskKind, tmp_path: Path) -> None:
    text = TEXT.format(name=name, task=task, file=write_data(task, images="images" in ARCHITECTURES[name].inputs))
    more = ("data.sequence_length=16",) if task == "language_model" else ()
    run, result = train(text, *SMALL, *more, "model.dropout=0.1")
    again, _ = train(text, *SMALL, *more, "model.dropout=0.1", AGAIN)
    assert get_losses(run) == get_losses(again)
    assert get_losses(run)[-1] < get_losses(run)[0]
    assert math.isfinite(result["metrics"]["test/loss"])
    network, description, _ = load_network(run.artifacts)
    assert description["signature"]["task"] == task
    assert not network.training


def test_a_network_of_transformers_is_trained_as_any_other(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
    Path("config.json").write_text(json.dumps(config))
    text = TEXT.format(name="'hf:config.json'", task="language_model", file=write_data("language_model", images=False))
    run, result = train(text, "data.sequence_length=16")
    again, _ = train(text, "data.sequence_length=16", AGAIN)
    assert get_losses(run) == get_losses(again)
    assert result["metrics"]["test/loss"] < get_losses(run)[0]
    assert load_network(run.artifacts)
