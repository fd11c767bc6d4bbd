"""What is in a file: columns, target, task and inputs, guessed from a bounded look at it, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from footplate.data.array_files import list_arrays, read_npy, read_npz
from footplate.data.description import ColumnDescription, TableDescription
from footplate.data.files import locate
from footplate.data.infer_samples import (
    describe_arrays,
    describe_images,
    describe_lines,
    describe_stream,
    sample_lines,
)
from footplate.data.rows import Array, describe_shape
from footplate.data.table_files import EMPTY_CELLS, open_csv, open_parquet
from footplate.data.tables import MAX_CATEGORIES
from footplate.errors import DataError
from footplate.profile.facts import TaskKind

__all__ = ["ColumnDescription", "TableDescription", "describe_table"]

MAX_ROWS = 10_000
"""Rows looked at."""
MAX_BYTES = 2_000_000
"""Characters of a csv, and bytes of an array of targets, looked at."""
MAX_CLASSES = 20
"""Whole numbers with more different values than this are taken for quantities."""

_TARGET_NAMES = (
    "target", "label", "labels", "y", "class", "classes", "survived", "species", "outcome", "diagnosis", "churn",
    "price", "quality", "output", "result", "response",
)  # fmt: skip
_ID_NAME = re.compile(r"(.*[_ -])?(id|uuid|guid|key|index|rowid)|unnamed: 0|.*[a-z]Id|", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( .*)?")
_WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
_BOOLS = ({"true", "false"}, {"yes", "no"}, {"t", "f"}, {"y", "n"})


def describe_table(path: Path | str) -> TableDescription:
    """Look at the start of data, or at the headers of arrays and images, and guess how to train on them."""
    located = locate(str(path), "auto", Path.cwd())
    files, form = located.files, located.format
    if located.folder is not None:
        return describe_images(str(path), located.folder)
    if form in ("text", "tokens"):
        return describe_stream(str(path), form, files)
    if form == "jsonl" and (found := describe_lines(str(path), files)) is not None:
        return found
    if form == "npz":
        return _describe_npz(str(path), files[0])
    if form == "npy":
        return _describe_npy(str(path), files)
    sample = {"csv": _sample_csv, "parquet": _sample_parquet, "jsonl": sample_lines}[form]
    names, cells, is_complete = sample(files[0])
    if not cells or not cells[0]:
        raise DataError(f"{files[0]}: no rows", hint="the data are empty; check how they were written")
    return _describe_columns(str(path), form, names, cells, is_complete=is_complete and len(files) == 1)


def _sample_csv(path: Path) -> tuple[list[str], list[list[str]], bool]:
    rows = open_csv(path)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    seen: list[list[str]] = []
    size = 0
    for line, row in rows:
        if len(seen) == MAX_ROWS or size > MAX_BYTES:
            return header, [list(column) for column in zip(*seen, strict=True)], False
        if len(row) != len(header):
            raise DataError(
                f"{path.name} line {line}: {len(row)} cells, the header has {len(header)}",
                hint="quote cells that hold the separator",
            )
        seen.append([cell.strip() for cell in row])
        size += sum(map(len, row)) + len(row)
    return header, [list(column) for column in zip(*seen, strict=True)], True


def _sample_parquet(path: Path) -> tuple[list[str], list[list[str]], bool]:
    with open_parquet(path) as file:
        batch = next(iter(file.iter_batches(batch_size=MAX_ROWS)), None)
        if batch is None:
            return list(file.schema_arrow.names), [], True
        is_complete = file.metadata.num_rows == batch.num_rows
    cells = [["" if value is None else str(value) for value in column.to_pylist()] for column in batch.columns]
    return list(batch.schema.names), cells, is_complete


def _describe_columns(
    path: str, form: str, names: Sequence[str], cells: Sequence[list[str]], *, is_complete: bool
) -> TableDescription:
    columns = tuple(_describe_column(name, column) for name, column in zip(names, cells, strict=True))
    target, target_reason = _guess_target(names)
    position = list(names).index(target)
    task, task_reason, loss, num_classes = _guess_task([cell for cell in cells[position] if cell not in EMPTY_CELLS])
    others = [column for column in columns if column.name != target]
    left_out = tuple((column.name, reason) for column in others if (reason := _why_left_out(column)))
    inputs = tuple(column.name for column in others if not _why_left_out(column))
    used = [column for column in columns if column.name in inputs]
    gaps = sum(column.num_missing for column in used)
    return TableDescription(
        path=path,
        format=form,
        columns=columns,
        target=target,
        target_reason=target_reason,
        task=task,
        task_reason=task_reason,
        loss=loss,
        inputs=inputs,
        left_out=left_out,
        num_rows_seen=len(cells[0]),
        is_complete=is_complete,
        missing="drop" if columns[position].num_missing else "mean" if gaps else "error",
        input_shape=(len(used),) if all(column.kind == "number" for column in used) else None,
        output_shape=(num_classes,) if num_classes else (1,),
        num_classes=num_classes,
    )


def _describe_column(name: str, cells: Sequence[str]) -> ColumnDescription:
    known = [cell for cell in cells if cell not in EMPTY_CELLS]
    distinct = set(known)
    kind, detail = _get_kind(name, known, distinct)
    return ColumnDescription(
        name=name, kind=kind, detail=detail, num_distinct=len(distinct), num_missing=len(cells) - len(known)
    )


def _get_kind(name: str, known: Sequence[str], distinct: set[str]) -> tuple[str, str]:
    if len(distinct) <= 1:
        return "constant", f"always {known[0][:20]}" if known else "always empty"
    numbers = _parse_numbers(known)
    unique = len(distinct) == len(known) and len(known) > MAX_CLASSES
    if numbers is not None:
        whole = all(_WHOLE.fullmatch(cell) for cell in known)
        if unique and whole and (_ID_NAME.fullmatch(name) or bool(np.all(np.diff(numbers) == 1))):
            return "id", "another whole number in each row"
        return "number", f"{numbers.min():g} to {numbers.max():g}" + (", whole" if whole else "")
    if all(_DATE.fullmatch(cell) for cell in known):
        return "date", f"such as {known[0][:20]}"
    if {value.lower() for value in distinct} in _BOOLS:
        return "bool", " or ".join(sorted(distinct))
    if len(distinct) <= MAX_CATEGORIES and not unique:
        shown = ", ".join(sorted(distinct)[:3])
        return "category", f"{len(distinct)} values: {shown}" + (" …" if len(distinct) > 3 else "")
    return "id" if unique and _ID_NAME.fullmatch(name) else "text", f"{len(distinct):,} values, such as {known[0][:20]}"


def _parse_numbers(cells: Sequence[str]) -> Array | None:
    try:
        return np.array(cells, np.float64)
    except ValueError:
        return None


def _why_left_out(column: ColumnDescription) -> str:
    """Return why a column is no good input, or nothing."""
    reasons = {
        "id": "a number or name of the row; it says nothing about others",
        "date": "a date; make numbers of it (year, month, hour) to use it",
        "constant": "the same value everywhere; nothing can be learned from it",
        "text": f"text with {column.num_distinct:,} different values; at most {MAX_CATEGORIES} become categories",
    }
    return reasons.get(column.kind, "")


def _guess_target(names: Sequence[str]) -> tuple[str, str]:
    lower = {name.lower(): name for name in reversed(names)}
    for name in _TARGET_NAMES:
        if name in lower:
            return lower[name], "its name says so"
    return names[-1], "the last column"


def _guess_task(known: Sequence[str]) -> tuple[TaskKind, str, str, int | None]:
    """Return task, reason, the loss to set and the number of classes, from the target's cells."""
    distinct = set(known)
    if not known:
        raise DataError("the target column is empty", hint="choose the target with data.columns.targets")
    numbers = _parse_numbers(known)
    if numbers is None:
        return "classification", f"text with {len(distinct):,} different values", "auto", len(distinct)
    whole = all(_WHOLE.fullmatch(cell) for cell in known)
    written_whole = all("." not in cell for cell in known)
    count = len(np.unique(numbers))
    if whole and count <= MAX_CLASSES and count * 2 <= len(known) and (numbers.min() >= 0 or count == 2):
        loss = "auto" if written_whole else "cross_entropy"
        return "classification", f"whole numbers with {count} different values", loss, count
    loss = "mse" if written_whole and whole else "auto"
    kind = "whole numbers" if whole else "numbers"
    return "regression", f"{kind} with {count:,} different values in {len(known):,} rows", loss, None


