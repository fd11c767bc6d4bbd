"""State as files: nested values as JSON, tensors as safetensors, written and hashed in one pass.

Writing and hashing leave Python's lock free, so that a training goes on while another thread writes; the library's own
writer would hold it and copy each tensor once more.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from footplate.errors import RecordError
from footplate.record.checkpoints import FileEntry

__all__ = ["join_state", "load_tensors", "split_state", "write_json_file", "write_tensors"]

_TENSOR = "__tensor__"
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
}
_PIECE = 1 << 23


def split_state(value: Any, place: str = "") -> tuple[Any, dict[str, Tensor]]:
    """Return a nested state as what JSON can hold, and the tensors in it by their place.

    Raises RecordError, which names the place, for a value that is neither: nothing is pickled.
    """
    tensors: dict[str, Tensor] = {}
    return _split(value, place, tensors), tensors


def join_state(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the nested state of which ``split_state`` made its two parts; tuples have become lists."""
    if isinstance(value, Mapping):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: join_state(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [join_state(item, tensors) for item in value]
    return value


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> FileEntry:
    """Write tensors of main memory as a safetensors file, to the disk; return its size and hash."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    # Large numbers first, as the format's own writer does: each tensor then begins at a multiple of its number's size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        end = start + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    writer = _Writer(path)
    try:
        writer.add(memoryview(len(text).to_bytes(8, "little") + text))
        for _, tensor in ordered:
            if tensor.nbytes:
                writer.add(memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data))
        return writer.finish()
    finally:
        writer.close()


def write_json_file(path: Path, value: Any) -> FileEntry:
    """Write a value as JSON, to the disk; return the file's size and hash."""
    writer = _Writer(path)
    try:
        writer.add(memoryview((json.dumps(value, indent=1) + "\n").encode()))
        return writer.finish()
    finally:
        writer.close()


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file."""
    return load_file(str(path))


class _Writer:
    """Writes a file and hashes what it writes."""

    def __init__(self, path: Path) -> None:
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._digest = hashlib.sha256()
        self._size = 0

    def add(self, content: memoryview) -> None:
        for start in range(0, len(content), _PIECE):
            piece = content[start : start + _PIECE]
            self._digest.update(piece)
            while piece:
                piece = piece[os.write(self._number, piece) :]
        self._size += len(content)

    def finish(self) -> FileEntry:
        os.fsync(self._number)
        return FileEntry(bytes=self._size, sha256=self._digest.hexdigest())

    def close(self) -> None:
        os.close(self._number)


def _split(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        if value.dtype not in _NAMES:
            raise RecordError(f"state {place} is a tensor of {value.dtype}, for which safetensors has no name")
        tensors[place] = value
        return {_TENSOR: place}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise RecordError(f"state {place}: only texts can be keys, so that nothing need be pickled")
        return {key: _split(item, f"{place}/{key}" if place else key, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_split(item, f"{place}/{number}", tensors) for number, item in enumerate(value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise RecordError(
        f"state {place} is a {type(value).__name__}, which a checkpoint cannot hold",
        hint="numbers, texts, lists, dictionaries and tensors can be saved; nothing is pickled",
    )
