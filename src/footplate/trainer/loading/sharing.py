"""Hands large arrays to other processes without copying them into each: as maps of a file, or of shared memory."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SharedArrays"]

Array = NDArray[Any]

_LARGE_BYTES = 1 << 20
"""Smaller arrays are sent as they are."""


class SharedArrays:
    """Memory that holds arrays once for all processes; it is freed when it is closed and the last process has ended.

    Within ``offered`` every array that is sent to a process that is being started, wherever it is in the objects sent,
    arrives as a map: of its file where it is mapped already, else of this memory.
    """

    def __init__(self) -> None:
        # Anonymous memory, where there is such: it has no name that a killed process could leave behind, and the size
        # of /dev/shm, 64 MB in many containers, does not limit it.
        if hasattr(os, "memfd_create"):
            self._file = os.fdopen(os.memfd_create("footplate-data"), "w+b", buffering=0)
        else:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._places: dict[int, tuple[int, Array]] = {}
        """Where an array lies, by its identity; the array is kept so that the identity stays its own."""
        self._size = 0
        self._popen: object = None
        self._handle: Any = None

    @contextmanager
    def offered(self) -> Iterator[None]:
        """Use this memory for the processes that are started inside."""
        global _offered  # noqa: PLW0603  the pickler's reducers belong to the process too
        before, _offered = _offered, self
        try:
            yield
        finally:
            _offered = before
            self._popen = self._handle = None

    def close(self) -> None:
        """Give the memory back; processes that have it keep it until they end."""
        self._places.clear()
        self._file.close()

    def reduce(self, array: Array) -> tuple[Any, ...]:
        """Return how an array is rebuilt in the process that is being started."""
        offset = self._store(array)
        return _rebuild_shared, (self._get_handle(), offset, array.shape, array.dtype)

    def _store(self, array: Array) -> int:
        found = self._places.get(id(array))
        if found is not None:
            return found[0]
        offset = -(-self._size // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(offset)
        rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while len(rest):
            rest = rest[self._file.write(rest) :]
        self._size = offset + array.nbytes
        self._places[id(array)] = offset, array
        return offset

    def _get_handle(self) -> Any:
        """Return the file as the process being started gets it: once for each process, whatever it is sent."""
        popen = context.get_spawning_popen()
        if popen is not self._popen:
            from multiprocessing.reduction import DupFd

            self._popen, self._handle = popen, DupFd(self._file.fileno())
        return self._handle


_offered: SharedArrays | None = None


def _reduce(array: Array) -> Any:
    """Reduce an array for multiprocessing's pickler."""
    if array.nbytes < _LARGE_BYTES or array.dtype.hasobject:
        return array.__reduce_ex__(4)
    mapped = _find_map(array)
    if mapped is not None:
        first, last = _get_bounds(array)
        offset = first - _get_bounds(mapped)[0] + mapped.offset
        place = (offset, last - first, _get_address(array) - first)
        return _rebuild_mapped, (str(mapped.filename), place, array.shape, array.strides, array.dtype)
    if _offered is not None and context.get_spawning_popen() is not None:
        return _offered.reduce(array)
    return array.__reduce_ex__(4)


def _find_map(array: Array) -> np.memmap[Any, Any] | None:
    """Return the map of a whole file that an array is a view of."""
    found = None
    base: Any = array
    while base is not None:
        if isinstance(base, np.memmap) and base.filename is not None:
            found = base
        base = getattr(base, "base", None)
    return found


def _get_address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _get_bounds(array: Array) -> tuple[int, int]:
    """Return the address of an array's first byte and the one behind its last, whatever its strides."""
    reach = [stride * (size - 1) for stride, size in zip(array.strides, array.shape, strict=True)]
    start = _get_address(array)
    return start + sum(min(0, step) for step in reach), start + sum(max(0, step) for step in reach) + array.itemsize


def _rebuild_mapped(
    name: str,
    place: tuple[int, int, int],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    offset, size, start = place
    # A plain view of the map: indexing the memmap class itself is several times slower.
    whole = np.asarray(np.memmap(name, np.uint8, mode="r", offset=offset, shape=(size,)))
    return np.ndarray(shape, dtype, buffer=whole.data, offset=start, strides=strides)


def _rebuild_shared(handle: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = mmap.mmap(handle.detach(), size, prot=mmap.PROT_READ, offset=offset)
    return np.ndarray(shape, dtype, buffer=memory)


ForkingPickler.register(np.ndarray, _reduce)
ForkingPickler.register(np.memmap, _reduce)
