"""npz and npy files: read, or mapped at their place in the file; object arrays are refused, they would need pickle."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from footplate.data.rows import Array, Rows
from footplate.errors import DataError

__all__ = ["MMAP_BYTES", "list_arrays", "read_npy", "read_npy_header", "read_npz"]

MMAP_BYTES = 64_000_000
"""Sources larger than this are mapped; smaller ones are faster in memory."""
_SMALL_BYTES = 4096

_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, SyntaxError)


def read_npy(path: Path, *, mmap: bool) -> Rows:
    """Read one npy file, or map it."""
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = _read_header(file, path.name)
            mapped = mmap and 0 not in shape
            if mapped:
                array = _map(path, file.tell(), shape, fortran, dtype)
            else:
                file.seek(0)
                array = np.load(file, allow_pickle=False)
    except _BROKEN as error:
        raise _unreadable(path, error) from error
    return _to_rows(array, path.name, mapped=mapped)


def read_npy_header(path: Path) -> tuple[tuple[int, ...], int, np.dtype[Any]]:
    """Return shape, place of the first number, and type of an npy file."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _read_header(file, path.name)
            return shape, file.tell(), dtype
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def read_npz(path: Path, names: Sequence[str], *, mmap: bool) -> list[Rows]:
    """Read these arrays of an npz file; uncompressed ones can be mapped at their place."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive)
            missing = [name for name in names if name not in members]
            if missing:
                raise DataError(
                    f"{path}: no array `{missing[0]}`; it holds {', '.join(f'`{name}`' for name in members) or 'none'}",
                    hint="name the arrays with data.columns.inputs and data.columns.targets",
                )
            return [_read_member(path, archive, members[name], name, mmap=mmap) for name in names]
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def list_arrays(path: Path) -> dict[str, _Header]:
    """Return name → (shape, Fortran order, dtype) of each array of an npz file; only the headers are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name, info in _members(archive).items():
                with archive.open(info) as file:
                    found[name] = _read_header(file, f"{path.name}: {name}")
            return found
    except _BROKEN as error:
        raise _unreadable(path, error) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")}


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, *, mmap: bool) -> Rows:
    label = f"{path.name}: {name}"
    mapped = mmap and info.compress_type == zipfile.ZIP_STORED and info.file_size > _SMALL_BYTES
    with archive.open(info) as file:
        shape, fortran, dtype = _read_header(file, label)
        header_size = file.tell()
    if mapped:
        array = _map(path, _find_content(path, info) + header_size, shape, fortran, dtype)
    else:
        with archive.open(info) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    return _to_rows(array, label, mapped=mapped)


def _read_header(file: IO[bytes], label: str) -> _Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"{label} holds Python objects, which would need pickle to read: pickle can run any code",
            hint="save it as numbers or text: array.astype(float) or array.astype(str)",
        )
    return shape, fortran, dtype


def _find_content(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where the content of an uncompressed member starts: the local header has its own lengths."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("a local header is damaged")
    name_size, extra_size = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + int(name_size) + int(extra_size)


def _map(path: Path, offset: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]) -> Array:
    # A plain view of the map: indexing the memmap class itself is several times slower.
    return np.asarray(np.memmap(path, dtype, mode="r", offset=offset, shape=shape, order="F" if fortran else "C"))


def _to_rows(array: Array, label: str, *, mapped: bool) -> Rows:
    if array.ndim == 0:
        raise DataError(f"{label} is a single value, not one value per sample", hint="the first axis counts samples")
    return Rows(parts=(array,), names=(label,), mapped=mapped)


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path}: cannot be read: {error or type(error).__name__}",
        hint="the file is damaged, incomplete or of another format; write it again",
    )
