"""Sources: what a name in the profile means, and the rows behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from footplate.data.array_files import MMAP_BYTES, read_npy, read_npz
from footplate.data.files import locate
from footplate.data.functions import is_function, open_function
from footplate.data.images import open_images
from footplate.data.json_lines import open_json_lines
from footplate.data.rows import Rows, join_rows
from footplate.data.source import Source
from footplate.data.table_files import read_csv, read_parquet
from footplate.data.tables import Table, get_kinds, handle_missing
from footplate.data.text import open_text, open_tokens
from footplate.errors import DataError, MissingExtraError
from footplate.profile.sections.data import Columns, Data

__all__ = ["SKLEARN_SETS", "open_source"]

SKLEARN_SETS = ("digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud")
"""The sets that come with scikit-learn; nothing is downloaded."""


def open_source(name: str, settings: Data, base_dir: Path, *, mmap: bool, like: Source | None = None) -> Source:
    """Read (or map) what ``name`` means; ``like`` is the training source, whose columns and types then hold."""
    if name.startswith("sklearn:"):
        return _load_sklearn(name, settings.columns)
    if is_function(name):
        _refuse_columns(settings.columns, name)
        return open_function(name, base_dir)
    located = locate(name, settings.format, base_dir)
    files, form = located.files, located.format
    if form in ("text", "tokens", "image_folder"):
        _refuse_columns(settings.columns, f"data of the format {form}")
    if located.folder is not None:
        return open_images(name, located.folder)
    if form in _STREAM_READERS:
        return _STREAM_READERS[form](name, files, settings)
    if form == "jsonl":
        return open_json_lines(name, files, settings, like)
    num_bytes = sum(file.stat().st_size for file in files)
    if form in _TABLE_READERS:
        table = _read_table(files, form, settings.columns, like)
        return Source(name=name, inputs=table, targets=table.make_targets(), files=tuple(files), num_bytes=num_bytes)
    read = _ARRAY_READERS[form]
    pieces = read(files, settings.columns, mmap and num_bytes > MMAP_BYTES)
    return Source(
        name=name,
        inputs=join_rows([inputs for inputs, _ in pieces]),
        targets=join_rows([targets for _, targets in pieces]),
        files=tuple(files),
        num_bytes=num_bytes,
    )


def _refuse_columns(columns: Columns, what: str) -> None:
    if columns.inputs or columns.targets:
        raise DataError(f"data.columns does not act on {what}", hint="leave it out")


Pieces = list[tuple[Rows, Rows]]


def _read_npz_files(files: Sequence[Path], columns: Columns, mmap: bool) -> Pieces:
    names = [_get_single("inputs", columns.inputs, "x"), _get_single("targets", columns.targets, "y")]
    pieces = []
    for file in files:
        inputs, targets = read_npz(file, names, mmap=mmap)
        pieces.append((inputs, targets))
    return pieces


def _get_single(what: str, names: tuple[str, ...], default: str) -> str:
    if len(names) > 1:
        raise DataError(
            f"data.columns.{what} names {len(names)} arrays; an npz gives one array of {what}",
            hint="stack them into one array when the file is written",
        )
    return names[0] if names else default


def _read_npy_files(files: Sequence[Path], columns: Columns, mmap: bool) -> Pieces:
    expected = "expected a directory with x.npy and y.npy (or x-0.npy, x-1.npy … and y-0.npy, y-1.npy …)"
    inputs = [file for file in files if file.name.lower().startswith("x")]
    targets = [file for file in files if file.name.lower().startswith("y")]
    others = [file.name for file in files if file not in inputs and file not in targets]
    if others or not inputs or len(inputs) != len(targets):
        where = files[0].parent if len(files) > 1 else files[0]
        raise DataError(
            f"{where}: {len(inputs)} x*.npy, {len(targets)} y*.npy, {len(others)} others; {expected}",
            hint="or save both in one file: numpy.savez('train.npz', x=inputs, y=targets)",
        )
    _refuse_columns(columns, "npy files: they have no names")
    return [(read_npy(x, mmap=mmap), read_npy(y, mmap=mmap)) for x, y in zip(inputs, targets, strict=True)]


def _read_table(files: Sequence[Path], form: str, columns: Columns, like: Source | None) -> Table:
    kinds = None
    if like is not None and like.table is not None:
        kinds = get_kinds(like.table)
        columns = like.table.get_columns(columns.missing)
    table = _TABLE_READERS[form](files, columns, kinds)
    if not len(table):
        raise DataError(f"{files[0]}: no rows below the header", hint="the data are empty; check how they were written")
    return handle_missing(table, columns.missing)


_ARRAY_READERS: dict[str, Callable[[Sequence[Path], Columns, bool], Pieces]] = {
    "npz": _read_npz_files,
    "npy": _read_npy_files,
}
_STREAM_READERS: dict[str, Callable[[str, Sequence[Path], Data], Source]] = {"text": open_text, "tokens": open_tokens}
_TABLE_READERS: dict[str, Callable[[Sequence[Path], Columns, Mapping[str, bool] | None], Table]] = {
    "csv": read_csv,
    "parquet": read_parquet,
}


def _load_sklearn(name: str, columns: Columns) -> Source:
    set_name = name.removeprefix("sklearn:")
    if set_name not in SKLEARN_SETS:
        raise DataError(f"{name}: no such set", hint=f"the sets are {', '.join(SKLEARN_SETS)}")
    _refuse_columns(columns, name)
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train") from error
    bunch = getattr(datasets, f"load_{set_name}")()
    inputs = np.asarray(bunch.images if set_name == "digits" else bunch.data)
    targets = np.asarray(bunch.target)
    is_classes = targets.dtype.kind in "iu"
    return Source(
        name=name,
        inputs=Rows(parts=(inputs,), names=(name,)),
        targets=Rows(parts=(targets,), names=(name,)),
        class_names=tuple(str(label) for label in bunch.target_names) if is_classes else (),
        num_bytes=inputs.nbytes + targets.nbytes,
    )
