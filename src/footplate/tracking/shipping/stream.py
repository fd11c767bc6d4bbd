"""What a tracker has not been told yet, in the order of the journals, from a position that can be written down.

A position is an offset for each journal of each attempt. After a resume the same steps come again: a value that stands
in an earlier attempt already is left out, unless the tracker wants it, and another one is told. The order is that of
the files, so that a clock that jumps changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from footplate.record.journal_reader import Entry, read_journal
from footplate.record.rundir import RunDir
from footplate.tracking.shipping.shipper import Record

__all__ = ["Batch", "Stream", "count_waiting_bytes"]

_MAX_REMEMBERED = 200_000
"""Values of redone steps that are held at a time to be compared: about 40 MB."""
_LAST_STEP = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some records, and where to go on after them."""

    records: tuple[Record, ...]
    positions: Mapping[str, int]
    num_values: int
    """Values of metrics in the records."""


class Stream:
    """Reads a run's journals on from a position."""

    def __init__(self, run: RunDir, positions: Mapping[str, int], *, with_redone: bool = False) -> None:
        """``with_redone``: steps that are done again are told again, whether or not their values have changed."""
        self._run, self._with_redone = run, with_redone
        self._positions = dict(positions)
        self._redone: dict[str, _Redone] = {}

    def read(self, max_values: int) -> Batch:
        """Return the next records, about ``max_values`` values of metrics at the most; none when all are told."""
        records: list[Record] = []
        positions = dict(self._positions)
        num_values = 0
        for attempt, path in _list_journals(self._run):
            key = _get_key(path)
            if path.stat().st_size <= positions.get(key, 0):
                continue
            redone = None if self._with_redone else self._get_redone(key, path, positions.get(key, 0))
            for entry in read_journal(path, positions.get(key, 0)):
                positions[key] = entry.offset_after
                left = entry if redone is None else redone.filter(entry)
                if left is not None:
                    records.append(Record(attempt=attempt, source=path.name.split(".")[1], entry=left))
                    num_values += len(left.data["values"]) if left.kind == "metrics" else 1
                if num_values >= max_values:
                    return Batch(records=tuple(records), positions=positions, num_values=num_values)
        return Batch(records=tuple(records), positions=positions, num_values=num_values)

    def advance(self, batch: Batch) -> None:
        """Go on after a batch; without it the next call reads the same again."""
        self._positions = dict(batch.positions)

    def _get_redone(self, key: str, path: Path, offset: int) -> _Redone:
        """Return what knows of a journal's redone steps as of ``offset``; it is read anew after a batch that failed."""
        redone = self._redone.get(key)
        if redone is None or redone.offset != offset:
            before = [earlier for _, earlier in _list_journals(self._run) if earlier.name == path.name]
            redone = self._redone[key] = _Redone(before[: before.index(path)], path, offset)
        return redone


def count_waiting_bytes(run: RunDir, positions: Mapping[str, int]) -> int:
    """Return how many bytes of a run's journals lie beyond a position."""
    return sum(max(0, path.stat().st_size - positions.get(_get_key(path), 0)) for _, path in _list_journals(run))


class _Redone:
    """The values of steps that a journal records once more because its attempt went back to a checkpoint.

    At most ``_MAX_REMEMBERED`` of them are held: those of a window of steps, which is read anew for the steps after it.
    """

    def __init__(self, before: list[Path], path: Path, offset: int) -> None:
        self._before, self._path = before, path
        self._rewind: Entry | None = None
        self._low = self._high = 0
        """Steps beyond the first and up to the second are held."""
        self._values: dict[tuple[str, int], float] = {}
        self.offset = offset
        for entry in read_journal(path) if offset else ():
            if entry.offset_after > offset:
                break
            if entry.kind == "rewind":
                self._rewind = entry

    def filter(self, entry: Entry) -> Entry | None:
        """Return what of an entry is new; None when nothing is."""
        self.offset = entry.offset_after
        if entry.kind == "rewind":
            self._rewind, self._high = entry, 0
            return entry
        if entry.kind != "metrics" or self._rewind is None or entry.data["step"] <= self._rewind.data["step"]:
            return entry
        step, values = entry.data["step"], entry.data["values"]
        if not self._low < step <= self._high:
            self._remember(step - 1, self._rewind)
        new = {name: value for name, value in values.items() if not self._is_known(name, step, value)}
        if len(new) == len(values):
            return entry
        return Entry(entry.kind, entry.time, {**entry.data, "values": new}, entry.offset_after) if new else None

    def _is_known(self, name: str, step: int, value: float) -> bool:
        known = self._values.get((name, step))
        return known is not None and (known == value or (known != known and value != value))  # noqa: PLR0124 (NaN)

    def _remember(self, low: int, rewind: Entry) -> None:
        """Read what was recorded beyond step ``low`` before it was gone back; as many steps as there is room for."""
        self._low, self._high, self._values = low, _LAST_STEP, {}
        for entry in self._read_before(rewind):
            if entry.kind != "metrics" or not self._low < entry.data["step"] <= self._high:
                continue
            step = entry.data["step"]
            self._values |= {(name, step): value for name, value in entry.data["values"].items()}
            if len(self._values) > _MAX_REMEMBERED:
                steps = sorted(at for _, at in self._values)
                self._high = steps[len(steps) // 2]  # at least one step stays, however many values it has
                self._values = {key: value for key, value in self._values.items() if key[1] <= self._high}

    def _read_before(self, rewind: Entry) -> Iterator[Entry]:
        for path in self._before:
            yield from read_journal(path)
        for entry in read_journal(self._path):
            if entry.offset_after >= rewind.offset_after:
                return
            yield entry


def _list_journals(run: RunDir) -> list[tuple[int, Path]]:
    return [(attempt.number, path) for attempt in run.attempts() for path in attempt.journals()]


def _get_key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
