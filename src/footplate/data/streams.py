"""Data that can only be read from their start: read once, and from then on found by their number like all others."""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from footplate.data import rows
from footplate.data.rows import Array
from footplate.errors import DataError
from footplate.quantities import format_size

__all__ = ["Gathered", "read_stream"]

_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 50_000
"""A small array takes a hundred times the memory of the number in it."""
_LEAST_FREE = 0.05
"""Part of a disk that is left to others."""
_TELL_EVERY_S = 10.0
_log = logging.getLogger("footplate")

Pair = tuple[Array, Array]


class Gathered(NamedTuple):
    """All samples of a stream."""

    inputs: Array
    targets: Array
    sha256: str
    """Of all their numbers."""


def read_stream(name: str, stream: Iterable[Any], take: Callable[[int, Any], Pair]) -> Gathered:
    """Return all inputs and all targets of a stream; ``take`` makes arrays of an item and its number.

    Items of the same shape each. Memory stays bounded: what is larger than ``rows.LAZY_BYTES`` lies in files without a
    name in the folder for temporary files (TMPDIR), mapped, and is gone with the process. Raises DataError when the
    stream fails, is empty, or leaves no room on the disk.
    """
    columns: list[_Column] = []
    try:
        count = _gather(name, stream, take, columns)
        inputs, targets = (column.finish(count) for column in columns)
    except BaseException:
        for column in columns:
            column.close()
        raise
    return Gathered(inputs, targets, hashlib.sha256(b"".join(column.digest.digest() for column in columns)).hexdigest())


def _gather(name: str, stream: Iterable[Any], take: Callable[[int, Any], Pair], columns: list[_Column]) -> int:
    """Put the samples into columns, which are made with the first one; return their number."""
    count, told = 0, time.monotonic()
    for item in _iterate(name, stream):
        pair = take(count, item)
        if not columns:
            columns += _Column(name, "inputs", pair[0]), _Column(name, "targets", pair[1])
        for column, array in zip(columns, pair, strict=True):
            column.add(count, array)
        count += 1
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            size = format_size(sum(column.size for column in columns))
            _log.info("%s: %s samples read so far, %s", name, f"{count:,}", size)
    if not count:
        raise DataError(f"{name}: gave no sample", hint="check where it looks for its files")
    return count


def _iterate(name: str, stream: Iterable[Any]) -> Iterable[Any]:
    items = iter(stream)
    for number in itertools.count():
        try:
            item = next(items)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise DataError(
                f"{name}: failed at sample {number:,}: {type(error).__name__}: {error}", hint="mend the stream"
            ) from error
        yield item


class _Column:
    """One of inputs and targets, gathered in blocks that go to a file when they are many."""

    def __init__(self, name: str, what: str, first: Array) -> None:
        self._name = name
        self._what = what
        self._shape, self._dtype = first.shape, first.dtype
        self._block: list[Array] = []
        self._block_size = 0
        self._kept: list[Array] = []
        self._file: Any = None
        self.size = 0
        """Bytes so far."""
        self.digest = hashlib.sha256(f"{self._dtype} {self._shape}".encode())

    def add(self, number: int, array: Array) -> None:
        if array.shape != self._shape or array.dtype.kind != self._dtype.kind:
            raise DataError(
                f"{self._name}, sample {number}: {self._what} are {array.dtype} {list(array.shape)}, "
                f"those of the first {self._dtype} {list(self._shape)}",
                hint="all items must have the same shape and type",
            )
        self._block.append(np.array(array, dtype=self._dtype))  # a copy: a stream may fill the same array again
        self.size += array.nbytes
        self._block_size += array.nbytes
        if self._block_size >= _BLOCK_BYTES or len(self._block) >= _BLOCK_ROWS:
            self._flush()

    def finish(self, count: int) -> Array:
        self._flush()
        if self._file is None:
            return np.concatenate(self._kept)
        self._file.flush()
        # By its descriptor's name other processes map the same file instead of getting a copy.
        path = Path(f"/proc/{os.getpid()}/fd/{self._file.fileno()}")
        place: Any = str(path) if path.exists() else self._file
        mapped = np.memmap(place, self._dtype, mode="r", shape=(count, *self._shape))
        weakref.finalize(mapped, self._file.close)
        return mapped

    def close(self) -> None:
        """Give up what was gathered."""
        if self._file is not None:
            self._file.close()

    def _flush(self) -> None:
        if not self._block:
            return
        block = np.stack(self._block)
        self._block, self._block_size = [], 0
        self.digest.update(_get_bytes(block))
        if self._file is None and self.size <= rows.LAZY_BYTES:
            self._kept.append(block)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="footplate-stream-")  # noqa: SIM115
            _log.info("%s: %s are kept in a temporary file in %s", self._name, self._what, tempfile.gettempdir())
        for part in (*self._kept, block):
            self._write(part)
        self._kept = []

    def _write(self, block: Array) -> None:
        usage = shutil.disk_usage(tempfile.gettempdir())
        if usage.free - block.nbytes < _LEAST_FREE * usage.total:
            raise DataError(
                f"{self._name}: {format_size(self.size)} of {self._what} were read and no end is near, but the disk of "
                f"{tempfile.gettempdir()} is nearly full",
                hint="end the stream where you have enough (itertools.islice), or set TMPDIR to a larger disk",
            )
        try:
            self._file.write(_get_bytes(block))
        except OSError as error:
            raise DataError(
                f"{self._name}: {self._what} cannot be kept in {tempfile.gettempdir()}: {error}",
                hint="set TMPDIR to a folder with more room",
            ) from error


def _get_bytes(block: Array) -> memoryview:
    return block.reshape(-1).view(np.uint8).data
