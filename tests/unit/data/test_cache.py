"""Inputs kept on disk: the same numbers, made once, never those of other data, and a training without them goes on."""

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from footplate.data import cache, images, preprocessed
from footplate.data.load import LoadedData, load_data
from footplate.profile.load import load_profile_text

RNG = np.random.default_rng(0)


def load(folder: Path, data: str, *, keep: bool = True) -> LoadedData:
    text = f"{{data: {{{data}}}, embedded_optimizations: {{cache_preprocessed_data: {str(keep).lower()}}}}}"
    return load_data(load_profile_text(text, base_dir=folder))


def take(data: LoadedData) -> tuple[np.ndarray, np.ndarray]:
    return data.train.gather(np.arange(len(data.train)))


def list_kept() -> list[str]:
    folder = cache.get_cache_dir()
    return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []


def write_images(folder: Path, num: int = 12) -> str:
    for i in range(num):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(RNG.integers(0, 255, (5, 6, 3)).astype(np.uint8)).save(path)
    return "train_data: ., preprocessing: {normalize: true, clip_range: [-1, 1]}"


def write_csv(folder: Path) -> str:
    rows = "\n".join(f"{i},{'red' if i % 3 else 'blue'},{i * 0.5}" for i in range(30))
    (folder / "d.csv").write_text(f"a,colour,price\n{rows}\n")
    return "train_data: d.csv, preprocessing: {normalize: true, normalize_targets: true}"


def write_npz(folder: Path) -> str:
    np.savez(folder / "d.npz", x=RNG.normal(size=(30, 4)), y=np.arange(30) % 2)
    return "train_data: d.npz"


@pytest.mark.parametrize("write", [write_images, write_csv, write_npz], ids=lambda write: write.__name__)
def test_what_is_kept_is_what_would_be_made(tmp_path: Path, write: object) -> None:
    text = write(tmp_path)  # type: ignore[operator]
    without = load(tmp_path, text, keep=False)
    assert list_kept() == []
    first, second = load(tmp_path, text), load(tmp_path, text)
    assert len(list_kept()) == 1
    for data in (first, second):
        assert data.facts == without.facts
        assert data.scaler.to_json() == without.scaler.to_json()
        for got, expected in zip(take(data), take(without), strict=True):
            assert np.array_equal(got, expected)


def test_images_are_decoded_once_and_then_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_images(tmp_path).replace("normalize: true, ", "")
    load(tmp_path, text)
    decoded = []
    monkeypatch.setattr(images, "_decode", lambda file, mode: decoded.append(file))
    assert take(load(tmp_path, text))[0].shape == (10, 5, 6, 3)
    assert not decoded


def test_what_is_kept_and_large_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_npz(tmp_path)
    expected = take(load(tmp_path, text))
    monkeypatch.setattr(preprocessed, "MMAP_BYTES", 10)
    data = load(tmp_path, text)
    assert data.train.whole() is None
    assert np.array_equal(take(data)[0], expected[0])


@pytest.mark.parametrize("change", ["content", "added", "removed", "preprocessing"])
def test_other_data_or_another_preprocessing_is_never_taken_for_it(tmp_path: Path, change: str) -> None:
    text = write_images(tmp_path)
    load(tmp_path, text)
    match change:
        case "content":  # of the same size and time
            file, other = tmp_path / "a" / "0.png", tmp_path / "a" / "2.png"
            stat = file.stat()
            raw = other.read_bytes()
            file.write_bytes(raw[: stat.st_size].ljust(stat.st_size, b"\0"))
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        case "added":
            Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "a" / "new.png")
        case "removed":
            (tmp_path / "a" / "0.png").unlink()
        case _:
            text = text.replace("[-1, 1]", "[-2, 2]")
    kept, fresh = load(tmp_path, text), load(tmp_path, text, keep=False)
    for got, expected in zip(take(kept), take(fresh), strict=True):
        assert np.array_equal(got, expected)


def test_a_damaged_or_deleted_cache_is_made_again(tmp_path: Path) -> None:
    text = write_npz(tmp_path)
    expected = take(load(tmp_path, text))
    (key,) = list_kept()
    file = cache.get_cache_dir() / key / "inputs.npy"
    file.write_bytes(file.read_bytes()[:-100])
    assert np.array_equal(take(load(tmp_path, text))[0], expected[0])
    assert list_kept() == [key]
    shutil.rmtree(cache.get_cache_dir())
    assert np.array_equal(take(load(tmp_path, text))[0], expected[0])


def test_a_cache_that_cannot_be_written_is_told_and_the_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text = write_npz(tmp_path)
    expected = take(load(tmp_path, text, keep=False))
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "get_cache_dir", lambda: tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "footplate"):
        assert np.array_equal(take(load(tmp_path, text))[0], expected[0])
    assert "the cache of data cannot be written" in caplog.text


def test_a_full_disk_leaves_no_half_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    text = write_npz(tmp_path)
    monkeypatch.setattr("os.fsync", fail)
    with caplog.at_level(logging.WARNING, "footplate"):
        load(tmp_path, text)
    assert "No space left on device" in caplog.text
    assert list_kept() == []


def test_what_another_process_kept_meanwhile_is_left(tmp_path: Path) -> None:
    arrays = {"inputs": np.arange(5, dtype=np.float32)}
    assert cache.keep_arrays("one", arrays)
    before = (cache.get_cache_dir() / "one" / "inputs.npy").stat().st_ino
    assert cache.keep_arrays("one", arrays)
    assert (cache.get_cache_dir() / "one" / "inputs.npy").stat().st_ino == before
    assert list_kept() == ["one"]
