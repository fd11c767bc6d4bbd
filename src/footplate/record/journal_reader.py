"""Reads journals: every whole entry, whatever happened to the bytes around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from footplate.record.rundir import Attempt, RunDir

__all__ = [
    "Entry",
    "Point",
    "count_damaged",
    "find_last_step",
    "read_events",
    "read_journal",
    "read_metrics",
    "read_tables",
]

_CHUNK_BYTES = 1 << 20
_START = b'{"t":'
_END = re.compile(rb',"crc":"([0-9a-f]{8})"\}')
_OWN_KEYS = ("t", "kind", "crc")


@dataclass(frozen=True)
class Entry:
    """One entry of a journal.

    ``data`` by kind: metrics {step, values}; event {name, and its fields}; params {values};
    table {name, step, value}; rewind {step}. The values of metrics are floats, NaN and infinities included.
    """

    kind: str
    time: float
    """Seconds since 1970."""
    data: Mapping[str, Any]
    offset_after: int
    """Where to go on reading."""


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    step: int
    value: float
    time: float


def read_journal(path: Path, offset: int = 0) -> Iterator[Entry]:
    """Yield the entries from ``offset`` on; damaged lines are skipped, a last line without its end is left for later.

    A journal that is not there yet has no entries.
    """
    for line, start in _read_lines(path, offset):
        yield from _parse_line(line, start)


def count_damaged(path: Path) -> int:
    """Return how many lines of a journal are damaged, the unfinished last one not counted."""
    return sum(1 for line, _ in _read_lines(path, 0) if line.strip() and _check(line) is None)


def read_events(run: RunDir) -> list[Entry]:
    """Return the events of all attempts and journals of a run, in the order of their times."""
    events = [entry for _, entry in _read_run(run) if entry.kind == "event"]
    return sorted(events, key=lambda entry: entry.time)


def read_metrics(run: RunDir) -> dict[str, list[Point]]:
    """Return the points of every metric over all attempts, by step.

    The last value of a step counts. A rewind drops the points beyond its step that the same source wrote before it.
    """
    by_source: dict[str, dict[str, dict[int, Point]]] = {}
    for source, entry in _read_run(run):
        series = by_source.setdefault(source, {})
        if entry.kind == "metrics":
            step = entry.data["step"]
            for name, value in entry.data["values"].items():
                series.setdefault(name, {})[step] = Point(step, value, entry.time)
        elif entry.kind == "rewind":
            _drop_beyond(series, entry.data["step"])
    merged: dict[str, dict[int, Point]] = {}
    for series in by_source.values():
        for name, points in series.items():
            merged.setdefault(name, {}).update(points)
    return {name: [points[step] for step in sorted(points)] for name, points in sorted(merged.items()) if points}


def read_tables(run: RunDir) -> dict[str, Any]:
    """Return the last value of each table over all attempts, by name."""
    return {entry.data["name"]: entry.data["value"] for _, entry in _read_run(run) if entry.kind == "table"}


def read_logged_params(run: RunDir) -> dict[str, Any]:
    """Return the parameters that a run has logged, over all attempts; the last value of a name counts."""
    values: dict[str, Any] = {}
    for _, entry in _read_run(run):
        if entry.kind == "params":
            values |= entry.data["values"]
    return values


def read_last_events(attempt: Attempt, source: str = "rank0", num_bytes: int = 65_536) -> list[Entry]:
    """Return the events among the last bytes of a journal, in their order."""
    path = attempt.journal_path(source)
    try:
        offset = max(0, path.stat().st_size - num_bytes)
    except OSError:
        return []
    return [entry for entry in read_journal(path, offset) if entry.kind == "event"]


def find_last_step(attempt: Attempt, source: str = "rank0", num_bytes: int = 65_536) -> int | None:
    """Return the last step that stands in a journal; None when there is none among its last bytes."""
    path = attempt.journal_path(source)
    try:
        offset = max(0, path.stat().st_size - num_bytes)
    except OSError:
        return None
    steps = [entry.data.get("step") for entry in read_journal(path, offset)]
    return next((step for step in reversed(steps) if isinstance(step, int)), None)


def _read_run(run: RunDir) -> Iterator[tuple[str, Entry]]:
    for attempt in run.attempts():
        for path in attempt.journals():
            for entry in read_journal(path):
                yield path.name, entry


def _drop_beyond(series: dict[str, dict[int, Point]], step: int) -> None:
    for points in series.values():
        for late in [at for at in points if at > step]:
            del points[late]


def _read_lines(path: Path, offset: int) -> Iterator[tuple[bytes, int]]:
    """Yield each whole line, without its end, and where it starts."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below; a missing file must not hide other errors)
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        rest = b""
        while chunk := file.read(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line, offset
                offset += len(line) + 1


def _parse_line(line: bytes, start: int) -> Iterator[Entry]:
    body = _check(line)
    if body is not None:
        entry = _parse(body, start + len(line) + 1)
        if entry is not None:
            yield entry
        return
    # A lost line end glues entries together, a torn line stands before a whole one: take each part that checks out.
    begin = 0
    for end in _END.finditer(line):
        at = line.find(_START, begin, end.start())
        while at >= 0:
            body = _check(line[at : end.end()])
            entry = _parse(body, start + end.end()) if body is not None else None
            if entry is not None:
                yield entry
                begin = end.end()
                break
            at = line.find(_START, at + 1, end.start())


def _check(line: bytes) -> bytes | None:
    """Return what the checksum covers when it is right."""
    body, mark, crc = line.rpartition(b',"crc":"')
    if not mark or len(crc) != 10 or crc[8:] != b'"}' or crc[:8] != b"%08x" % crc32(body):
        return None
    return body


def _parse(body: bytes, offset_after: int) -> Entry | None:
    try:
        data = json.loads(body + b"}")
        moment, kind = float(data["t"]), str(data["kind"])
        if kind == "metrics":
            data["values"] = {name: float(value) for name, value in data["values"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return Entry(kind, moment, {key: value for key, value in data.items() if key not in _OWN_KEYS}, offset_after)
