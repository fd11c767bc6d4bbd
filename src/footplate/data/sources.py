"""Sources: what a name in the profile means, and the rows behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footplate.data.array_files import MMAP_BYTES, read_npy, read_npz
from footplate.data.rows import Rows, join_rows
from footplate.data.table_files import read_csv, read_parquet
from footplate.data.tables import Table, get_kinds, handle_missing
from footplate.errors import DataError, MissingExtraError
from footplate.profile.sections.data import Columns, Data

__all__ = ["FORMATS", "SKLEARN_SETS", "Source", "find_files", "open_source"]

FORMATS = {".npz": "npz", ".npy": "npy", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet"}
"""File endings and the format they mean."""

SKLEARN_SETS = ("digits", "iris", "wine", "breast_cancer", "diabetes", "linnerud")
"""The sets that come with scikit-learn; nothing is downloaded."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Inputs and targets as stored, all samples of one name in the profile."""

    name: str
    """As the profile names it."""
    inputs: Rows | Table
    """One row per sample, or the columns of a table, which become rows once the training part is known."""
    targets: Rows
    """One row per sample."""
    class_names: tuple[str, ...] = ()
    """Names of the classes 0, 1, … where the source knows them."""
    num_files: int = 0
    """Files it was read from; 0 when it is no file."""
    num_bytes: int = 0
    """Size as stored."""

    @property
    def table(self) -> Table | None:
        """The columns of a csv or parquet source."""
        return self.inputs if isinstance(self.inputs, Table) else None


def open_source(name: str, settings: Data, base_dir: Path, *, mmap: bool, like: Source | None = None) -> Source:
    """Read (or map) what ``name`` means; ``like`` is the training source, whose columns and types then hold."""
    if name.startswith("sklearn:"):
        return _load_sklearn(name, settings.columns)
    files, form = find_files(name, settings.format, base_dir)
    num_bytes = sum(file.stat().st_size for file in files)
    if form in _TABLE_READERS:
        table = _read_table(files, form, settings.columns, like)
        return Source(name=name, inputs=table, targets=table.make_targets(), num_files=len(files), num_bytes=num_bytes)
    read = _ARRAY_READERS[form]
    pieces = read(files, settings.columns, mmap and num_bytes > MMAP_BYTES)
    return Source(
        name=name,
        inputs=join_rows([inputs for inputs, _ in pieces]),
        targets=join_rows([targets for _, targets in pieces]),
        num_files=len(files),
        num_bytes=num_bytes,
    )


def find_files(name: str, form: str, base_dir: Path) -> tuple[list[Path], str]:
    """Return the files behind a name in natural order (shard-2 before shard-10) and their format."""
    if "://" in name:
        raise DataError(f"{name}: data from afar are not built yet", hint="copy them here and name the path")
    if form != "auto" and form not in FORMATS.values():
        raise DataError(f"data.format {form} is not read yet", hint="npz, npy, parquet and csv are")
    path = base_dir / Path(name).expanduser()
    if not path.exists():
        raise DataError(f"{path}: does not exist", hint=f"the path is looked up from {base_dir}")
    if not path.is_dir():
        return [path], _get_format(path, form)
    names = sorted((entry.name for entry in path.iterdir() if entry.is_file()), key=_natural_key)
    files = [path / entry for entry in names if not entry.startswith((".", "_"))]
    formats = {file: FORMATS.get(file.suffix.lower(), "") for file in files}
    known = [file for file in files if (formats[file] == form if form != "auto" else formats[file])]
    if not known:
        shown = ", ".join(names[:5]) or "nothing"
        raise DataError(
            f"{path}: no {'npz, npy, csv or parquet' if form == 'auto' else form} files; it holds {shown}",
            hint="name the file or directory that holds the data",
        )
    several = sorted({formats[file] for file in known})
    if len(several) > 1:
        raise DataError(
            f"{path}: files of several formats: {', '.join(several)}", hint="choose one of them with data.format"
        )
    return known, several[0]


def _get_format(path: Path, form: str) -> str:
    found = FORMATS.get(path.suffix.lower(), "")
    if form == "auto" and not found:
        raise DataError(f"{path}: unknown kind of file", hint="set data.format to npz, npy, parquet or csv")
    return found if form == "auto" else form


def _natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part], name


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
    if columns.inputs or columns.targets:
        raise DataError("data.columns does not act on npy files: they have no names", hint="leave it out")
    return [(read_npy(x, mmap=mmap), read_npy(y, mmap=mmap)) for x, y in zip(inputs, targets, strict=True)]


def _read_table(files: Sequence[Path], form: str, columns: Columns, like: Source | None) -> Table:
    kinds = None
    if like is not None and like.table is not None:
        train = like.table
        kinds = get_kinds(train)
        columns = Columns(
            inputs=tuple(column.name for column in train.inputs),
            targets=tuple(column.name for column in train.targets),
            missing=columns.missing,
        )
    table = _TABLE_READERS[form](files, columns, kinds)
    if not len(table):
        raise DataError(f"{files[0]}: no rows below the header", hint="the data are empty; check how they were written")
    return handle_missing(table, columns.missing)


_ARRAY_READERS: dict[str, Callable[[Sequence[Path], Columns, bool], Pieces]] = {
    "npz": _read_npz_files,
    "npy": _read_npy_files,
}
_TABLE_READERS: dict[str, Callable[[Sequence[Path], Columns, Mapping[str, bool] | None], Table]] = {
    "csv": read_csv,
    "parquet": read_parquet,
}


def _load_sklearn(name: str, columns: Columns) -> Source:
    set_name = name.removeprefix("sklearn:")
    if set_name not in SKLEARN_SETS:
        raise DataError(f"{name}: no such set", hint=f"the sets are {', '.join(SKLEARN_SETS)}")
    if columns.inputs or columns.targets:
        raise DataError(f"data.columns does not act on {name}", hint="leave it out")
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
