"""Where each key of a profile came from: its file and line, and the values as they were written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["KeyPath", "Problem", "Source", "Where", "join_path"]

KeyPath = tuple[str, ...]
"""A key as its parts: ``("training", "batch_size")``; items of a list are numbered from 0."""


@dataclass(frozen=True)
class Where:
    """A place in a file, or ``--set`` with line 0."""

    file: str
    line: int
    written: str = ""
    """A single value as it was written."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Problem:
    """One thing that makes a profile unusable."""

    where: Where
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.where), self.path, self.message) if part)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a profile was read from. Two profiles with the same keys are equal wherever they came from."""

    base_dir: Path = field(default_factory=Path.cwd, compare=False)
    """Directory that relative paths of the profile start from."""
    file: str = field(default="", compare=False)
    """The profile's own file, as it was named."""
    values: Mapping[str, Any] | None = field(default=None, compare=False)
    """The keys that were given, after `extends` and overrides; None when the profile was made in Python."""
    places: Mapping[KeyPath, Where] = field(default_factory=dict, compare=False)
    """Place of each key that was given."""


def join_path(path: tuple[str, ...]) -> str:
    """Return the dotted form of a key."""
    return ".".join(path)
