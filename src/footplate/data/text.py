"""Text and tokens as one long stream, cut into blocks from which a language model learns the next token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from footplate.data.array_files import read_npy_header
from footplate.data.rows import Array, Indices, LazyArray, Rows, describe_shape
from footplate.data.source import Source
from footplate.errors import DataError
from footplate.profile.sections.data import Data

__all__ = ["MAX_MAPS", "NUM_BYTES", "ArrayStream", "TokenStream", "cut_blocks", "open_text", "open_tokens"]

NUM_BYTES = 256
"""Tokens of text that is read as its bytes (UTF-8)."""
MAX_MAPS = 200
"""Of more files than this none is kept open."""
_LOOK_BYTES = 8_000_000_000
"""The largest token is looked for in streams up to this size."""
_CHUNK = 1 << 24


class TokenStream(Protocol):
    """Tokens one after the other, in files that are read where they are needed."""

    dtype: np.dtype[Any]

    def __len__(self) -> int:
        """Return the number of tokens."""

    def read(self, start: int, stop: int) -> Array:
        """Return the tokens of this stretch."""

    def locate(self, position: int) -> str:
        """Return the file in which a token stands, and where."""


class _FileTokens:
    """Tokens of one file of very many, which is opened for each stretch: a map would keep it open."""

    def __init__(self, file: Path, offset: int, length: int, dtype: np.dtype[Any]) -> None:
        self._file, self._offset, self._length = file, offset, length
        self.dtype = dtype

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, stretch: slice) -> Array:
        start, stop, _ = stretch.indices(self._length)
        tokens = np.fromfile(self._file, self.dtype, stop - start, offset=self._offset + start * self.dtype.itemsize)
        if len(tokens) != stop - start:
            raise DataError(f"{self._file}: became shorter while it was read", hint="do not change data in use")
        return tokens


class ArrayStream:
    """Tokens in one or several arrays [N], or files."""

    def __init__(self, parts: Sequence[Array | _FileTokens], names: Sequence[str]) -> None:
        self._parts = tuple(parts)
        self._names = tuple(names)
        self._starts = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> Array:
        """Return the tokens of this stretch."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces = []
        while start < stop:
            begin, end = int(self._starts[first]), min(stop, int(self._starts[first + 1]))
            if end > start:
                pieces.append(self._parts[first][start - begin : end - begin])
                start = end
            first += 1
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def locate(self, position: int) -> str:
        """Return the file in which a token stands, and where."""
        owner = int(np.searchsorted(self._starts, position, side="right")) - 1
        return f"{self._names[owner]}[{position - int(self._starts[owner])}]"


