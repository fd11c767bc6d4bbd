"""What was made of data and is kept: found by what it was made from, mapped when it is read, safe to delete."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data.rows import Array
from footplate.record.home import get_home

__all__ = ["find_cached", "get_cache_dir", "keep_arrays", "keep_chunks", "make_key"]

_log = logging.getLogger("footplate")

_VERSION = 1
"""Part of each key: another way of making things is another thing."""
_END_BYTES = 65_536
_LOOKED_INTO = 1000
"""Of more files than this, size and time tell whether they are the same."""


def get_cache_dir() -> Path:
    """Return the directory of the cache; it, or any directory in it, may be deleted while nothing is trained."""
    return get_home() / "cache" / "data"


def make_key(kind: str, *sources: Path, **made_with: Any) -> str:
    """Return the name of what is made from files in one way: size, time and both ends of the files, and how."""
    digest = hashlib.sha256(json.dumps([kind, _VERSION, made_with], sort_keys=True).encode())
    for file in sources:
        stat = file.stat()
        digest.update(f"\n{file.absolute()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}".encode())
        if len(sources) > _LOOKED_INTO:
            continue
        with file.open("rb") as stream:
            digest.update(stream.read(_END_BYTES))
            stream.seek(max(0, stat.st_size - _END_BYTES))
            digest.update(stream.read(_END_BYTES))
    return f"{kind}-{digest.hexdigest()[:32]}"


def find_cached(key: str, names: Sequence[str]) -> dict[str, Array] | None:
    """Return what was kept under a key, mapped; None when it is not there, or damaged."""
    try:
        folder = get_cache_dir() / key
        files = {name: folder / f"{name}.npy" for name in names}
        # A plain view of the map: indexing the memmap class itself is several times slower.
        return {name: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False)) for name, file in files.items()}
    except (OSError, ValueError, EOFError):  # not there, or torn: it is made again
        return None


def keep_arrays(key: str, arrays: Mapping[str, Array]) -> bool:
    """Keep arrays under a key; return whether that was possible. All of them appear at once, or none."""
    return keep_chunks(key, {name: (array.shape, array.dtype, [array]) for name, array in arrays.items()})


def keep_chunks(key: str, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any], Iterable[Array]]]) -> bool:
    """Keep arrays, name → (shape, type, chunks that follow one another), under a key; False where there is no room."""
    part: Path | None = None
    try:
        folder = get_cache_dir() / key
        part = folder.with_name(f".{key}.{os.getpid()}.part")
        part.mkdir(parents=True, exist_ok=True)
        for name, (shape, dtype, chunks) in arrays.items():
            with (part / f"{name}.npy").open("wb") as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for chunk in chunks:  # written, not mapped: a full disk is then an error, not the end of the process
                    file.write(np.ascontiguousarray(chunk, dtype).data)
                file.flush()
                os.fsync(file.fileno())
        _put(part, folder, whole=lambda: find_cached(key, tuple(arrays)) is not None)
    except OSError as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        _log.warning("the cache of data cannot be written (%s); the training goes on without it", error)
        return False
    return True


def _put(part: Path, folder: Path, *, whole: Callable[[], bool]) -> None:
    """Put what was made in its place; what another process has put there meanwhile is left."""
    with contextlib.suppress(OSError):
        part.rename(folder)
        return
    if not whole():
        shutil.rmtree(folder, ignore_errors=True)  # damaged
        part.rename(folder)
        return
    shutil.rmtree(part, ignore_errors=True)
