"""Loading: from the names in a profile to three checked, split and scaled sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from footplate.data import checks
from footplate.data.arrays import ArraySet
from footplate.data.rows import Indices, Rows, as_matrix_rows, describe_shape
from footplate.data.scaler import Scaler, fit_scaler
from footplate.data.sources import Source, open_source
from footplate.data.split import split_samples
from footplate.data.tables import ColumnEncoding, count_unseen, encode, fit_encoding
from footplate.data.targets import Classes, find_classes, to_class_numbers
from footplate.errors import DataError
from footplate.profile.facts import DataFacts
from footplate.profile.model import Profile

__all__ = ["LoadedData", "load_data"]

SETS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedData:
    """Data ready to train on."""

    train: ArraySet
    """What is trained on."""
    val: ArraySet
    """What the training is watched by; may be empty."""
    test: ArraySet
    """What the result is judged by; may be empty."""
    facts: DataFacts
    """Counts, shapes, types, classes."""
    scaler: Scaler
    """What was done to the inputs (already applied), to be done to new inputs too."""
    found: tuple[str, ...]
    """What was found, in lines for people."""
    encoding: tuple[ColumnEncoding, ...] = ()
    """How the columns of a table became numbers, to be done to new rows too; empty for arrays."""
    target_names: tuple[str, ...] = ()
    """The target columns of a table: what each output means where it is no class; empty for arrays."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """One set before scaling: which rows of which source."""

    source: Source
    inputs: Rows
    targets: Rows
    indices: Indices


def load_data(profile: Profile) -> LoadedData:
    """Read, check, split and scale the data of a profile.

    Raises DataError with file, position and what to do; MissingExtraError for a reader that is not installed.
    """
    sources = _open_sources(profile)
    classes = find_classes(profile, sources["train"])
    targets = {key: _get_targets(profile, source, classes) for key, source in sources.items()}
    indices = _split(profile, targets, stratify=classes is not None)
    encoding = _fit_encoding(profile, sources["train"], indices["train"])
    inputs = {key: _get_inputs(profile, source, encoding) for key, source in sources.items()}
    _check_alike(inputs, targets)
    owner = {key: key if key in sources else "train" for key in SETS}
    parts = {
        key: _Part(source=sources[own], inputs=inputs[own], targets=targets[own], indices=indices[key])
        for key, own in owner.items()
    }
    train = parts["train"]
    scaler = fit_scaler(
        profile.data.preprocessing,
        profile.model.architecture,
        train.inputs,
        None if classes else train.targets,
        train.indices,
    )
    sets = {
        key: ArraySet(part.inputs, part.targets, part.indices, scaler, classes=classes is not None)
        for key, part in parts.items()
    }
    return LoadedData(
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        facts=_get_facts(profile, parts, sources, classes),
        scaler=scaler,
        found=_describe_data(parts, classes, encoding),
        encoding=encoding,
        target_names=tuple(column.name for column in table.targets) if (table := sources["train"].table) else (),
    )


def _open_sources(profile: Profile) -> dict[str, Source]:
    data = profile.data
    if not data.train_data:
        raise DataError("data.train_data is not set", hint="name a file, a directory, or sklearn:digits")
    mmap = profile.embedded_optimizations.use_mmap_datasets
    sources: dict[str, Source] = {}
    for key, name in (("train", data.train_data), ("val", data.val_data), ("test", data.test_data)):
        if not name:
            continue
        source = open_source(name, data, profile.base_dir, mmap=mmap, like=sources.get("train"))
        if isinstance(source.inputs, Rows):
            checks.check_lengths(source.name, source.inputs, source.targets)
            checks.check_numeric(source.inputs)
        sources[key] = source
    return sources


def _get_targets(profile: Profile, source: Source, classes: Classes | None) -> Rows:
    if classes is not None:
        return to_class_numbers(source, classes)
    checks.check_quantities(source.targets)
    checks.check_target_shape(profile, source.targets)
    checks.check_finite(source.targets, "targets")
    return source.targets


def _split(profile: Profile, targets: dict[str, Rows], *, stratify: bool) -> dict[str, Indices]:
    """Return the samples of each set; those without data of their own get a share of the training data."""
    train = targets["train"]
    split = split_samples(
        len(train),
        0.0 if "val" in targets else profile.data.split.val,
        0.0 if "test" in targets else profile.data.split.test,
        profile.reproducibility.seed,
        train.parts[0] if stratify else None,
    )
    shares = {"train": split.train, "val": split.val, "test": split.test}
    return {key: np.arange(len(targets[key])) if key != "train" and key in targets else shares[key] for key in SETS}


def _fit_encoding(profile: Profile, train: Source, indices: Indices) -> tuple[ColumnEncoding, ...]:
    return () if train.table is None else fit_encoding(train.table, indices, profile.data.columns.missing)


def _get_inputs(profile: Profile, source: Source, encoding: tuple[ColumnEncoding, ...]) -> Rows:
    if (source.table is not None) != bool(encoding):
        told = "is a table, the training data are not" if source.table else "is no table, the training data are"
        raise DataError(f"{source.name} {told}", hint="give all sets in the same form")
    rows = as_matrix_rows(source.inputs if isinstance(source.inputs, Rows) else encode(source.inputs, encoding))
    checks.check_input_shape(profile, rows)
    checks.check_finite(rows, "inputs")
    return rows


def _check_alike(inputs: dict[str, Rows], targets: dict[str, Rows]) -> None:
    for what, rows in (("inputs", inputs), ("targets", targets)):
        train = rows["train"]
        for key, other in rows.items():
            if other.shape != train.shape:
                raise DataError(
                    f"{other.names[0]}: {what} have shape {describe_shape(other.shape)}, "
                    f"those of the training data {describe_shape(train.shape)}",
                    hint=f"data.{key}_data must be of the same kind as data.train_data",
                )


def _get_facts(
    profile: Profile, parts: dict[str, _Part], sources: dict[str, Source], classes: Classes | None
) -> DataFacts:
    train = parts["train"]
    counts: tuple[int, ...] = ()
    if classes is not None:
        total = sum(_count_classes(part, len(classes.names)) for part in parts.values())
        counts = tuple(int(count) for count in np.asarray(total))
    return DataFacts(
        source=profile.data.train_data,
        num_train=len(train.indices),
        num_val=len(parts["val"].indices),
        num_test=len(parts["test"].indices),
        input_shape=train.inputs.shape,
        input_dtype=str(train.inputs.dtype),
        target_shape=() if classes else train.targets.shape,
        target_dtype=str(train.source.targets.dtype),
        classes=classes.names if classes else (),
        class_counts=counts,
        num_bytes=sum(source.num_bytes for source in sources.values()),
    )


def _count_classes(part: _Part, num_classes: int) -> Indices:
    return np.bincount(part.targets.parts[0][part.indices], minlength=num_classes)


def _describe_data(
    parts: dict[str, _Part], classes: Classes | None, encoding: tuple[ColumnEncoding, ...]
) -> tuple[str, ...]:
    """Write what was found: one line for each set, then what was done to tables and what looks odd."""
    lines = [_describe(key, parts[key], classes) for key in SETS if len(parts[key].indices)]
    widths = [f"{item.name} {len(item.categories)}" for item in encoding if item.categories is not None]
    if widths:
        lines.append(f"text columns as 0/1 codes: {', '.join(widths)}")
    train = parts["train"].source.table
    lines += [
        f"`{column.name}` is text: {column.not_a_number} is no number"
        for column in (train.inputs if train else ())
        if column.not_a_number
    ]
    sources = {id(part.source): part.source for part in parts.values()}.values()
    lines += [f"{source.name}: {note}" for source in sources if source.table for note in source.table.notes]
    for key in ("val", "test"):
        table = parts[key].source.table
        for column, item in zip(table.inputs if table else (), encoding, strict=False):
            unseen = count_unseen(column, item, parts[key].indices)
            if unseen:
                lines.append(f"{key}: {unseen:,} cells of `{item.name}` hold a value unseen in training: all 0")
    stride = checks.get_stride(parts["train"].inputs)
    if stride > 1:
        lines.append(f"NaN was looked for in 1 of {stride} parts of the inputs: they are large")
    if classes is not None and classes.values.dtype.kind in "iu" and classes.values[-1] >= 2 * len(classes.values):
        lines.append(f"class numbers have gaps: {len(classes.values)} classes, the last is {classes.values[-1]}")
    return tuple(lines)


def _describe(name: str, part: _Part, classes: Classes | None) -> str:
    """Write one line: ``train  1,437 × [8, 8] float64 → 10 classes, 139–146 each``."""
    inputs = f"{len(part.indices):>9,} × {describe_shape(part.inputs.shape)} {part.inputs.dtype}"
    files = part.source.num_files
    note = f" · {files} files" if files > 1 else ""
    if classes is None:
        shape = part.targets.shape
        wanted = "1 number" if shape in ((), (1,)) else describe_shape(shape)
        return f"{name:<5}{inputs} → {wanted} {part.targets.dtype}{note}"
    counts = _count_classes(part, len(classes.names))
    low, high = int(counts.min()), int(counts.max())
    each = f"{low:,} each" if low == high else f"{low:,}–{high:,} each"
    return f"{name:<5}{inputs} → {len(classes.names)} classes, {each}{note}"
