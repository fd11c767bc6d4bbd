"""Compares safetensors files bit by bit, without torch: which tensors differ, and how much."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from footplate.errors import RecordError

__all__ = ["TensorDifference", "find_tensor_difference", "read_tensors"]

_NUMPY = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
}


@dataclass(frozen=True, kw_only=True)
class TensorDifference:
    """The first tensor that is not the same in two files."""

    name: str
    num_values: int
    """Values that differ; 0 when the tensor is missing, or has another shape or type."""
    size: int
    """Values of the tensor."""
    largest: float
    """Largest absolute difference; NaN when it cannot be told."""
    reason: str = ""
    """Why the tensors cannot be compared at all; empty when they can."""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.name}: {self.reason}"
        return f"{self.name}: {self.num_values:,} of {self.size:,} values differ, by at most {self.largest:.3g}"


@dataclass(frozen=True)
class _Tensor:
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def find_tensor_difference(first: Path, second: Path) -> TensorDifference | None:
    """Return the first tensor, in the order of the first file, whose bits differ; None when none does."""
    before, after = read_tensors(first), read_tensors(second)
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            reason = f"only in {first if new is None else second}"
        elif (old.dtype, old.shape) != (new.dtype, new.shape):
            reason = f"{old.dtype} {list(old.shape)} became {new.dtype} {list(new.shape)}"
        elif old.data == new.data:
            continue
        else:
            return _measure(name, old, new)
        return TensorDifference(name=name, num_values=0, size=0, largest=math.nan, reason=reason)
    return None


def read_tensors(path: Path) -> Mapping[str, _Tensor]:
    """Return the tensors of a file in their order on the disk; RecordError when it is not a safetensors file."""
    try:
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        found = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                data = content[8 + length + begin : 8 + length + end]
                found[name] = (begin, _Tensor(entry["dtype"], tuple(entry["shape"]), data))
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise RecordError(f"{path}: not a safetensors file: {error}") from error
    return {name: tensor for name, (_, tensor) in sorted(found.items(), key=lambda item: item[1][0])}


def _measure(name: str, old: _Tensor, new: _Tensor) -> TensorDifference:
    before, after = _to_numbers(old), _to_numbers(new)
    if before is None or after is None:
        num_bytes = sum(a != b for a, b in zip(old.data, new.data, strict=True))
        reason = f"{num_bytes:,} of {len(old.data):,} bytes differ"
        return TensorDifference(name=name, num_values=0, size=0, largest=math.nan, reason=reason)
    with np.errstate(invalid="ignore"):
        distance = np.abs(before - after)
    known = distance[np.isfinite(distance)]
    count = np.count_nonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    return TensorDifference(
        name=name, num_values=int(count), size=before.size, largest=float(known.max()) if known.size else math.nan
    )


def _to_numbers(tensor: _Tensor) -> NDArray[np.float64] | None:
    if tensor.dtype == "BF16":
        bits = np.frombuffer(tensor.data, dtype="<u2").astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)
    kind = _NUMPY.get(tensor.dtype)
    return None if kind is None else np.frombuffer(tensor.data, dtype=kind).astype(np.float64)
