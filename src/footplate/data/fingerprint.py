"""The identity of the data: files with size, time and hash, for the record of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from footplate.data.files import locate
from footplate.data.functions import find_module_file, is_function
from footplate.profile.model import Profile

__all__ = ["fingerprint"]

FULL_BYTES = 256_000_000
"""Up to this size in total the whole content is hashed; above it, size, head and tail of each file."""
MAX_FILES = 1000
"""A set of more files is recorded in one entry."""
END_BYTES = 1_000_000
"""How much of each end is hashed then."""


def fingerprint(profile: Profile) -> dict[str, Any]:
    """Return what identifies the data of a profile.

    ``{"sets": {"train": {"source", "files": [{"path", "size", "modified_at", "sha256"}]}}, "hashed": "content"}``;
    ``hashed`` is ``size, head and tail`` for large data. A set of more than ``MAX_FILES`` files is told in one entry:
    its folder, their number and a hash over their names, sizes and times (over their content where ``hashed`` says so).
    Sets of scikit-learn have its version instead of files; of a function the code is hashed, not what it returns.
    """
    data = profile.data
    names = {"train": data.train_data, "val": data.val_data, "test": data.test_data}
    files = {key: _find_files(name, profile) for key, name in names.items() if name}
    sizes = {key: [file.stat().st_size for file in found] for key, found in files.items()}
    total = sum(map(sum, sizes.values()))
    is_full = total <= FULL_BYTES
    sets: dict[str, dict[str, Any]] = {}
    for key, found in files.items():
        if len(found) > MAX_FILES:
            sets[key] = {"source": names[key], "files": [_describe_folder(found, is_full=is_full)]}
        else:
            sets[key] = {"source": names[key], "files": [_describe(file, is_full=is_full) for file in found]}
        if not found and is_function(str(names[key])):
            sets[key]["version"] = "code that lies elsewhere; what it returns is not hashed"
        elif not found:
            sets[key]["version"] = f"scikit-learn {_get_sklearn_version()}"
        elif is_function(str(names[key])):
            sets[key]["version"] = "the code is hashed, what it returns is not"
    return {"sets": sets, "num_bytes": total, "hashed": "content" if is_full else "size, head and tail"}


def _find_files(name: str, profile: Profile) -> tuple[Path, ...]:
    if name.startswith("sklearn:"):
        return ()
    if is_function(name):
        file = find_module_file(name, profile.base_dir)
        return () if file is None else (file,)
    return locate(name, profile.data.format, profile.base_dir).files


def _describe_folder(files: Sequence[Path], *, is_full: bool) -> dict[str, Any]:
    """Return one entry for very many files: looking into each would take longer than it tells."""
    root = Path(os.path.commonpath([file.parent for file in files]))
    digest, size, newest = hashlib.sha256(), 0, 0.0
    for file in files:
        status = file.stat()
        size += status.st_size
        newest = max(newest, status.st_mtime)
        told = _hash_content(file) if is_full else str(status.st_mtime_ns)
        digest.update(f"{file.relative_to(root)} {status.st_size} {told}\n".encode())
    return {
        "path": str(root),
        "num_files": len(files),
        "size": size,
        "modified_at": datetime.fromtimestamp(newest, UTC).isoformat(),
        "sha256": digest.hexdigest(),
        "hash_of": "names, sizes and content" if is_full else "names, sizes and times",
    }


def _describe(file: Path, *, is_full: bool) -> dict[str, Any]:
    status = file.stat()
    return {
        "path": str(file),
        "size": status.st_size,
        "modified_at": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(),
        "sha256": _hash_content(file) if is_full else _hash_ends(file, status.st_size),
    }


def _hash_content(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash_ends(file: Path, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(END_BYTES))
        stream.seek(max(0, size - END_BYTES))
        digest.update(stream.read(END_BYTES))
    return digest.hexdigest()


def _get_sklearn_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scikit-learn")
    except PackageNotFoundError:
        return "(not installed)"
