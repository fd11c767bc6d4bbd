"""Trains small profiles in this process, with torch's settings given back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal, Point, read_events, read_metrics
from footplate.record.rundir import RunDir
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.training import train_model


@dataclass
class Trained:
    run: RunDir
    result: dict[str, Any]

    @property
    def metrics(self) -> dict[str, list[Point]]:
        return read_metrics(self.run)

    def get_values(self, name: str) -> list[float]:
        return [point.value for point in self.metrics[name]]

    def get_events(self, name: str) -> list[dict[str, Any]]:
        return [dict(entry.data) for entry in read_events(self.run) if entry.data["name"] == name]


SMALL = """
model: {hidden_size: 16, num_layers: 1}
data: {train_data: "sklearn:iris", preprocessing: {normalize: true}}
training: {batch_size: 16, learning_rate: 0.01, max_epochs: 3, log_frequency: 1}
"""


@pytest.fixture(autouse=True)
def _torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    torch.backends.cudnn.allow_tf32 = True
    torch.set_num_threads(threads)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Trained]:
    """Return a function that trains a profile, with overrides, in a run directory of its own."""

    def run(*overrides: str, text: str = SMALL, interrupt: Interrupt | None = None) -> Trained:
        profile = load_profile_text(text, overrides=overrides)
        directory = RunDir.create(tmp_path / "runs", "test")
        with Journal(directory.new_attempt().journal_path()) as journal:
            result = train_model(profile, load_data(profile), directory, journal, interrupt or Interrupt())
        return Trained(directory, result)

    return run
