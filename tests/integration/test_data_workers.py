"""Worker processes that read ahead: the same bits as without, at any position, and an end that is clean."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from footplate.data.arrays import ArraySet
from footplate.data.augment import Augmenter
from footplate.data.load import load_data
from footplate.errors import DataError, InputError, RunFailedError
from footplate.profile.load import load_profile_text
from footplate.trainer.distributed.world import World
from footplate.trainer.loading.feed import Feed, Step
from footplate.trainer.loading.workers import Loading, choose_loading

CPU = torch.device("cpu")
AUGMENTER = Augmenter(noise_std=0.1, max_angle=0.4, layout="HW")


def make_set(folder: Path, *, mmap: bool = True, count: int = 101) -> ArraySet:
    rng = np.random.default_rng(3)
    np.savez(folder / "data.npz", x=rng.normal(size=(count, 40, 40)).astype(np.float32), y=rng.integers(0, 3, count))
    text = "{data: {train_data: data.npz, split: {val: 0, test: 0}}, embedded_optimizations: {use_mmap_datasets: %s}}"
    data = load_data(load_profile_text(text % str(mmap).lower(), base_dir=folder))
    return data.train


def read(step: Step, batch_size: int) -> list[tuple[bytes, bytes, int]]:
    return [
        (batch.inputs.numpy().tobytes(), batch.targets.numpy().tobytes(), batch.size)
        for batch in step.split(batch_size)
    ]


def walk(feed: Feed, epoch: int, position: int, steps: int, size: int = 16) -> Iterator[Step]:
    for _ in range(steps):
        step = feed.take(42, epoch, position, size)
        yield step
        position += step.num_samples
        if position >= len(feed):
            epoch, position = epoch + 1, 0


def list_workers() -> set[int]:
    """Return the processes that the forkserver of this process has started."""
    return {process.pid for process in psutil.Process().children(recursive=True) if is_worker(process)}


def is_worker(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and parent.pid != os.getpid() and "forkserver" in " ".join(parent.cmdline())


def wait_until(is_true: object, limit_s: float = 120) -> None:
    end = time.monotonic() + limit_s
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("mmap", [True, False])
def test_workers_give_the_same_bits_from_any_position(tmp_path: Path, num_workers: int, mmap: bool) -> None:
    source = make_set(tmp_path, mmap=mmap)
    alone = Feed(source, CPU, loading=Loading(augmenter=AUGMENTER))
    with closing(Feed(source, CPU, loading=Loading(augmenter=AUGMENTER, num_workers=num_workers))) as ahead:
        for epoch, position in ((0, 0), (1, 32), (0, 96), (2, 7)):  # starts, resumes, jumps back, odd places
            for one, other in zip(walk(alone, epoch, position, 9), walk(ahead, epoch, position, 9), strict=True):
                assert other.loaded is not None
                assert read(one, 5) == read(other, 5)
                assert read(one, 3) == read(other, 3)  # a step can be cut again, smaller
                assert one.num_samples == other.num_samples
        assert len(list_workers()) == num_workers
    assert not list_workers()


def test_without_persistence_workers_end_with_each_epoch(tmp_path: Path) -> None:
    source = make_set(tmp_path)
    alone = Feed(source, CPU, loading=Loading(augmenter=AUGMENTER))
    with closing(Feed(source, CPU, loading=Loading(augmenter=AUGMENTER, num_workers=1, persistent=False))) as ahead:
        seen = []
        for one, other in zip(walk(alone, 0, 0, 16), walk(ahead, 0, 0, 16), strict=True):
            assert read(one, 8) == read(other, 8)
            seen.append(len(list_workers()))
    assert seen == [1] * 6 + [0] + [1] * 6 + [0] + [1] * 2  # an epoch has seven steps
    assert not list_workers()


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_process_reads_its_share_and_one_to_stand_in(tmp_path: Path, rank: int) -> None:
    source, world = make_set(tmp_path, count=34), World(rank=rank, size=3)
    alone = Feed(source, CPU, world, Loading(augmenter=AUGMENTER))
    with closing(Feed(source, CPU, world, Loading(augmenter=AUGMENTER, num_workers=1))) as ahead:
        for one, other in zip(walk(alone, 0, 0, 6), walk(ahead, 0, 0, 6), strict=True):
            assert read(one, 1) == read(other, 1)
            assert read(one, 4) == read(other, 4)


def test_the_numbers_of_the_training_are_not_drawn_from(tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with closing(Feed(make_set(tmp_path), CPU, loading=Loading(num_workers=1))) as feed:
        for _ in walk(feed, 0, 0, 10):
            pass
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_map_the_data_instead_of_copying_them(tmp_path: Path) -> None:
    """The data are 60 MB; a worker that copied them would own as much."""
    for mmap in (True, False):
        source = make_set(tmp_path, mmap=mmap, count=9000)
        with closing(Feed(source, CPU, loading=Loading(augmenter=AUGMENTER, num_workers=1))) as feed:
            list(walk(feed, 0, 0, 2))
            (worker,) = list_workers()
            large = [place for place in psutil.Process(worker).memory_maps(grouped=False) if place.size > 50e6]
            assert any("data.npz" in place.path or "footplate-data" in place.path for place in large)
            private = sum(place.private_dirty for place in psutil.Process(worker).memory_maps(grouped=False))
            assert private < 50e6


FAULTY = '''
import os, signal
import numpy as np
from footplate.errors import DataError

class Faulty:
    """A set that fails in its own way at one sample."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 20

    def whole(self):
        return None

    def gather(self, indices):
        if 7 in indices:
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "data":
                raise DataError("a.png: is broken", hint="write it again")
            raise self.fault
        return np.zeros((len(indices), 2), np.float32), np.zeros(len(indices), np.int64)
