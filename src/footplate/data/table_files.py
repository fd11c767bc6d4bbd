"""csv and parquet files as tables: which columns are used, what is a number, what is text, where each row stands."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from footplate.data.rows import Array, Indices
from footplate.data.tables import Column, Table
from footplate.errors import DataError, MissingExtraError
from footplate.profile.sections.data import Columns

__all__ = [
    "EMPTY_CELLS",
    "ColumnBuilder",
    "choose_columns",
    "find_delimiter",
    "open_csv",
    "open_parquet",
    "read_csv",
    "read_parquet",
]

EMPTY_CELLS = frozenset({"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL"})
"""What counts as an empty cell."""
_CHUNK_ROWS = 20_000


def read_csv(files: Sequence[Path], columns: Columns, kinds: Mapping[str, bool] | None = None) -> Table:
    """Read csv files with a header into one table.

    A column is text if any of its cells is no number. ``kinds`` (column → is text) fixes that for files that must be
    like others; a cell that is no number is then an error with its line.
    """
    header = _read_header(files[0])
    inputs, targets = choose_columns(header, columns, files[0].name)
    text = {name for name, is_text in (kinds or {}).items() if is_text}
    while True:  # a column found to be text is read again as text: at most once for each column, in practice once
        builders = {
            name: ColumnBuilder(name, is_text=name in text, wants_whole=name in targets) for name in inputs + targets
        }
        places = [_read_csv_file(file, header, builders) for file in files]
        found = {name: builder.not_a_number for name, builder in builders.items() if builder.not_a_number}
        wrong = {name: place for name, place in found.items() if name not in text}
        if not wrong:
            break
        if kinds is not None:
            name, place = next(iter(wrong.items()))
            raise DataError(
                f"{place} is no number; column `{name}` of the training data has numbers only",
                hint="correct the cell, or leave it empty and set data.columns.missing",
            )
        text |= set(wrong)
    return Table(
        inputs=tuple(builders[name].build() for name in inputs),
        targets=tuple(builders[name].build() for name in targets),
        names=tuple(file.name for file in files),
        places=tuple(places),
        place_format="{name} line {row}",
    )


def choose_columns(header: Sequence[str], columns: Columns, where: str) -> tuple[list[str], list[str]]:
    """Return the names of input and target columns; a name that is not in the header is an error with a suggestion."""
    for name in (*columns.inputs, *columns.targets):
        if name not in header:
            close = difflib.get_close_matches(name, header, 1)
            raise DataError(
                f"{where}: no column `{name}`" + (f"; did you mean `{close[0]}`?" if close else ""),
                hint=f"the columns are {', '.join(header)}",
            )
    targets = list(columns.targets) or [header[-1]]
    inputs = list(columns.inputs) or [name for name in header if name not in targets]
    both = [name for name in inputs if name in targets]
    if both:
        raise DataError(
            f"{where}: column `{both[0]}` is both input and target",
            hint="set data.columns.inputs and data.columns.targets to different columns",
        )
    if not inputs:
        raise DataError(f"{where}: no input columns, only `{', '.join(targets)}`", hint="see data.columns")
    return inputs, targets


def open_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the rows of a csv file that are not blank, each with the line it starts in; errors name the line."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.reader(file, delimiter=find_delimiter(first), strict=True)
            for row in rows:
                start, line = line + 1, rows.line_num
                if row:
                    yield start, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as csv after line {line}: {error}",
            hint="the file is damaged or no csv in UTF-8; write it again",
        ) from error


def find_delimiter(line: str) -> str:
    """Return which of comma, semicolon and tab separates the names in a header."""
    outside = "".join(line.split('"')[::2])
    return max(",;\t", key=outside.count)


def _read_header(path: Path) -> list[str]:
    first = next(open_csv(path), None)
    if first is None:
        raise DataError(f"{path}: the file is empty", hint="a csv needs a line of column names and rows below it")
    header = [name.strip() for name in first[1]]
    _check_header(header, path)
    if all(_is_number(name) for name in header):
        raise DataError(f"{path}: the first line holds numbers, not names", hint="put the column names in line 1")
    return header


def _check_header(header: Sequence[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path}: no columns", hint="the data are empty; check how they were written")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: two columns are called `{twice[0]}`", hint="give each column a name of its own")


def _read_csv_file(path: Path, header: list[str], builders: Mapping[str, ColumnBuilder]) -> Indices:
    """Feed the wanted columns of one file to the builders and return the line of each row."""
    own = _read_header(path)
    lacking = [name for name in builders if name not in own]
    if lacking or (set(own) != set(header)):
        name = (lacking or sorted(set(own) ^ set(header)))[0]
        raise DataError(
            f"{path.name}: its columns differ from those of the first file: `{name}` is in one of them only",
            hint="all files of one directory must have the same columns",
        )
    rows = open_csv(path)
    next(rows)
    lines: list[int] = []
    while chunk := list(islice(rows, _CHUNK_ROWS)):
        for line, row in chunk:
            if len(row) != len(own):
                raise DataError(
                    f"{path.name} line {line}: {len(row)} cells, the header has {len(own)}",
                    hint="quote cells that hold the separator",
                )
        starts = [line for line, _ in chunk]
        cells = list(zip(*(row for _, row in chunk), strict=True))
        for name, builder in builders.items():
            builder.add(cells[own.index(name)], path.name, starts)
        lines.extend(starts)
    return np.array(lines, np.int64)


@dataclass
class ColumnBuilder:
    """Collects one column piece by piece: numbers, until a cell is none."""

    name: str
    is_text: bool
    wants_whole: bool
    not_a_number: str = ""
    whole: bool = True
    pieces: list[Array] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, cells: Sequence[str], file: str, lines: Sequence[int]) -> None:
        """Take more cells; ``lines`` says where each stands."""
        stripped = [cell.strip() for cell in cells]
        if self.is_text:
            self._note_text(stripped, file, lines)
            codes = self.codes
            self.pieces.append(
                np.array([-1 if cell in EMPTY_CELLS else codes.setdefault(cell, len(codes)) for cell in stripped])
            )
            return
        if self.not_a_number:
            return
        try:
            self.pieces.append(np.array(["nan" if cell in EMPTY_CELLS else cell for cell in stripped], np.float64))
        except ValueError:
            self._note_text(stripped, file, lines)
            return
        if self.wants_whole and self.whole:
            self.whole = all(cell.lstrip("+-").isdigit() for cell in stripped if cell not in EMPTY_CELLS)

    def _note_text(self, cells: Sequence[str], file: str, lines: Sequence[int]) -> None:
        if not self.not_a_number:
            for cell, line in zip(cells, lines, strict=True):
                if cell not in EMPTY_CELLS and not _is_number(cell):
                    self.not_a_number = f"{file} line {line}: `{cell[:40]}`"
                    return
            self.not_a_number = f"{file} from line {lines[0]}: a cell"  # Python reads more spellings than numpy

    def build(self) -> Column:
        """Return the whole column."""
        joined = np.concatenate(self.pieces) if self.pieces else np.zeros(0)
        if not self.is_text:
            return Column(name=self.name, numbers=joined.astype(np.float64), whole=self.whole)
        values = tuple(self.codes)
        mostly_numbers = sum(map(_is_number, values)) * 2 > len(values)
        return Column(
            name=self.name,
            codes=joined.astype(np.int64),
            values=values,
            not_a_number=self.not_a_number if mostly_numbers else "",
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_parquet(files: Sequence[Path], columns: Columns, kinds: Mapping[str, bool] | None = None) -> Table:
    """Read parquet files into one table; ``kinds`` as for ``read_csv``."""
    tables = [_read_parquet_file(file) for file in files]
    header = list(tables[0].schema.names)
    _check_header(header, files[0])
    inputs, targets = choose_columns(header, columns, files[0].name)
    first = tables[0].schema
    for file, table in zip(files, tables, strict=True):
        for name in inputs + targets:
            if name not in table.schema.names or table.schema.field(name).type != first.field(name).type:
                raise DataError(
                    f"{file.name}: column `{name}` is missing or of another type than in {files[0].name} "
                    f"({first.field(name).type})",
                    hint="all files of one directory must have the same columns",
                )
    made = {
        name: _convert_parquet(name, [table.column(name) for table in tables], files[0].name, kinds)
        for name in inputs + targets
    }
    return Table(
        inputs=tuple(made[name] for name in inputs),
        targets=tuple(made[name] for name in targets),
        names=tuple(file.name for file in files),
        places=tuple(np.arange(table.num_rows) for table in tables),
        place_format="{name}[{row}]",
    )


def open_parquet(path: Path) -> Any:
    """Open a parquet file (pyarrow's ParquetFile, to be closed); its header is read and checked."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "train") from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _read_parquet_file(path: Path) -> Any:
    with open_parquet(path) as file:
        import pyarrow as pa

        try:
            return file.read()
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path}: cannot be read as parquet: {(str(error).splitlines() or [type(error).__name__])[0]}",
        hint="the file is damaged, incomplete or of another format; write it again",
    )


def _convert_parquet(name: str, pieces: list[Any], where: str, kinds: Mapping[str, bool] | None) -> Column:
    import pyarrow as pa
    from pyarrow import compute

    column = pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], type=pieces[0].type)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    is_text = is_text or pa.types.is_boolean(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not is_text and not is_number:
        raise DataError(
            f"{where}: column `{name}` is of type {kind}, neither number nor text",
            hint=f"leave it out: data.columns.inputs = all columns that are wanted, without `{name}`",
        )
    if kinds is not None and kinds[name] != is_text:
        raise DataError(
            f"{where}: column `{name}` is {kind}, in the training data it is {'text' if kinds[name] else 'a number'}",
            hint="write both with the same types",
        )
    if is_number:
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
        return Column(name=name, numbers=np.asarray(numbers, np.float64), whole=pa.types.is_integer(kind))
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = compute.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return Column(name=name, codes=codes.astype(np.int64), values=tuple(encoded.dictionary.to_pylist()))
