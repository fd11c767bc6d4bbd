"""The list of artifacts names every file a run made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from footplate.record.artifacts import Artifact, hash_file, list_artifacts, write_artifacts
from footplate.record.rundir import RunDir


def test_files_are_listed_with_size_and_checksum(run: RunDir) -> None:
    (run.artifacts / "deep").mkdir()
    (run.artifacts / "b.bin").write_bytes(b"x" * 3_000_000)
    (run.artifacts / "deep" / "a ü.txt").write_text("hello")
    (run.artifacts / "link").symlink_to("/etc/passwd")
    expected = [
        Artifact(path="b.bin", size=3_000_000, sha256=hashlib.sha256(b"x" * 3_000_000).hexdigest()),
        Artifact(path="deep/a ü.txt", size=5, sha256=hashlib.sha256(b"hello").hexdigest()),
    ]
    assert list_artifacts(run) == expected
    assert write_artifacts(run) == expected
    assert run.read_json("artifacts.json")[1] == {"path": "deep/a ü.txt", "size": 5, "sha256": expected[1].sha256}


def test_no_artifacts_is_an_empty_list(run: RunDir) -> None:
    run.artifacts.rmdir()
    assert write_artifacts(run) == []


def test_an_empty_file_has_the_empty_checksum(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    assert hash_file(tmp_path / "x") == hashlib.sha256().hexdigest()


def test_the_beginning_of_a_file_whose_writer_was_killed_is_no_artifact(run: RunDir) -> None:
    (run.artifacts / ".model.safetensors.123.part").write_bytes(b"half")
    (run.artifacts / ".hidden").write_bytes(b"kept")
    assert [artifact.path for artifact in list_artifacts(run)] == [".hidden"]
