"""jsonl files: text to learn from or to classify, numbers and nested lists, or the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data.cache import find_cached, keep_arrays, make_key
from footplate.data.line_index import find_lines
from footplate.data.rows import Array, Indices, LazyArray, Rows, describe_shape
from footplate.data.source import Source
from footplate.data.table_files import ColumnBuilder, choose_columns
from footplate.data.tables import Table, get_kinds, handle_missing
from footplate.data.text import MAX_MAPS, NUM_BYTES, ArrayStream, cut_blocks
from footplate.errors import DataError
from footplate.profile.sections.data import Columns, Data

__all__ = ["LABEL_FIELDS", "JsonLines", "open_json_lines"]

WHOLE_BYTES = 500_000_000
"""Files up to this size in total are parsed once; of larger ones each line is parsed when it is used."""
_CHUNK_ROWS = 20_000
_TEXT = "text"
LABEL_FIELDS = ("label", "labels", "y", "target")
"""Fields that are taken for the target where `data.columns` names none."""


@dataclass(frozen=True, kw_only=True)
class _Fields:
    """Which fields of an object are used; ``is_text``: the input is one text, which becomes the bytes it is made of."""

    inputs: str
    targets: str
    is_text: bool


class JsonLines:
    """The objects of jsonl files, by number; lines are found once and parsed when they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.num_bytes = sum(file.stat().st_size for file in files)
        found = [find_lines(file) for file in files]
        self.lines = tuple(lines.numbers for lines in found)
        """The line in its file of each object."""
        self._spans = tuple(lines.spans for lines in found)
        self._starts = np.cumsum([0, *(len(numbers) for numbers in self.lines)], dtype=np.int64)
        self._maps: dict[int, Array] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def read(self, index: int) -> dict[str, Any]:
        """Return one object; DataError names its file and line."""
        owner = int(np.searchsorted(self._starts, index, side="right")) - 1
        row = index - int(self._starts[owner])
        if owner not in self._maps:
            if len(self._maps) >= MAX_MAPS:  # each keeps a file open
                self._maps.clear()
            self._maps[owner] = np.asarray(np.memmap(self.files[owner], np.uint8, mode="r"))
        start, stop = self._spans[owner][row]
        try:
            value = json.loads(self._maps[owner][start:stop].tobytes())
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.locate(index)}: cannot be read as JSON: {error}", hint='each line is one object: {"x": 1}'
            ) from error
        if not isinstance(value, dict):
            raise DataError(f"{self.locate(index)}: is no object", hint='each line is one object: {"x": 1}')
        return value

    def get(self, index: int, name: str) -> Any:
        """Return one field of an object."""
        value = self.read(index)
        if name not in value:
            raise DataError(
                f"{self.locate(index)}: no field `{name}`; it has {', '.join(f'`{key}`' for key in value) or 'none'}",
                hint="all lines must have the same fields; name those to use with data.columns",
            )
        return value[name]

    def locate(self, index: int) -> str:
        """Return the file and line of an object."""
        owner = int(np.searchsorted(self._starts, index, side="right")) - 1
        return f"{self.files[owner].name} line {self.lines[owner][index - int(self._starts[owner])]}"

    def make_rows(self, values: Array | LazyArray) -> Rows:
        """Return values of all objects as rows that know their lines."""
        parts: tuple[Array | LazyArray, ...] = (values,)
        places = (np.concatenate(self.lines),)
        names = (self.files[0].name,)
        if len(self.files) == 1:
            return Rows(parts=parts, names=names, places=places, place_format="{name} line {row}")
        if isinstance(values, LazyArray):
            return Rows(parts=parts, names=names, row_names=_Places(self))
        return Rows(
            parts=tuple(np.split(values, self._starts[1:-1])),
            names=tuple(file.name for file in self.files),
            places=self.lines,
            place_format="{name} line {row}",
        )