'''


@pytest.fixture
def make_faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Any]:
    """Return what makes a set of a class of the user's own, whose module a worker finds as this process does."""
    (tmp_path / "faulty_set.py").write_text(FAULTY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "faulty_set", raising=False)
    return import_module("faulty_set").Faulty  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("data", DataError, r"^a.png: is broken$"),
        (ValueError("odd"), RunFailedError, r"reading the data failed: ValueError: odd \(faulty_set.py line"),
        (MemoryError("too large"), MemoryError, "too large"),
        (RuntimeError("it timed out"), RunFailedError, "it timed out"),
        ("kill", RunFailedError, r"a worker that read data ended by itself \(SIGKILL\)"),
    ],
)
def test_what_fails_in_a_worker_is_told_here(
    make_faulty: Callable[[object], Any], error: object, kind: type[Exception], words: str
) -> None:
    feed = Feed(make_faulty(error), CPU, loading=Loading(num_workers=2))
    with closing(feed), pytest.raises(kind, match=words) as caught:
        for _ in walk(feed, 0, 0, 20, size=4):
            pass
    if isinstance(caught.value, DataError):
        assert caught.value.hint == "write it again"
    assert not list_workers()


def test_a_set_that_cannot_be_sent_is_told(make_faulty: Callable[[object], Any]) -> None:
    feed = Feed(make_faulty(lambda: 0), CPU, loading=Loading(num_workers=1))
    with closing(feed), pytest.raises(InputError, match="cannot be handed to another process"):
        feed.take(0, 0, 0, 4)


def test_data_in_memory_need_no_workers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    profile = load_profile_text("data: {train_data: 'sklearn:iris', num_workers: 2}")
    loading = choose_loading(profile, load_data(profile), CPU)
    assert loading.num_workers == 0
    assert [record.message for record in caplog.records] == [
        "data.num_workers: the data are in memory as they are trained on; no process is needed to read them"
    ]
    profile = load_profile_text(
        "data: {train_data: 'sklearn:iris', num_workers: 2, augmentation: {enabled: true, noise_std: 0.1}}"
    )
    assert choose_loading(profile, load_data(profile), CPU).num_workers == 2


ENDLESS = """
import os, sys, time, psutil, torch
from pathlib import Path
sys.path.insert(0, {folder!r})
import test_data_workers as tests
if __name__ == "__main__":
    feed = tests.Feed(tests.make_set(Path.cwd()), tests.CPU, loading=tests.Loading(num_workers=2))
    place = tests.walk(feed, 0, 0, 10**9)
    next(place)
    print(*sorted(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
    for _ in place:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_training_is_killed(tmp_path: Path, number: int) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS.format(folder=str(Path(__file__).parent)))
    process = subprocess.Popen([sys.executable, "endless.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) >= 3  # the forkserver and two workers
        process.send_signal(number)
        process.wait(120)
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    finally:
        process.kill()
        process.communicate()


def test_signals_to_the_whole_group_leave_the_workers_to_the_training(tmp_path: Path) -> None:
    """A scheduler signals every process of a job: the training ends its step before it ends its workers."""
    with closing(Feed(make_set(tmp_path), CPU, loading=Loading(num_workers=2))) as feed:
        places = walk(feed, 0, 0, 40)
        next(places)
        children = psutil.Process().children(recursive=True)
        for child in children:
            if "forkserver" in " ".join(child.cmdline()):
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
                    child.send_signal(number)
        assert sum(step.num_samples for step in places) > 0
        assert len(list_workers()) == 2
    assert not list_workers()


@pytest.mark.timeout(200)
def test_a_training_with_workers_equals_one_without(footplate: object, tmp_path: Path) -> None:
    make_set(tmp_path)
    (tmp_path / "footplate.yaml").write_text(
        "model: {architecture: mlp, hidden_size: 8, num_layers: 1, dropout: 0.2}\n"
        "data: {train_data: data.npz, augmentation: {enabled: true, noise_std: 0.2, rotation_degrees: 20}}\n"
        "training: {batch_size: 8, gradient_accumulation_steps: 2, max_epochs: 3, log_frequency: 1}\n"
        "device: cpu\n"
    )
    found = []
    for num_workers in (0, 2):
        done = footplate("train", "--json", "--set", f"data.num_workers={num_workers}", check=0)  # type: ignore[operator]
        result = json.loads(done.stdout)
        weights = Path(result["run_dir"]) / "artifacts" / "last.safetensors"
        found.append((weights.read_bytes(), {k: v for k, v in result["metrics"].items() if "latency" not in k}))
    assert found[0] == found[1]
