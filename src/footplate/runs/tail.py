"""Reads what is being written: logs and journals, from where the last look ended."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from footplate.record.journal_reader import Entry, read_journal

__all__ = ["JournalTail", "LogTail"]

_PART_BYTES = 1 << 20  # a log may be larger than the memory


class LogTail:
    """Reads what was added to a log file, as text; bytes that are no UTF-8 come as ``os.fsdecode`` gives them."""

    def __init__(self, path: Path, *, num_lines: int | None = None) -> None:
        """Begin with the last ``num_lines`` lines that are there, or with the first one."""
        self._path = path
        self._offset = 0 if num_lines is None else _find_last_lines(path, num_lines)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def read(self, *, final: bool = False) -> Iterator[str]:
        """Yield what is new, in parts; with ``final`` also the half of a character that the file ends with."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while data := file.read(_PART_BYTES):
                    self._offset += len(data)
                    yield self._decoder.decode(data)
        if final and (rest := self._decoder.decode(b"", final=True)):
            yield rest


def _find_last_lines(path: Path, num_lines: int) -> int:
    """Return where the last lines of a file begin, read from its end; a last line without an end counts as one."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = start = file.seek(0, os.SEEK_END)
        if num_lines == 0:
            return size
        missing = num_lines
        while start > 0:
            begin = max(0, start - _PART_BYTES)
            file.seek(begin)
            part = file.read(start - begin)
            end = len(part) - 1 if start == size else len(part)  # the end of the last line begins no line
            while (at := part.rfind(b"\n", 0, end)) >= 0:
                missing -= 1
                if missing == 0:
                    return begin + at + 1
                end = at
            start = begin
    return 0


class JournalTail:
    """Reads the entries that were added to a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Entry]:
        """Yield the entries that are complete and new."""
        if not self._path.exists():
            return
        for entry in read_journal(self._path, self._offset):
            self._offset = entry.offset_after
            yield entry