class _Places(Sequence[str]):
    """The place of each object, written when it is asked for."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: Any) -> Any:
        return self._lines.locate(int(index))


class _Numbers(LazyArray):
    """One field of each object: a number, or nested lists of one shape."""

    def __init__(self, lines: JsonLines, field: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._lines = lines
        self._field = field
        self.shape = (len(lines), *shape)
        self.dtype = dtype

    def read(self, indices: Indices) -> Array:
        result = np.empty((len(indices), *self.shape[1:]), self.dtype)
        for row, index in enumerate(indices.tolist()):
            numbers = _to_array(self._lines, index, self._field, self.shape[1:])
            if numbers.dtype.kind == "f" and self.dtype.kind != "f":
                raise DataError(
                    f"{self._lines.locate(index)}: `{self._field}` is not whole, in the first line it is",
                    hint="write all with a decimal point: 1.0",
                )
            result[row] = numbers
        return result


class _Texts(LazyArray):
    """One text of each object as bytes, cut or filled with 0 to one length."""

    def __init__(self, lines: JsonLines, field: str, length: int) -> None:
        self._lines = lines
        self._field = field
        self.shape = (len(lines), length)
        self.dtype = np.dtype(np.uint8)

    def read(self, indices: Indices) -> Array:
        result = np.zeros((len(indices), self.shape[1]), np.uint8)
        for row, index in enumerate(indices.tolist()):
            text = _encode(self._lines, index, self._field)[: self.shape[1]]
            result[row, : len(text)] = np.frombuffer(text, np.uint8)
        return result


class _Documents:
    """The texts of all objects one after the other, each ended by the byte 0."""

    def __init__(self, lines: JsonLines, field: str) -> None:
        self._lines = lines
        self._field = field
        key = make_key("documents", *lines.files, field=field)
        if kept := find_cached(key, ("starts",)):
            self._starts = kept["starts"]
        else:
            sizes = np.fromiter((len(_encode(lines, index, field)) + 1 for index in range(len(lines))), np.int64)
            self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
            keep_arrays(key, {"starts": self._starts})
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, start: int, stop: int) -> Array:
        """Return the bytes of this stretch."""
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        pieces, at = [], int(self._starts[first])
        origin = at
        while at < stop:
            pieces.append(_encode(self._lines, first, self._field) + b"\0")
            at += len(pieces[-1])
            first += 1
        return np.frombuffer(b"".join(pieces), np.uint8)[start - origin : stop - origin]

    def locate(self, position: int) -> str:
        """Return the line in which a byte stands."""
        return self._lines.locate(int(np.searchsorted(self._starts, position, side="right")) - 1)


def open_json_lines(name: str, files: Sequence[Path], settings: Data, like: Source | None) -> Source:
    """Open jsonl files: what they are is told by the fields of the first object, or by ``data.columns``."""
    lines = JsonLines(files)
    if not len(lines):
        raise DataError(f"{files[0]}: no lines", hint="the data are empty; check how they were written")
    fields = _choose_fields(lines.read(0), settings)
    common: dict[str, Any] = {"name": name, "files": tuple(files), "num_bytes": lines.num_bytes}
    if fields is None:
        table = _read_table(lines, settings.columns, like)
        return Source(inputs=table, targets=table.make_targets(), **common)
    is_large = lines.num_bytes > WHOLE_BYTES
    if fields.is_text and not fields.targets:
        return _open_documents(name, lines, fields.inputs, settings)
    targets = _open_targets(lines, fields.targets, is_large=is_large)
    if not fields.is_text:
        return Source(inputs=_open_numbers(lines, fields.inputs, is_large=is_large), targets=targets, **common)
    vocab_size = settings.vocab_size or NUM_BYTES
    if vocab_size < NUM_BYTES:
        raise DataError(
            f"{name}: data.vocab_size is {vocab_size}, text has {NUM_BYTES} different bytes",
            hint=f"set it to {NUM_BYTES} or more, or leave it out",
        )
    texts = _Texts(lines, fields.inputs, settings.sequence_length)
    rows = lines.make_rows(texts if is_large else texts[:])
    notes = () if is_large else _describe_lengths(lines, fields.inputs, settings.sequence_length)
    return Source(inputs=rows, targets=targets, vocab_size=vocab_size, notes=notes, **common)


def _choose_fields(first: Mapping[str, Any], settings: Data) -> _Fields | None:
    """Return the two fields of text or arrays; None where each object is a row of a table."""
    columns = settings.columns
    inputs = columns.inputs[0] if len(columns.inputs) == 1 else ""
    if not columns.inputs:
        inputs = next((name for name in (_TEXT, "x") if name in first), "")
    targets = columns.targets[0] if len(columns.targets) == 1 else ""
    if not columns.targets:
        targets = next((name for name in LABEL_FIELDS if name in first and name != inputs), "")
    is_named = inputs == _TEXT or bool(columns.inputs)
    is_text = is_named and isinstance(first.get(inputs), str) and len(columns.targets) < 2
    is_array = bool(inputs) and bool(targets) and (isinstance(first.get(inputs), list) or inputs == "x")
    if not is_text and not is_array:
        return None
    if is_text and settings.task == "language_model":
        targets = ""
    return _Fields(inputs=inputs, targets=targets, is_text=is_text)


def _open_documents(name: str, lines: JsonLines, field: str, settings: Data) -> Source:
    if lines.num_bytes > WHOLE_BYTES:
        return cut_blocks(name, _Documents(lines, field), settings, lines.files, NUM_BYTES)
    whole = b"".join(_encode(lines, index, field) + b"\0" for index in range(len(lines)))
    stream = ArrayStream([np.frombuffer(whole, np.uint8)], [lines.files[0].name])
    return cut_blocks(name, stream, settings, lines.files, NUM_BYTES)


def _open_targets(lines: JsonLines, field: str, *, is_large: bool) -> Rows:
    first = lines.get(0, field)
    if isinstance(first, str):
        texts = [lines.get(index, field) for index in range(len(lines))]
        wrong = next((index for index, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise DataError(f"{lines.locate(wrong)}: `{field}` is no text, in line 1 it is", hint="write all alike")
        return lines.make_rows(np.array(texts))
    return _open_numbers(lines, field, is_large=is_large and isinstance(first, list))


def _open_numbers(lines: JsonLines, field: str, *, is_large: bool) -> Rows:
    """Return a field as numbers: whole where all that were looked at are whole."""
    first = _to_array(lines, 0, field, None)
    if is_large:
        return lines.make_rows(_Numbers(lines, field, first.shape, first.dtype))
    made = [_to_array(lines, index, field, first.shape) for index in range(len(lines))]
    return lines.make_rows(np.stack(made))


def _to_array(lines: JsonLines, index: int, field: str, shape: tuple[int, ...] | None) -> Array:
    value = lines.get(index, field)
    try:
        array = np.asarray(value)
    except ValueError as error:  # lists of different lengths
        raise DataError(
            f"{lines.locate(index)}: `{field}` holds lists of different lengths", hint="fill them up to one length"
        ) from error
    if array.dtype.kind not in "biufU" or (array.dtype.kind == "U" and not isinstance(value, list)):
        told = "empty" if value is None else f"{json.dumps(value)[:40]}"
        raise DataError(f"{lines.locate(index)}: `{field}` is {told}, no number", hint="leave such lines out")
    if shape is not None and array.shape != shape:
        raise DataError(
            f"{lines.locate(index)}: `{field}` has shape {describe_shape(array.shape)}, in the first line "
            f"{describe_shape(shape)}",
            hint="all lines must have the same shape; fill shorter ones up",
        )
    return array


def _encode(lines: JsonLines, index: int, field: str) -> bytes:
    text = lines.get(index, field)
    if not isinstance(text, str):
        raise DataError(f"{lines.locate(index)}: `{field}` is no text", hint="leave such lines out")
    return text.encode("utf-8", "surrogatepass")


def _describe_lengths(lines: JsonLines, field: str, length: int) -> tuple[str, ...]:
    cut = sum(len(_encode(lines, index, field)) > length for index in range(len(lines)))
    return (f"{cut:,} of {len(lines):,} texts are longer than {length} bytes and cut there",) if cut else ()


def _read_table(lines: JsonLines, columns: Columns, like: Source | None) -> Table:
    """Return the objects as rows of a table, as a csv of the same cells would be."""
    header = list(lines.read(0))
    kinds = None
    if like is not None and like.table is not None:
        kinds = get_kinds(like.table)
        columns = like.table.get_columns(columns.missing)
    inputs, targets = choose_columns(header, columns, lines.files[0].name)
    text = {name for name, is_text in (kinds or {}).items() if is_text}
    while True:
        builders = {
            name: ColumnBuilder(name, is_text=name in text, wants_whole=name in targets) for name in inputs + targets
        }
        _fill(lines, builders)
        found = {name: builder.not_a_number for name, builder in builders.items() if builder.not_a_number}
        wrong = {name: place for name, place in found.items() if name not in text}
        if not wrong:
            break
        if kinds is not None:
            name, place = next(iter(wrong.items()))
            raise DataError(f"{place} is no number; `{name}` of the training data has numbers only", hint="correct it")
        text |= set(wrong)
    table = Table(
        inputs=tuple(builders[name].build() for name in inputs),
        targets=tuple(builders[name].build() for name in targets),
        names=tuple(file.name for file in lines.files),
        places=lines.lines,
        place_format="{name} line {row}",
    )
    return handle_missing(table, columns.missing)


def _fill(lines: JsonLines, builders: Mapping[str, ColumnBuilder]) -> None:
    first = 0
    for file, numbers in zip(lines.files, lines.lines, strict=True):
        for start in range(0, len(numbers), _CHUNK_ROWS):
            places = numbers[start : start + _CHUNK_ROWS].tolist()
            rows = range(first + start, first + start + len(places))
            for name, cells in _read_cells(lines, rows, list(builders)).items():
                builders[name].add(cells, file.name, places)
        first += len(numbers)


def _read_cells(lines: JsonLines, indices: range, names: Sequence[str]) -> dict[str, list[str]]:
    cells: dict[str, list[str]] = {name: [] for name in names}
    for index in indices:
        row = lines.read(index)
        for name in names:
            value = row.get(name)
            if isinstance(value, (list, dict)):
                raise DataError(
                    f"{lines.locate(index)}: `{name}` holds lists",
                    hint="lists are read from one field of inputs: data.columns.inputs and data.columns.targets",
                )
            cells[name].append("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
    return cells
