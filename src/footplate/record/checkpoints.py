"""The checkpoints of a run: which there are, which are whole, and how one is committed.

A checkpoint is a folder ``checkpoints/step-00001000`` with a ``manifest.json``, which is written last and names every
file with its size and SHA-256: only what has a manifest is a checkpoint, and only what agrees with it is valid.
Newer is what a later attempt wrote: an attempt that goes on from an earlier step leaves what lies beyond it behind.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from footplate.errors import NotFoundError, RecordError
from footplate.record.clock import get_utc_text
from footplate.record.files import read_json, write_json
from footplate.record.rundir import RunDir

__all__ = [
    "FOLDER",
    "MANIFEST",
    "Checkpoint",
    "FileEntry",
    "begin_checkpoint",
    "check_checkpoint",
    "commit_checkpoint",
    "discard_unfinished",
    "find_newest_valid",
    "get_folder",
    "hash_and_sync",
    "list_checkpoints",
    "make_manifest",
    "open_checkpoint",
    "prune_checkpoints",
    "sync_folder",
]

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
_FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_UNDER_WAY = re.compile(r"step-\d{8,}\.(tmp|old)")
_PIECE = 1 << 22


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a checkpoint, as it was when it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint as its manifest describes it; ``check_checkpoint`` tells whether its files agree."""

    path: Path
    step: int
    """Optimiser steps done."""
    epoch: int
    """Epochs completed."""
    position: int
    """Samples of the current epoch that were used."""
    attempt: int
    """The attempt that wrote it."""
    world_size: int
    """Processes that trained together."""
    created_at: str
    """ISO 8601, UTC."""
    is_best: bool = False
    """Whether an evaluation at this step was the best so far."""
    origin: str | None = None
    """The checkpoint that `fault_tolerance.checkpoint_path` named when this training began; None = it began anew."""
    files: Mapping[str, FileEntry]

    @property
    def name(self) -> str:
        """Return its folder's name, ``step-00001000``."""
        return self.path.name

    @property
    def num_bytes(self) -> int:
        """Return its size."""
        return sum(file.bytes for file in self.files.values())


def get_folder(run: RunDir) -> Path:
    """Return where the checkpoints of a run are."""
    return run.path / FOLDER


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """Return the checkpoints that have a readable manifest, oldest first; their files were not looked at."""
    found = []
    for name in _list_names(folder):
        with suppress(RecordError, NotFoundError):
            found.append(open_checkpoint(folder / name))
    return sorted(found, key=lambda checkpoint: (checkpoint.attempt, checkpoint.step))


def open_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in a folder; NotFoundError when it is none, RecordError when its manifest is damaged."""
    try:
        value: Mapping[str, Any] = read_json(path / MANIFEST)
    except NotFoundError as error:
        raise NotFoundError(
            f"{path}: no checkpoint: it has no {MANIFEST}", hint="it was not written to its end, or is another folder"
        ) from error
    try:
        if value["format"] != _FORMAT:
            raise RecordError(f"{path}: a checkpoint of format {value['format']}; this Footplate reads {_FORMAT}")
        files = {
            name: FileEntry(bytes=entry["bytes"], sha256=entry["sha256"]) for name, entry in value["files"].items()
        }
        rest = {key: item for key, item in value.items() if key not in ("format", "files")}
        numbers = {name: int(rest[name]) for name in ("step", "epoch", "position", "attempt", "world_size")}
        return Checkpoint(path=path, files=files, **{**rest, **numbers})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path / MANIFEST}: not a manifest: {error!r}") from error


def check_checkpoint(checkpoint: Checkpoint) -> str:
    """Return what is wrong with a checkpoint's files, or nothing when all agree with the manifest; reads them all."""
    for name, entry in checkpoint.files.items():
        file = checkpoint.path / name
        try:
            size = file.stat().st_size
            if size != entry.bytes:
                return f"{name} has {size:,} bytes instead of {entry.bytes:,}"
            if _hash(file) != entry.sha256:
                return f"{name} is damaged: its SHA-256 is not the manifest's"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return ""


