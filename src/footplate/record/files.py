"""JSON files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from footplate.errors import NotFoundError, RecordError

__all__ = ["link_or_copy", "read_json", "write_json", "write_text"]


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON in one step: a reader sees the old file or the new one.

    Raises RecordError, with the free space, when it cannot be written; the file that was there is untouched.
    """
    try:
        text = json.dumps(value, indent=1, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: {error}", hint="Only what JSON can hold is recorded.") from error
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in one step; raises RecordError when it cannot be written, and leaves what was there."""
    # One name per process and no random part: what a killed writer leaves behind is replaced by the next one.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _explain(path, error) from error


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; NotFoundError when it is not there, RecordError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: there is no such file") from error
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecordError(f"{path}: damaged: {error}", hint="Restore this file or remove the run.") from error


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _explain(path: Path, error: OSError) -> RecordError:
    try:
        free = f"{shutil.disk_usage(path.parent).free / 1e6:,.1f} MB free there"
    except OSError:
        free = "the folder cannot be reached"
    return RecordError(
        f"{path}: cannot be written: {error.strerror} ({free})",
        hint=f"Make room or give write permission in {path.parent}.",
    )
