"""Loading: from the names in a profile to three checked, split and scaled sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from footplate.data import checks
from footplate.data.arrays import ArraySet
from footplate.data.rows import Indices, Rows, as_matrix_rows, describe_shape
from footplate.data.scaler import Scaler, fit_scaler
from footplate.data.sources import Source, open_source
from footplate.data.split import split_samples
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
    parts = _make_parts(profile, sources, classes)
    train = parts["train"]
    scaler = fit_scaler(
        profile.data.preprocessing,
        profile.model.architecture,
        train.inputs,
        None if classes else train.targets,
        train.indices,
    )
    sets = {
        name: ArraySet(part.inputs, part.targets, part.indices, scaler, classes=classes is not None)
        for name, part in parts.items()
    }
    facts = _get_facts(profile, parts, sources, classes)
    return LoadedData(
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        facts=facts,
        scaler=scaler,
        found=tuple(_describe(name, parts[name], classes) for name in SETS if len(sets[name])),
    )


def _open_sources(profile: Profile) -> dict[str, Source]:
    data = profile.data
    if not data.train_data:
        raise DataError("data.train_data is not set", hint="name a file, a directory, or sklearn:digits")
    names = {"train": data.train_data, "val": data.val_data, "test": data.test_data}
    base_dir = Path(getattr(profile, "base_dir", None) or Path.cwd())
    mmap = profile.embedded_optimizations.use_mmap_datasets
    sources = {}
    for key, name in names.items():
        if name:
            source = open_source(name, data.format, data.columns, base_dir, mmap=mmap)
            checks.check_lengths(source.name, source.inputs, source.targets)
            checks.check_numeric(source.inputs)
            sources[key] = source
    return sources


def _make_parts(profile: Profile, sources: dict[str, Source], classes: Classes | None) -> dict[str, _Part]:
    parts = {}
    for key, source in sources.items():
        inputs = as_matrix_rows(source.inputs)
        checks.check_input_shape(profile, inputs)
        checks.check_finite(inputs, "inputs")
        if classes is not None:
            targets = to_class_numbers(source, classes)
        else:
            targets = source.targets
            checks.check_target_shape(profile, targets)
            checks.check_finite(targets, "targets")
        parts[key] = _Part(source=source, inputs=inputs, targets=targets, indices=np.arange(len(inputs)))
    _check_alike(parts)
    return _split(profile, parts, stratify=classes is not None)


def _check_alike(parts: dict[str, _Part]) -> None:
    train = parts["train"]
    for key, part in parts.items():
        for what, mine, other in (
            ("inputs", part.inputs, train.inputs),
            ("targets", part.targets, train.targets),
        ):
            if mine.shape != other.shape:
                raise DataError(
                    f"{mine.names[0]}: {what} have shape {describe_shape(mine.shape)}, "
                    f"those of the training data {describe_shape(other.shape)}",
                    hint=f"data.{key}_data must be of the same kind as data.train_data",
                )


def _split(profile: Profile, parts: dict[str, _Part], *, stratify: bool) -> dict[str, _Part]:
    """Take validation and test samples from the training data where they have no data of their own."""
    train = parts["train"]
    split = split_samples(
        len(train.inputs),
        0.0 if "val" in parts else profile.data.split.val,
        0.0 if "test" in parts else profile.data.split.test,
        profile.reproducibility.seed,
        train.targets.parts[0] if stratify else None,
    )
    shares = {"train": split.train, "val": split.val, "test": split.test}
    return {
        key: parts[key]
        if key != "train" and key in parts
        else _Part(source=train.source, inputs=train.inputs, targets=train.targets, indices=shares[key])
        for key in SETS
    }


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