class _Blocks(LazyArray):
    """Block i of a stream: the ``length`` tokens from ``i * length + shift`` on."""

    def __init__(self, stream: TokenStream, length: int, shift: int, vocab_size: int) -> None:
        self._stream = stream
        self._length = length
        self._shift = shift
        self._vocab_size = vocab_size
        self.shape = ((len(stream) - 1) // length, length)
        self.dtype = stream.dtype

    def read(self, indices: Indices) -> Array:
        blocks = np.empty((len(indices), self._length), self.dtype)
        for row, index in enumerate(indices.tolist()):
            start = index * self._length + self._shift
            blocks[row] = self._stream.read(start, start + self._length)
        if blocks.size and int(blocks.max()) >= self._vocab_size:
            row, column = divmod(int(blocks.argmax()), self._length)
            raise _make_too_large(
                self._stream, int(indices[row]) * self._length + self._shift + column, self._vocab_size
            )
        return blocks


def open_text(name: str, files: Sequence[Path], settings: Data) -> Source:
    """Open text files as one stream of bytes; they are mapped, not read."""
    parts = [_open(file, 0, file.stat().st_size, np.dtype(np.uint8), map_it=len(files) <= MAX_MAPS) for file in files]
    return cut_blocks(name, ArrayStream(parts, [file.name for file in files]), settings, files, NUM_BYTES)


def open_tokens(name: str, files: Sequence[Path], settings: Data) -> Source:
    """Open files of tokens: npy arrays [N] of whole numbers, or bin files of uint16; they are mapped, not read."""
    parts = [_open_token_file(file, map_it=len(files) <= MAX_MAPS) for file in files]
    return cut_blocks(name, ArrayStream(parts, [file.name for file in files]), settings, files, settings.vocab_size)


def _open_token_file(file: Path, *, map_it: bool) -> Array | _FileTokens:
    if file.suffix.lower() == ".bin":
        size = file.stat().st_size
        if size % 2:
            raise DataError(f"{file}: {size:,} bytes are no uint16 tokens", hint="write it as npy")
        return _open(file, 0, size // 2, np.dtype(np.uint16), map_it=map_it)
    shape, offset, dtype = read_npy_header(file)
    if len(shape) != 1 or dtype.kind not in "iu":
        raise DataError(
            f"{file.name} holds {dtype} of shape {describe_shape(shape)}, not tokens",
            hint="tokens are one array [N] of uint16 or uint32",
        )
    return _open(file, offset, shape[0], dtype, map_it=map_it)


def _open(file: Path, offset: int, length: int, dtype: np.dtype[Any], *, map_it: bool) -> Array | _FileTokens:
    if not length:
        return np.zeros(0, dtype)
    if file.stat().st_size < offset + length * dtype.itemsize:
        raise DataError(f"{file}: is shorter than it says", hint="the file is incomplete; write it again")
    if not map_it:
        return _FileTokens(file, offset, length, dtype)
    try:
        return np.asarray(np.memmap(file, dtype, mode="r", offset=offset, shape=(length,)))
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def cut_blocks(name: str, stream: TokenStream, settings: Data, files: Sequence[Path], vocab_size: int | None) -> Source:
    """Return the blocks of a stream: inputs, and targets that are the inputs shifted by one token."""
    length = settings.sequence_length
    if len(stream) < length + 1:
        raise DataError(
            f"{name}: {len(stream):,} tokens; one block of data.sequence_length {length} needs {length + 1}",
            hint="set data.sequence_length to less, or give more text",
        )
    if vocab_size is None:
        vocab_size = _find_vocab_size(name, stream)
    if settings.vocab_size is not None and settings.vocab_size < vocab_size:
        raise DataError(
            f"{name}: data.vocab_size is {settings.vocab_size}, the data have {vocab_size} different tokens",
            hint=f"set it to {vocab_size} or more",
        )
    vocab_size = settings.vocab_size or vocab_size
    left = (len(stream) - 1) % length
    names = (files[0].name if len(files) == 1 else name,)
    return Source(
        name=name,
        inputs=Rows(parts=(_Blocks(stream, length, 0, vocab_size),), names=names, place_format="{name} block {row}"),
        targets=Rows(parts=(_Blocks(stream, length, 1, vocab_size),), names=names, place_format="{name} block {row}"),
        files=tuple(files),
        num_bytes=sum(file.stat().st_size for file in files),
        task="language_model",
        vocab_size=vocab_size,
        notes=(f"{len(stream):,} tokens" + (f", the last {left:,} fill no block" if left else ""),),
    )


def _find_vocab_size(name: str, stream: TokenStream) -> int:
    if len(stream) * stream.dtype.itemsize > _LOOK_BYTES:
        raise DataError(
            f"{name}: {len(stream):,} tokens are too many to look for the largest before the start",
            hint="set data.vocab_size to the size of your tokenizer's vocabulary",
        )
    largest = 0
    for start, stop in pairwise([*range(0, len(stream), _CHUNK), len(stream)]):
        chunk = stream.read(start, stop)
        if chunk.dtype.kind == "i" and chunk.min() < 0:
            place = stream.locate(start + int(chunk.argmin()))
            raise DataError(
                f"{place} is {chunk.min()}: tokens are numbers from 0", hint="write them as uint16 or uint32"
            )
        largest = max(largest, int(chunk.max()))
    return max(2, largest + 1)


def _make_too_large(stream: TokenStream, position: int, vocab_size: int) -> DataError:
    token = int(stream.read(position, position + 1)[0])
    return DataError(
        f"{stream.locate(position)} is token {token}; data.vocab_size is {vocab_size}",
        hint="set data.vocab_size to the size of the tokenizer that wrote the tokens",
    )
