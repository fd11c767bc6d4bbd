"""Where the lines of a large text file are: found once, and kept while the file does not change."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from footplate.data.cache import find_cached, keep_arrays, make_key
from footplate.data.rows import Indices
from footplate.errors import DataError

__all__ = ["Lines", "find_lines"]

KEPT_BYTES = 256_000_000
"""The index of larger files is kept."""
_CHUNK = 1 << 26
_NEWLINE = 10
_SHORT = 2
"""Lines up to this length may hold a space or the return of another system only."""


class Lines(NamedTuple):
    """The lines of a file that hold anything."""

    numbers: Indices
    """Counted from 1, as editors do."""
    spans: Indices
    """Where each starts and stops, [N, 2]."""


def find_lines(file: Path) -> Lines:
    """Return the lines of a file; the file is read once from end to end, in constant memory."""
    try:
        size = file.stat().st_size
        if not size:
            return Lines(np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
        key = make_key("lines", file) if size > KEPT_BYTES else ""
        if key and (kept := find_cached(key, ("numbers", "spans"))):
            return Lines(kept["numbers"], kept["spans"])
        content = np.asarray(np.memmap(file, np.uint8, mode="r"))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    ends = [np.flatnonzero(content[start : start + _CHUNK] == _NEWLINE) + start for start in range(0, size, _CHUNK)]
    stops = np.concatenate([*ends, np.array([size] if content[-1] != _NEWLINE else [], np.int64)])
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1] + 1])
    filled = stops > starts
    for line in np.flatnonzero(filled & (stops - starts <= _SHORT)).tolist():
        filled[line] = bool(content[starts[line] : stops[line]].tobytes().strip())
    lines = Lines(np.flatnonzero(filled) + 1, np.stack([starts, stops], 1)[filled])
    if key:
        keep_arrays(key, {"numbers": lines.numbers, "spans": lines.spans})
    return lines