def find_newest_valid(
    folder: Path, accept: Callable[[Checkpoint], bool] = lambda _: True
) -> tuple[Checkpoint | None, list[tuple[str, str]]]:
    """Return the newest checkpoint whose files agree with its manifest, and what was skipped: names, each with why.

    Those that ``accept`` does not want are passed over without a word.
    """
    skipped: list[tuple[str, str]] = []
    found = []
    for name in reversed(_list_names(folder)):
        try:
            found.append(open_checkpoint(folder / name))
        except NotFoundError:
            skipped.append((name, f"it has no {MANIFEST}: it was not written to its end"))
        except RecordError as error:
            skipped.append((name, error.message))
    for checkpoint in sorted(found, key=lambda one: (one.attempt, one.step), reverse=True):
        if not accept(checkpoint):
            continue
        wrong = check_checkpoint(checkpoint)
        if not wrong:
            return checkpoint, skipped
        skipped.append((checkpoint.name, wrong))
    return None, skipped


def begin_checkpoint(folder: Path, step: int) -> Path:
    """Make and return the folder into which the files of a checkpoint are written before it is one."""
    under_way = folder / f"{_get_name(step)}.tmp"
    shutil.rmtree(under_way, ignore_errors=True)
    under_way.mkdir(parents=True)
    return under_way


def commit_checkpoint(under_way: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Make a checkpoint of written files: manifest last, then the rename; return it with its folder.

    The files must be on the disk already. One of the same step is replaced. Raises OSError or RecordError; what was
    there is then untouched.
    """
    value = {key: item for key, item in asdict(checkpoint).items() if key != "path"}
    write_json(under_way / MANIFEST, {"format": _FORMAT, **value})
    sync_folder(under_way)
    final = under_way.parent / _get_name(checkpoint.step)
    old = under_way.with_suffix(".old")
    shutil.rmtree(old, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.rename(final, old)
    os.rename(under_way, final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)
    return replace(checkpoint, path=final)


def discard_unfinished(folder: Path) -> list[str]:
    """Remove what processes that are gone did not finish; only for the one that writes there.

    Return what could not be removed, in words.
    """
    failed = []
    for name in _list(folder, _UNDER_WAY):
        final = folder / name.rpartition(".")[0]
        try:
            if name.endswith(".old") and not final.exists():
                os.rename(folder / name, final)  # killed between two renames
            else:
                shutil.rmtree(folder / name)
        except OSError as error:
            failed.append(f"{folder / name}: {error.strerror or error}")
    return failed


def prune_checkpoints(folder: Path, keep_last_n: int) -> list[str]:
    """Remove the checkpoints that are older than the ``keep_last_n`` newest, but not the newest best one.

    Folders that are none, of the steps before, go too. Return what could not be removed, in words: a failed delete must
    not end a training.
    """
    known = list_checkpoints(folder)
    if not known:
        return []
    best = [checkpoint.name for checkpoint in known if checkpoint.is_best][-1:]
    keep = {checkpoint.name for checkpoint in known[-max(1, keep_last_n) :]} | set(best)
    valid = {checkpoint.name for checkpoint in known}
    failed = []
    for name in _list_names(folder):
        if name in keep or (name not in valid and _get_step(name) > known[-1].step):
            continue
        try:
            # Without its manifest first: a removal that is broken off leaves no half checkpoint.
            (folder / name / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(folder / name)
        except OSError as error:
            failed.append(f"{folder / name}: {error.strerror or error}")
    return failed


def hash_and_sync(file: Path) -> FileEntry:
    """Bring a file to the disk and return its entry."""
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
    return FileEntry(bytes=file.stat().st_size, sha256=_hash(file))


def make_manifest(under_way: Path, files: Mapping[str, FileEntry], **told: Any) -> Checkpoint:
    """Return a checkpoint that is about to be committed."""
    return Checkpoint(path=under_way, created_at=get_utc_text(), files=dict(files), **told)


def sync_folder(folder: Path) -> None:
    """Bring to the disk which files a folder has."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _get_name(step: int) -> str:
    return f"step-{step:08d}"


def _get_step(name: str) -> int:
    return int(name.removeprefix("step-"))


def _list_names(folder: Path) -> list[str]:
    return sorted(_list(folder, _NAME), key=_get_step)


def _list(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(folder) if pattern.fullmatch(entry.name) and entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _hash(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
