"""The recorded code of a run as a folder again: restored, with what is no code linked in; and what differs by now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from footplate.record.code_files import find_code_files
from footplate.record.rundir import RunDir
from footplate.record.snapshot import Snapshot, restore_snapshot

__all__ = ["TREE", "find_changes", "join_names", "link_left_out", "restore_tree"]

TREE = "tree"
"""The folder in a run directory that holds its code when it does not run where it was written."""
_MAX_NAMES = 5
# Neither code nor data: made anew by the tools that use them.
_CACHES = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".tox", ".code"}
)


def restore_tree(run: RunDir, snapshot: Snapshot, tree: Path) -> tuple[Path, list[str], list[str]]:
    """Write a run's code into a new folder and link what is no code into it.

    Return where the command is to run, what was linked to where it lies now, and what is gone.
    """
    restore_snapshot(run, tree)
    linked, missing = link_left_out(snapshot, run, tree)
    cwd = tree / snapshot.cwd
    cwd.mkdir(parents=True, exist_ok=True)  # a folder without code is not in the snapshot
    return cwd, linked, missing


def find_changes(snapshot: Snapshot, cwd: Path, run: RunDir) -> list[str]:
    """Return in words which files are not what the snapshot holds, of the code in which ``cwd`` lies now."""
    root = Path(os.path.normpath(cwd / os.path.relpath(".", snapshot.cwd)))
    if not cwd.is_dir():
        return [f"{cwd} (gone)"]
    changes = {}
    for path, _, digest in snapshot.files:
        file = root / path
        try:
            content = os.fsencode(os.readlink(file)) if file.is_symlink() else file.read_bytes()
        except OSError:
            changes[path] = "gone"
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            changes[path] = "changed"
    known = {path for path, _, _ in (*snapshot.files, *snapshot.left_out)}
    if not root.is_relative_to(run.path):  # else it is the restored code, and nothing new comes there
        for path in find_code_files(cwd, run.path).paths:
            if path not in known and path.endswith(".py"):
                changes[path] = "new"
    return [f"{path} ({what})" for path, what in sorted(changes.items())]


def link_left_out(snapshot: Snapshot, run: RunDir, tree: Path) -> tuple[list[str], list[str]]:
    """Link data, big files and the like from the original place into the tree; return what was linked and what is gone.

    That is what the snapshot names as left out, and what lies there and is no code (git ignores it). Code that was
    written since is neither: the tree is as it was.
    """
    named = {path.rstrip("/") for path, _, _ in snapshot.left_out} - {"."}
    root = snapshot.root
    if not root.is_dir():
        return [], sorted(named)
    code = {path for path, _, _ in snapshot.files} | set(find_code_files(root, run.path).paths)
    linked = []
    for name in _find_left_out(root, named, code, run):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(root / name)
        linked.append(name)
    return linked, sorted(name for name in named if not os.path.lexists(root / name))


def _find_left_out(root: Path, named: set[str], code: set[str], run: RunDir) -> Iterator[str]:
    """Yield what is not code, in as few names as possible: a whole folder where it holds no code."""
    folders = {str(parent) for path in code | named for parent in PurePosixPath(path).parents}

    def look(folder: str) -> Iterator[str]:
        for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
            name = entry.name if folder == "." else f"{folder}/{entry.name}"
            if name in named:
                yield name
            elif name in code or entry.name in _CACHES or (root / name / "run.json").is_file():
                continue
            elif name in folders and entry.is_dir(follow_symlinks=False):
                yield from look(name)
            elif root / name != run.path.parent:  # what earlier runs made is nothing that a run needs
                yield name

    return look(".")


def join_names(names: Sequence[str]) -> str:
    """Return names in one line, at most five of them."""
    rest = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {rest:,} more" if rest > 0 else "")
