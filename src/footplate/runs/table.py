"""Runs as a table: which of them, by what, with which columns; as rows, csv, JSON or parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from footplate.errors import InputError, MissingExtraError, RecordError
from footplate.runs.query import Query, check_name, list_missing
from footplate.runs.summary import Summary

__all__ = ["FORMATS", "Selection", "select", "write_table"]

FORMATS = ("csv", "json", "parquet")
_TIMES = ("created_at", "started_at", "ended_at")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The runs that meet a condition, in order."""

    summaries: tuple[Summary, ...]
    num_without: int
    """Runs that lack a value the condition asks for, and so do not meet it."""


def select(
    summaries: Sequence[Summary], query: Query | None = None, *, sort: str = "", descending: bool = False
) -> Selection:
    """Return the runs that meet ``query``, by the value of ``sort``; those without it come last.

    InputError when ``sort`` means nothing.
    """
    if sort and (problem := check_name(sort)):
        raise InputError(f"--sort {problem}")
    chosen = [one for one in summaries if query is None or query.matches(one.find)]
    without = 0
    if query is not None:
        kept = {id(one) for one in chosen}
        without = sum(1 for one in summaries if id(one) not in kept and list_missing(query.names, one.find))
    if sort:
        values = {id(one): one.find(sort) for one in chosen}
        there = [one for one in chosen if values[id(one)] is not None]
        there.sort(key=lambda one: _make_key(values[id(one)]), reverse=descending)
        chosen = there + [one for one in chosen if values[id(one)] is None]
    return Selection(summaries=tuple(chosen), num_without=without)


def write_table(summaries: Sequence[Summary], columns: Sequence[str], form: str, path: Path | None) -> str:
    """Return the values of runs as csv or JSON, or write them to a file; parquet needs one.

    RecordError when the file cannot be written, MissingExtraError where parquet's library is missing.
    """
    rows = [{name: _to_plain(name, summary.find(name)) for name in columns} for summary in summaries]
    if form == "parquet":
        if path is None:
            raise InputError("parquet goes to a file", hint="-o runs.parquet")
        _write_parquet(rows, columns, path)
        return ""
    text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n" if form == "json" else _to_csv(rows, columns)
    if path is None:
        return text
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from error
    return ""


def _make_key(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def _to_plain(name: str, value: Any) -> Any:
    if name in _TIMES and value is not None:
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _to_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _write_parquet(rows: Sequence[dict[str, Any]], columns: Sequence[str], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "train") from error
    arrays = {}
    for name in columns:
        values = [row[name] for row in rows]
        is_mixed = len({type(value) for value in values if value is not None} - {int, float}) > 1
        texts = is_mixed or any(isinstance(value, str) for value in values)
        arrays[name] = [None if value is None else str(value) for value in values] if texts else values
    try:
        parquet.write_table(pyarrow.table(arrays), path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error}") from error
