"""`package.module:function` as data: arrays, datasets and streams from code of the user's."""

from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from footplate.data.streams import read_stream
from footplate.trainer.loading.sharing import SharedArrays
from loaded import fail, load, take

ALL = ", split: {val: 0, test: 0}"


MODULE = """
import numpy as np

def arrays():
    return np.ones((20, 3), np.float32), np.arange(20) % 2

def tensors():
    import torch
    return torch.ones(20, 3, requires_grad=True), torch.arange(20) % 2

def leaving():
    raise SystemExit("no licence")

class Pictures:
    classes = ["day", "night"]
    def __len__(self):
        return 20
    def __getitem__(self, i):
        return np.full((4, 5), i, np.float32), i % 2

class Random(Pictures):
    def __getitem__(self, i):
        return np.random.normal(size=3), i % 2

class Stream:
    def __iter__(self):
        return iter([])

class Loader(Stream):
    dataset, batch_size = [], 4

def stream():
    one = np.zeros((3, 4), np.float32)
    for i in range(20):
        one[:] = i  # the same array again
        yield one, i % 2

def stream_that_breaks():
    yield np.zeros(3), 1
    raise OSError("no route to host")

def uneven_stream():
    yield np.zeros(3), 1
    yield np.zeros(4), 1

class Uneven(Pictures):
    def __getitem__(self, i):
        return np.zeros(3 + (i == 7)), i % 2

class Broken(Pictures):
    def __getitem__(self, i):
        if i == 9: raise KeyError("lost")
        return np.zeros(3), i % 2

def nothing():
    return 3

def generate():
    yield 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write the module under a name that no other test has, and return the name of what is in it."""
    name = f"own_data_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return lambda what: f"'{name}:{what}'"


def test_a_function_gives_arrays_or_a_dataset(tmp_path: Path, module: Callable[[str], str]) -> None:
    arrays = load(tmp_path, f"train_data: {module('arrays')}").facts
    assert (arrays.task, arrays.input_shape, arrays.class_counts) == ("classification", (3,), (10, 10))
    tensors = load(tmp_path, f"train_data: {module('tensors')}").facts
    assert (tensors.input_shape, tensors.class_counts) == ((3,), (10, 10))
    data = load(tmp_path, f"train_data: {module('Pictures')}{ALL}")
    assert (data.facts.classes, data.facts.input_shape) == (("day", "night"), (4, 5))
    inputs, targets = take(data)
    assert inputs[:, 0, 0].tolist() == list(range(20))
    assert targets.tolist() == [0, 1] * 10


@pytest.mark.parametrize("lazy_bytes", [500_000_000, 100])
def test_a_stream_is_read_once_and_then_found_by_number(
    lazy_bytes: int, tmp_path: Path, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too large for the memory lies in a file without a name."""
    monkeypatch.setattr("footplate.data.rows.LAZY_BYTES", lazy_bytes)
    monkeypatch.setattr("footplate.data.streams._BLOCK_BYTES", 100)
    data = load(tmp_path, f"train_data: {module('stream')}{ALL}")
    inputs, targets = take(data)
    assert inputs[:, 0, 0].tolist() == list(range(20))
    assert targets.tolist() == [0, 1] * 10
    assert "read once from its start" in "\n".join(data.found)
    again = load(tmp_path, f"train_data: {module('stream')}{ALL}")
    assert len(data.train_sha256) == 64
    assert again.train_sha256 == data.train_sha256


def test_a_large_stream_is_mapped_by_other_processes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("footplate.data.rows.LAZY_BYTES", 100)
    samples = [(np.full(100_000, number), np.array(number)) for number in range(3)]
    inputs, targets, _ = read_stream("numbers", samples, lambda number, item: samples[number])
    assert targets.tolist() == [0, 1, 2]
    shared = SharedArrays()
    with shared.offered():
        sent = ForkingPickler.dumps(inputs)
    shared.close()
    assert len(sent) < 1000
    assert np.array_equal(ForkingPickler.loads(sent), inputs)


def test_a_stream_without_end_stops_before_the_disk_is_full(
    tmp_path: Path, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("footplate.data.rows.LAZY_BYTES", 100)
    monkeypatch.setattr("footplate.data.streams._BLOCK_BYTES", 100)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10_000, free=550))
    message, hint = fail(tmp_path, f"train_data: {module('stream')}")
    assert "of inputs were read and no end is near, but the disk of" in message
    assert "TMPDIR" in hint


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("Stream", "gave no sample"),
        ("Loader", "returned Loader, which gives batches"),
        ("generate", "sample 0 is int, not one input and one target"),
        ("stream_that_breaks", "failed at sample 1: OSError: no route to host"),
        ("uneven_stream", "sample 1: inputs are float64 [4], those of the first float64 [3]"),
        ("Random", "item 0 is another one each time it is read"),
        ("Uneven", "[7]: inputs have shape [4], those of item 0 [3]"),
        ("Broken", "[9] failed: KeyError: 'lost'"),
        ("nothing", "returned int"),
        ("leaving", "failed: SystemExit: no licence"),
        ("lost", "has no attribute 'lost'"),
    ],
)
def test_what_a_function_gives_is_refused_with_the_reason(
    tmp_path: Path, module: Callable[[str], str], what: str, expected: str
) -> None:
    message, hint = fail(tmp_path, f"train_data: {module(what)}")
    assert expected in message
    assert hint


def test_a_function_of_a_module_that_is_not_there_is_named(tmp_path: Path, module: Callable[[str], str]) -> None:
    module("x")
    assert "there is no module nowhere_to_be" in fail(tmp_path, "train_data: 'nowhere_to_be:found'")[0]
