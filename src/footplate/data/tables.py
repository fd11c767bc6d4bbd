"""Tables: columns of numbers and text, empty cells, and their encoding as numbers, fixed from the training part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from footplate.data.rows import LARGEST, Array, Indices, Rows
from footplate.errors import DataError
from footplate.profile.sections.data import Columns

__all__ = [
    "MAX_CATEGORIES",
    "Column",
    "ColumnEncoding",
    "Table",
    "count_unseen",
    "encode",
    "fit_encoding",
    "get_kinds",
    "handle_missing",
]

MAX_CATEGORIES = 50
"""A text column with more different values than this is no set of categories."""
_EXACT = 2**53
"""Whole numbers up to here are told apart in float64."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """One column: ``numbers`` (NaN = empty), or ``codes`` into ``values`` for text (-1 = empty)."""

    name: str
    numbers: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    codes: NDArray[np.int64] | None = None
    values: tuple[str, ...] = ()
    whole: bool = False
    """Whether all numbers were written as whole numbers."""
    not_a_number: str = ""
    """Text: the first value that is no number, with its place, where others are numbers."""

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Which cells are empty."""
        if self.codes is not None:
            return self.codes < 0
        return np.isnan(self.numbers)

    def keep(self, rows: Array) -> Column:
        """Return the column with these rows only."""
        if self.codes is not None:
            return replace(self, codes=self.codes[rows])
        return replace(self, numbers=self.numbers[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The columns that are used, of all files of one source."""

    inputs: tuple[Column, ...]
    targets: tuple[Column, ...]
    names: tuple[str, ...]
    """The files."""
    places: tuple[Indices, ...]
    """Line (csv) or row (parquet) of each sample, file by file."""
    place_format: str
    """How a place is written."""
    notes: tuple[str, ...] = ()
    """What was done to it, for people."""

    def __len__(self) -> int:
        return sum(len(places) for places in self.places)

    def locate(self, index: int) -> str:
        """Return the place of one sample."""
        return self.make_rows(np.empty(len(self))).locate(index)

    def get_columns(self, missing: Literal["error", "mean", "drop"]) -> Columns:
        """Return the columns by their names, for other files that must have the same."""
        return Columns(
            inputs=tuple(column.name for column in self.inputs),
            targets=tuple(column.name for column in self.targets),
            missing=missing,
        )

    def make_rows(self, values: Array) -> Rows:
        """Return values of all samples as rows that know their places."""
        ends = np.cumsum([len(places) for places in self.places])[:-1]
        parts = tuple(np.split(values, ends))
        return Rows(parts=parts, names=self.names, places=self.places, place_format=self.place_format)

    def make_targets(self) -> Rows:
        """Return the targets: text or whole numbers of one column as they are, several columns as vectors."""
        if len(self.targets) > 1:
            text = [column.name for column in self.targets if column.codes is not None]
            if text:
                raise DataError(
                    f"target column `{text[0]}` is text; several targets must all be numbers",
                    hint="train on one column of classes, or on columns of numbers",
                )
            return self.make_rows(np.stack([column.numbers for column in self.targets], 1))
        column = self.targets[0]
        if column.codes is not None:
            return self.make_rows(np.array(column.values or ("",))[column.codes])
        numbers = column.numbers
        is_exact = column.whole and len(numbers) > 0 and np.abs(numbers).max() < _EXACT
        return self.make_rows(numbers.astype(np.int64) if is_exact else numbers)


@dataclass(frozen=True, kw_only=True)
class ColumnEncoding:
    """How one input column becomes numbers: itself, or one number 0 or 1 for each category."""

    name: str
    categories: tuple[str, ...] | None = None
    """Categories of a text column, sorted; None for numbers."""
    fill: float | None = None
    """What an empty cell of a column of numbers becomes."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the record of a model."""
        categories = None if self.categories is None else list(self.categories)
        return {"name": self.name, "categories": categories, "fill": self.fill}


def handle_missing(table: Table, missing: str) -> Table:
    """Apply ``data.columns.missing`` to empty cells: an error, or rows left out; ``mean`` fills them when encoding."""
    columns = (*table.inputs, *table.targets)
    for column in columns:
        _check_infinite(table, column)
    checked = table.targets if missing == "mean" else columns
    if missing != "drop":
        for column in checked:
            _raise_if_empty(table, column, missing)
        return table
    if not len(table):
        return table
    bad = np.logical_or.reduce([column.empty for column in columns])
    if not bad.any():
        return table
    if bad.all():
        raise DataError(
            f"{table.names[0]}: every row has an empty cell; none is left",
            hint="leave the emptiest columns out with data.columns.inputs",
        )
    keep = ~bad
    ends = np.cumsum([len(places) for places in table.places])[:-1]
    count = int(bad.sum())
    return replace(
        table,
        inputs=tuple(column.keep(keep) for column in table.inputs),
        targets=tuple(column.keep(keep) for column in table.targets),
        places=tuple(places[kept] for places, kept in zip(table.places, np.split(keep, ends), strict=True)),
        notes=(*table.notes, f"{count:,} of {len(bad):,} rows left out: they have empty cells"),
    )


def fit_encoding(table: Table, train: Indices, missing: str) -> tuple[ColumnEncoding, ...]:
    """Fix how each input column becomes numbers: categories and means of the training part only."""
    encodings = []
    for column in table.inputs:
        if column.codes is not None:
            _check_categories(table, column)
            used = np.unique(column.codes[train])
            categories = tuple(sorted(column.values[code] for code in used if code >= 0))
            encodings.append(ColumnEncoding(name=column.name, categories=categories))
            continue
        numbers = column.numbers[train]
        known = numbers[~np.isnan(numbers)]
        if missing == "mean" and not len(known):
            raise DataError(
                f"column `{column.name}` is empty in the training data",
                hint="leave it out with data.columns.inputs",
            )
        fill = float(known.mean()) if missing == "mean" else None
        encodings.append(ColumnEncoding(name=column.name, fill=fill))
    return tuple(encodings)


def encode(table: Table, encodings: Sequence[ColumnEncoding]) -> Rows:
    """Return the input columns as rows of float32, categories as one number 0 or 1 each; unseen ones are all 0."""
    width = sum(1 if encoding.categories is None else len(encoding.categories) for encoding in encodings)
    matrix = np.zeros((len(table), width), np.float32)
    at = 0
    for column, encoding in zip(table.inputs, encodings, strict=True):
        if encoding.categories is None:
            numbers = column.numbers
            matrix[:, at] = numbers if encoding.fill is None else np.where(np.isnan(numbers), encoding.fill, numbers)
            at += 1
            continue
        numbered = {category: number for number, category in enumerate(encoding.categories)}
        to_number = np.array([*(numbered.get(value, -1) for value in column.values), -1])  # code -1 = empty: the last
        numbers_of = to_number[np.asarray(column.codes)]
        rows = np.flatnonzero(numbers_of >= 0)
        matrix[rows, at + numbers_of[rows]] = 1.0
        at += len(encoding.categories)
    return table.make_rows(matrix)


def count_unseen(column: Column, encoding: ColumnEncoding, indices: Indices) -> int:
    """Return how many cells hold a category that the training part does not have."""
    if encoding.categories is None or column.codes is None:
        return 0
    unseen = np.array([*(value not in encoding.categories for value in column.values), False])
    return int(unseen[column.codes[indices]].sum())


def get_kinds(table: Table) -> Mapping[str, bool]:
    """Return column → whether it is text, for reading other files the same way."""
    return {column.name: column.codes is not None for column in (*table.inputs, *table.targets)}


def _check_infinite(table: Table, column: Column) -> None:
    if column.codes is not None:
        return
    wrong = np.flatnonzero(np.abs(column.numbers) > LARGEST)
    if len(wrong):
        raise DataError(
            f"{table.locate(int(wrong[0]))}, column `{column.name}`: {column.numbers[wrong[0]]}; "
            f"{len(wrong):,} numbers of this column are infinite or too large for float32 ({LARGEST:.2g})",
            hint="leave these rows out, correct them, or use a smaller unit",
        )


def _raise_if_empty(table: Table, column: Column, missing: str) -> None:
    wrong = np.flatnonzero(column.empty)
    if not len(wrong):
        return
    fix = (
        "drop (leave the rows out)"
        if missing == "mean"
        else "mean (fill in the column's mean) or drop (leave the rows out)"
    )
    kind = "target column" if any(column is target for target in table.targets) else "column"
    raise DataError(
        f"{table.locate(int(wrong[0]))}, {kind} `{column.name}`: the cell is empty; "
        f"{len(wrong):,} of {len(table):,} cells of this column are",
        hint=f"set data.columns.missing to {fix}",
    )


def _check_categories(table: Table, column: Column) -> None:
    if column.values and all(map(_DECIMAL_COMMA.fullmatch, column.values)):
        raise DataError(
            f"{table.names[0]}: column `{column.name}` has numbers with a comma, such as `{column.values[0]}`",
            hint="write them with a decimal point, or leave the column out with data.columns.inputs",
        )
    if len(column.values) <= MAX_CATEGORIES:
        return
    if column.not_a_number:
        raise DataError(
            f"{column.not_a_number} is no number; the other cells of column `{column.name}` mostly are",
            hint="correct it, or leave the cell empty and set data.columns.missing",
        )
    others = [other.name for other in table.inputs if len(other.values) <= MAX_CATEGORIES]
    raise DataError(
        f"{table.names[0]}: column `{column.name}` is text with {len(column.values):,} different values "
        f"(at most {MAX_CATEGORIES} are taken as categories)",
        hint=f"leave it out: data.columns.inputs: [{', '.join(others)}]",
    )
