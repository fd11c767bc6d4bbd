"""Real limits of memory: of the address space (allocations fail), and of a control group (the kernel kills)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footplate.record.journal import read_events, read_metrics
from footplate.record.receipt import find_receipt
from footplate.record.rundir import RunDir

_NETWORK = """
import torch
from torch import nn

class Wide(nn.Module):
    '''Needs about 34 MB for each sample of a batch while it trains, and hardly any time.'''

    def __init__(self, hidden_size=64, num_layers=1, width=2_800_000):
        super().__init__()
        self.first, self.last, self.width = nn.Linear(4, 64), nn.Linear(64, 3), width

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        if self.training:
            wide = hidden[:, :1].expand(-1, self.width) * 1.0
            hidden = hidden + (wide * wide).mean(1, keepdim=True)
        return self.last(hidden)
"""
_PROFILE = """
model: {architecture: "wide:Wide", width: 2800000}
data: {train_data: train.npz, val_data: val.npz, test_data: val.npz}
training: {batch_size: 64, optimizer: adamw, learning_rate: 0.01, max_epochs: 1, log_frequency: 1}
fault_tolerance: {auto_restart: true, max_restarts: 2, restart_delay: 0}
"""
_LIMITED = """
import os, resource, sys
from pathlib import Path
from footplate.data.load import load_data
from footplate.profile.load import load_profile_text
from footplate.record.journal import Journal
from footplate.record.rundir import RunDir
from footplate.trainer.interrupt import Interrupt
from footplate.trainer.training import train_model

profile = load_profile_text(Path("profile.yaml").read_text(), overrides=sys.argv[2:])
data = load_data(profile)
run = RunDir.create(Path("runs"), "test")
more = int(sys.argv[1])
if more:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))
with Journal(run.new_attempt().journal_path()) as journal:
    train_model(profile, data, run, journal, Interrupt())
print(run.path)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with data, profile and a network that needs much memory for each sample."""
    generator = np.random.default_rng(3)
    for name, size in (("train", 128), ("val", 8)):
        inputs = generator.normal(size=(size, 4)).astype(np.float32)
        np.savez(tmp_path / f"{name}.npz", x=inputs, y=np.arange(size) % 3)
    (tmp_path / "wide.py").write_text(_NETWORK)
    (tmp_path / "profile.yaml").write_text(_PROFILE)
    (tmp_path / "limited.py").write_text(_LIMITED)
    return tmp_path


@pytest.fixture
def group() -> Iterator[Callable[[int], Path]]:
    """Return a function that makes a control group with a limit of memory, version 1 or 2; it is removed at the end."""
    made: list[Path] = []

    def make(limit: int) -> Path:
        folder = _find_parent() / f"footplate-test-{os.getpid()}"
        try:
            folder.mkdir()
            made.append(folder)
            name = "memory.limit_in_bytes" if (folder / "memory.limit_in_bytes").exists() else "memory.max"
            (folder / name).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"needs a control group of its own with a limit of memory: {error}")
        return folder

    yield make
    for folder in made:
        end = time.monotonic() + 120
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                assert time.monotonic() < end, f"{folder} is still in use"
                time.sleep(0.05)


def _find_parent() -> Path:
    """Return the memory group of this process; of version 2 the root: other groups with processes limit none below."""
    root = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            here = root / "memory" / path.strip("/")
            return here if here.exists() else root / "memory"
    return root


def _run(command: list[str], place: Path, *, group: Path | None = None) -> subprocess.CompletedProcess[str]:
    if group is not None:
        command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=200, check=False)


def _train_limited(place: Path, more: int, *overrides: str) -> RunDir:
    done = _run([sys.executable, "limited.py", str(more), *overrides], place)
    assert done.returncode == 0, done.stderr
    return RunDir(path=Path(done.stdout.splitlines()[-1]))


def _get_values(run: RunDir, name: str) -> list[float]:
    return [point.value for point in read_metrics(run)[name]]


def _get_events(run: RunDir, name: str) -> list[dict[str, Any]]:
    return [dict(entry.data) for entry in read_events(run) if entry.data["name"] == name]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux, which keeps the limit it is given")
def test_an_allocation_that_really_fails_leads_to_smaller_batches_and_the_same_losses(place: Path) -> None:
    small = _train_limited(
        place, 0, "training.batch_size=16", "training.gradient_accumulation_steps=4", "model.width=500000"
    )
    large = _train_limited(place, 300_000_000, "model.width=500000")
    shortages = _get_events(large, "out_of_memory")
    assert [event["step"] for event in shortages] == [1] * len(shortages)
    assert shortages[-1]["new_batch_size"] < 64
    assert shortages[0]["asked_bytes"] >= 500_000 * 4
    assert _get_values(large, "train/loss") == pytest.approx(_get_values(small, "train/loss"), abs=1e-6)
    assert len(_get_values(large, "train/loss")) == 2


def test_after_a_kill_for_memory_the_next_attempt_has_smaller_batches_and_the_same_losses(
    place: Path, group: Callable[[int], Path]
) -> None:
    limited = group(2_000_000_000)
    command = [sys.executable, "-m", "footplate", "train", "profile.yaml", "--set", "training.max_steps=1", "--json"]
    done = _run(command, place, group=limited)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(path=next(place.glob("runs/*-*")))
    receipt = find_receipt(run.get_attempt(1))
    assert receipt is not None
    assert (receipt.signal, receipt.cause) == ("SIGKILL", "out_of_memory")
    assert [event["new_batch_size"] for event in _get_events(run, "batch_size_kept")] == [32]
    small = _train_limited(
        place, 0, "training.batch_size=32", "training.gradient_accumulation_steps=2", "training.max_steps=1"
    )
    for name in ("train/loss", "val/loss"):
        assert _get_values(run, name) == pytest.approx(_get_values(small, name), abs=1e-6)


_FILLS = """
import time
import torch
from torch import nn
from footplate.trainer.memory.limits import find_limits, find_tightest
from footplate.trainer.monitors.memory_guard import MemoryGuard

looks = [0]
look = MemoryGuard.look

def count(self):
    look(self)
    looks[0] += 1

MemoryGuard.look = count

class Wide(nn.Module):
    '''Fills 95 % of the group's memory when it trains on more than 16 samples, until the guard has looked.'''

    def __init__(self, hidden_size=64, num_layers=1, width=1):
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        if self.training and len(x) > 16:
            limit, used = find_tightest(find_limits(machine=False))
            ballast = torch.ones(max(1, int(0.95 * limit.limit_bytes) - used), dtype=torch.uint8)
            before, end = looks[0], time.monotonic() + 120
            while looks[0] < before + 2 and time.monotonic() < end:
                time.sleep(0.01)
            del ballast
        return self.last(x)
"""


def test_batches_are_made_smaller_before_the_kernel_kills(place: Path, group: Callable[[int], Path]) -> None:
    (place / "wide.py").write_text(_FILLS)
    limited = group(1_500_000_000)
    command = [sys.executable, "-m", "footplate", "train", "profile.yaml", "--set", "training.max_epochs=8", "--json"]
    done = _run(command, place, group=limited)
    assert done.returncode == 0, done.stdout + done.stderr
    run = RunDir(path=next(place.glob("runs/*-*")))
    told = _get_events(run, "out_of_memory")
    assert [(event["batch_size"], event["new_batch_size"]) for event in told] == [(64, 32), (32, 16)]
    assert all(str(limited) in event["pressure"] for event in told)
    assert len(list(run.path.glob("attempts/*"))) == 1
