"""Data larger than memory: read sample by sample, the same samples in the same order, in any number of processes."""

import copy
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footplate.data import images, json_lines, line_index, rows
from footplate.data.load import LoadedData, load_data
from footplate.data.sampler import get_order
from footplate.profile.load import load_profile_text

RNG = np.random.default_rng(0)


def load(folder: Path, text: str) -> LoadedData:
    return load_data(load_profile_text(text, base_dir=folder))


def write_images(folder: Path) -> str:
    for i in range(40):
        path = folder / "images" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (8, 9, 3)).astype(np.uint8)).save(path)
    return "train_data: images"


def write_masks(folder: Path) -> str:
    for i in range(40):
        for part, shape, high in (("images", (8, 9, 3), 255), ("masks", (8, 9), 3)):
            path = folder / "pairs" / part / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, high, shape).astype(np.uint8)).save(path)
    return "train_data: pairs"


def write_lists(folder: Path) -> str:
    for part in range(3):
        rows = [{"x": RNG.normal(size=(4, 3)).tolist(), "y": RNG.normal(size=5).tolist()} for _ in range(15)]
        (folder / f"lists-{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return "train_data: ., format: jsonl"


def write_labelled_texts(folder: Path) -> str:
    texts = [{"text": "word " * (i % 7 + 1), "label": "ab"[i % 2]} for i in range(40)]
    (folder / "labelled.jsonl").write_text("\n".join(map(json.dumps, texts)))
    return "train_data: labelled.jsonl, sequence_length: 12"


def write_documents(folder: Path) -> str:
    (folder / "documents.jsonl").write_text("\n".join(json.dumps({"text": f"dé {i} " * i}) for i in range(40)))
    return "train_data: documents.jsonl, sequence_length: 16"


def write_text(folder: Path) -> str:
    (folder / "texts").mkdir()
    for i in range(5):
        (folder / "texts" / f"{i}.txt").write_bytes(RNG.integers(32, 120, 101).astype(np.uint8).tobytes())
    return "train_data: texts, sequence_length: 10"


def write_tokens(folder: Path) -> str:
    (folder / "tokens").mkdir()
    for i in range(5):
        np.save(folder / "tokens" / f"part{i}.npy", RNG.integers(0, 900, 101).astype(np.uint16))
    return "train_data: tokens, sequence_length: 10, vocab_size: 1000"


WRITERS = [write_images, write_masks, write_lists, write_labelled_texts, write_documents, write_text, write_tokens]


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def set_limits() -> None:
        monkeypatch.setattr(rows, "LAZY_BYTES", 200)
        monkeypatch.setattr(json_lines, "WHOLE_BYTES", 100)
        monkeypatch.setattr(line_index, "KEPT_BYTES", 100)
        monkeypatch.setattr("footplate.data.text.MAX_MAPS", 2)
        monkeypatch.setattr("footplate.data.json_lines.MAX_MAPS", 2)

    return set_limits


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_what_does_not_fit_is_read_lazily_and_is_the_same(
    tmp_path: Path, small_limits: Callable[[], None], write: Callable[[Path], str]
) -> None:
    text = f"data: {{{write(tmp_path)}}}"
    whole = load(tmp_path, text)
    small_limits()
    lazy, again = load(tmp_path, text), load(tmp_path, text)  # the second one with the index that was kept
    assert whole.train.whole() is not None
    assert lazy.train.whole() is None
    assert lazy.facts == whole.facts == again.facts
    order = get_order(7, 3, len(whole.train))
    for part in (lazy.train, again.train, copy.deepcopy(lazy.train)):
        for got, expected in zip(part.gather(order), whole.train.gather(order), strict=True):
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)
    for name in ("val", "test"):
        some = np.arange(len(getattr(whole, name)))
        for got, expected in zip(getattr(lazy, name).gather(some), getattr(whole, name).gather(some), strict=True):
            assert np.array_equal(got, expected)


def test_processes_that_were_forked_read_the_same(tmp_path: Path, small_limits: Callable[[], None]) -> None:
    small_limits()
    data = load(tmp_path, f"data: {{{write_documents(tmp_path)}}}").train
    expected = data.gather(np.arange(len(data)))[0]
    halves = np.array_split(np.arange(len(data)), 2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        made = pool.map(data.gather, halves)
        pool.close()
        pool.join()
    assert np.array_equal(np.concatenate([inputs for inputs, _ in made]), expected)


def test_moments_of_very_many_images_are_those_of_a_part_and_it_is_said(
    tmp_path: Path, small_limits: Callable[[], None]
) -> None:
    text = f"data: {{{write_images(tmp_path)}, preprocessing: {{normalize: true}}}}"
    small_limits()
    found = load(tmp_path, text).found
    assert found[-1] == "mean and standard deviation are those of 1 of 32 samples"


def test_an_index_that_was_kept_is_made_anew_when_the_file_changes(
    tmp_path: Path, small_limits: Callable[[], None]
) -> None:
    small_limits()
    text = f"data: {{{write_labelled_texts(tmp_path)}, split: {{val: 0, test: 0}}}}"
    assert len(load(tmp_path, text).train) == 40
    with (tmp_path / "labelled.jsonl").open("a") as file:
        file.write('\n\n{"text": "one more", "label": "a"}')
    assert len(load(tmp_path, text).train) == 41


def test_a_file_that_changes_its_type_far_below_is_named(tmp_path: Path, small_limits: Callable[[], None]) -> None:
    small_limits()
    rows = ['{"x": [1, 2], "y": 0.5}'] * 30 + ['{"x": [1, 2.5], "y": 0.5}']
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    data = load(tmp_path, "data: {train_data: d.jsonl, split: {val: 0, test: 0}}").train
    assert data.gather(np.arange(3))[0].tolist() == [[1, 2]] * 3
    with pytest.raises(Exception, match=r"d.jsonl line 31: `x` is not whole, in the first line it is"):
        data.gather(np.array([30]))


def test_a_large_dataset_of_the_users_is_asked_item_by_item(
    tmp_path: Path, small_limits: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_own_set.py").write_text(
        "import numpy as np\nasked = []\nclass Set:\n"
        "    def __len__(self): return 40\n"
        "    def __getitem__(self, i): asked.append(i); return np.full(6, i, np.float32), i % 2\n"
    )
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    small_limits()
    data = load(tmp_path, "data: {train_data: 'lazy_own_set:Set', split: {val: 0, test: 0}}").train
    asked = __import__("lazy_own_set").asked
    asked.clear()
    assert data.gather(np.array([5, 3]))[0][:, 0].tolist() == [5, 3]
    assert asked == [5, 3]


def test_documents_are_measured_once(
    tmp_path: Path, small_limits: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_limits()
    text = f"data: {{{write_documents(tmp_path)}}}"
    first = load(tmp_path, text).train
    parsed = []
    read = json_lines.JsonLines.read
    monkeypatch.setattr(json_lines.JsonLines, "read", lambda self, index: parsed.append(index) or read(self, index))
    again = load(tmp_path, text).train
    assert set(parsed) == {0}  # the fields of the first line
    assert np.array_equal(again.gather(np.arange(5))[0], first.gather(np.arange(5))[0])


def test_masks_are_decoded_once_before_the_start(
    tmp_path: Path, small_limits: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_limits()
    text = f"data: {{{write_masks(tmp_path)}}}"
    decoded = []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda file, mode: decoded.append(file.parent.name) or decode(file, mode))
    load(tmp_path, text)
    assert decoded.count("masks") == 40
