"""memory.json: what an attempt that ran out of memory tells the next one."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from footplate.errors import NotFoundError, RecordError
from footplate.record.files import read_json, write_json

__all__ = ["NAME", "MemoryNote", "find_note"]

NAME = "memory.json"
"""Its name in the run directory."""
_LATEST = "evaluation_batch_size"
_log = logging.getLogger("footplate")


@dataclass(frozen=True, kw_only=True)
class MemoryNote:
    """Where the memory did not suffice, and what to go on with."""

    batch_size: int
    """Batch size for the next attempt."""
    step: int | None
    """The step that failed, from 1; None where the kernel killed the process."""
    rank: int
    """Number of the process."""
    asked_bytes: int | None
    """What was asked for; None where it is not known."""
    free_bytes: int | None
    """What was free; None where it is not known."""
    evaluation_batch_size: int | None = None
    """Batch size of evaluations for the next attempt; None where they did fit."""

    def write(self, path: Path) -> None:
        """Write it in one step. That it cannot be written is said, for the training ends anyway."""
        try:
            write_json(path, {name: value for name, value in asdict(self).items() if value or name != _LATEST})
        except RecordError as error:
            _log.warning("the next attempt will not know of the smaller batch: %s", error.message)


def find_note(path: Path) -> MemoryNote | None:
    """Return what an earlier attempt has left; None when there is nothing that can be read."""
    try:
        value = read_json(path)
        return MemoryNote(
            batch_size=max(1, int(value["batch_size"])),
            step=None if value["step"] is None else int(value["step"]),
            rank=int(value["rank"]),
            asked_bytes=value.get("asked_bytes"),
            free_bytes=value.get("free_bytes"),
            evaluation_batch_size=_find_size(value.get("evaluation_batch_size")),
        )
    except (NotFoundError, RecordError, KeyError, TypeError, ValueError):
        return None


def _find_size(value: object) -> int | None:
    return max(1, value) if isinstance(value, int) else None
