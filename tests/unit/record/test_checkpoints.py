"""Checkpoints on the disk: what counts as one, why another is skipped, what is removed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from footplate.errors import NotFoundError, RecordError
from footplate.record.checkpoints import (
    MANIFEST,
    Checkpoint,
    begin_checkpoint,
    check_checkpoint,
    commit_checkpoint,
    discard_unfinished,
    find_newest_valid,
    hash_and_sync,
    list_checkpoints,
    make_manifest,
    open_checkpoint,
    prune_checkpoints,
)

FOLDER = Path("checkpoints")


def save(step: int, *, attempt: int = 1, is_best: bool = False, origin: str | None = None) -> Checkpoint:
    under_way = begin_checkpoint(FOLDER, step)
    (under_way / "state.json").write_text(json.dumps({"step": step}))
    (under_way / "model.safetensors").write_bytes(bytes(range(256)) * step)
    files = {file.name: hash_and_sync(file) for file in under_way.iterdir()}
    told = make_manifest(
        under_way,
        files,
        step=step,
        epoch=1,
        position=7,
        attempt=attempt,
        world_size=1,
        is_best=is_best,
        origin=origin,
    )
    return commit_checkpoint(under_way, told)


def list_steps() -> list[int]:
    return [checkpoint.step for checkpoint in list_checkpoints(FOLDER)]


def test_what_is_committed_is_found_again_as_it_was() -> None:
    saved = save(10, is_best=True)
    assert saved.path == FOLDER / "step-00000010"
    assert open_checkpoint(saved.path) == saved
    assert find_newest_valid(FOLDER) == (saved, [])
    assert check_checkpoint(saved) == ""
    assert saved.num_bytes == 2560 + len('{"step": 10}')
    assert sorted(entry.name for entry in FOLDER.iterdir()) == ["step-00000010"]


def damage_nothing_written(path: Path) -> None:
    (path / MANIFEST).unlink()


def truncate(path: Path) -> None:
    os.truncate(path / "model.safetensors", 100)


def flip_a_bit(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[1000] ^= 1
    (path / "model.safetensors").write_bytes(content)


def lose_a_file(path: Path) -> None:
    (path / "state.json").unlink()


def write_half_json(path: Path) -> None:
    (path / MANIFEST).write_text((path / MANIFEST).read_text()[:50])


def write_another_format(path: Path) -> None:
    value = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**value, "format": 99}))


def write_something_else(path: Path) -> None:
    (path / MANIFEST).write_text("[1, 2]")


def lose_a_key(path: Path) -> None:
    value = json.loads((path / MANIFEST).read_text())
    del value["step"]
    (path / MANIFEST).write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_nothing_written, "no manifest.json: it was not written to its end"),
        (truncate, "model.safetensors has 100 bytes instead of 7,680"),
        (flip_a_bit, "model.safetensors is damaged: its SHA-256"),
        (lose_a_file, "state.json is missing"),
        (write_half_json, "damaged: "),
        (write_another_format, "format 99; this Footplate reads 1"),
        (write_something_else, "not a manifest"),
        (lose_a_key, "not a manifest: KeyError('step')"),
    ],
)
def test_a_damaged_one_is_skipped_with_its_reason(damage: Callable[[Path], None], reason: str) -> None:
    before = save(20)
    damage(save(30).path)
    found, skipped = find_newest_valid(FOLDER)
    assert found == before
    [(name, told)] = skipped
    assert name == "step-00000030"
    assert reason in told


def test_without_a_valid_one_there_is_none() -> None:
    assert find_newest_valid(FOLDER) == (None, [])
    truncate(save(1).path)
    truncate(save(2).path)
    found, skipped = find_newest_valid(FOLDER)
    assert found is None
    assert [name for name, _ in skipped] == ["step-00000002", "step-00000001"]


def test_a_later_attempt_is_newer_than_a_later_step() -> None:
    save(100), save(200)
    branch = save(110, attempt=2)
    assert find_newest_valid(FOLDER)[0] == branch
    assert list_steps() == [100, 200, 110]
    assert prune_checkpoints(FOLDER, 1) == []
    assert list_steps() == [110]


def test_those_of_another_origin_are_passed_over() -> None:
    save(100, origin="elsewhere")
    save(200)
    found, skipped = find_newest_valid(FOLDER, lambda one: one.origin == "elsewhere")
    assert found is not None
    assert (found.step, skipped) == (100, [])


def test_one_of_the_same_step_is_replaced() -> None:
    save(10)
    truncate(FOLDER / "step-00000010")
    save(10, attempt=2)
    assert find_newest_valid(FOLDER)[0] == open_checkpoint(FOLDER / "step-00000010")
    assert [entry.name for entry in FOLDER.iterdir()] == ["step-00000010"]


def test_the_newest_and_the_best_are_kept() -> None:
    for step in range(1, 7):
        save(step, is_best=step in (1, 2))
    (FOLDER / "step-00000003" / MANIFEST).unlink()
    assert prune_checkpoints(FOLDER, 2) == []
    assert list_steps() == [2, 5, 6]
    assert sorted(entry.name for entry in FOLDER.iterdir()) == [f"step-{step:08d}" for step in (2, 5, 6)]


def test_the_last_one_is_never_removed() -> None:
    save(1)
    save(2)
    write_half_json(FOLDER / "step-00000002")
    assert prune_checkpoints(FOLDER, 1) == []
    assert list_steps() == [1]
    damage_nothing_written(FOLDER / "step-00000001")
    assert prune_checkpoints(FOLDER, 1) == []
    assert (FOLDER / "step-00000001").is_dir()


def test_a_failed_removal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    save(1), save(2)

    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("shutil.rmtree", refuse)
    [told] = prune_checkpoints(FOLDER, 1)
    assert told.endswith("step-00000001: Read-only file system")


def test_what_a_killed_process_left_is_removed_or_put_back() -> None:
    save(10)
    begin_checkpoint(FOLDER, 20)
    os.rename(FOLDER / "step-00000010", FOLDER / "step-00000010.old")  # killed between the two renames
    assert discard_unfinished(FOLDER) == []
    assert [entry.name for entry in FOLDER.iterdir()] == ["step-00000010"]
    assert list_steps() == [10]


def test_what_is_no_checkpoint_says_so() -> None:
    with pytest.raises(NotFoundError, match=r"no checkpoint: it has no manifest.json"):
        open_checkpoint(Path())
    path = save(1).path
    write_another_format(path)
    with pytest.raises(RecordError, match="format 99"):
        open_checkpoint(path)
