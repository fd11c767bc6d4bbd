"""The code snapshot: exactly the files a run was started with, so that it can be run again."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from footplate.errors import NotFoundError, SnapshotError
from footplate.record.code_files import find_code_files
from footplate.record.rundir import RunDir
from footplate.record.secret_patterns import find_secret_content, find_secret_name

__all__ = ["Snapshot", "SnapshotLimits", "read_snapshot", "restore_snapshot", "take_snapshot"]

_NAME = "code.json"
_STORE = ".code"
_MAX_SEARCHED_BYTES = 1_000_000  # larger files are data, not a place where a key was pasted
_MAX_UNUSED_S = 3600.0
_FILE, _PROGRAM, _LINK = 0o100644, 0o100755, 0o120777


@dataclass(frozen=True, kw_only=True)
class SnapshotLimits:
    """What is too large to be code."""

    max_file_bytes: int = 10_000_000
    max_total_bytes: int = 100_000_000
    max_files: int = 20_000


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was captured, and what was not and why. Paths are relative to ``root``."""

    root: Path
    cwd: str = "."
    """Where the command was started."""
    tree_hash: str
    """SHA-256 over modes, paths and contents."""
    archive: str
    """The archive's file name in the run directory."""
    files: tuple[tuple[str, int, str], ...]
    """Path, size in bytes and SHA-256; of a link, those of where it points."""
    left_out: tuple[tuple[str, int, str], ...]
    """Path, size in bytes and reason."""
    git_commit: str = ""
    git_dirty: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return dataclasses.asdict(self) | {"root": str(self.root)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Snapshot:
        """Read it back; keys of a later version are ignored. Raises KeyError, TypeError or ValueError."""
        known = {field.name for field in dataclasses.fields(cls)}
        fields = {key: item for key, item in value.items() if key in known}
        for key in ("files", "left_out"):
            fields[key] = tuple((str(path), int(size), str(text)) for path, size, text in value[key])
        return cls(**fields | {"root": Path(value["root"])})


@dataclass(frozen=True, kw_only=True)
class _Item:
    path: str
    mode: int
    content: bytes


_DEFAULT_LIMITS = SnapshotLimits()


def take_snapshot(cwd: Path, run: RunDir, limits: SnapshotLimits = _DEFAULT_LIMITS) -> Snapshot:
    """Capture the code around ``cwd`` into the run: code.json and an archive, shared between runs of the same tree.

    Inside a git repository that is what git sees, uncommitted and untracked files included; elsewhere what a walk
    finds. Secrets, large files and what cannot be read are left out with the reason. Raises SnapshotError.
    """
    if not Path(cwd).is_dir():
        raise SnapshotError(f"{cwd}: there is no such folder", hint="Start in the folder of your code.")
    found = find_code_files(cwd, run.path)
    left_out = [(path, 0, reason) for path, reason in found.notes]
    chosen = _choose(found.root, found.paths, limits, left_out)
    items = []
    for path, size in chosen:
        item = _read_item(found.root, path)
        if isinstance(item, str):
            left_out.append((path, size, item))
        else:
            items.append(item)
    digests = [(item, hashlib.sha256(item.content).hexdigest()) for item in items]
    tree = "".join(f"{item.mode:o} {item.path}\0{digest}\n" for item, digest in digests)
    tree_hash = hashlib.sha256(tree.encode()).hexdigest()
    snapshot = Snapshot(
        root=found.root,
        cwd=os.path.relpath(os.path.realpath(cwd), found.root),
        tree_hash=tree_hash,
        archive=f"code-{tree_hash[:12]}.zip",
        files=tuple((item.path, len(item.content), digest) for item, digest in digests),
        left_out=tuple(sorted(left_out)),
        git_commit=found.git_commit,
        git_dirty=found.git_dirty,
    )
    _store_archive(run.path / snapshot.archive, tree_hash, items)
    run.write_json(_NAME, snapshot.to_json())
    return snapshot


def read_snapshot(run: RunDir) -> Snapshot:
    """Return what code.json says; NotFoundError when the run has no snapshot, SnapshotError when it is damaged."""
    value = run.read_json(_NAME)
    try:
        return Snapshot.from_json(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SnapshotError(f"{run.path / _NAME}: not a snapshot: {error}") from error


def restore_snapshot(run: RunDir, into: Path) -> None:
    """Write the files of a run's snapshot into an empty or new folder; each must be what was captured.

    Raises SnapshotError when the archive is damaged or would write outside the folder.
    """
    snapshot = read_snapshot(run)
    archive = run.path / snapshot.archive
    into = Path(os.path.realpath(into))
    if into.exists() and any(into.iterdir()):
        raise SnapshotError(f"{into}: the folder is not empty", hint="Restore into a new folder.")
    expected = {path: digest for path, _, digest in snapshot.files}
    try:
        into.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as file:
            if sorted(file.namelist()) != sorted(expected):
                raise SnapshotError(f"{archive}: does not hold the files that {_NAME} lists")
            # Links come last, so that no file is ever written through one.
            entries = sorted(file.infolist(), key=lambda entry: stat.S_ISLNK(entry.external_attr >> 16))
            for entry in entries:
                content = file.read(entry)
                if hashlib.sha256(content).hexdigest() != expected[entry.filename]:
                    raise SnapshotError(f"{archive}: {entry.filename} is not what was captured")
                _write_item(into, _Item(path=entry.filename, mode=entry.external_attr >> 16, content=content))
    except FileNotFoundError as error:
        raise NotFoundError(f"{error.filename}: there is no such file") from error
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise SnapshotError(f"{archive}: cannot be restored into {into}: {error}") from error


def _choose(
    root: Path, paths: list[str], limits: SnapshotLimits, left_out: list[tuple[str, int, str]]
) -> list[tuple[str, int]]:
    """Return path and size of what is to be captured; the rest goes to ``left_out`` with the reason."""
    chosen = []
    for path in paths:
        try:
            status = (root / path).lstat()
        except FileNotFoundError:
            continue  # deleted, and git still knows it
        except OSError as error:
            left_out.append((path, 0, f"unreadable: {error.strerror}"))
            continue
        if reason := _find_reason(root, path, status, limits):
            left_out.append((path, status.st_size, reason))
        else:
            chosen.append((path, status.st_size))
    total, number = sum(size for _, size in chosen), len(chosen)
    out = set()
    for path, size in sorted(chosen, key=lambda one: (-one[1], one[0])):
        if total <= limits.max_total_bytes and number <= limits.max_files:
            break
        reason = (
            f"all files together exceed {limits.max_total_bytes / 1e6:g} MB"
            if total > limits.max_total_bytes
            else f"there are more than {limits.max_files:,} files"
        )
        left_out.append((path, size, reason))
        out.add(path)
        total, number = total - size, number - 1
    return [one for one in chosen if one[0] not in out]


def _find_reason(root: Path, path: str, status: os.stat_result, limits: SnapshotLimits) -> str:
    """Return why a file is not captured, as far as its name and status tell; empty when it is."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(root / path)
        outside = os.path.isabs(target) or not _is_inside(os.path.realpath(root / path), root)
        return f"a link to {target}, outside the snapshot" if outside else ""
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file"
    if pattern := find_secret_name(os.path.basename(path)):
        return f"looks like a secret: named like {pattern}"
    if status.st_size > limits.max_file_bytes:
        return f"larger than {limits.max_file_bytes / 1e6:g} MB"
    return ""


def _read_item(root: Path, path: str) -> _Item | str:
    """Return a file as it is now, or why it is not captured."""
    try:
        status = (root / path).lstat()
        if stat.S_ISLNK(status.st_mode):
            return _Item(path=path, mode=_LINK, content=os.fsencode(os.readlink(root / path)))
        # Not through a link and not waiting: what was a regular file a moment ago may be something else now.
        handle = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            content = file.read()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    if len(content) <= _MAX_SEARCHED_BYTES and (kind := find_secret_content(content)):
        return f"looks like a secret: holds {kind}"
    return _Item(path=path, mode=_PROGRAM if status.st_mode & 0o100 else _FILE, content=content)


def _store_archive(target: Path, tree_hash: str, items: list[_Item]) -> None:
    """Put the archive into the run: a link to the one that all runs of this tree share, or a copy of its own."""
    store = target.parent.parent / _STORE
    shared = store / f"{tree_hash}.zip"
    try:
        try:
            store.mkdir(exist_ok=True)
            if not (store / ".gitignore").exists():
                (store / ".gitignore").write_text("*\n", encoding="ascii")
            if not _is_whole(shared, items):
                _write_archive(shared, items)
            os.link(shared, target)
            _remove_unused(store)
        except OSError:  # the store is not writable, or the file system has no hard links
            if _is_whole(shared, items):
                shutil.copyfile(shared, target)
            else:
                _write_archive(target, items)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise SnapshotError(
            f"{target}: the code cannot be archived: {error.strerror}", hint=f"Make room in {target.parent.parent}."
        ) from error


def _is_whole(archive: Path, items: list[_Item]) -> bool:
    """Tell whether an archive is there, undamaged, with these files."""
    try:
        with zipfile.ZipFile(archive) as file:
            return file.namelist() == [item.path for item in items] and file.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False


def _write_archive(path: Path, items: list[_Item]) -> None:
    """Write the files in one step; the same files give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for item in items:
            entry = zipfile.ZipInfo(item.path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, for the modes
            entry.external_attr = item.mode << 16
            file.writestr(entry, item.content, compress_type=zipfile.ZIP_DEFLATED, compresslevel=1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as out:
            out.write(buffer.getbuffer())
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _remove_unused(store: Path) -> None:
    """Remove shared archives that no run links to any more; a young one may be about to get its first link."""
    for path in store.glob("*.zip"):
        with suppress(OSError):
            status = path.stat()
            if status.st_nlink == 1 and time.time() - status.st_ctime > _MAX_UNUSED_S:
                path.unlink()


def _write_item(into: Path, item: _Item) -> None:
    target = Path(os.path.normpath(into / item.path))
    if target == into or not _is_inside(os.path.realpath(target.parent), into) or not _is_inside(str(target), into):
        raise SnapshotError(f"{item.path}: lies outside the folder it is restored into")
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(item.mode):
        points_to = os.fsdecode(item.content)
        if os.path.isabs(points_to) or not _is_inside(os.path.realpath(target.parent / points_to), into):
            raise SnapshotError(f"{item.path}: a link to {points_to}, outside the folder it is restored into")
        target.symlink_to(points_to)
        return
    target.write_bytes(item.content)
    target.chmod(0o755 if item.mode & 0o100 else 0o644)


def _is_inside(path: str, root: Path) -> bool:
    return Path(path).is_relative_to(root)
