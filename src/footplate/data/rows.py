"""Rows: samples stored in one or several arrays, in memory, mapped or made when read, as if they were one array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from footplate.errors import DataError

__all__ = [
    "LARGEST",
    "LAZY_BYTES",
    "Array",
    "Indices",
    "LazyArray",
    "Part",
    "Rows",
    "as_matrix_rows",
    "describe_shape",
    "join_rows",
]

Array = NDArray[Any]
Indices = NDArray[np.int64]

LARGEST = float(np.finfo(np.float32).max)
"""Numbers beyond it are infinite to the network, which computes in float32."""
LAZY_BYTES = 500_000_000
"""Rows that are made when they are read (images, lines) are made once and kept up to this size; more of them are made
each time they are used."""
CHUNK_BYTES = 16 << 20
"""Rows are looked through in pieces of this size, so that memory stays constant."""


class LazyArray(ABC):
    """Rows that are made when they are read: images decoded, lines parsed, blocks of a stream."""

    shape: tuple[int, ...]
    """The number of rows, then the shape of one."""
    dtype: np.dtype[Any]
    """Type of the numbers."""

    @abstractmethod
    def read(self, indices: Indices) -> Array:
        """Return these rows, in this order; the same indices always give the same numbers."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Array:
        return self.read(np.arange(*rows.indices(len(self))))

    @property
    def nbytes(self) -> int:
        """Size of all rows once they are made."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


Part = Array | LazyArray


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One or more arrays of equal shape and type, one after the other; ``names`` says where each comes from."""

    parts: tuple[Part, ...]
    """The arrays; a mapped or lazy one is read when it is used."""
    names: tuple[str, ...]
    """Where each array comes from, for messages: ``train.npz: x``."""
    mapped: bool = False
    """Whether any of them lies in a file instead of in memory."""
    places: tuple[Indices, ...] = ()
    """Where each row stands in its file; empty = at its index."""
    place_format: str = "{name}[{row}]"
    """How a place is written in messages."""
    row_names: Sequence[str] = ()
    """What each row is called, over all parts, where rows are files of their own; empty = by their places."""

    @cached_property
    def starts(self) -> Indices:
        """Index of the first row of each part, and the number of rows at the end."""
        return np.cumsum([0, *(len(part) for part in self.parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(int(size) for size in self.parts[0].shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers as stored."""
        return self.parts[0].dtype

    @property
    def num_bytes(self) -> int:
        """Size of all rows."""
        return sum(part.nbytes for part in self.parts)

    @cached_property
    def is_lazy(self) -> bool:
        """Whether rows are made when they are read, which takes longer than to read them."""
        return any(isinstance(part, LazyArray) for part in self.parts)

    def make_all(self) -> Rows:
        """Return the same rows in memory."""
        if not self.is_lazy:
            return self
        return replace(self, parts=tuple(part[:] if isinstance(part, LazyArray) else part for part in self.parts))

    def take(self, indices: Indices) -> Array:
        """Return a copy of these rows, in this order."""
        if len(self.parts) == 1:
            return _take(self.parts[0], indices)
        order = indices.argsort(kind="stable")
        ascending = indices[order]
        ends = ascending.searchsorted(self.starts)
        local = ascending - self.starts[:-1].repeat(np.diff(ends))
        pieces = [
            _take(self.parts[owner], local[begin:end])
            for owner, (begin, end) in enumerate(pairwise(ends.tolist()))
            if begin < end
        ]
        result = np.empty((len(indices), *self.shape), self.dtype)
        result[order] = np.concatenate(pieces) if pieces else result
        return result

    def chunks(self, every: int = 1) -> Iterator[tuple[int, Array]]:
        """Give all rows in order, in pieces of constant size, or each ``every``-th; with the index of the first row."""
        step = self.rows_per_chunk
        for start, part in zip(self.starts, self.parts, strict=False):
            for offset in range(0, len(part), step * every):
                yield int(start) + offset, part[offset : offset + step]

    @property
    def rows_per_chunk(self) -> int:
        """How many rows make a piece of constant size."""
        return max(1, CHUNK_BYTES // max(1, int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize))

    def locate(self, index: int, *inner: int) -> str:
        """Return where a row, or a number in it, comes from, for messages: ``train.npz: x[12, 3]``."""
        if self.row_names:
            return self.row_names[index] + (f"[{', '.join(map(str, inner))}]" if inner else "")
        owner = int(np.searchsorted(self.starts, index, side="right")) - 1
        row = index - int(self.starts[owner])
        if self.places:
            row = int(self.places[owner][row])
        return self.place_format.format(name=self.names[owner], row=", ".join(str(int(i)) for i in (row, *inner)))


def join_rows(pieces: Sequence[Rows]) -> Rows:
    """Put rows one after the other; all must have the shape and type of the first (DataError names the other)."""
    first = pieces[0]
    for piece in pieces[1:]:
        if piece.shape != first.shape or piece.dtype != first.dtype:
            raise DataError(
                f"{piece.names[0]} has rows of {describe_shape(piece.shape)} {piece.dtype}, "
                f"{first.names[0]} has {describe_shape(first.shape)} {first.dtype}",
                hint="all files of one directory must have the same shape and type",
            )
    return Rows(
        parts=tuple(part for piece in pieces for part in piece.parts),
        names=tuple(name for piece in pieces for name in piece.names),
        mapped=any(piece.mapped for piece in pieces),
        places=tuple(places for piece in pieces for places in piece.places),
        place_format=first.place_format,
    )


def as_matrix_rows(rows: Rows) -> Rows:
    """Return rows of single numbers as rows of one feature: shape () becomes [1]."""
    if rows.shape:
        return rows
    return replace(rows, parts=tuple(np.asarray(part)[:, None] for part in rows.make_all().parts))


def _take(part: Part, indices: Indices) -> Array:
    """Gather rows of one array; take() would first copy the whole of an array that is unaligned or not in C order."""
    if isinstance(part, LazyArray):
        return part.read(indices)
    if part.flags.c_contiguous and part.flags.aligned:
        return part.take(indices, axis=0)
    return np.asarray(part[indices])


def describe_shape(shape: Sequence[int]) -> str:
    """Write a shape as the profile does: ``[8, 8]``; a single number is ``[]``."""
    return f"[{', '.join(str(size) for size in shape)}]"
