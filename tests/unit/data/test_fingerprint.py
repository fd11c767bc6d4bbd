"""The fingerprint: the same data the same, changed data another, also when only the ends are hashed."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from footplate.data import fingerprint as module
from footplate.data.fingerprint import fingerprint
from footplate.profile.load import load_profile_text


def take(folder: Path, text: str = "train_data: d.npz") -> dict[str, Any]:
    return fingerprint(load_profile_text(f"data: {{{text}}}", base_dir=folder))


def test_files_are_named_with_size_and_hash(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros(5))
    content = (tmp_path / "d.npz").read_bytes()
    found = take(tmp_path)
    (file,) = found["sets"]["train"]["files"]
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert file["modified_at"].endswith("+00:00")
    assert (found["hashed"], found["num_bytes"]) == ("content", len(content))


def test_large_data_are_told_apart_by_their_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL_BYTES", 100)
    hashes = set()
    for first, last in ((0, 0), (1, 0), (0, 1)):
        np.savez(tmp_path / "d.npz", x=np.array([first, *[0] * 500, last]))
        found = take(tmp_path)
        hashes.add(found["sets"]["train"]["files"][0]["sha256"])
    assert found["hashed"] == "size, head and tail"
    assert len(hashes) == 3


def test_a_set_of_scikit_learn_has_its_version(tmp_path: Path) -> None:
    found = take(tmp_path, "train_data: 'sklearn:iris'")
    assert found["sets"]["train"]["version"].startswith("scikit-learn 1.")


def write_many(folder: Path, num: int = 6) -> None:
    for i in range(num):
        (folder / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "pictures" / "ab"[i % 2] / f"{i}.png").write_bytes(bytes([i] * 50))


@pytest.mark.parametrize(("full", "hash_of"), [(10**6, "names, sizes and content"), (10, "names, sizes and times")])
def test_a_folder_of_very_many_files_is_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int, hash_of: str
) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 5)
    monkeypatch.setattr(module, "FULL_BYTES", full)
    write_many(tmp_path)
    (entry,) = take(tmp_path, "train_data: pictures")["sets"]["train"]["files"]
    assert (entry["path"], entry["num_files"], entry["size"]) == (str(tmp_path / "pictures"), 6, 300)
    assert entry["hash_of"] == hash_of
    assert take(tmp_path, "train_data: pictures")["sets"]["train"]["files"] == [entry]
    (tmp_path / "pictures" / "a" / "2.png").write_bytes(bytes(50))
    assert take(tmp_path, "train_data: pictures")["sets"]["train"]["files"][0]["sha256"] != entry["sha256"]


def test_images_in_folders_are_named_one_by_one(tmp_path: Path) -> None:
    write_many(tmp_path)
    files = take(tmp_path, "train_data: pictures")["sets"]["train"]["files"]
    assert [Path(file["path"]).name for file in files] == ["0.png", "2.png", "4.png", "1.png", "3.png", "5.png"]


def test_of_a_function_the_code_is_hashed_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def get(): ...")
    found = take(tmp_path, "train_data: 'mine:get'")["sets"]["train"]
    assert Path(found["files"][0]["path"]).name == "mine.py"
    assert found["version"] == "the code is hashed, what it returns is not"
    assert "lies elsewhere" in take(tmp_path, "train_data: 'json:loads'")["sets"]["train"]["version"]
