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
