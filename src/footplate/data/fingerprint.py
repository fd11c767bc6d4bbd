"""The identity of the data: files with size, time and hash, for the record of a run."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from footplate.data.sources import find_files
from footplate.profile.model import Profile

__all__ = ["fingerprint"]

FULL_BYTES = 256_000_000
"""Up to this size in total the whole content is hashed; above it, size, head and tail of each file."""
END_BYTES = 1_000_000
"""How much of each end is hashed then."""


def fingerprint(profile: Profile) -> dict[str, Any]:
    """Return what identifies the data of a profile.

    ``{"sets": {"train": {"source", "files": [{"path", "size", "modified_at", "sha256"}]}}, "hashed": "content"}``;
    ``hashed`` is ``size, head and tail`` for large data. Sets of scikit-learn have its version instead of files.
    """
    data = profile.data
    names = {"train": data.train_data, "val": data.val_data, "test": data.test_data}
    files = {
        key: [] if name.startswith("sklearn:") else find_files(name, data.format, profile.base_dir)[0]
        for key, name in names.items()
        if name
    }
    total = sum(file.stat().st_size for found in files.values() for file in found)
    is_full = total <= FULL_BYTES
    sets = {}
    for key, found in files.items():
        sets[key] = {"source": names[key], "files": [_describe(file, is_full=is_full) for file in found]}
        if not found:
            sets[key]["version"] = f"scikit-learn {_get_sklearn_version()}"
    return {"sets": sets, "num_bytes": total, "hashed": "content" if is_full else "size, head and tail"}


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
