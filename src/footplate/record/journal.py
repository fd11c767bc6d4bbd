"""The journal: what a run says while it runs, one checked JSON line each, valid after a kill at any byte."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from footplate.errors import InputError, RecordError
from footplate.record.journal_reader import (
    Entry,
    Point,
    count_damaged,
    read_events,
    read_journal,
    read_metrics,
)

if TYPE_CHECKING:
    from footplate.record.redact import Redactor

__all__ = ["Entry", "Journal", "Point", "count_damaged", "format_entry", "read_events", "read_journal", "read_metrics"]

_MAX_WAITING_BYTES = 8_000_000
_MAX_NAMES = 10_000
_RESERVED = frozenset({"t", "kind", "name", "crc"})


class Journal:
    """Appends entries to a journal; safe to use from several threads and in a signal handler.

    A line is one write of the system: it is in the file when the call returns, whatever kills the process afterwards.
    A full disk never reaches the training: lines wait in memory and go out with a later call; what had to be dropped
    is told by an event ``journal_dropped``.
    """

    def __init__(self, path: Path, redactor: Redactor | None = None) -> None:
        """Open or make the journal; a torn last line is closed so that the next entry starts on a line of its own.

        ``redactor`` cleans the texts of events, parameters and tables before they are written.
        """
        self.path = Path(path)
        self._redactor = redactor
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordError(f"{path}: the journal cannot be opened: {error.strerror}") from error
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._keys: dict[str, str] = {}
        # Reentrant: a signal handler may write an event while this very thread is inside a call.
        self._lock = RLock()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of one step; whatever ``float()`` takes is a number, NaN and infinities included."""
        keys = self._keys
        parts = []
        for name, value in values.items():
            key = keys.get(name) or self._add_key(name)
            try:
                number = float(value)
            except (TypeError, ValueError) as error:
                raise InputError(f"metric {name!r} is not a number: {value!r:.80}") from error
            # A difference with itself is 0 for finite numbers only; JSON has no word for the others.
            parts.append(f"{key}{number!r}" if number - number == 0.0 else f'{key}"{_name_nonfinite(number)}"')
        self._append(f'{{"t":{time.time():.6f},"kind":"metrics","step":{int(step)},"values":{{{",".join(parts)}}}')

    def event(self, name: str, /, **fields: object) -> None:
        """Record that something happened; the fields stand beside ``name`` in the entry's data."""
        if taken := _RESERVED & fields.keys():
            raise InputError(f"event {name!r}: {', '.join(sorted(taken))} cannot be the name of a field")
        self._append(self._render("event", {"name": name, **fields}))

    def params(self, values: Mapping[str, object]) -> None:
        """Record what the run was set to."""
        self._append(self._render("params", {"values": values}))

    def table(self, name: str, step: int, value: object) -> None:
        """Record the data of a plot: a confusion matrix, a histogram."""
        self._append(self._render("table", {"name": name, "step": int(step), "value": value}))

    def rewind(self, step: int) -> None:
        """Say that the training goes on from this step: readers drop what was recorded beyond it."""
        self._append(_render("rewind", {"step": int(step)}))

    def close(self) -> None:
        """Write what still waits, make it last, and close; a second call does nothing."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                self._write_waiting()
                os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _render(self, kind: str, data: Mapping[str, object]) -> str:
        plain = {key: _to_plain(value) for key, value in data.items()}
        return _render(kind, plain if self._redactor is None else self._redactor.clean(plain))

    def _append(self, text: str) -> None:
        line = _seal(text)
        with self._lock:
            if self._fd < 0:
                raise RecordError(f"{self.path}: the journal is closed")
            try:
                if self._waiting or self._torn or self._dropped:
                    self._write_waiting()
                self._write(line)
            except OSError:
                self._keep(line)

    def _write(self, line: bytes) -> None:
        if os.write(self._fd, line) != len(line):
            self._torn = True
            raise OSError("the line was written in part")

    def _write_waiting(self) -> None:
        """Write what an earlier call could not; raises OSError when it still cannot."""
        if self._torn:
            os.write(self._fd, b"\n")
            self._torn = False
        while self._waiting:
            self._write(self._waiting[0])
            self._waiting_bytes -= len(self._waiting.popleft())
        if self._dropped:
            self._write(_seal(_render("event", {"name": "journal_dropped", "num_entries": self._dropped})))
            self._dropped = 0

    def _keep(self, line: bytes) -> None:
        """Hold a line in memory; beyond the bound the oldest go, because the newest tell how it ended."""
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        while self._waiting_bytes > _MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft())
            self._dropped += 1

    def _add_key(self, name: str) -> str:
        if len(self._keys) >= _MAX_NAMES:
            self._keys.clear()
        key = self._keys[name] = json.dumps(str(name)) + ":"
        return key


def format_entry(kind: str, data: Mapping[str, object], *, at: float) -> bytes:
    """Return an entry as a line of a journal, of something that was recorded elsewhere, ``at`` seconds since 1970."""
    return _seal(_render(kind, {key: _to_plain(value) for key, value in data.items()}, at))


def _seal(text: str) -> bytes:
    body = text.encode()
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def _render(kind: str, data: Mapping[str, object], at: float | None = None) -> str:
    """Return an entry's JSON without its closing bracket, where the checksum goes."""
    head = {"t": round(time.time() if at is None else at, 6), "kind": kind}
    return json.dumps(head | dict(data), separators=(",", ":"))[:-1]


def _to_plain(value: object) -> object:
    """Turn a value into what JSON can hold: arrays become lists, what has no form of its own becomes text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _name_nonfinite(value)
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_plain(item) for item in value]
    convert: Any = getattr(value, "tolist", None)  # numpy and torch, without importing them
    return _to_plain(convert()) if callable(convert) else str(value)


def _name_nonfinite(number: float) -> str:
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124 (NaN only)
