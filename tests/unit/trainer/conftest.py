"""Trains small profiles in this process, with torch's settings given back afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal, Point, read_events, read_metrics
from footplate.record.rundir import RunDir
from footplate.trainer.distributed.world import World
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.training import train_model

T = TypeVar("T")


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


@dataclass(frozen=True)
class _Meeting:
    values: list[Any]
    barrier: threading.Barrier

    def swap(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait(timeout=120)
        seen = list(self.values)
        self.barrier.wait(timeout=120)
        return seen


@dataclass(frozen=True, kw_only=True)
class ThreadWorld(World):
    """A world whose processes are threads; it counts how often they spoke."""

    meeting: _Meeting
    calls: list[str] = field(default_factory=list)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        self.calls.append("sum")
        return np.asarray(np.sum(self.meeting.swap(self.rank, values), axis=0))

    def gather(self, value: T) -> list[T]:
        self.calls.append("gather")
        return self.meeting.swap(self.rank, value)

    def broadcast(self, value: T) -> T:
        self.calls.append("broadcast")
        first: T = self.meeting.swap(self.rank, value)[0]
        return first


@pytest.fixture
def run_ranks() -> Callable[[int, Callable[[ThreadWorld], Any]], list[Any]]:
    """Return a function that does the work in so many threads that speak with one another: what came out, by rank."""

    def run(size: int, work: Callable[[ThreadWorld], Any]) -> list[Any]:
        meeting = _Meeting([None] * size, threading.Barrier(size))
        worlds = [ThreadWorld(rank=rank, size=size, meeting=meeting) for rank in range(size)]
        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(work, worlds))

    return run