def _describe_npz(path: str, file: Path) -> TableDescription:
    arrays = list_arrays(file)
    if not arrays:
        raise DataError(f"{file}: no arrays", hint="the data are empty; check how they were written")
    names = list(arrays)
    lower = {name.lower(): name for name in names}
    target = next((lower[name] for name in _TARGET_NAMES if name in lower), names[-1])
    others = [name for name in names if name != target]
    inputs = lower.get("x") or (others[0] if others else target)
    if inputs == target:
        raise DataError(f"{file}: one array only, `{target}`", hint="a training needs inputs and targets: x and y")
    shape, _, dtype = arrays[target]
    size = int(np.prod(shape)) * dtype.itemsize
    values = np.asarray(read_npz(file, [target], mmap=False)[0].parts[0]) if size <= MAX_BYTES else None
    columns = tuple(
        ColumnDescription(name=name, kind="array", detail=f"{describe_shape(shape)} {dtype}")
        for name, (shape, _, dtype) in arrays.items()
    )
    left_out = tuple((name, "an npz gives one array of inputs and one of targets") for name in others if name != inputs)
    reason = "its name says so" if target.lower() in _TARGET_NAMES else "the last array"
    return describe_arrays(
        path, "npz", columns, (inputs, arrays[inputs][0]), (target, shape, dtype, reason, values), left_out
    )


def _describe_npy(path: str, files: Sequence[Path]) -> TableDescription:
    x = [file for file in files if file.name.lower().startswith("x")]
    y = [file for file in files if file.name.lower().startswith("y")]
    if not x or not y:
        raise DataError(
            f"{path}: {len(x)} x*.npy and {len(y)} y*.npy",
            hint="expected a directory with x.npy and y.npy, or one npz with x and y",
        )
    inputs, targets = read_npy(x[0], mmap=True), read_npy(y[0], mmap=True)
    columns = tuple(
        ColumnDescription(name=name, kind="array", detail=f"{describe_shape((len(rows), *rows.shape))} {rows.dtype}")
        for name, rows in (("x", inputs), ("y", targets))
    )
    values = np.array(targets.parts[0]) if targets.num_bytes <= MAX_BYTES else None
    target = ("y", (len(targets), *targets.shape), targets.dtype, "the files called y*.npy", values)
    return describe_arrays(path, "npy", columns, ("x", (len(inputs), *inputs.shape)), target, ())
